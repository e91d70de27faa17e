package dataset

import (
	"iter"
	"strconv"
)

// Bytes is a batch of N images of one shape as 8-bit pixels. What computes elsewhere
// takes a quarter of the memory of [Images] there.
type Bytes struct {
	Shape
	N     int
	Pix   []uint8 // len N*C*H*W, row-major N, C, H, W
	Scale Scale   // how they become values in [0, 1]; the zero value is ScaleMinMax
}

// Slice returns images lo up to, not including, hi, sharing memory with x.
func (x Bytes) Slice(lo, hi int) Bytes {
	n := x.Shape.Len()
	return Bytes{Shape: x.Shape, N: hi - lo, Pix: x.Pix[lo*n : hi*n : hi*n], Scale: x.Scale}
}

// Images converts the images to values in [0, 1] and stores them in dst, which must
// have room for them.
func (x Bytes) Images(dst []float32) Images {
	n := x.Shape.Len()
	y := Images{Shape: x.Shape, N: x.N, Pix: dst[:x.N*n]}
	for i := range x.N {
		x.Scale.apply(x.Pix[i*n:(i+1)*n], x.Shape, y.At(i))
	}
	return y
}

// A ByteSource is a [Source] that has its images as 8-bit pixels.
type ByteSource interface {
	Source

	// ByteBatches is Batches without the conversion.
	ByteBatches(size int) iter.Seq2[Bytes, error]
}

var _ ByteSource = (*Set)(nil)

// ByteBatches yields the images in order, sharing memory with s; see [ByteSource].
func (s *Set) ByteBatches(size int) iter.Seq2[Bytes, error] {
	if size < 1 {
		panic("dataset: batch size " + strconv.Itoa(size) + ", want at least 1")
	}
	return func(yield func(Bytes, error) bool) {
		all := Bytes{Shape: s.Size, N: s.Len(), Pix: s.Pix, Scale: s.Scale}
		for lo := 0; lo < all.N; lo += size {
			if !yield(all.Slice(lo, min(lo+size, all.N)), nil) {
				return
			}
		}
	}
}
