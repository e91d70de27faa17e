package dataset

import (
	"fmt"
	"image"
)

// A Grid cuts square patches out of images of one size.
type Grid struct {
	Patch  int `json:"patch"`  // rows and columns of a patch
	Stride int `json:"stride"` // from one patch to the next, at most Patch

	// Inside leaves out the rows and columns behind the last whole stride, as the
	// paper's authors do. Otherwise one more patch ends at the border, and every
	// pixel is in some patch.
	Inside bool `json:"inside,omitempty"`
}

// Check returns an error unless there is a patch in an image of a size, and, but for
// Inside, every pixel of it in one.
func (g Grid) Check(size Shape) error {
	switch {
	case g.Patch < 1 || g.Stride < 1:
		return fmt.Errorf("dataset: patches of %d pixels at a stride of %d, want at least 1 of each", g.Patch, g.Stride)
	case g.Stride > g.Patch && !g.Inside:
		return fmt.Errorf("dataset: patches of %d pixels at a stride of %d leave gaps: want at most %d", g.Patch, g.Stride, g.Patch)
	case g.Patch > size.H || g.Patch > size.W:
		return fmt.Errorf("dataset: patches of %dx%d pixels do not fit in images of %v", g.Patch, g.Patch, size)
	}
	return nil
}

// Origins returns the top left pixels of the patches of an image, row by row. The
// grid has passed Check for the size.
func (g Grid) Origins(size Shape) []image.Point {
	var all []image.Point
	for _, y := range g.starts(size.H) {
		for _, x := range g.starts(size.W) {
			all = append(all, image.Pt(x, y))
		}
	}
	return all
}

// starts returns where patches begin along a side of n pixels.
func (g Grid) starts(n int) []int {
	var all []int
	at := 0
	for ; at+g.Patch <= n; at += g.Stride {
		all = append(all, at)
	}
	if last := n - g.Patch; !g.Inside && all[len(all)-1] < last {
		all = append(all, last)
	}
	return all
}

// Cut stores the patches of the images x in dst, image by image and row by row, and
// returns them; dst must have room for them.
func (g Grid) Cut(x Images, dst []float32) Images {
	origins := g.Origins(x.Shape)
	out := Images{Shape: Shape{C: x.C, H: g.Patch, W: g.Patch}, N: x.N * len(origins)}
	n := out.Shape.Len()
	out.Pix = dst[:out.N*n]
	for i := range x.N {
		for j, o := range origins {
			cutPlanes(x.At(i), x.Shape, o, g.Patch, out.Pix[(i*len(origins)+j)*n:])
		}
	}
	return out
}

// cutPlanes copies a patch of an image.
func cutPlanes[T any](src []T, size Shape, o image.Point, patch int, dst []T) {
	for c := range size.C {
		for y := range patch {
			from := (c*size.H+o.Y+y)*size.W + o.X
			copy(dst[(c*patch+y)*patch:(c*patch+y+1)*patch], src[from:from+patch])
		}
	}
}

// Stitch puts maps of patches, Patch*Patch values each in the order of Origins,
// together to one of the image, H*W values; where patches overlap it is their mean.
// What no patch covers is 0.
func (g Grid) Stitch(size Shape, patches []float32) []float32 {
	out, count := make([]float32, size.H*size.W), make([]float32, size.H*size.W)
	for j, o := range g.Origins(size) {
		p := patches[j*g.Patch*g.Patch:]
		for y := range g.Patch {
			to := (o.Y+y)*size.W + o.X
			for x := range g.Patch {
				out[to+x] += p[y*g.Patch+x]
				count[to+x]++
			}
		}
	}
	for i, n := range count {
		if n > 1 {
			out[i] /= n
		}
	}
	return out
}

// Paste copies a patch, C planes of Patch*Patch values, to its place in an image of a
// size, whose values are dst.
func (g Grid) Paste(patch []float32, o image.Point, size Shape, dst []float32) {
	for c := range size.C {
		for y := range g.Patch {
			copy(dst[(c*size.H+o.Y+y)*size.W+o.X:][:g.Patch], patch[(c*g.Patch+y)*g.Patch:])
		}
	}
}
