package dataset

import "fmt"

// Check reports the first thing that is wrong with a set built by hand: its
// size not positive, its pixels no whole number of images, labels, names or
// masks not as many as images, a mask not of H*W values, a label that is no
// index into Classes, an unknown scale. A set without images passes. The other
// methods may panic on a set that does not pass.
func (s *Set) Check() error {
	const side = 1 << 24 // keeps C*H*W within 64 bits
	z := s.Size
	if z.C < 1 || z.H < 1 || z.W < 1 || z.C > 1<<12 || z.H > side || z.W > side {
		return fmt.Errorf("dataset: check %s: size %v, want every side at least 1", s.Name, z)
	}
	if len(s.Pix)%z.Len() != 0 {
		return fmt.Errorf("dataset: check %s: %d pixel values are no whole number of %v images (%d each)", s.Name, len(s.Pix), z, z.Len())
	}
	n := s.Len()
	if s.Labels != nil && len(s.Labels) != n {
		return fmt.Errorf("dataset: check %s: have %d labels for %d images", s.Name, len(s.Labels), n)
	}
	if s.Names != nil && len(s.Names) != n {
		return fmt.Errorf("dataset: check %s: have %d names for %d images", s.Name, len(s.Names), n)
	}
	if s.Masks != nil && len(s.Masks) != n {
		return fmt.Errorf("dataset: check %s: have %d masks for %d images", s.Name, len(s.Masks), n)
	}
	for i, label := range s.Labels {
		if label < 0 || label >= len(s.Classes) {
			return fmt.Errorf("dataset: check %s: label %d of image %d, want 0 to %d, one of %d classes", s.Name, label, i, len(s.Classes)-1, len(s.Classes))
		}
	}
	for i, mask := range s.Masks {
		if mask != nil && len(mask) != z.H*z.W {
			return fmt.Errorf("dataset: check %s: mask of image %d has %d values, want %d", s.Name, i, len(mask), z.H*z.W)
		}
	}
	switch s.Scale {
	case "", ScaleMinMax, Scale255:
		return nil
	}
	return fmt.Errorf("dataset: check %s: unknown scale %q, want %s or %s", s.Name, s.Scale, ScaleMinMax, Scale255)
}
