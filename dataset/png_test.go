package dataset

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// pngChunk appends a chunk with its checksum.
func pngChunk(b []byte, name string, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	start := len(b)
	b = append(append(b, name...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}

// rawPNG makes a file of rows as they are given, filters included, its data in
// parts IDAT chunks.
func rawPNG(t testing.TB, colour uint8, h, w int, rows []byte, parts int) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := z.Write(rows); err != nil {
		t.Fatal(err)
	}
	z.Close()
	b := []byte("\x89PNG\r\n\x1a\n")
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h))
	b = pngChunk(b, "IHDR", append(head, 8, colour, 0, 0, 0))
	b = pngChunk(b, "gAMA", []byte{0, 0, 177, 143})
	for i, data := range slices.Collect(slices.Chunk(packed.Bytes(), packed.Len()/parts+1)) {
		b = pngChunk(b, "IDAT", data)
		if i == 0 {
			b = pngChunk(b, "IDAT", nil)
		}
	}
	return pngChunk(pngChunk(b, "tEXt", []byte("Comment\x00here")), "IEND", nil)
}

// sameAsSlow compares r with image/png on data, and returns whether r took it.
func sameAsSlow(t *testing.T, r *pngReader, data []byte, want Shape) bool {
	t.Helper()
	have, slow := make([]uint8, want.Len()), make([]uint8, want.Len())
	if !r.decode(have, data, want) {
		return false
	}
	if err := (Reading{}).decode(slow, data, "slow", want); err != nil {
		t.Fatalf("taken as %v, but image/png says: %v", want, err)
	}
	if !bytes.Equal(have, slow) {
		t.Fatalf("pixels of %v are not those of image/png", want)
	}
	return true
}

// Every filter on every row, with any bytes: rows are filtered at random and
// then mean whatever they mean.
func TestPNGReaderIsImagePNG(t *testing.T) {
	const seed = 5
	rng := rand.New(rand.NewPCG(seed, 0))
	var r pngReader
	for trial := range 400 {
		h, w, colour := 1+rng.IntN(9), 1+rng.IntN(9), uint8(2*rng.IntN(2))
		stride := 1 + w*(1+int(colour))
		rows := make([]byte, h*stride)
		for i := range rows {
			rows[i] = uint8(rng.Uint32())
			if i%stride == 0 {
				rows[i] %= 5
			}
		}
		data := rawPNG(t, colour, h, w, rows, 1+trial%3)
		if !sameAsSlow(t, &r, data, Shape{3, h, w}) {
			t.Fatalf("seed %d, trial %d: not taken", seed, trial)
		}
		if grey := sameAsSlow(t, &r, data, Shape{1, h, w}); grey != (colour == 0) && h*w > 2 {
			t.Fatalf("seed %d, trial %d: taken as grey: %v", seed, trial, grey)
		}
	}
}

// What encoders write, of one reader after the other.
func TestPNGReaderTakesTheUsual(t *testing.T) {
	var r pngReader
	for _, img := range []image.Image{greyRamp(28, 28), greyRamp(200, 300), colourRamp(64, 64), colourRamp(7, 200)} {
		b := img.Bounds()
		for _, level := range []png.CompressionLevel{png.DefaultCompression, png.NoCompression, png.BestSpeed} {
			var buf bytes.Buffer
			if err := (&png.Encoder{CompressionLevel: level}).Encode(&buf, img); err != nil {
				t.Fatal(err)
			}
			if !sameAsSlow(t, &r, buf.Bytes(), Shape{3, b.Dy(), b.Dx()}) {
				t.Errorf("%T of %v, compression %d: not taken", img, b, level)
			}
		}
	}
	allGrey := image.NewNRGBA(image.Rect(0, 0, 5, 4)) // opaque: written as RGB
	for i := range 20 {
		allGrey.Set(i%5, i/5, color.Gray{uint8(9 * i)})
	}
	if !sameAsSlow(t, &r, encodePNG(t, allGrey), Shape{1, 4, 5}) {
		t.Error("grey pixels in an RGB file: not taken")
	}
}

