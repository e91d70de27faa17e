package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// slowPlanar is planar by the definition: the high bytes of Color.RGBA.
func slowPlanar(img image.Image) []uint8 {
	b := img.Bounds()
	n := b.Dx() * b.Dy()
	out := make([]uint8, 3*n)
	for y := range b.Dy() {
		for x := range b.Dx() {
			r, g, bl, _ := img.At(b.Min.X+x, b.Min.Y+y).RGBA()
			for c, v := range []uint32{r, g, bl} {
				out[c*n+y*b.Dx()+x] = uint8(v / 256)
			}
		}
	}
	return out
}

// randomImages returns images of every type that the decoders return, cut out
// of larger ones so that stride and origin matter.
func randomImages(r *rand.Rand) []image.Image {
	box, cut := image.Rect(0, 0, 13, 11), image.Rect(2, 3, 11, 10)
	fill := func(pix []uint8) {
		for i := range pix {
			pix[i] = uint8(r.IntN(256))
		}
	}
	grey, grey16 := image.NewGray(box), image.NewGray16(box)
	rgba, nrgba := image.NewRGBA(box), image.NewNRGBA(box)
	rgba64, nrgba64 := image.NewRGBA64(box), image.NewNRGBA64(box)
	cmyk := image.NewCMYK(box)
	palette := image.NewPaletted(box, color.Palette{color.NRGBA{9, 200, 30, 77}, color.White, color.Gray{7}})
	for _, pix := range [][]uint8{grey.Pix, grey16.Pix, rgba.Pix, nrgba.Pix, rgba64.Pix, nrgba64.Pix, cmyk.Pix} {
		fill(pix)
	}
	for i := range palette.Pix {
		palette.Pix[i] = uint8(r.IntN(3))
	}
	for i := 3; i < len(rgba.Pix); i += 4 { // opaque, as the decoders give it
		rgba.Pix[i] = 255
	}
	images := []image.Image{
		grey.SubImage(cut), grey16.SubImage(cut), rgba.SubImage(cut), nrgba.SubImage(cut),
		rgba64.SubImage(cut), nrgba64.SubImage(cut), cmyk.SubImage(cut), palette.SubImage(cut),
	}
	for _, ratio := range []image.YCbCrSubsampleRatio{image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio420, image.YCbCrSubsampleRatio410} {
		y := image.NewYCbCr(box, ratio)
		fill(y.Y)
		fill(y.Cb)
		fill(y.Cr)
		images = append(images, y.SubImage(cut))
	}
	return images
}

func TestPlanarMatchesSlow(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		for _, img := range randomImages(r) {
			want := slowPlanar(img)
			got := make([]uint8, len(want))
			planar(got, img)
			if !bytes.Equal(got, want) {
				t.Errorf("%T, seed %d: planes differ from the definition", img, seed)
			}
			n := len(want) / 3
			isGrey := bytes.Equal(want[:n], want[n:2*n]) && bytes.Equal(want[:n], want[2*n:])
			one := make([]uint8, n)
			if ok := grey(one, img); ok != isGrey {
				t.Errorf("%T: grey is %v, want %v", img, ok, isGrey)
			} else if ok && !bytes.Equal(one, want[:n]) {
				t.Errorf("%T: grey plane differs from the definition", img)
			}
		}
	}
}

func TestOverBlack(t *testing.T) {
	for v := range 256 {
		for a := range 256 {
			r, _, _, _ := color.NRGBA{uint8(v), 0, 0, uint8(a)}.RGBA()
			if got, want := overBlack(uint8(v), uint8(a)), uint8(r>>8); got != want {
				t.Fatalf("overBlack(%d, %d) = %d, want %d", v, a, got, want)
			}
		}
	}
}

func encodePNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func encodeJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, nil); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func greyRamp(w, h int) *image.Gray {
	return &image.Gray{Pix: ramp(w * h), Stride: w, Rect: image.Rect(0, 0, w, h)}
}

func colourRamp(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.SetRGBA(i%w, i/w, color.RGBA{uint8(i), uint8(3 * i), uint8(200 - i), 255})
	}
	return img
}

