package synth

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"flag"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

//go:generate go test -run TestFixtures -update .

var update = flag.Bool("update", false, "write the fixtures under testdata/synth anew")

const fixtures = "../../testdata/synth"

// maxFixtures is how many bytes the fixtures may have in all: they are checked
// out by everyone.
const maxFixtures = 300_000

// makeFixtures writes all fixtures under dir.
func makeFixtures(t *testing.T, dir string) {
	t.Helper()
	idx := Options{Classes: 10, TrainPerClass: 20, TestPerClass: 10, Size: 28, Channels: 1, Seed: 1}
	if err := WriteIDX(filepath.Join(dir, "idx"), idx); err != nil {
		t.Fatal(err)
	}
	mvtec := InspectionOptions{Inliers: []int{8}, Train: 16, Good: 4, Each: 2, Size: 32, Channels: 3, Seed: 1}
	if err := WriteMVTec(filepath.Join(dir, "mvtec"), mvtec); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	colour := Options{Classes: 10, TrainPerClass: 1, TestPerClass: 1, Size: 32, Channels: 3, Seed: 1}
	sp, err := Generate(colour)
	if err != nil {
		t.Fatal(err)
	}
	batch1, test := cifarBatch(sp.Train, 6), cifarBatch(sp.Test, 4)
	archive := gzipped(tarOf(t, "data_batch_1.bin", batch1, "test_batch.bin", test), gzip.BestCompression)
	write("cifar-10/cifar-10-binary.tar.gz", archive)
	for name, data := range imageFixtures(t) {
		write("images/"+name, data)
	}
	for name, data := range damaged(t, sp) {
		write("damaged/"+name, data)
	}
}

// cifarBatch returns the first n images of s as CIFAR-10 records.
func cifarBatch(s *dataset.Set, n int) []byte {
	var out []byte
	for i := range n {
		out = append(out, byte(s.Labels[i]))
		out = append(out, s.Image(i)...)
	}
	return out
}

