package torchindex

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/internal/coretest"
	"github.com/nlnctl/nlnctl/nln"
)

func newIndex(t testing.TB, dim int, vectors []float32) *Index {
	t.Helper()
	x, err := New(coretest.Device(t), dim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	if err := x.Add(context.Background(), vectors); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestAgreesWithExact(t *testing.T) {
	coretest.ExactIndex(t, func(t testing.TB, dim int, v []float32) nln.Index { return newIndex(t, dim, v) })
}

func TestGrows(t *testing.T) {
	before := torch.LiveHandles()
	rng := rand.New(rand.NewPCG(3, 4))
	v := coretest.Clusters(rng, 300, 16, 2)
	x := newIndex(t, 16, v[:160])
	if nb, err := x.Search(t.Context(), v[:16], 20, nln.Neighbors{}); err != nil || nb.K != 10 {
		t.Errorf("%d neighbours among 10 vectors, error %v", nb.K, err)
	}
	if err := x.Add(t.Context(), v[160:]); err != nil {
		t.Fatal(err)
	}
	nb, err := x.Search(t.Context(), v[299*16:], 1, nln.Neighbors{})
	if err != nil || nb.Dist[0] != 0 || x.Len() != 300 || len(x.Vectors()) != 300*16 {
		t.Errorf("the last vector added has a neighbour at %v, error %v", nb.Dist, err)
	}
	x.Close()
	x.Close()
	if n := torch.LiveHandles(); n != before {
		t.Errorf("%d objects of the core live, %d before", n, before)
	}
}

func TestNoDimension(t *testing.T) {
	if _, err := New(torch.CPU, 0); err == nil {
		t.Error("vectors of no values")
	}
}