// A file that is damaged, of another size or of another kind is left to
// image/png, which says what is wrong with it.
func TestPNGReaderLeavesTheRest(t *testing.T) {
	const seed = 6
	rng := rand.New(rand.NewPCG(seed, 0))
	var r pngReader
	want := Shape{1, 28, 28}
	sound := encodePNG(t, greyRamp(28, 28))
	for n := range len(sound) {
		if r.decode(make([]uint8, want.Len()), sound[:n], want) {
			t.Errorf("taken when cut after %d of %d bytes", n, len(sound))
		}
	}
	for range 2000 {
		data := slices.Clone(sound)
		data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
		if sameAsSlow(t, &r, data, want) {
			t.Fatalf("seed %d: taken with an altered bit", seed)
		}
	}
	for _, other := range []Shape{{1, 28, 27}, {1, 14, 56}, {2, 28, 28}, {1, 0, 28}} {
		if r.decode(make([]uint8, other.Len()), sound, other) {
			t.Errorf("taken as %v", other)
		}
	}
	for _, img := range randomImages(rng) {
		b := img.Bounds()
		sameAsSlow(t, &r, encodePNG(t, img), Shape{3, b.Dy(), b.Dx()})
	}
	if !sameAsSlow(t, &r, sound, want) {
		t.Error("a sound file is not taken after damaged ones")
	}
}

func FuzzPNGReader(f *testing.F) {
	for _, dir := range []string{"damaged", "images"} {
		files, err := filepath.Glob(filepath.Join(synthDir, dir, "*.png"))
		if err != nil || len(files) == 0 {
			f.Fatalf("no fixtures in %s: %v", dir, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add(rawPNG(f, 2, 2, 2, []byte{4, 1, 2, 3, 4, 5, 6, 3, 1, 2, 3, 4, 5, 6}, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		size, err := Reading{}.stat(data, "fuzz")
		if err != nil || size.H*size.W > 1<<12 {
			return
		}
		var r pngReader
		sameAsSlow(t, &r, data, Shape{1, size.H, size.W})
		sameAsSlow(t, &r, data, Shape{3, size.H, size.W})
	})
}

// A reader gives what ReadImage does, in any order of sound, damaged and missing
// files, small and large.
func TestImageReader(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	noisy := image.NewGray(image.Rect(0, 0, 400, 300)) // more than one read
	rng := rand.New(rand.NewPCG(7, 0))
	for i := range noisy.Pix {
		noisy.Pix[i] = uint8(rng.Uint32())
	}
	small := encodePNG(t, greyRamp(28, 28))
	paths := []string{
		write("small.png", small), write("large.png", encodePNG(t, noisy)), write("cut.png", small[:60]), filepath.Join(dir, "missing.png"),
		write("a.jpg", encodeJPEG(t, colourRamp(28, 28))), write("empty.png", nil), write("x.gif", []byte("GIF89a")), write("again.png", small), dir,
	}
	var r ImageReader
	for round := range 2 {
		for _, path := range paths {
			for _, want := range []Shape{{1, 28, 28}, {3, 28, 28}, {1, 300, 400}} {
				pix, wantErr := ReadImage(path, want)
				dst := make([]uint8, want.Len())
				err := r.Read(dst, path, want)
				if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && !bytes.Equal(dst, pix) {
					t.Errorf("round %d: %s as %v: error %v, ReadImage: %v", round, path, want, err, wantErr)
				}
			}
		}
	}
}

func BenchmarkImageReader28(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.png")
	if err := os.WriteFile(path, encodePNG(b, greyRamp(28, 28)), 0o644); err != nil {
		b.Fatal(err)
	}
	b.Run("reader", func(b *testing.B) {
		var r ImageReader
		dst := make([]uint8, 28*28)
		b.ReportAllocs()
		for b.Loop() {
			if err := r.Read(dst, path, Shape{1, 28, 28}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("each anew", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			data, err := readImageFile(path, nil, MaxFileBytes)
			if err == nil {
				_, err = DecodeImage(data, path, Shape{1, 28, 28})
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
