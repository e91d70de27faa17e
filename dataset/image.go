package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"slices"
)

// Limits on one image file, checked before its pixels are decoded: a file of a
// few kilobytes can claim pixels enough to fill any memory.
const (
	MaxPixels    = 64 << 20  // rows times columns
	MaxFileBytes = 256 << 20 // of the encoded file
)

// ReadImage reads the PNG or JPEG file path as 8-bit pixels of the shape want:
// row-major, planar C, H, W; C is 1 (grey) or 3 (red, green, blue).
//
// Nothing is resized. Grey images are spread to three channels where want has
// three; a colour file serves as grey only if each pixel has R = G = B, since
// more would lose colour without a word. 16-bit values keep their high byte.
// Alpha is composited over black; an opaque alpha changes nothing.
//
// The errors tell what went wrong with this one image, so that a run over many
// may go on: [FormatError] (damaged), [UnsupportedError] (another format),
// [TooLargeError] ([MaxPixels] or [MaxFileBytes]), [SizeError] (not want), or
// an error of the file system, such as fs.ErrNotExist.
func ReadImage(path string, want Shape) ([]uint8, error) {
	dst := make([]uint8, want.Len())
	if err := new(ImageReader).Read(dst, path, want); err != nil {
		return nil, err
	}
	return dst, nil
}

// An ImageReader reads image files one after the other, as [ReadImage] does, with
// memory that it keeps from one to the next: beside it the reading of a small
// picture is quick. The zero value is ready. It is for one goroutine.
type ImageReader struct {
	file []byte // encoded
	png  pngReader
}

// maxKept bounds the memory that an ImageReader keeps of a large file.
const maxKept = 16 << 20

// Read stores the pixels of the file path in dst, which has the length of want.
// Pixels and errors are those of [ReadImage]; after an error dst is undefined.
func (r *ImageReader) Read(dst []uint8, path string, want Shape) error {
	if cap(r.file) > maxKept {
		r.file = nil
	}
	if cap(r.png.rows) > maxKept || cap(r.png.joined) > maxKept {
		r.png = pngReader{}
	}
	var err error
	if r.file, err = readImageFile(path, r.file[:0]); err != nil {
		return err
	}
	if r.png.decode(dst[:want.Len()], r.file, want) {
		return nil
	}
	return decodeInto(dst[:want.Len()], r.file, path, want)
}

// DecodeImage is [ReadImage] for the bytes of a file; name is used in errors.
func DecodeImage(data []byte, name string, want Shape) ([]uint8, error) {
	dst := make([]uint8, want.Len())
	if err := decodeInto(dst, data, name, want); err != nil {
		return nil, err
	}
	return dst, nil
}

// StatImage returns the shape that the header of an image file gives: one
// channel for grey PNG (with or without alpha, or with a palette of greys) and
// grey JPEG, otherwise three. The pixels are not decoded.
func StatImage(path string) (Shape, error) {
	f, err := os.Open(path)
	if err != nil {
		return Shape{}, fmt.Errorf("dataset: read image: %w", err)
	}
	defer f.Close()
	// JPEG keeps its size behind blocks of metadata, at times large ones.
	return imageHeader(io.LimitReader(f, MaxFileBytes), path)
}

// readImageFile appends the bytes of a file to buf, which is empty.
func readImageFile(path string, buf []byte) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return buf, fmt.Errorf("dataset: read image: %w", err)
	}
	defer f.Close()
	if buf, err = readLimited(f, buf); err != nil {
		return buf, fmt.Errorf("dataset: read image: %w", err)
	}
	if len(buf) > MaxFileBytes {
		return buf, &TooLargeError{Path: path, Have: "more bytes than that", Max: fmt.Sprintf("%d bytes", MaxFileBytes)}
	}
	return buf, nil
}

