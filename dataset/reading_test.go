package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// turnedJPEG returns a JPEG with an orientation in the byte order of the machine
// that it comes from.
func turnedJPEG(t *testing.T, orientation byte) []byte {
	t.Helper()
	data := encodeJPEG(t, colourRamp(8, 6))
	exif := append([]byte("\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00"), orientation, 0, 0, 0, 0, 0, 0, 0)
	return append(append([]byte("\xff\xd8\xff\xfe\x00\x04ab"), exif...), data[2:]...)
}

func TestOrientation(t *testing.T) {
	for o := byte(1); o <= 8; o++ {
		if have := orientation(turnedJPEG(t, o)); have != int(o) {
			t.Errorf("orientation %d, want %d", have, o)
		}
	}
	tiff := []byte("MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00")
	png := pngChunk(encodePNG(t, colourRamp(8, 6))[:33], "eXIf", tiff)
	if have := orientation(png); have != 6 {
		t.Errorf("orientation of a PNG %d, want 6", have)
	}
	sound := turnedJPEG(t, 6)
	for n := range sound {
		if o := orientation(sound[:n]); o != 1 && o != 6 {
			t.Errorf("%d bytes: orientation %d", n, o)
		}
		orientation(append([]byte("\xff\xd8\xff\xe1\x00\xffExif\x00\x00"), sound[n:]...)) // does not panic
	}
	for _, data := range [][]byte{nil, turnedJPEG(t, 0), turnedJPEG(t, 9), encodeJPEG(t, colourRamp(8, 6))} {
		if o := orientation(data); o != 1 {
			t.Errorf("orientation %d of %q, want 1", o, data[:min(len(data), 40)])
		}
	}
}

// counter is a Decoder that says what it was asked for.
type counter struct {
	size  Shape
	err   error
	calls atomic.Int64
}

func (c *counter) Size([]byte) (Shape, error) { return c.size, c.err }

func (c *counter) Decode(dst []uint8, _ []byte, want Shape) error {
	c.calls.Add(1)
	for i := range dst {
		dst[i] = 77
	}
	return c.err
}

// What goes to the Decoder, and what does not.
func TestReadingTakesOneDecoder(t *testing.T) {
	small := encodePNG(t, colourRamp(8, 6))
	large := encodeJPEG(t, image.NewGray(image.Rect(0, 0, 300, 300)))
	tiff := []byte("II*\x00 and more")
	shape := func(h, w int) Shape { return Shape{C: 3, H: h, W: w} }
	for _, c := range []struct {
		name    string
		data    []byte
		want    Shape
		resize  bool
		foreign bool // left to the decoder
	}{
		{"small", small, shape(6, 8), false, false},
		{"small, may be resized", small, shape(6, 8), true, false},
		{"to be resized", small, shape(3, 4), true, true},
		{"large", large, shape(300, 300), false, true},
		{"turned", turnedJPEG(t, 3), shape(6, 8), false, true},
		{"turned by a quarter", turnedJPEG(t, 6), shape(8, 6), false, true},
		{"another format", tiff, shape(6, 8), false, true},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		d := &counter{size: shape(6, 8)}
		r := ImageReader{Reading: Reading{Decoder: d}}
		if c.resize {
			r.Reading.Rows, r.Reading.Columns = c.want.H, c.want.W
		}
		if err := r.Read(make([]uint8, c.want.Len()), path, c.want); err != nil || d.calls.Load() > 0 != c.foreign {
			t.Errorf("%s: the decoder was called %d times; %v", c.name, d.calls.Load(), err)
		}
	}
	// Without one, what cannot be done is said.
	var unsupported *UnsupportedError
	var size *SizeError
	if err := (Reading{Rows: 3, Columns: 4}).decode(make([]uint8, 36), small, "a", shape(3, 4)); !errors.As(err, &unsupported) {
		t.Errorf("resizing without a decoder: %v", err)
	}
	if err := (Reading{}).decode(make([]uint8, 36), small, "a", shape(3, 4)); !errors.As(err, &size) {
		t.Errorf("another size: %v", err)
	}
	if err := (Reading{}).decode(make([]uint8, 36), tiff, "a", shape(3, 4)); !errors.As(err, &unsupported) {
		t.Errorf("another format: %v", err)
	}
	// What a decoder says is sorted: the file is to blame, or nothing is.
	var format *FormatError
	missing := fmt.Errorf("%w: none here", ErrNoDecoder)
	for _, c := range []struct {
		err  error
		want func(error) bool
	}{
		{errors.New("damaged"), func(err error) bool { return errors.As(err, &format) }},
		{ErrColour, func(err error) bool { return errors.As(err, &size) }},
		{missing, func(err error) bool { return errors.Is(err, ErrNoDecoder) && !errors.As(err, &format) }},
	} {
		format, size = nil, nil
		d := &counter{size: shape(6, 8), err: c.err}
		if err := (Reading{Rows: 3, Columns: 4, Decoder: d}).decode(make([]uint8, 36), small, "a", shape(3, 4)); !c.want(err) {
			t.Errorf("%v becomes %v", c.err, err)
		}
	}
}

