package pictures

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

// rows and columns of the test pictures, whose two halves, left and right, differ.
const rows, columns = 24, 40

type rgb [3]uint8

var left, right = rgb{200, 40, 90}, rgb{30, 160, 220}

// halves returns a picture of two colours.
func halves(a, b color.Color) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, columns, rows))
	for y := range rows {
		for x := range columns {
			m.Set(x, y, a)
			if x >= columns/2 {
				m.Set(x, y, b)
			}
		}
	}
	return m
}

func opaque(c rgb) color.NRGBA { return color.NRGBA{c[0], c[1], c[2], 255} }

func encoded(t *testing.T, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngOf(t *testing.T, m image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) })
}

func jpegOf(t *testing.T, m image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, m, &jpeg.Options{Quality: 95}) })
}

// turned returns a JPEG whose EXIF data says that it is to be turned.
func turned(t *testing.T, m image.Image, orientation byte) []byte {
	data := jpegOf(t, m)
	exif := append([]byte("\xff\xe1\x00\x22Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"), orientation, 0, 0, 0, 0, 0, 0)
	return slices.Concat(data[:2], exif, data[2:])
}

// tiff returns an uncompressed TIFF: a word or a byte a sample, row after row.
func tiff(bits, photometric, samples int, pixel func(x int) []byte) []byte {
	var pix []byte
	for range rows {
		for x := range columns {
			pix = append(pix, pixel(x)...)
		}
	}
	const at = 8
	b := append([]byte("II*\x00"), binary.LittleEndian.AppendUint32(nil, uint32(at+len(pix)))...)
	b = append(b, pix...)
	entries := [][3]uint32{{256, 4, columns}, {257, 4, rows}, {258, 3, uint32(bits)}, {259, 3, 1}, {262, 3, uint32(photometric)},
		{273, 4, at}, {277, 3, uint32(samples)}, {278, 4, rows}, {279, 4, uint32(len(pix))}}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(entries)))
	end := len(b) + 12*len(entries) + 4
	for _, e := range entries {
		count := uint32(1)
		if e[0] == 258 && samples > 2 { // more than fit in the entry
			count, e[2] = uint32(samples), uint32(end)
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, count)
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	b = binary.LittleEndian.AppendUint32(b, 0)
	for range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(bits))
	}
	return b
}

// bmp returns an uncompressed BMP of 24 bits.
func bmp() []byte {
	b := []byte("BM")
	for _, v := range []uint32{54 + 3*rows*columns, 0, 54, 40, columns, rows, 1 | 24<<16, 0, 3 * rows * columns, 0, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for range rows {
		for x := range columns {
			c := side(x)
			b = append(b, c[2], c[1], c[0])
		}
	}
	return b
}

func side(x int) rgb {
	if x < columns/2 {
		return left
	}
	return right
}

// webp returns a lossless WebP of one colour: five prefix codes of one symbol each,
// so that no pixel takes a bit.
func webp(c rgb) []byte {
	var bits, n uint64
	var stream []byte
	put := func(v uint64, width uint64) {
		bits |= v << n
		for n += width; n >= 8; n -= 8 {
			stream = append(stream, byte(bits))
			bits >>= 8
		}
	}
	put(0x2f, 8)
	put(columns-1, 14)
	put(rows-1, 14)
	put(0, 1+3+1+1+1) // no alpha, version, no transform, no cache of colours, one set of codes
	for _, symbol := range []uint8{c[1], c[0], c[2], 255, 0} {
		put(1, 1) // a simple code
		put(0, 1) // of one symbol
		put(1, 1) // of eight bits
		put(uint64(symbol), 8)
	}
	put(0, 7)
	if len(stream)%2 == 1 {
		stream = append(stream, 0)
	}
	b := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(12+len(stream)))...)
	b = append(b, "WEBPVP8L"...)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(stream))), stream...)
}