func TestDecodeGreyPNG(t *testing.T) {
	data := encodePNG(t, greyRamp(5, 4))
	got, err := DecodeImage(data, "x", Shape{1, 4, 5})
	if err != nil || !bytes.Equal(got, ramp(20)) {
		t.Errorf("one channel: %v, %v", got, err)
	}
	got, err = DecodeImage(data, "x", Shape{3, 4, 5})
	if want := bytes.Repeat(ramp(20), 3); err != nil || !bytes.Equal(got, want) {
		t.Errorf("three channels: %v, %v", got, err)
	}
}

func TestDecodeColour(t *testing.T) {
	img := colourRamp(5, 4)
	got, err := DecodeImage(encodePNG(t, img), "x", Shape{3, 4, 5})
	if err != nil || !bytes.Equal(got, slowPlanar(img)) {
		t.Errorf("PNG: %v, %v", got, err)
	}
	data := encodeJPEG(t, img)
	decoded, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	got, err = DecodeImage(data, "x", Shape{3, 4, 5})
	if err != nil || !bytes.Equal(got, slowPlanar(decoded)) {
		t.Errorf("JPEG: %v, %v", got, err)
	}
	// Colour does not become grey without a word.
	for _, data := range [][]byte{data, encodePNG(t, img)} {
		_, err = DecodeImage(data, "x", Shape{1, 4, 5})
		var size *SizeError
		if !errors.As(err, &size) || size.Have != (Shape{3, 4, 5}) || !strings.Contains(err.Error(), "colour") {
			t.Errorf("colour as grey: error %v", err)
		}
	}
	// But a colour file whose pixels are all grey loses nothing.
	same := image.NewRGBA(image.Rect(0, 0, 5, 4))
	for i := range 20 {
		same.SetRGBA(i%5, i/5, color.RGBA{uint8(i), uint8(i), uint8(i), 255})
	}
	got, err = DecodeImage(encodePNG(t, same), "x", Shape{1, 4, 5})
	if err != nil || !bytes.Equal(got, ramp(20)) {
		t.Errorf("grey pixels in a colour file: %v, %v", got, err)
	}
}

func TestDecodeUnusualForms(t *testing.T) {
	for _, c := range []struct {
		file     string
		channels int
		at       func(x, y int) [3]uint8
	}{
		{"grey16.png", 1, func(x, y int) [3]uint8 {
			v := uint8((1000 + 2500*x + 11000*y) >> 8)
			return [3]uint8{v, v, v}
		}},
		{"rgb16.png", 3, func(x, y int) [3]uint8 {
			v := 1000 + 2500*x + 11000*y
			return [3]uint8{uint8(v >> 8), uint8((65535 - v) >> 8), 12345 >> 8}
		}},
		{"alpha.png", 3, func(x, y int) [3]uint8 {
			a := 255 - 20*x
			over := func(v int) uint8 { return uint8(v * 257 * a / 255 >> 8) }
			return [3]uint8{over(50 * x), over(60 * y), over(255)}
		}},
		{"grey-palette.png", 1, func(x, y int) [3]uint8 {
			v := [3]uint8{10, 200, 90}[(x+y)%3]
			return [3]uint8{v, v, v}
		}},
		{"palette.png", 3, func(x, y int) [3]uint8 {
			return [2][3]uint8{{200, 0, 0}, {200, 200, 200}}[(x+y)%2]
		}},
	} {
		path := filepath.Join(synthDir, "images", c.file)
		size, err := StatImage(path)
		if want := (Shape{c.channels, 4, 5}); err != nil || size != want {
			t.Errorf("%s: StatImage gives %v, %v, want %v", c.file, size, err, want)
		}
		pix, err := ReadImage(path, Shape{3, 4, 5})
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		for i := range 20 {
			want := c.at(i%5, i/5)
			if got := [3]uint8{pix[i], pix[20+i], pix[40+i]}; got != want {
				t.Errorf("%s: pixel %d is %v, want %v", c.file, i, got, want)
			}
		}
		if c.channels == 1 {
			one, err := ReadImage(path, Shape{1, 4, 5})
			if err != nil || !bytes.Equal(one, pix[:20]) {
				t.Errorf("%s as one channel: %v, %v", c.file, one, err)
			}
		}
	}
}

