// Package dataset reads image sets and hands them out in batches.
//
// [Open] reads a set from a spec such as "mnist:DIR" and returns its [Splits];
// [Splits.Task] then says which training images are inliers under a protocol
// and which test images are novel, and [Split] holds images out for
// calibration. A [Set] holds a whole data set in memory as 8-bit pixels; it is
// a [Source], as is anything else that yields batches of [Images] in a fixed
// order. [ReadImage] reads one image file and tells apart what can be wrong
// with it.
//
// Files are not trusted: sizes are checked against limits before anything is
// decoded, and memory grows with the data that arrives.
//
// The package is pure Go and needs no native library. Package synth below it
// makes sets for tests.
package dataset

import (
	"fmt"
	"iter"
)

// A Shape is the size of one image: channels, rows, columns.
type Shape struct{ C, H, W int }

// Len returns the number of values in one image, C*H*W.
func (s Shape) Len() int { return s.C * s.H * s.W }

// String returns the shape as rows x columns x channels, such as "28x28x1",
// the order in which the field writes image sizes.
func (s Shape) String() string { return fmt.Sprintf("%dx%dx%d", s.H, s.W, s.C) }

// Images is a batch of N images of one shape.
type Images struct {
	Shape
	N   int
	Pix []float32 // len N*C*H*W, row-major N, C, H, W, values in [0, 1]
}

// At returns the values of image i, sharing memory with x.
func (x Images) At(i int) []float32 {
	n := x.Shape.Len()
	return x.Pix[i*n : (i+1)*n : (i+1)*n]
}

// Slice returns images lo up to, not including, hi, sharing memory with x.
func (x Images) Slice(lo, hi int) Images {
	n := x.Shape.Len()
	return Images{Shape: x.Shape, N: hi - lo, Pix: x.Pix[lo*n : hi*n : hi*n]}
}

// A Source yields images in a fixed order: two passes give the same images.
type Source interface {
	Shape() Shape
	Len() int // number of images that Batches yields in all

	// Batches yields the images in order, size of them at a time; the last
	// batch may be smaller. A batch is valid until the next is asked for.
	// After an error nothing more is yielded. It panics if size < 1.
	Batches(size int) iter.Seq2[Images, error]
}
