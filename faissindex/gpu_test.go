package faissindex

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/faiss"
	"github.com/nlnctl/nlnctl/internal/coretest"
	"github.com/nlnctl/nlnctl/nln"
)

// TestGPU compares a search on the first GPU with the exact one; without FAISS's GPU
// side it looks for the error that says so.
func TestGPU(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	const dim, n, k = 16, 3000, 5
	v := make([]float32, n*dim)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	x := newIndex(t, dim, v)
	err := x.UseGPU(0)
	if errors.Is(err, faiss.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Add(t.Context(), v[:dim]); err == nil {
		t.Error("added to an index on a GPU")
	}
	want, err1 := x.SearchExact(t.Context(), v[:100*dim], k, nln.Neighbors{})
	got, err2 := x.Search(t.Context(), v[:100*dim], k, nln.Neighbors{})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for i := range want.IDs {
		if got.IDs[i] != want.IDs[i] || got.Dist[i] != want.Dist[i] {
			t.Errorf("query %d, neighbour %d: %d at %v, want %d at %v", i/k, i%k, got.IDs[i], got.Dist[i], want.IDs[i], want.Dist[i])
		}
	}
}

// TestGPUProposes goes the way of a GPU with FAISS's index on the processor.
func TestGPUProposes(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 11))
	const dim, n, k = 16, 2000, 5
	v := coretest.Clusters(rng, n, dim, 1)
	x, y := newIndex(t, dim, v), newIndex(t, dim, v)
	x.gpu = y.raw
	defer func() { x.gpu = nil }()
	want, err1 := y.Search(t.Context(), v[:50*dim], k, nln.Neighbors{})
	got, err2 := x.Search(t.Context(), v[:50*dim], k, nln.Neighbors{})
	all, err3 := x.Search(t.Context(), v[:dim], n, nln.Neighbors{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	missed := 0
	for i := range want.IDs {
		if got.Dist[i] != want.Dist[i] {
			missed++
		}
	}
	if missed > len(want.IDs)/20 { // vectors of which there are many copies
		t.Errorf("%d of %d neighbours are farther than the exact ones", missed, len(want.IDs))
	}
	if len(all.IDs) != n {
		t.Errorf("%d neighbours of %d, more than a GPU finds at a time", len(all.IDs), n)
	}
}