// Grey with alpha counts as grey, in the header as in the pixels.
func TestGreyAlpha(t *testing.T) {
	// Go's encoder writes no such PNG: turn a grey one of 2 bytes per pixel
	// into it, 8 bits of grey and 8 of alpha instead of 16 of grey.
	img := image.NewGray16(image.Rect(0, 0, 2, 1))
	img.SetGray16(0, 0, color.Gray16{0x80ff})
	img.SetGray16(1, 0, color.Gray16{0x8080})
	data := encodePNG(t, img)
	data[24], data[25] = 8, 4
	fixChecksum(data)
	path := filepath.Join(t.TempDir(), "ga.png")
	writeFile(t, path, data)
	size, err := StatImage(path)
	if want := (Shape{1, 1, 2}); err != nil || size != want {
		t.Fatalf("StatImage gives %v, %v, want %v", size, err, want)
	}
	pix, err := ReadImage(path, size)
	if err != nil || pix[0] != 0x80 || pix[1] != 0x40 {
		t.Errorf("read %v, %v, want 128 and 64", pix, err)
	}
}

func TestReadImageErrors(t *testing.T) {
	var (
		format      *FormatError
		unsupported *UnsupportedError
		large       *TooLargeError
		size        *SizeError
	)
	dir := filepath.Join(synthDir, "damaged")
	for _, c := range []struct {
		file   string
		target any
		says   string
	}{
		{"cut-short.png", &format, "not enough pixel data"},
		{"checksum.png", &format, "checksum"},
		{"empty.png", &format, "empty"},
		{"gif.png", &unsupported, "GIF"},
		{"text.png", &unsupported, "neither PNG nor JPEG"},
		{"claims-gigapixels.png", &large, "65535x65535"},
	} {
		_, err := ReadImage(filepath.Join(dir, c.file), Shape{1, 4, 5})
		if !errors.As(err, c.target) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s: error %v, want a %T with %q", c.file, err, c.target, c.says)
		}
	}
	_, err := ReadImage(filepath.Join(synthDir, "images", "alpha.png"), Shape{3, 5, 4})
	if !errors.As(err, &size) || !strings.Contains(err.Error(), "4x5x3, want 5x4x3") {
		t.Errorf("other size: error %v", err)
	}
	if _, err := ReadImage(filepath.Join(dir, "absent.png"), Shape{1, 4, 5}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: error %v, want fs.ErrNotExist", err)
	}
	if _, err := ReadImage(dir, Shape{1, 4, 5}); err == nil || errors.As(err, &format) {
		t.Errorf("folder: error %v, want one that is no FormatError", err)
	}
}

// Every way to cut a picture before its last pixels is a FormatError.
func TestImageEveryCut(t *testing.T) {
	for name, data := range map[string][]byte{"png": encodePNG(t, greyRamp(9, 7)), "jpeg": encodeJPEG(t, colourRamp(16, 16))} {
		want := Shape{3, 7, 9}
		if name == "jpeg" {
			want = Shape{3, 16, 16}
		}
		for n := range len(data) - 12 { // the end marker of a PNG has 12 bytes
			_, err := DecodeImage(data[:n], "x", want)
			var format *FormatError
			var unsupported *UnsupportedError // too short for its magic number
			if !errors.As(err, &format) && !errors.As(err, &unsupported) {
				t.Errorf("%s cut after %d of %d bytes: error %v", name, n, len(data), err)
			}
		}
	}
}

func FuzzDecodeImage(f *testing.F) {
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
	f.Add(encodeJPEG(f, colourRamp(16, 16)))
	f.Add(encodeJPEG(f, greyRamp(9, 7)))
	f.Fuzz(func(t *testing.T, data []byte) {
		size, err := Reading{}.stat(data, "fuzz")
		if err != nil || size.H*size.W > 1<<16 {
			return // larger ones are sound but slow
		}
		pix, err := DecodeImage(data, "fuzz", size)
		if err != nil {
			return
		}
		if len(pix) != size.Len() {
			t.Fatalf("%d values of shape %v", len(pix), size)
		}
		size.C = 3
		if _, err := DecodeImage(data, "fuzz", size); err != nil {
			t.Fatalf("decodes as grey but not as colour: %v", err)
		}
	})
}

// fixChecksum makes the checksum of a PNG's header right again.
func fixChecksum(data []byte) {
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
}