// cmyk returns a JPEG of 8x8 pixels of one colour in four components, the other way
// round, as all programs write it after Adobe's.
func cmyk(ink [4]uint8) []byte {
	b := []byte("\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00\xff\xdb\x00\x43\x00")
	b = append(b, bytes.Repeat([]byte{1}, 64)...) // no quantisation
	b = append(b, "\xff\xc0\x00\x14\x08\x00\x08\x00\x08\x04\x01\x11\x00\x02\x11\x00\x03\x11\x00\x04\x11\x00"...)
	// Twelve DC codes of four bits, which are their own categories; one AC code, 0,
	// for the end of the block.
	b = append(b, "\xff\xc4\x00\x1f\x00\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b"...)
	b = append(b, "\xff\xc4\x00\x14\x10\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	b = append(b, "\xff\xda\x00\x0e\x04\x01\x00\x02\x00\x03\x00\x04\x00\x00\x3f\x00"...)
	var bits, n uint64
	put := func(v uint64, width uint64) { bits, n = bits<<width|v, n+width }
	var out []byte
	flush := func() {
		for ; n >= 8; n -= 8 {
			v := byte(bits >> (n - 8))
			if out = append(out, v); v == 0xff {
				out = append(out, 0)
			}
		}
	}
	for _, v := range ink {
		dc := 8 * (int(255-v) - 128)
		category := uint64(0)
		for a := int(math.Abs(float64(dc))); a > 0; a >>= 1 {
			category++
		}
		if dc < 0 {
			dc += 1<<category - 1
		}
		put(category, 4)
		put(uint64(dc), category)
		put(0, 1)
		flush()
	}
	put(1<<(8-n%8)-1, 8-n%8)
	flush()
	return slices.Concat(b, out, []byte("\xff\xd9"))
}

func vipsOrSkip(t *testing.T) Vips {
	t.Helper()
	if _, err := (Vips{}).Version(); errors.Is(err, dataset.ErrNoDecoder) {
		t.Skipf("libvips is not installed: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return Vips{}
}

// near says whether two bytes differ by at most so much.
func near(a, b uint8, most int) bool { return int(a)-int(b) <= most && int(b)-int(a) <= most }

// Each format, read at its own size and at a half of it, has the colours that were
// put in.
func TestFormats(t *testing.T) {
	v := vipsOrSkip(t)
	plain := halves(opaque(left), opaque(right))
	deep := image.NewNRGBA64(plain.Rect)
	palette := image.NewPaletted(plain.Rect, color.Palette{opaque(left), opaque(right)})
	grey, grey16 := image.NewGray(plain.Rect), image.NewGray16(plain.Rect)
	for y := range rows {
		for x := range columns {
			deep.Set(x, y, plain.At(x, y))
			palette.Set(x, y, plain.At(x, y))
			grey.SetGray(x, y, color.Gray{side(x)[0]})
			grey16.SetGray16(x, y, color.Gray16{uint16(side(x)[0])<<8 | 0x7f})
		}
	}
	half := func(c rgb) rgb { return rgb{c[0] / 2, c[1] / 2, c[2] / 2} }
	onlyRed := func(c rgb) rgb { return rgb{c[0], c[0], c[0]} }
	same := func(c rgb) rgb { return c }
	for _, c := range []struct {
		name     string
		data     []byte
		channels int
		want     func(rgb) rgb
		most     int // difference
	}{
		{"PNG", pngOf(t, plain), 3, same, 0},
		{"PNG of 16 bits", pngOf(t, deep), 3, same, 1},
		{"PNG with a palette", pngOf(t, palette), 3, same, 0},
		{"PNG with alpha", pngOf(t, halves(color.NRGBA{left[0], left[1], left[2], 128}, color.NRGBA{right[0], right[1], right[2], 128})), 3, half, 2},
		{"grey PNG", pngOf(t, grey), 1, onlyRed, 0},
		{"grey PNG of 16 bits", pngOf(t, grey16), 1, onlyRed, 1},
		{"JPEG", jpegOf(t, plain), 3, same, 6},
		{"grey JPEG", jpegOf(t, grey), 1, onlyRed, 4},
		{"BMP", bmp(), 3, same, 0},
		{"TIFF", tiff(8, 2, 3, func(x int) []byte { c := side(x); return c[:] }), 3, same, 0},
		{"TIFF of 16 bits", tiff(16, 2, 3, func(x int) []byte {
			c := side(x)
			return []byte{0, c[0], 0, c[1], 0, c[2]}
		}), 3, same, 1},
		{"grey TIFF", tiff(8, 1, 1, func(x int) []byte { return []byte{side(x)[0]} }), 1, onlyRed, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			size, err := v.Size(c.data)
			if want := (dataset.Shape{C: c.channels, H: rows, W: columns}); err != nil || size != want {
				t.Fatalf("size %v, %v, want %v", size, err, want)
			}
			for _, want := range []dataset.Shape{{C: 3, H: rows, W: columns}, {C: 3, H: rows / 2, W: columns / 2}, {C: 3, H: rows, W: columns / 2}} {
				pix := make([]uint8, want.Len())
				if err := v.Decode(pix, c.data, want); err != nil {
					t.Fatal(err)
				}
				for i := range want.H * want.W {
					x := i % want.W
					if x > want.W/2-4 && x < want.W/2+3 {
						continue // the edge, which resizing and JPEG blur
					}
					colour := left
					if x >= want.W/2 {
						colour = right
					}
					for ch, p := range c.want(colour) {
						if have := pix[ch*want.H*want.W+i]; !near(have, p, c.most) {
							t.Fatalf("%v: channel %d of pixel %d is %d, want %d", want, ch, i, have, p)
						}
					}
				}
			}
			if c.channels == 1 {
				want := dataset.Shape{C: 1, H: rows, W: columns}
				pix := make([]uint8, want.Len())
				if err := v.Decode(pix, c.data, want); err != nil || !near(pix[0], left[0], c.most) {
					t.Errorf("as grey: %d, %v", pix[0], err)
				}
			} else if err := v.Decode(make([]uint8, rows*columns), c.data, dataset.Shape{C: 1, H: rows, W: columns}); err != dataset.ErrColour {
				t.Errorf("colour as grey: %v", err)
			}
		})
	}
}

func TestWebP(t *testing.T) {
	v := vipsOrSkip(t)
	want := dataset.Shape{C: 3, H: rows, W: columns}
	pix := make([]uint8, want.Len())
	if err := v.Decode(pix, webp(left), want); err != nil {
		t.Fatal(err)
	}
	if have := (rgb{pix[0], pix[rows*columns], pix[3*rows*columns-1]}); have != left {
		t.Errorf("%v, want %v", have, left)
	}
}

// Inks: without any the paper is white, with all of black it is dark, and cyan takes
// the red away.
func TestCMYK(t *testing.T) {
	v := vipsOrSkip(t)
	decode := func(ink [4]uint8) rgb {
		pix := make([]uint8, 3*8*8)
		if err := v.Decode(pix, cmyk(ink), dataset.Shape{C: 3, H: 8, W: 8}); err != nil {
			t.Fatal(err)
		}
		return rgb{pix[0], pix[64], pix[128]}
	}
	if c := decode([4]uint8{}); c[0] < 240 || c[1] < 240 || c[2] < 240 {
		t.Errorf("no ink: %v", c)
	}
	if c := decode([4]uint8{0, 0, 0, 255}); c[0] > 60 || c[1] > 60 || c[2] > 60 {
		t.Errorf("black: %v", c)
	}
	if c := decode([4]uint8{255, 0, 0, 0}); c[0] > 60 || c[2] < 180 {
		t.Errorf("cyan: %v", c)
	}
}

// The eight ways to turn a picture: where its left half ends up.
func TestOrientation(t *testing.T) {
	v := vipsOrSkip(t)
	m := halves(opaque(left), opaque(right))
	for orientation, want := range map[byte]struct {
		turned   bool // by a quarter
		leftEdge bool // the colour of the left half is at the top or the left
	}{1: {false, true}, 2: {false, false}, 3: {false, false}, 4: {false, true}, 5: {true, true}, 6: {true, true}, 7: {true, false}, 8: {true, false}} {
		data := turned(t, m, orientation)
		size, err := v.Size(data)
		shape := dataset.Shape{C: 3, H: rows, W: columns}
		if want.turned {
			shape.H, shape.W = shape.W, shape.H
		}
		if err != nil || size != shape {
			t.Fatalf("orientation %d: %v, %v, want %v", orientation, size, err, shape)
		}
		pix := make([]uint8, shape.Len())
		if err := v.Decode(pix, data, shape); err != nil {
			t.Fatal(err)
		}
		first := right
		if want.leftEdge {
			first = left
		}
		if !near(pix[0], first[0], 8) {
			t.Errorf("orientation %d: red of the first pixel is %d, want %d", orientation, pix[0], first[0])
		}
		// The whole way: package dataset sees that it must leave the file to libvips.
		path := filepath.Join(t.TempDir(), "a.jpg")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		whole := make([]uint8, shape.Len())
		r := dataset.ImageReader{Reading: dataset.Reading{Decoder: v}}
		if err := r.Read(whole, path, shape); err != nil {
			t.Fatal(err)
		}
		if orientation > 1 && !bytes.Equal(whole, pix) {
			t.Errorf("orientation %d: package dataset reads other pixels", orientation)
		}
		if orientation > 1 {
			var unsupported *dataset.UnsupportedError
			err := new(dataset.ImageReader).Read(whole, path, dataset.Shape{C: 3, H: rows, W: columns})
			if !errors.As(err, &unsupported) {
				t.Errorf("orientation %d without a decoder: %v", orientation, err)
			}
		}
	}
}

// Damaged files are errors, whatever other goroutines decode meanwhile, and memory
// is given back.
func TestDamaged(t *testing.T) {
	v := vipsOrSkip(t)
	sound := jpegOf(t, halves(opaque(left), opaque(right)))
	want := dataset.Shape{C: 3, H: 12, W: 20}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			pix := make([]uint8, want.Len())
			for n := 2; n < len(sound); n += 7 + worker {
				if err := v.Decode(pix, sound[:n], want); err == nil {
					t.Errorf("%d of %d bytes decode", n, len(sound))
				} else if !strings.HasPrefix(err.Error(), "pictures: ") {
					t.Errorf("error %q", err)
				}
				if err := v.Decode(pix, sound, want); err != nil {
					t.Errorf("a sound one: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for _, data := range [][]byte{nil, []byte("no picture"), []byte("II*\x00\x08\x00\x00\x00")} {
		if _, err := v.Size(data); err == nil {
			t.Errorf("size of %q", data)
		}
	}
	if err := v.Decode(make([]uint8, 5), sound, want); err == nil {
		t.Error("into too little memory")
	}
}
