package nln_test

import (
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

// The shape is no multiple of four values, so that the last ones of a row take
// the loops' tails.
var testShape = dataset.Shape{C: 2, H: 3, W: 5}

// images is a Source of images in memory. Its faults are for tests of errors.
type images struct {
	dataset.Images
	fail  error // yielded after the first batch
	claim int   // added to Len
}

func (s images) Shape() dataset.Shape { return s.Images.Shape }
func (s images) Len() int             { return s.N + s.claim }

func (s images) Batches(size int) iter.Seq2[dataset.Images, error] {
	return func(yield func(dataset.Images, error) bool) {
		for lo := 0; lo < s.N; lo += size {
			if lo > 0 && s.fail != nil {
				yield(dataset.Images{}, s.fail)
				return
			}
			if !yield(s.Slice(lo, min(lo+size, s.N)), nil) {
				return
			}
		}
	}
}

// noise returns n images of uniform values, spread around .5.
func noise(seed uint64, shape dataset.Shape, n int, spread float32) images {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := dataset.Images{Shape: shape, N: n, Pix: make([]float32, n*shape.Len())}
	for i := range x.Pix {
		x.Pix[i] = .5 + spread*(rng.Float32()-.5)
	}
	return images{Images: x}
}

// wantError fails the test unless err has all the words in its text.
func wantError(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %q does not say %q", what, err, w)
		}
	}
}
