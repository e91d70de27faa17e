package nln

import (
	"fmt"
	"math"
	"slices"
)

// Parts holds the parts of the scores of N images, in columns. One search gives
// the parts for every number of neighbours up to K and in every space that was
// kept, so that K, alpha and the space can be varied afterwards. The zero value
// holds no images and takes the K and the spaces of the first ones appended.
type Parts struct {
	K int

	// Recon is the plain reconstruction error of each image, the mean of
	// |x - g(f(x))| over its pixels and channels (equation 3), len N.
	Recon []float64

	// Spaces holds the error term in each space; methods that name no space
	// mean the first.
	Spaces []ErrorTerm

	// Distance is the distance term, len N*K, row-major: value k-1 of a row is
	// the mean Euclidean distance to the k nearest neighbours, in latent units.
	Distance []float64

	// Spacing is how far the neighbours are from each other, len N*K, row-major:
	// value k-1 of a row is the mean over the k nearest neighbours of the mean
	// distance of each to its own k nearest. It is positive, see [Local].
	Spacing []float64

	// IDs are the neighbours, nearest first, and Dist the Euclidean distances to
	// them, len N*K, row-major.
	IDs  []int64
	Dist []float32
}

// An ErrorTerm holds the errors of N images in one [Space], in its units: in
// image space those of pixels.
type ErrorTerm struct {
	Space string // its name

	// Mean is the error term, len N*K, row-major: value k-1 of a row is the mean
	// of e over the k nearest neighbours.
	Mean []float64

	// Own is the error between each image and its own reconstruction, as if the
	// image were its own neighbour, len N. In image space it is Parts.Recon.
	Own []float64
}

// Len returns the number of images, N.
func (p Parts) Len() int { return len(p.Recon) }

// E returns the error term of image i over its k nearest neighbours in the first
// space. It panics unless 1 <= k <= K and there is a space.
func (p Parts) E(i, k int) float64 { return p.Spaces[0].Mean[p.cell(i, k)] }

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

// Errors returns the error terms of all images over k neighbours in the first
// space, len N.
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

// SpaceNames returns the names of the spaces, in order.
func (p Parts) SpaceNames() []string {
	names := make([]string, len(p.Spaces))
	for i, s := range p.Spaces {
		names[i] = s.Space
	}
	return names
}

// space returns the place of a space, or -1.
func (p Parts) space(name string) int {
	return slices.IndexFunc(p.Spaces, func(e ErrorTerm) bool { return e.Space == name })
}

// mustHave returns the errors in a space, or panics.
func (p Parts) mustHave(space string) ErrorTerm {
	at := p.space(space)
	if at < 0 {
		panic(fmt.Sprintf("nln: parts in the spaces %q, not in %q", p.SpaceNames(), space))
	}
	return p.Spaces[at]
}

// In returns p with the named space first, so that [Parts.E], [Calibrate] and
// [Evaluate] mean that one, and the others in their order; it shares memory
// with p.
func (p Parts) In(space string) (Parts, error) {
	at := p.space(space)
	if at < 0 {
		return p, fmt.Errorf("nln: parts in the spaces %q, not in %q: fit again and keep it", p.SpaceNames(), space)
	}
	first := p.Spaces[at]
	p.Spaces = slices.Insert(slices.Delete(slices.Clone(p.Spaces), at, at+1), 0, first)
	return p, nil
}

// Slice returns images lo up to, not including, hi, sharing memory with p.
func (p Parts) Slice(lo, hi int) Parts {
	k := p.K
	q := Parts{
		K:        k,
		Recon:    p.Recon[lo:hi:hi],
		Distance: p.Distance[lo*k : hi*k : hi*k],
		Spacing:  p.Spacing[lo*k : hi*k : hi*k],
		IDs:      p.IDs[lo*k : hi*k : hi*k],
		Dist:     p.Dist[lo*k : hi*k : hi*k],
	}
	for _, s := range p.Spaces {
		q.Spaces = append(q.Spaces, ErrorTerm{s.Space, s.Mean[lo*k : hi*k : hi*k], s.Own[lo:hi:hi]})
	}
	return q
}

// Reset returns p without images but with its memory, to be appended to.
func (p Parts) Reset() Parts {
	q := p.Slice(0, 0)
	q.K = 0
	q.Recon, q.Distance, q.Spacing, q.IDs, q.Dist = p.Recon[:0], p.Distance[:0], p.Spacing[:0], p.IDs[:0], p.Dist[:0]
	for i, s := range p.Spaces {
		q.Spaces[i].Mean, q.Spaces[i].Own = s.Mean[:0], s.Own[:0]
	}
	return q
}

// Append returns p with the images of q after its own, as the built-in append.
// It fails unless both have the same K and the same spaces in the same order or
// one has no images.
func (p Parts) Append(q Parts) (Parts, error) {
	if q.Len() == 0 {
		return p, nil
	}
	p, err := p.shape(q.K, q.SpaceNames())
	if err != nil {
		return p, fmt.Errorf("nln: %w", err)
	}
	p.Recon = append(p.Recon, q.Recon...)
	p.Distance = append(p.Distance, q.Distance...)
	p.Spacing = append(p.Spacing, q.Spacing...)
	p.IDs = append(p.IDs, q.IDs...)
	p.Dist = append(p.Dist, q.Dist...)
	p.Spaces = slices.Clone(p.Spaces)
	for i, s := range q.Spaces {
		p.Spaces[i].Mean = append(p.Spaces[i].Mean, s.Mean...)
		p.Spaces[i].Own = append(p.Spaces[i].Own, s.Own...)
	}
	return p, nil
}

