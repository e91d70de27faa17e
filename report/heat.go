package report

import (
	"image"
	"image/color"
	"math"

	"github.com/nlnctl/nlnctl/dataset"
)

// heatFull is how much of a picture its heat covers where it is at the top.
const heatFull = .75

// Heat draws a map over the picture that it is of: pix in the order C, H, W with
// values in [0, 1], and H*W values, coloured as error maps are from low on, below
// which the picture alone is seen, up to top and more. The same low and top for all
// pictures of a run keep them comparable: with a scale of its own each would have
// something that looks anomalous.
func Heat(s dataset.Shape, pix []float32, values []float32, low, top float64) *image.RGBA {
	base := picture(s, pix)
	out := image.NewRGBA(base.Bounds())
	colors := errorColors()
	for i, v := range values {
		x, y := i%s.W, i/s.W
		r, g, b, _ := base.At(x, y).RGBA()
		// The picture in grey, so that its colours are not taken for heat.
		grey := (299*float64(r) + 587*float64(g) + 114*float64(b)) / 1000 / 257
		share := min(max((float64(v)-low)/(top-low), 0), 1)
		h := colors[int(share*(errorLevels-1)+.5)]
		cover := heatFull * math.Sqrt(share)
		hr, hg, hb, _ := h.RGBA()
		mixed := func(c uint32) uint8 { return uint8((1-cover)*grey + cover*float64(c)/257 + .5) }
		out.SetRGBA(x, y, color.RGBA{mixed(hr), mixed(hg), mixed(hb), 0xff})
	}
	return out
}

// Gray16 returns a map as an image of 16 bits: 0 stands for 0 and less, 65535 for top
// and more.
func Gray16(h, w int, values []float32, top float64) *image.Gray16 {
	out := image.NewGray16(image.Rect(0, 0, w, h))
	for i, v := range values {
		out.SetGray16(i%w, i/w, color.Gray16{Y: uint16(65535*min(max(float64(v)/top, 0), 1) + .5)})
	}
	return out
}