func TestLimits(t *testing.T) {
	data := encodePNG(t, colourRamp(8, 6))
	path := filepath.Join(t.TempDir(), "a.png")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		limits Limits
		ok     bool
	}{
		{Limits{}, true}, {Limits{Pixels: 48}, true}, {Limits{Pixels: 47}, false}, {Limits{Side: 8}, true}, {Limits{Side: 7}, false},
		{Limits{Bytes: int64(len(data))}, true}, {Limits{Bytes: int64(len(data)) - 1}, false},
	} {
		var large *TooLargeError
		r := ImageReader{Reading: Reading{Limits: c.limits}}
		err := r.Read(make([]uint8, 144), path, Shape{C: 3, H: 6, W: 8})
		if c.ok && err != nil || !c.ok && !errors.As(err, &large) {
			t.Errorf("%+v: %v", c.limits, err)
		}
		large = nil
		err = r.ReadBytes(make([]uint8, 144), data, "x", Shape{C: 3, H: 6, W: 8})
		if c.ok && err != nil || !c.ok && (!errors.As(err, &large) || large.Path != "x") {
			t.Errorf("%+v: %v of the bytes", c.limits, err)
		}
	}
}

// A folder of pictures of many sizes is a set of the size asked for, and so are the
// masks of MVTec AD.
func TestResizedSet(t *testing.T) {
	dir := t.TempDir()
	for i, side := range []int{4, 9, 16} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.png", i)), encodePNG(t, colourRamp(side, side+1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open("folder:" + dir); err == nil {
		t.Error("pictures of several sizes make a set")
	}
	sp, err := Reading{Rows: 5, Columns: 7, Decoder: &counter{}}.Open("folder:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if sp.Train.Size != (Shape{C: 3, H: 5, W: 7}) || sp.Train.Len() != 3 || sp.Train.Pix[0] != 77 {
		t.Errorf("%v, %d pictures", sp.Train.Size, sp.Train.Len())
	}
	mask := filepath.Join(dir, "mask.png")
	m := image.NewGray(image.Rect(0, 0, 8, 4))
	for i := range 8 {
		m.Pix[i] = 255 // the first row, a quarter of all
	}
	if err := os.WriteFile(mask, encodePNG(t, m), 0o644); err != nil {
		t.Fatal(err)
	}
	have, err := readMask(mask, Shape{C: 3, H: 8, W: 2}, Reading{Rows: 8, Columns: 2})
	if want := append(bytes.Repeat([]byte{255}, 4), make([]byte, 12)...); err != nil || !bytes.Equal(have, want) {
		t.Errorf("mask %v, %v", have, err)
	}
	if _, err := readMask(mask, Shape{C: 3, H: 8, W: 2}, Reading{}); err == nil {
		t.Error("a mask of another size is read where nothing is resized")
	}
	if _, err := (Reading{Rows: 5, Columns: 5}).Open("cifar-10:" + filepath.Join(synthDir, "cifar-10")); err == nil {
		t.Error("CIFAR-10 is resized")
	}
}
