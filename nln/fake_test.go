package nln_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A linear model encodes by a random matrix and decodes by its transpose, one
// value after the other, so that no result depends on the batch.
type linear struct {
	shape   dataset.Shape
	latent  int
	weight  []float32    // latent x shape.Len()
	decoded atomic.Int64 // images decoded so far
}

func newLinear(seed uint64, shape dataset.Shape, latent int) *linear {
	rng := rand.New(rand.NewPCG(seed, 0))
	m := &linear{shape: shape, latent: latent, weight: make([]float32, latent*shape.Len())}
	for i := range m.weight {
		m.weight[i] = float32(rng.NormFloat64()) / float32(shape.Len())
	}
	return m
}

func (m *linear) Shape() dataset.Shape { return m.shape }
func (m *linear) LatentDim() int       { return m.latent }

func (m *linear) Encode(_ context.Context, x dataset.Images, z []float32) error {
	for i := range x.N {
		for j := range m.latent {
			var sum float32
			for p, v := range x.At(i) {
				sum += v * m.weight[j*m.shape.Len()+p]
			}
			z[i*m.latent+j] = sum
		}
	}
	return nil
}

func (m *linear) Decode(_ context.Context, z []float32, xhat []float32) error {
	n := m.shape.Len()
	for i := range len(z) / m.latent {
		m.decoded.Add(1)
		for p := range n {
			sum := float32(.5)
			for j := range m.latent {
				sum += z[i*m.latent+j] * m.weight[j*n+p]
			}
			xhat[i*n+p] = min(max(sum, 0), 1)
		}
	}
	return nil
}

// Sizes of the fitted test scorer.
const (
	testLatent = 3
	testTrain  = 50
	testCalib  = 120
)

// fit returns a scorer over random images, adjusted by change.
func fit(t testing.TB, change func(*nln.Config)) *nln.Scorer {
	t.Helper()
	cfg := nln.DefaultConfig()
	cfg.Batch = 16
	if change != nil {
		change(&cfg)
	}
	s, err := nln.Fit(t.Context(), newLinear(1, testShape, testLatent), nln.NewExact(testLatent),
		noise(2, testShape, testTrain, .5), noise(3, testShape, testCalib, .5), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
