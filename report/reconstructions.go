package report

import (
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"math"

	"github.com/nlnctl/nlnctl/dataset"
)

// reconstructionColumns is how many images stand side by side.
const reconstructionColumns = 8

// WriteReconstructions writes one PNG picture of the images x, eight to a row,
// each above its reconstruction in xhat. No images, and two sets that differ in
// size, are errors.
func WriteReconstructions(w io.Writer, x, xhat dataset.Images) error {
	img, err := reconstructions(x, xhat)
	if err != nil {
		return fmt.Errorf("report: write reconstructions: %w", err)
	}
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(w, img); err != nil {
		return fmt.Errorf("report: write reconstructions: %w", err)
	}
	return nil
}

func reconstructions(x, xhat dataset.Images) (image.Image, error) {
	if x.N == 0 || x.N != xhat.N || x.Shape != xhat.Shape || len(x.Pix) != x.N*x.Shape.Len() || len(xhat.Pix) != len(x.Pix) {
		return nil, fmt.Errorf("%d images of %v with %d values and %d reconstructions of %v with %d values",
			x.N, x.Shape, len(x.Pix), xhat.N, xhat.Shape, len(xhat.Pix))
	}
	small := fitting(x.Shape, montageCell)
	zoom := int(math.Round(montageCell / float64(max(small.H, small.W))))
	cell := image.Pt(zoom*small.W, zoom*small.H)
	columns := min(x.N, reconstructionColumns)
	rows := (x.N + columns - 1) / columns
	height := 2*cell.Y + 2 // of a row: the frames of image and reconstruction touch
	out := image.NewRGBA(image.Rect(0, 0, 2*montageMargin+columns*(cell.X+montageGap)-montageGap, 2*montageMargin+rows*(height+montageGap)-montageGap))
	draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)
	for i := range x.N {
		p := image.Pt(montageMargin+i%columns*(cell.X+montageGap), montageMargin+i/columns*(height+montageGap))
		for j, of := range []dataset.Images{x, xhat} {
			enlarge(out, picture(small, reduce(x.Shape, small, of.At(i))), p.Add(image.Pt(0, j*(cell.Y+2))), zoom)
		}
	}
	return out, nil
}
