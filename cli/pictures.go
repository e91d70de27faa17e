package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/buckets"
	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/pictures"
	"github.com/nlnctl/nlnctl/dataset"
	ucli "github.com/urfave/cli/v2"
)

// vips is what a manifest calls the decoder of package pictures, with its version.
const vips = "libvips "

// limitFlags are options of commands that read image files.
func limitFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.Int64Flag{Name: "max-pixels", Value: dataset.MaxPixels, Usage: "refuse image files of more than `N` pixels"},
		&ucli.Int64Flag{Name: "max-side", Value: dataset.MaxSide, Usage: "refuse image files of more than `N` rows or columns"},
		&ucli.Int64Flag{Name: "max-bytes", Value: dataset.MaxFileBytes, Usage: "refuse image files of more than `N` bytes"},
		&ucli.StringSliceFlag{Name: "include", Usage: "take only image files of DATA that match `GLOB`; may be repeated"},
		&ucli.StringSliceFlag{Name: "exclude", Usage: "leave out image files of DATA that match `GLOB`; may be repeated"},
	}
}

// limits returns what the options of limitFlags say of how image files are read.
func limits(c *ucli.Context) (dataset.Reading, error) {
	for _, name := range []string{"max-pixels", "max-side", "max-bytes"} {
		if c.Int64(name) < 1 {
			return dataset.Reading{}, badUsage(c, "--%s is %d, want at least 1", name, c.Int64(name))
		}
	}
	r := dataset.Reading{
		Limits:  dataset.Limits{Pixels: c.Int64("max-pixels"), Side: c.Int64("max-side"), Bytes: c.Int64("max-bytes")},
		Include: c.StringSlice("include"), Exclude: c.StringSlice("exclude"),
		OpenStore: buckets.Open,
	}
	if err := r.CheckGlobs(); err != nil {
		return r, &usageError{c.Command.FullName() + " --", err}
	}
	return r, nil
}

// newReading returns how images of a new bundle are read: resized to size if it is
// given, and by libvips if it is there.
func newReading(c *ucli.Context, size string) (r dataset.Reading, err error) {
	if r, err = limits(c); err != nil {
		return r, err
	}
	if size != "" {
		if r.Rows, r.Columns, err = parseSize(size); err != nil {
			return r, badUsage(c, "--size: %w", err)
		}
	}
	if _, err := (pictures.Vips{}).Version(); err == nil {
		r.Decoder = pictures.Vips{}
	}
	return r, nil
}

// readingOf returns how a bundle's images were read, and others are to be, with
// what limits returned.
func readingOf(b *bundle.Bundle, r dataset.Reading) dataset.Reading {
	data, shape := b.Manifest.Data, b.Scorer.Shape()
	if data.Resize {
		r.Rows, r.Columns = shape.H, shape.W
	}
	if strings.HasPrefix(data.Decoder, vips) {
		r.Decoder = pictures.Vips{}
	}
	return r
}

// openReading opens the bundle that the options name, and says how images for it are
// read. The caller closes it.
func openReading(c *ucli.Context) (*bundle.Bundle, dataset.Reading, error) {
	limits, err := limits(c)
	if err != nil {
		return nil, limits, err
	}
	b, err := openBundle(c)
	if err != nil {
		return nil, limits, err
	}
	return b, readingOf(b, limits), nil
}

// decoderName returns what a manifest says of a decoder.
func decoderName(r dataset.Reading) string {
	if d, ok := r.Decoder.(pictures.Vips); ok {
		if version, err := d.Version(); err == nil {
			return vips + version
		}
	}
	return ""
}

// parseSize reads rows and columns, "128x96", or "128" for as many of both.
func parseSize(s string) (rows, columns int, err error) {
	h, w, two := strings.Cut(s, "x")
	if !two {
		w = h
	}
	rows, err = strconv.Atoi(h)
	if err == nil {
		columns, err = strconv.Atoi(w)
	}
	if err != nil || rows < 1 || columns < 1 || rows > dataset.MaxSide || columns > dataset.MaxSide {
		return 0, 0, fmt.Errorf("%q is no size, want rows and columns as in 128x96, or 128 for both", s)
	}
	return rows, columns, nil
}