// readLimited appends what f holds to buf, or one byte more than MaxFileBytes.
// The size of a file is a hint, for which small ones need not be asked: the limit
// holds for pipes and devices as well.
func readLimited(f *os.File, buf []byte) ([]byte, error) {
	const small = 32 << 10
	buf = slices.Grow(buf, small)
	for hinted := false; len(buf) <= MaxFileBytes; {
		n, err := f.Read(buf[len(buf):min(cap(buf), MaxFileBytes+1)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
		if len(buf) < cap(buf) {
			continue
		}
		more := len(buf)
		if info, err := f.Stat(); err == nil && !hinted && info.Mode().IsRegular() && info.Size() <= MaxFileBytes {
			more, hinted = max(1, int(info.Size())+1-len(buf)), true
		}
		buf = slices.Grow(buf, more)
	}
	return buf, nil
}

// A codec is a format of image files; magic is how each file of it begins.
type codec struct {
	name   string
	magic  string
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

// codecs are the formats that are read. The ones without functions are known
// well enough to be named when they are refused.
var codecs = []codec{
	{"PNG", "\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode},
	{"JPEG", "\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode},
	{name: "GIF", magic: "GIF8"},
	{name: "BMP", magic: "BM"},
	{name: "TIFF", magic: "II*\x00"},
	{name: "TIFF", magic: "MM\x00*"},
	{name: "WebP", magic: "RIFF"},
	{name: "JPEG 2000", magic: "\x00\x00\x00\x0cjP  "},
	{name: "PDF", magic: "%PDF"},
	{name: "PNM", magic: "P5"},
	{name: "PNM", magic: "P6"},
}

// findCodec picks the decoder by content, never by name.
func findCodec(head []byte, name string) (codec, error) {
	if len(head) == 0 {
		return codec{}, formatErrorf(name, "image: the file is empty")
	}
	for _, c := range codecs {
		if !bytes.HasPrefix(head, []byte(c.magic)) {
			continue
		}
		if c.decode == nil {
			return codec{}, &UnsupportedError{Path: name, What: "a " + c.name + " file; PNG and JPEG are read"}
		}
		return c, nil
	}
	return codec{}, &UnsupportedError{Path: name, What: "neither PNG nor JPEG by its first bytes"}
}

// imageError sorts a decoder's error.
func imageError(name string, err error) error {
	var pngUnsupported png.UnsupportedError
	var jpegUnsupported jpeg.UnsupportedError
	switch {
	case errors.As(err, &pngUnsupported), errors.As(err, &jpegUnsupported):
		return &UnsupportedError{Path: name, What: err.Error()}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return formatErrorf(name, "image: the file ends too early")
	}
	return formatErrorf(name, "image: %w", err)
}

// imageHeader reads a header and checks its claims against the limits.
func imageHeader(r io.Reader, name string) (Shape, error) {
	const magicLen = 26 // up to the colour type of a PNG
	head := make([]byte, magicLen)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return Shape{}, fmt.Errorf("dataset: %s: read image: %w", name, err)
	}
	head = head[:n]
	c, err := findCodec(head, name)
	if err != nil {
		return Shape{}, err
	}
	cfg, err := c.config(io.MultiReader(bytes.NewReader(head), r))
	if err != nil {
		return Shape{}, imageError(name, err)
	}
	s := Shape{C: 3, H: cfg.Height, W: cfg.Width}
	if s.H < 1 || s.W < 1 {
		return Shape{}, formatErrorf(name, "image: %d rows and %d columns", s.H, s.W)
	}
	if int64(s.H)*int64(s.W) > MaxPixels {
		return Shape{}, &TooLargeError{
			Path: name,
			Have: fmt.Sprintf("%dx%d pixels", s.H, s.W),
			Max:  fmt.Sprintf("%d pixels", MaxPixels),
		}
	}
	// Go reports grey with alpha as colour; byte 25 of a PNG is its colour
	// type, 4 for that (PNG specification, section 11.2.2).
	greyAlpha := c.name == "PNG" && len(head) == magicLen && head[25] == 4
	if greyAlpha || isGreyModel(cfg.ColorModel) {
		s.C = 1
	}
	return s, nil
}

func isGreyModel(m color.Model) bool {
	if p, ok := m.(color.Palette); ok {
		for _, c := range p {
			r, g, b, _ := c.RGBA()
			if r != g || g != b {
				return false
			}
		}
		return true
	}
	return m == color.GrayModel || m == color.Gray16Model
}

// decodeInto decodes data into dst, which has the length of want.
func decodeInto(dst []uint8, data []byte, name string, want Shape) error {
	have, err := imageHeader(bytes.NewReader(data), name)
	if err != nil {
		return err
	}
	if have.H != want.H || have.W != want.W || (want.C != 1 && want.C != 3) {
		return &SizeError{Path: name, Have: have, Want: want}
	}
	c, err := findCodec(data, name)
	if err != nil {
		return err
	}
	img, err := c.decode(bytes.NewReader(data))
	if err != nil {
		return imageError(name, err)
	}
	if b := img.Bounds(); b.Dx() != want.W || b.Dy() != want.H {
		return formatErrorf(name, "image: decodes to %dx%d pixels, its header says %dx%d", b.Dy(), b.Dx(), want.H, want.W)
	}
	if want.C == 3 {
		planar(dst, img)
		return nil
	}
	if !grey(dst, img) {
		return &SizeError{Path: name, Have: have, Want: want}
	}
	return nil
}
