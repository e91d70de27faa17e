package dataset

import (
	"fmt"
	"iter"
	"strconv"
)

// A Scale says how 8-bit pixels become values in [0, 1].
type Scale string

const (
	// ScaleMinMax stretches each channel of each image on its own to [0, 1];
	// a constant channel becomes 0. It is what the paper's authors do for the
	// small data sets, and independent of labels and of other images.
	ScaleMinMax Scale = "minmax"

	// Scale255 divides by 255.
	Scale255 Scale = "div255"
)

// A Set is a data set in memory.
type Set struct {
	Name string // such as "mnist/train"; prefix of image names where Names is nil
	Size Shape
	Pix  []uint8 // len N*C*H*W, row-major N, C, H, W (planar colour)

	Labels  []int    // class of each image, an index into Classes; nil: unlabelled
	Classes []string // class names
	Names   []string // name of each image; nil: Name and the index
	Masks   [][]byte // defect mask of each image, H*W, non-zero = defect; nil entry or nil: no defect marked

	Scale Scale // how Batches and Gather convert; the zero value is ScaleMinMax

	Notes []string // what a user should know about the set, such as parts that are missing
}

// Shape returns the shape of every image.
func (s *Set) Shape() Shape { return s.Size }

// Len returns the number of images.
func (s *Set) Len() int {
	if s.Size.Len() == 0 {
		return 0
	}
	return len(s.Pix) / s.Size.Len()
}

// ImageName returns the name of image i.
func (s *Set) ImageName(i int) string {
	if s.Names != nil {
		return s.Names[i]
	}
	return s.Name + "/" + strconv.Itoa(i)
}

// ClassName returns the name of the class of image i, its label where the class has
// none, and "" for an unlabelled set.
func (s *Set) ClassName(i int) string {
	switch {
	case s.Labels == nil:
		return ""
	case s.Labels[i] < len(s.Classes):
		return s.Classes[s.Labels[i]]
	}
	return strconv.Itoa(s.Labels[i])
}

// Image returns the 8-bit pixels of image i, sharing memory with s.
func (s *Set) Image(i int) []uint8 {
	n := s.Size.Len()
	return s.Pix[i*n : (i+1)*n : (i+1)*n]
}

// Subset returns a new set of the images ids, in that order, with their
// labels, names and masks. Names keep saying which image of s each one was.
func (s *Set) Subset(ids []int) *Set {
	n := s.Size.Len()
	t := &Set{Name: s.Name, Size: s.Size, Classes: s.Classes, Scale: s.Scale, Notes: s.Notes}
	t.Pix = make([]uint8, 0, len(ids)*n)
	t.Names = make([]string, 0, len(ids))
	for _, i := range ids {
		t.Pix = append(t.Pix, s.Image(i)...)
		t.Names = append(t.Names, s.ImageName(i))
		if s.Labels != nil {
			t.Labels = append(t.Labels, s.Labels[i])
		}
		if s.Masks != nil {
			t.Masks = append(t.Masks, s.Masks[i])
		}
	}
	return t
}

// Keep reduces s to the images ids, ascending and each once, as Subset would
// return them, but without a second copy of the pixels: they move up in the
// memory they have, in which other sets must have no part.
func (s *Set) Keep(ids []int) {
	n := s.Size.Len()
	names := make([]string, 0, len(ids))
	for k, i := range ids {
		copy(s.Pix[k*n:(k+1)*n], s.Pix[i*n:(i+1)*n])
		names = append(names, s.ImageName(i))
		if s.Labels != nil {
			s.Labels[k] = s.Labels[i]
		}
		if s.Masks != nil {
			s.Masks[k] = s.Masks[i]
		}
	}
	s.Names, s.Pix = names, s.Pix[:len(ids)*n]
	if s.Labels != nil {
		s.Labels = s.Labels[:len(ids)]
	}
	if s.Masks != nil {
		s.Masks = s.Masks[:len(ids)]
	}
}

// Gather converts the images ids to values in [0, 1] and stores them in dst,
// which must have room for len(ids) images of s's shape.
func (s *Set) Gather(ids []int, dst []float32) Images {
	n := s.Size.Len()
	x := Images{Shape: s.Size, N: len(ids), Pix: dst[:len(ids)*n]}
	for k, i := range ids {
		s.Scale.apply(s.Image(i), s.Size, x.At(k))
	}
	return x
}

// Bytes stores the 8-bit pixels of the images ids in dst, which must have room for
// them: what Gather scales.
func (s *Set) Bytes(ids []int, dst []uint8) {
	n := s.Size.Len()
	for k, i := range ids {
		copy(dst[k*n:(k+1)*n], s.Image(i))
	}
}

// Scaling returns how Gather converts.
func (s *Set) Scaling() Scale {
	if s.Scale == "" {
		return ScaleMinMax
	}
	return s.Scale
}

// Batches yields the images in order; see [Source].
func (s *Set) Batches(size int) iter.Seq2[Images, error] {
	if size < 1 {
		panic("dataset: batch size " + strconv.Itoa(size) + ", want at least 1")
	}
	return func(yield func(Images, error) bool) {
		n := s.Size.Len()
		buf := make([]float32, min(size, s.Len())*n)
		for lo := 0; lo < s.Len(); lo += size {
			hi := min(lo+size, s.Len())
			x := Images{Shape: s.Size, N: hi - lo, Pix: buf[:(hi-lo)*n]}
			for i := lo; i < hi; i++ {
				s.Scale.apply(s.Image(i), s.Size, x.At(i-lo))
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}

// apply converts one image.
func (sc Scale) apply(src []uint8, size Shape, dst []float32) {
	switch sc {
	case ScaleMinMax, "":
		n := size.H * size.W
		for c := range size.C {
			minMax(src[c*n:(c+1)*n], dst[c*n:(c+1)*n])
		}
	case Scale255:
		for i, v := range src {
			dst[i] = float32(v) / 255
		}
	default:
		panic(fmt.Sprintf("dataset: unknown scale %q", string(sc)))
	}
}

// minMax stretches src to [0, 1] over its own range; a constant becomes 0.
func minMax(src []uint8, dst []float32) {
	lo, hi := src[0], src[0]
	for _, v := range src {
		lo, hi = min(lo, v), max(hi, v)
	}
	if lo == hi {
		clear(dst)
		return
	}
	// A table keeps the division out of the loop and is exact.
	var table [256]float32
	for v := int(lo); v <= int(hi); v++ {
		table[v] = float32(v-int(lo)) / float32(hi-lo)
	}
	for i, v := range src {
		dst[i] = table[v]
	}
}
