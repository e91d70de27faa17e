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

// The default limits on one image file, see [Limits].
const (
	MaxPixels    = 64 << 20  // rows times columns
	MaxSide      = 1 << 16   // rows, and columns
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
	Reading Reading

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
	var err error
	if r.file, err = readImageFile(path, r.file[:0], r.Reading.Limits.filled().Bytes); err != nil {
		return err
	}
	return r.ReadBytes(dst, r.file, path, want)
}

// ReadBytes is Read for the bytes of a file, which are not kept; name is used in
// errors.
func (r *ImageReader) ReadBytes(dst []uint8, data []byte, name string, want Shape) error {
	if most := r.Reading.Limits.filled().Bytes; int64(len(data)) > most {
		return tooManyBytes(name, most)
	}
	if cap(r.png.rows) > maxKept || cap(r.png.joined) > maxKept {
		r.png = pngReader{}
	}
	if r.Reading.Limits.check(name, want) == nil && r.png.decode(dst[:want.Len()], data, want) {
		return nil
	}
	return r.Reading.decode(dst[:want.Len()], data, name, want)
}

// DecodeImage is [ReadImage] for the bytes of a file; name is used in errors.
func DecodeImage(data []byte, name string, want Shape) ([]uint8, error) {
	dst := make([]uint8, want.Len())
	if err := (Reading{}).decode(dst, data, name, want); err != nil {
		return nil, err
	}
	return dst, nil
}

// StatImage returns the shape that the header of an image file gives, as
// [Reading.Stat] does with the zero Reading.
func StatImage(path string) (Shape, error) { return Reading{}.Stat(path) }

// Stat returns the shape that the header of an image file gives, upright where
// there is a Decoder to turn it: one channel for grey PNG (with or without alpha,
// or with a palette of greys) and grey JPEG, otherwise three. The pixels are not
// decoded.
func (r Reading) Stat(path string) (Shape, error) {
	data, err := readImageHead(path, r.Limits.filled().Bytes)
	if err != nil {
		return Shape{}, err
	}
	return r.stat(data, path)
}

// headBytes is as much of a PNG as holds its size and its palette.
const headBytes = 8 << 10

// readImageHead returns so much of a file as its header takes: JPEG keeps its size
// behind blocks of metadata, at times large ones, and TIFF where it likes.
func readImageHead(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("dataset: read image: %w", err)
	}
	defer f.Close()
	head := make([]byte, headBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("dataset: read image: %w", err)
	}
	if n < headBytes || bytes.HasPrefix(head, []byte(pngMagic)) {
		return head[:n], nil
	}
	return readImageFile(path, nil, most)
}

// readImageFile appends the bytes of a file, at most so many, to buf, which is empty.
func readImageFile(path string, buf []byte, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return buf, fmt.Errorf("dataset: read image: %w", err)
	}
	defer f.Close()
	if buf, err = readLimited(f, buf, int(most)); err != nil {
		return buf, fmt.Errorf("dataset: read image: %w", err)
	}
	if int64(len(buf)) > most {
		return buf, tooManyBytes(path, most)
	}
	return buf, nil
}

func tooManyBytes(path string, most int64) error {
	return &TooLargeError{Path: path, Have: "more bytes than that", Max: fmt.Sprintf("%d bytes", most)}
}

// readLimited appends what f holds to buf, or one byte more than most.
// The size of a file is a hint, for which small ones need not be asked: the limit
// holds for pipes and devices as well.
func readLimited(f *os.File, buf []byte, most int) ([]byte, error) {
	const small = 32 << 10
	buf = slices.Grow(buf, small)
	for hinted := false; len(buf) <= most; {
		n, err := f.Read(buf[len(buf):min(cap(buf), most+1)])
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
		if info, err := f.Stat(); err == nil && !hinted && info.Mode().IsRegular() && info.Size() <= int64(most) {
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

	foreign bool // read by a Decoder alone
}

const pngMagic = "\x89PNG\r\n\x1a\n"

// codecs are the formats that are known. Those without functions are left to a
// Decoder, if it is said to take them.
var codecs = []codec{
	{"PNG", pngMagic, png.DecodeConfig, png.Decode, false},
	{"JPEG", "\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode, false},
	{name: "BMP", magic: "BM", foreign: true},
	{name: "TIFF", magic: "II*\x00", foreign: true},
	{name: "TIFF", magic: "MM\x00*", foreign: true},
	{name: "WebP", magic: "RIFF", foreign: true},
	{name: "GIF", magic: "GIF8"},
	{name: "JPEG 2000", magic: "\x00\x00\x00\x0cjP  "},
	{name: "PDF", magic: "%PDF"},
	{name: "PNM", magic: "P5"},
	{name: "PNM", magic: "P6"},
}

// findCodec picks the decoder by content, never by name. With a Decoder, one that
// is foreign may come back.
func findCodec(head []byte, name string, decoder bool) (codec, error) {
	if len(head) == 0 {
		return codec{}, formatErrorf(name, "image: the file is empty")
	}
	for _, c := range codecs {
		switch {
		case !bytes.HasPrefix(head, []byte(c.magic)):
		case c.decode != nil, c.foreign && decoder:
			return c, nil
		case c.foreign:
			return codec{}, &UnsupportedError{Path: name, What: "a " + c.name + " file, which needs libvips"}
		default:
			return codec{}, &UnsupportedError{Path: name, What: "a " + c.name + " file; PNG, JPEG, BMP, TIFF and WebP are read"}
		}
	}
	return codec{}, &UnsupportedError{Path: name, What: "neither PNG nor JPEG, BMP, TIFF or WebP by its first bytes"}
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

// imageHeader returns the shape that a header gives, as it lies in the file.
func imageHeader(c codec, data []byte, name string) (Shape, error) {
	cfg, err := c.config(bytes.NewReader(data))
	if err != nil {
		return Shape{}, imageError(name, err)
	}
	s := Shape{C: 3, H: cfg.Height, W: cfg.Width}
	if s.H < 1 || s.W < 1 {
		return Shape{}, formatErrorf(name, "image: %d rows and %d columns", s.H, s.W)
	}
	// Go reports grey with alpha as colour; byte 25 of a PNG is its colour
	// type, 4 for that (PNG specification, section 11.2.2).
	greyAlpha := c.magic == pngMagic && len(data) > 25 && data[25] == 4
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

// decodeOwn decodes data, which has the rows and columns of want, into dst.
func decodeOwn(c codec, dst []uint8, data []byte, name string, have, want Shape) error {
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
