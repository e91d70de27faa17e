package dataset

import (
	"context"
	"errors"
	"fmt"
)

// A Reading says how image files become pixels. The zero value takes PNG and JPEG
// files as they are, within the default limits.
type Reading struct {
	// Rows and Columns are what images are resized to, whatever their aspect. With
	// 0 none is resized, and the images of a set must have one size.
	Rows, Columns int

	// Decoder is for all that this package does not decode itself; nil if there is
	// none. For one file and shape the same decoder is always taken, since two do
	// not give the same pixels: this package decodes PNG and JPEG files that are
	// upright, of the size wanted already and of at most 2^16 pixels, and without
	// a Decoder those of any size.
	Decoder Decoder

	Limits Limits

	// Include and Exclude choose among the image files that a spec names: those
	// that match one of Include, or all where it is empty, without those that match
	// one of Exclude. A glob with a slash is compared with the slash-separated path
	// relative to the folder, archive, list or URL, where ** stands for folders of
	// any depth; another one with the last element of the path.
	Include, Exclude []string

	// OpenStore opens what a URL such as "s3://BUCKET/PREFIX" means; nil if no URLs
	// are to be read.
	OpenStore func(ctx context.Context, url string) (Store, error)
}

// Limits are checked before a file is decoded: one of a few kilobytes can claim
// pixels enough to fill any memory. A limit of 0 is the default.
type Limits struct {
	Bytes  int64 // of the encoded file; default [MaxFileBytes]
	Pixels int64 // rows times columns; default [MaxPixels]
	Side   int64 // rows or columns; default [MaxSide]
}

// A Decoder decodes image files of any size, upright as EXIF wants them. It may be
// used from several goroutines.
type Decoder interface {
	// Size returns what the header says: one channel for grey, else three.
	Size(data []byte) (Shape, error)
	// Decode stores the pixels, resized to want whatever their aspect, as
	// [ReadImage] does. It returns [ErrColour] for a file with colours where want
	// has one channel.
	Decode(dst []uint8, data []byte, want Shape) error
}

// ErrColour is returned by a [Decoder] for a colour file that is asked for as grey.
var ErrColour = errors.New("colour is not turned into grey")

// ErrNoDecoder is wrapped by errors of a [Decoder] that is not there, such as a
// library that cannot be loaded: no file is to blame.
var ErrNoDecoder = errors.New("no decoder")

// ownPixels is how many pixels a file may have that this package decodes though
// there is a Decoder, which takes longer to begin.
const ownPixels = 1 << 16

func (r Reading) resizes() bool { return r.Rows > 0 }

// limits returns the limits with their defaults filled in.
func (l Limits) filled() Limits {
	if l.Bytes <= 0 {
		l.Bytes = MaxFileBytes
	}
	if l.Pixels <= 0 {
		l.Pixels = MaxPixels
	}
	if l.Side <= 0 {
		l.Side = MaxSide
	}
	return l
}

// check refuses a shape that passes a limit.
func (l Limits) check(name string, s Shape) error {
	l = l.filled()
	have := fmt.Sprintf("%dx%d pixels", s.H, s.W)
	if int64(max(s.H, s.W)) > l.Side {
		return &TooLargeError{Path: name, Have: have, Max: fmt.Sprintf("%d pixels a side", l.Side)}
	}
	if int64(s.H)*int64(s.W) > l.Pixels {
		return &TooLargeError{Path: name, Have: have, Max: fmt.Sprintf("%d pixels", l.Pixels)}
	}
	return nil
}

// stat returns the shape that the header of a file gives, upright.
func (r Reading) stat(data []byte, name string) (Shape, error) {
	c, err := findCodec(data, name, r.Decoder != nil)
	if err != nil {
		return Shape{}, err
	}
	if c.decode == nil {
		s, err := r.Decoder.Size(data)
		if err != nil {
			return Shape{}, decoderError(name, err)
		}
		return s, r.Limits.check(name, s)
	}
	s, err := imageHeader(c, data, name)
	if err != nil {
		return Shape{}, err
	}
	if turn := orientation(data); turn >= 5 && r.Decoder != nil {
		s.H, s.W = s.W, s.H
	}
	return s, r.Limits.check(name, s)
}

// decode stores the pixels of a file in dst, which has the length of want.
func (r Reading) decode(dst []uint8, data []byte, name string, want Shape) error {
	have, err := r.stat(data, name)
	if err != nil {
		return err
	}
	same := have.H == want.H && have.W == want.W
	if !same && !r.resizes() || want.C != 1 && want.C != 3 {
		return &SizeError{Path: name, Have: have, Want: want}
	}
	c, err := findCodec(data, name, r.Decoder != nil)
	if err != nil {
		return err
	}
	upright := orientation(data) == 1
	if same && upright && c.decode != nil && (r.Decoder == nil || have.H*have.W <= ownPixels) {
		return decodeOwn(c, dst, data, name, have, want)
	}
	if r.Decoder == nil {
		what := "to be resized, which needs libvips"
		if same {
			what = "turned by its EXIF data, which needs libvips"
		}
		return &UnsupportedError{Path: name, What: what}
	}
	switch err := r.Decoder.Decode(dst, data, want); {
	case err == ErrColour:
		return &SizeError{Path: name, Have: Shape{C: 3, H: want.H, W: want.W}, Want: want}
	case err != nil:
		return decoderError(name, err)
	}
	return nil
}

func decoderError(name string, err error) error {
	if errors.Is(err, ErrNoDecoder) {
		return fmt.Errorf("dataset: %s: read image: %w", name, err)
	}
	return formatErrorf(name, "image: %w", err)
}
