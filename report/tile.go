package report

import (
	"fmt"
	"image"

	"github.com/nlnctl/nlnctl/dataset"
)

// A tile is one picture of an example, yet to be drawn.
type tile struct {
	title, detail string
	draw          func(t dataset.Shape) image.Image // in size t, no larger than the example's
}

// tiles returns the pictures of e in the order shown, with at most neighbors of
// its neighbours. Error maps are coloured up to top.
func (e *Example) tiles(neighbors int, top float64) []tile {
	tiles := []tile{{title: "input", draw: e.picture(e.Input)}}
	if e.Reconstruction != nil {
		tiles = append(tiles, tile{title: "reconstruction", draw: e.picture(e.Reconstruction)})
	}
	if e.Heat != nil {
		tiles = append(tiles, tile{title: "where novel", draw: func(t dataset.Shape) image.Image {
			plane := dataset.Shape{C: 1, H: e.Shape.H, W: e.Shape.W}
			return Heat(t, reduce(e.Shape, t, e.Input), reduce(plane, dataset.Shape{C: 1, H: t.H, W: t.W}, e.Heat), e.HeatLow, e.HeatTop)
		}})
	}
	for i, nb := range e.Neighbors[:min(neighbors, len(e.Neighbors))] {
		if nb.Original != nil {
			tiles = append(tiles, tile{
				title:  fmt.Sprintf("normal %d", i+1),
				detail: "distance " + number(nb.Distance),
				draw:   e.picture(nb.Original),
			})
		}
		if nb.Image != nil {
			tiles = append(tiles, tile{
				title:  fmt.Sprintf("neighbour %d", i+1),
				detail: "distance " + number(nb.Distance),
				draw:   e.picture(nb.Image),
			})
		}
	}
	if e.Reconstruction != nil {
		tiles = append(tiles, tile{
			title: "recon. error",
			draw:  e.errorPicture(differenceMap(e.Shape, e.Input, e.Reconstruction), top),
		})
	}
	if e.ErrorMap != nil {
		tiles = append(tiles, tile{
			title: "neighbour error",
			draw:  e.errorPicture(e.ErrorMap, top),
		})
	}
	if e.Mask != nil {
		tiles = append(tiles, tile{title: "marked defect", draw: func(t dataset.Shape) image.Image {
			return maskPicture(t, reduceMask(e.Shape, t, e.Mask))
		}})
	}
	return tiles
}

func (e *Example) picture(pix []float32) func(t dataset.Shape) image.Image {
	return func(t dataset.Shape) image.Image { return picture(t, reduce(e.Shape, t, pix)) }
}

func (e *Example) errorPicture(values []float64, top float64) func(t dataset.Shape) image.Image {
	return func(t dataset.Shape) image.Image {
		plane := dataset.Shape{C: 1, H: e.Shape.H, W: e.Shape.W}
		return errorPicture(t, reduce(plane, dataset.Shape{C: 1, H: t.H, W: t.W}, values), top)
	}
}
