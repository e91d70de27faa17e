package nln

import (
	"fmt"
	"math"
	"slices"
)

// Parts holds the parts of the scores of N images, in columns. One search gives
// the parts for every number of neighbours up to K, so that K and alpha can be
// varied afterwards. The zero value holds no images and takes the K of the
// first ones appended.
type Parts struct {
	K int

	// Recon is the plain reconstruction error of each image, the mean of
	// |x - g(f(x))| over its pixels and channels (equation 3), len N.
	Recon []float64

	// Error and Distance are the two terms of equation 4, len N*K, row-major:
	// value k-1 of a row is the mean over the k nearest neighbours, of the mean
	// absolute difference in pixel units and of the Euclidean distance in
	// latent units.
	Error, Distance []float64

	// IDs are the neighbours, nearest first, len N*K, row-major.
	IDs []int64
}

// Len returns the number of images, N.
func (p Parts) Len() int { return len(p.Recon) }

// E returns the error term of image i over its k nearest neighbours. It panics
// unless 1 <= k <= K.
func (p Parts) E(i, k int) float64 { return p.Error[p.cell(i, k)] }

// D returns the distance term of image i over its k nearest neighbours. It
// panics unless 1 <= k <= K.
func (p Parts) D(i, k int) float64 { return p.Distance[p.cell(i, k)] }

// Neighbors returns the ids of the k nearest neighbours of image i, nearest
// first, sharing memory with p. It panics unless 1 <= k <= K.
func (p Parts) Neighbors(i, k int) []int64 {
	last := p.cell(i, k)
	return p.IDs[i*p.K : last+1 : last+1]
}

func (p Parts) cell(i, k int) int {
	if k < 1 || k > p.K {
		panic(fmt.Sprintf("nln: parts of %d neighbours, have %d", k, p.K))
	}
	return i*p.K + k - 1
}

// Errors returns the error terms of all images over k neighbours, len N.
func (p Parts) Errors(k int) []float64 { return p.column(p.E, k) }

// Distances returns the distance terms of all images over k neighbours, len N.
func (p Parts) Distances(k int) []float64 { return p.column(p.D, k) }

func (p Parts) column(term func(i, k int) float64, k int) []float64 {
	v := make([]float64, p.Len())
	for i := range v {
		v[i] = term(i, k)
	}
	return v
}

// Slice returns images lo up to, not including, hi, sharing memory with p.
func (p Parts) Slice(lo, hi int) Parts {
	return Parts{
		K:        p.K,
		Recon:    p.Recon[lo:hi:hi],
		Error:    p.Error[lo*p.K : hi*p.K : hi*p.K],
		Distance: p.Distance[lo*p.K : hi*p.K : hi*p.K],
		IDs:      p.IDs[lo*p.K : hi*p.K : hi*p.K],
	}
}

// Reset returns p without images but with its memory, to be appended to.
func (p Parts) Reset() Parts {
	return Parts{Recon: p.Recon[:0], Error: p.Error[:0], Distance: p.Distance[:0], IDs: p.IDs[:0]}
}

// Append returns p with the images of q after its own, as the built-in append.
// It fails unless both have the same K or one has no images.
func (p Parts) Append(q Parts) (Parts, error) {
	if q.Len() == 0 {
		return p, nil
	}
	if p.Len() > 0 && p.K != q.K {
		return p, fmt.Errorf("nln: append parts of %d neighbours to parts of %d", q.K, p.K)
	}
	return Parts{
		K:        q.K,
		Recon:    append(p.Recon, q.Recon...),
		Error:    append(p.Error, q.Error...),
		Distance: append(p.Distance, q.Distance...),
		IDs:      append(p.IDs, q.IDs...),
	}, nil
}

// grow returns p with n more images, their values to be filled in.
func (p Parts) grow(n int) Parts {
	return Parts{
		K:        p.K,
		Recon:    slices.Grow(p.Recon, n)[:len(p.Recon)+n],
		Error:    slices.Grow(p.Error, n*p.K)[:len(p.Error)+n*p.K],
		Distance: slices.Grow(p.Distance, n*p.K)[:len(p.Distance)+n*p.K],
		IDs:      slices.Grow(p.IDs, n*p.K)[:len(p.IDs)+n*p.K],
	}
}

// Check returns an error unless the lengths agree, every term is finite and not
// negative, and every id is not negative. Parts read from a file need it.
func (p Parts) Check() error {
	n := p.Len()
	if p.K < 0 || n > 0 && p.K < 1 {
		return fmt.Errorf("nln: parts of %d images with %d neighbours", n, p.K)
	}
	if len(p.Error) != n*p.K || len(p.Distance) != n*p.K || len(p.IDs) != n*p.K {
		return fmt.Errorf("nln: parts of %d images and %d neighbours hold %d errors, %d distances and %d ids, want %d of each",
			n, p.K, len(p.Error), len(p.Distance), len(p.IDs), n*p.K)
	}
	for i := range n {
		if err := p.checkImage(i); err != nil {
			return fmt.Errorf("nln: parts: image %d: %w", i, err)
		}
	}
	return nil
}

func (p Parts) checkImage(i int) error {
	good := func(v float64) bool { return v >= 0 && !math.IsInf(v, 1) }
	if !good(p.Recon[i]) {
		return fmt.Errorf("reconstruction error is %v", p.Recon[i])
	}
	for j := i * p.K; j < (i+1)*p.K; j++ {
		if !good(p.Error[j]) {
			return fmt.Errorf("error over %d neighbours is %v", j%p.K+1, p.Error[j])
		}
		if !good(p.Distance[j]) {
			return fmt.Errorf("distance over %d neighbours is %v", j%p.K+1, p.Distance[j])
		}
		if p.IDs[j] < 0 {
			return fmt.Errorf("neighbour %d has id %d", j%p.K+1, p.IDs[j])
		}
	}
	return nil
}
