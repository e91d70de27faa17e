package coretest

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// A NewIndex returns an index of vectors of dim values, row-major, that the test closes.
type NewIndex func(t testing.TB, dim int, vectors []float32) nln.Index

// ExactIndex tests an index that is to agree with nln.Exact to the bit, and to refuse
// what that refuses.
func ExactIndex(t *testing.T, open NewIndex) {
	t.Run("clusters", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for _, c := range []struct {
			n, dim, k int
			scale     float64
		}{
			{3000, 32, 5, 3}, {3000, 128, 10, 3}, {1000, 7, 3, 1}, {50, 4, 100, 1},
			{2000, 32, 5, 1e4}, // far from the origin, where products cancel badly
		} {
			v := Clusters(rng, c.n, c.dim, c.scale)
			q := Clusters(rng, 200, c.dim, c.scale)
			copy(q[:100*c.dim], v) // half of the queries are in the index
			SameAsExact(t, open, c.dim, c.k, v, q[:min(len(q), len(v))])
		}
	})
	t.Run("huge", func(t *testing.T) { // finite vectors whose squares are not, in float32
		for _, v := range []float32{1e18, 2e19, 1e30} {
			var q, x []float32
			for range 30 {
				q = append(q, -v, v, v, 0)
			}
			for j := range 10 {
				i := float32(j)
				x = append(x, v, i, 0, 0, 0, v, i, 0, 0, 0, -v, i, 1, 2, 3, i)
			}
			SameAsExact(t, open, 4, 3, x, q)
			SameAsExact(t, open, 4, 3, x[:16], q)
		}
	})
	t.Run("ties", func(t *testing.T) { // among many equal vectors the lowest ids win
		const dim, n = 8, 500
		v := make([]float32, n*dim)
		for i := range v {
			v[i] = 1
		}
		copy(v[400*dim:], []float32{5, 5, 5, 5, 5, 5, 5, 5})
		SameAsExact(t, open, dim, 3, v, make([]float32, 100*dim))
	})
	t.Run("wrong use", func(t *testing.T) { wrongUse(t, open(t, 3, nil)) })
}

func wrongUse(t *testing.T, x nln.Index) {
	if _, err := x.Search(t.Context(), make([]float32, 3), 1, nln.Neighbors{}); !errors.Is(err, nln.ErrEmptyIndex) {
		t.Errorf("empty index: %v", err)
	}
	nan := float32(math.NaN())
	for name, err := range map[string]error{
		"ragged": x.Add(t.Context(), make([]float32, 4)),
		"NaN":    x.Add(t.Context(), []float32{0, 0, 0, 0, nan, 0}),
		"Inf":    x.Add(t.Context(), []float32{0, 0, float32(math.Inf(1))}),
	} {
		if err == nil {
			t.Errorf("add %s: no error", name)
		}
	}
	if x.Len() != 0 {
		t.Errorf("a failed Add left %d vectors", x.Len())
	}
	if err := x.Add(t.Context(), make([]float32, 6)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		q []float32
		k int
	}{"ragged": {make([]float32, 2), 1}, "NaN": {[]float32{nan, 0, 0}, 1}, "no k": {make([]float32, 3), 0}} {
		if _, err := x.Search(t.Context(), c.q, c.k, nln.Neighbors{}); err == nil {
			t.Errorf("search %s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Search(ctx, make([]float32, 3), 1, nln.Neighbors{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled search: %v", err)
	}
}

// SameAsExact compares an index with nln.Exact, whose results must be the same to the
// bit, for all queries at once and for some one by one.
func SameAsExact(t *testing.T, open NewIndex, dim, k int, vectors, queries []float32) {
	t.Helper()
	exact := nln.NewExact(dim)
	if err := exact.Add(t.Context(), vectors); err != nil {
		t.Fatal(err)
	}
	x := open(t, dim, vectors)
	compare := func(queries []float32) {
		t.Helper()
		want, err1 := exact.Search(t.Context(), queries, k, nln.Neighbors{})
		got, err2 := x.Search(t.Context(), queries, k, nln.Neighbors{})
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if got.K != want.K || len(got.IDs) != len(want.IDs) {
			t.Fatalf("K = %d with %d ids, want %d with %d", got.K, len(got.IDs), want.K, len(want.IDs))
		}
		for i := range want.IDs {
			if got.IDs[i] != want.IDs[i] || got.Dist[i] != want.Dist[i] {
				t.Fatalf("of %d queries, query %d, neighbour %d: %d at %v, want %d at %v", len(queries)/dim,
					i/want.K, i%want.K, got.IDs[i], got.Dist[i], want.IDs[i], want.Dist[i])
			}
		}
	}
	compare(queries)
	for i := range min(20, len(queries)/dim) {
		compare(queries[i*dim : (i+1)*dim])
	}
}

// Clusters returns n vectors around a few centres, which is what latents look like, one
// in ten a copy of an earlier one.
func Clusters(rng *rand.Rand, n, dim int, scale float64) []float32 {
	centers, v := make([]float32, 10*dim), make([]float32, n*dim)
	for i := range centers {
		centers[i] = float32(rng.NormFloat64() * scale)
	}
	for i := range n {
		if i > 0 && rng.IntN(10) == 0 {
			j := rng.IntN(i)
			copy(v[i*dim:(i+1)*dim], v[j*dim:(j+1)*dim])
			continue
		}
		c := rng.IntN(10)
		for d := range dim {
			v[i*dim+d] = centers[c*dim+d] + float32(rng.NormFloat64())
		}
	}
	return v
}