func tarOf(t *testing.T, nameAndData ...any) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(nameAndData); i += 2 {
		name, data := nameAndData[i].(string), nameAndData[i+1].([]byte)
		head := &tar.Header{Name: "cifar-10-batches-bin/" + name, Mode: 0o644, Size: int64(len(data))}
		if err := w.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(data []byte, level int) []byte {
	var buf bytes.Buffer
	w, _ := gzip.NewWriterLevel(&buf, level)
	w.Write(data)
	w.Close()
	return buf.Bytes()
}

// storedPNG encodes without compression: its bytes depend on the format alone,
// so that a damaged copy is the same with every version of Go.
func storedPNG(t *testing.T, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.NoCompression}
	if err := enc.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// imageFixtures are sound images of 4x5 pixels in less usual forms.
func imageFixtures(t *testing.T) map[string][]byte {
	box := image.Rect(0, 0, 5, 4)
	grey16, alpha, rgb16 := image.NewGray16(box), image.NewNRGBA(box), image.NewNRGBA64(box)
	palette := image.NewPaletted(box, color.Palette{color.Gray{10}, color.Gray{200}, color.Gray{90}})
	colours := image.NewPaletted(box, color.Palette{color.RGBA{200, 0, 0, 255}, color.Gray{200}})
	for y := range 4 {
		for x := range 5 {
			v := uint16(1000 + 2500*x + 11000*y)
			grey16.SetGray16(x, y, color.Gray16{v})
			alpha.SetNRGBA(x, y, color.NRGBA{uint8(50 * x), uint8(60 * y), 255, uint8(255 - 20*x)})
			rgb16.SetNRGBA64(x, y, color.NRGBA64{v, 65535 - v, 12345, 65535})
			palette.SetColorIndex(x, y, uint8((x+y)%3))
			colours.SetColorIndex(x, y, uint8((x+y)%2))
		}
	}
	return map[string][]byte{
		"grey16.png":       storedPNG(t, grey16),
		"rgb16.png":        storedPNG(t, rgb16),
		"alpha.png":        storedPNG(t, alpha),
		"grey-palette.png": storedPNG(t, palette),
		"palette.png":      storedPNG(t, colours),
	}
}

// damaged returns files that the readers must refuse, each for its own reason.
func damaged(t *testing.T, sp *dataset.Splits) map[string][]byte {
	idx := func(magic, n, h, w uint32, body int) []byte {
		var head []byte
		for _, v := range []uint32{magic, n, h, w} {
			head = binary.BigEndian.AppendUint32(head, v)
		}
		return append(head, make([]byte, body)...)
	}
	sound := idx(0x803, 2, 3, 4, 24)
	zip := gzipped(sound, gzip.NoCompression)
	badSum := slices.Clone(zip)
	badSum[len(badSum)-8] ^= 1 // the CRC-32 is the last but one word
	record := cifarBatch(sp.Train, 1)
	badLabel := slices.Clone(record)
	badLabel[0] = 10
	archive := gzipped(tarOf(t, "data_batch_1.bin", record), gzip.NoCompression)

	grey := image.NewGray(image.Rect(0, 0, 5, 4))
	picture := storedPNG(t, grey)
	altered := slices.Clone(picture)
	altered[len(altered)-20] ^= 0xff // within the pixels, under their checksum
	return map[string][]byte{
		"idx-cut-short":         sound[:len(sound)-5],
		"idx-no-header":         sound[:7],
		"idx-trailing":          append(slices.Clone(sound), 0, 0, 0),
		"idx-claims-terabytes":  idx(0x803, 1<<32-1, 1<<16, 1<<16, 8),
		"idx-claims-gigabytes":  idx(0x803, 7<<20, 32, 32, 8),
		"idx-floats":            idx(0xd03, 2, 3, 4, 96),
		"idx-no-rows":           idx(0x803, 2, 0, 4, 0),
		"idx-cut-short.gz":      zip[:len(zip)-20],
		"idx-checksum.gz":       badSum,
		"cifar-label.bin":       badLabel,
		"cifar-cut-short.bin":   record[:3000],
		"cifar-cut-short.tgz":   archive[:len(archive)/2],
		"cut-short.png":         picture[:len(picture)-30],
		"checksum.png":          altered,
		"claims-gigapixels.png": resized(picture, 1<<16-1, 1<<16-1),
		"gif.png":               []byte("GIF89a\x05\x00\x04\x00\x00\x00\x00;"),
		"text.png":              []byte("not an image\n"),
		"empty.png":             {},
	}
}

// resized changes the size in the header of a PNG, checksum and all.
func resized(data []byte, w, h uint32) []byte {
	out := slices.Clone(data)
	binary.BigEndian.PutUint32(out[16:], w)
	binary.BigEndian.PutUint32(out[20:], h)
	binary.BigEndian.PutUint32(out[29:], crc32.ChecksumIEEE(out[12:29]))
	return out
}

// TestFixtures makes the fixtures and compares them with those checked in. A
// compressed file may come out in other bytes with another version of Go; then
// what it decompresses to is compared.
func TestFixtures(t *testing.T) {
	if *update {
		makeFixtures(t, fixtures)
	}
	dir := t.TempDir()
	makeFixtures(t, dir)
	got, want := listFiles(t, dir), listFiles(t, fixtures)
	if !slices.Equal(got, want) {
		t.Fatalf("files made\n%q\nfiles checked in\n%q", got, want)
	}
	total := 0
	for _, name := range got {
		g, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		w, err := os.ReadFile(filepath.Join(fixtures, name))
		if err != nil {
			t.Fatal(err)
		}
		total += len(w)
		if bytes.Equal(g, w) {
			continue
		}
		if !bytes.Equal(unpacked(t, name, g), unpacked(t, name, w)) {
			t.Errorf("%s differs in content from what is checked in", name)
		} else {
			t.Logf("%s: same content, other compression", name)
		}
	}
	if total > maxFixtures {
		t.Errorf("fixtures have %d bytes, want at most %d", total, maxFixtures)
	}
}

func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// unpacked undoes gzip or PNG where the file is sound.
func unpacked(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	if r, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
		if raw, err := io.ReadAll(r); err == nil {
			return raw
		}
	}
	if img, err := png.Decode(bytes.NewReader(data)); err == nil {
		size := dataset.Shape{C: 3, H: img.Bounds().Dy(), W: img.Bounds().Dx()}
		pix, err := dataset.DecodeImage(data, name, size)
		if err != nil {
			t.Fatal(err)
		}
		return pix
	}
	return data
}