// shape returns p ready to take images of k neighbours in the named spaces,
// which it already has unless it holds none.
func (p Parts) shape(k int, spaces []string) (Parts, error) {
	same := slices.Equal(p.SpaceNames(), spaces)
	switch {
	case p.Len() > 0 && p.K != k:
		return p, fmt.Errorf("append parts of %d neighbours to parts of %d", k, p.K)
	case p.Len() > 0 && !same:
		return p, fmt.Errorf("append parts in the spaces %q to parts in %q", spaces, p.SpaceNames())
	}
	p.K = k
	if !same {
		p.Spaces = make([]ErrorTerm, len(spaces))
		for i, name := range spaces {
			p.Spaces[i].Space = name
		}
	}
	return p, nil
}

// grow returns p with n more images, their values to be filled in.
func (p Parts) grow(n int) Parts {
	p.Recon = longer(p.Recon, n)
	p.Distance = longer(p.Distance, n*p.K)
	p.Spacing = longer(p.Spacing, n*p.K)
	p.IDs = longer(p.IDs, n*p.K)
	p.Dist = longer(p.Dist, n*p.K)
	p.Spaces = slices.Clone(p.Spaces)
	for i, s := range p.Spaces {
		p.Spaces[i].Mean, p.Spaces[i].Own = longer(s.Mean, n*p.K), longer(s.Own, n)
	}
	return p
}

func longer[T any](s []T, n int) []T { return slices.Grow(s, n)[:len(s)+n] }

// Check returns an error unless the lengths agree, every term is finite and not
// negative, spacings are positive, distances ascend, every id is not negative,
// and each space has a name of its own. Parts read from a file need it.
func (p Parts) Check() error {
	if err := p.check(); err != nil {
		return fmt.Errorf("nln: %w", err)
	}
	return nil
}

func (p Parts) check() error {
	n := p.Len()
	if p.K < 0 || n > 0 && (p.K < 1 || len(p.Spaces) == 0) {
		return fmt.Errorf("parts of %d images with %d neighbours in %d spaces", n, p.K, len(p.Spaces))
	}
	// The first comparison keeps the product from overflowing.
	if want := n * p.K; n > 0 && p.K > len(p.IDs) || len(p.Distance) != want || len(p.Spacing) != want || len(p.IDs) != want || len(p.Dist) != want {
		return fmt.Errorf("parts of %d images and %d neighbours hold %d mean distances, %d spacings, %d ids and %d distances, want %d of each",
			n, p.K, len(p.Distance), len(p.Spacing), len(p.IDs), len(p.Dist), want)
	}
	for i, s := range p.Spaces {
		if s.Space == "" || p.space(s.Space) != i {
			return fmt.Errorf("parts: space %d has the name %q, want a name of its own", i, s.Space)
		}
		if len(s.Mean) != n*p.K || len(s.Own) != n {
			return fmt.Errorf("parts of %d images and %d neighbours hold %d errors in space %q and %d of their own reconstructions, want %d and %d",
				n, p.K, len(s.Mean), s.Space, len(s.Own), n*p.K, n)
		}
	}
	for i := range n {
		if err := p.checkImage(i); err != nil {
			return fmt.Errorf("parts: image %d: %w", i, err)
		}
	}
	return nil
}

func (p Parts) checkImage(i int) error {
	good := func(v float64) bool { return v >= 0 && !math.IsInf(v, 1) }
	if !good(p.Recon[i]) {
		return fmt.Errorf("reconstruction error is %v", p.Recon[i])
	}
	for _, s := range p.Spaces {
		if !good(s.Own[i]) {
			return fmt.Errorf("error of its own reconstruction in space %q is %v", s.Space, s.Own[i])
		}
	}
	for j := i * p.K; j < (i+1)*p.K; j++ {
		k := j%p.K + 1
		for _, s := range p.Spaces {
			if !good(s.Mean[j]) {
				return fmt.Errorf("error over %d neighbours in space %q is %v", k, s.Space, s.Mean[j])
			}
		}
		if !good(p.Distance[j]) {
			return fmt.Errorf("distance over %d neighbours is %v", k, p.Distance[j])
		}
		if !good(p.Spacing[j]) || p.Spacing[j] == 0 {
			return fmt.Errorf("spacing over %d neighbours is %v", k, p.Spacing[j])
		}
		if p.IDs[j] < 0 {
			return fmt.Errorf("neighbour %d has id %d", k, p.IDs[j])
		}
		if d := float64(p.Dist[j]); !good(d) || k > 1 && p.Dist[j] < p.Dist[j-1] {
			return fmt.Errorf("neighbour %d is at distance %v", k, d)
		}
	}
	return nil
}
