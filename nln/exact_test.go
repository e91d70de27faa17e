package nln_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sort"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

func exact(t testing.TB, dim int, vectors []float32) *nln.Exact {
	t.Helper()
	x := nln.NewExact(dim)
	if err := x.Add(t.Context(), vectors); err != nil {
		t.Fatal(err)
	}
	return x
}

// slowSearch is the literal search: all distances of each query, sorted.
func slowSearch(dim int, vectors, queries []float32, k int) nln.Neighbors {
	type hit struct {
		id   int64
		dist float32
	}
	n := len(vectors) / dim
	nb := nln.Neighbors{K: min(k, n), IDs: []int64{}, Dist: []float32{}}
	for q := range len(queries) / dim {
		hits := make([]hit, n)
		for id := range hits {
			var sum float64
			for i := range dim {
				d := float64(queries[q*dim+i]) - float64(vectors[id*dim+i])
				sum += float64(d * d)
			}
			hits[id] = hit{int64(id), float32(math.Sqrt(sum))}
		}
		sort.SliceStable(hits, func(a, b int) bool { return hits[a].dist < hits[b].dist })
		for _, h := range hits[:nb.K] {
			nb.IDs = append(nb.IDs, h.id)
			nb.Dist = append(nb.Dist, h.dist)
		}
	}
	return nb
}

func sameNeighbors(a, b nln.Neighbors) bool {
	return a.K == b.K && slices.Equal(a.IDs, b.IDs) && slices.Equal(a.Dist, b.Dist)
}

// Distances are Euclidean, not squared.
func TestExactEuclidean(t *testing.T) {
	x := exact(t, 2, []float32{0, 0, 3, 4, 6, 8})
	nb, err := x.Search(t.Context(), []float32{0, 0}, 3, nln.Neighbors{})
	want := nln.Neighbors{K: 3, IDs: []int64{0, 1, 2}, Dist: []float32{0, 5, 10}}
	if err != nil || !reflect.DeepEqual(nb, want) {
		t.Errorf("Search = %v, %v, want %v", nb, err, want)
	}
}

func TestExactEqualsSort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, dim := range []int{1, 2, 3, 8, 33} {
		for _, n := range []int{1, 3, 4, 5, 130, 4200} {
			for _, k := range []int{1, 3, 10, 200} {
				if dim*n*k > 1_000_000 {
					continue
				}
				// Small whole numbers, for many equal distances.
				vectors, queries := make([]float32, n*dim), make([]float32, 35*dim)
				for i := range vectors {
					vectors[i] = float32(rng.IntN(4))
				}
				for i := range queries {
					queries[i] = float32(rng.IntN(4))
				}
				got, err := exact(t, dim, vectors).Search(t.Context(), queries, k, nln.Neighbors{})
				if err != nil {
					t.Fatal(err)
				}
				if want := slowSearch(dim, vectors, queries, k); !sameNeighbors(got, want) {
					t.Fatalf("dim %d, %d vectors, k %d: not what sorting gives", dim, n, k)
				}
			}
		}
	}
}

// Two sums that differ in float64 but not after rounding to float32, the
// distance that the caller sees, are equal distances: the lower id is first.
func TestExactTiesAsReturned(t *testing.T) {
	near, nearer := []float32{1, 1e-6}, []float32{1, 0}
	x := exact(t, 2, slices.Concat([]float32{5, 5}, near, nearer))
	nb, err := x.Search(t.Context(), []float32{0, 0}, 2, nln.Neighbors{})
	want := nln.Neighbors{K: 2, IDs: []int64{1, 2}, Dist: []float32{1, 1}}
	if err != nil || !reflect.DeepEqual(nb, want) {
		t.Errorf("Search = %v, %v, want %v", nb, err, want)
	}
}

// Finite vectors may be further apart than a float32 can say.
func TestExactOverflow(t *testing.T) {
	const huge = math.MaxFloat32
	x := exact(t, 2, []float32{-huge, -huge, huge, huge})
	nb, err := x.Search(t.Context(), []float32{huge, huge}, 2, nln.Neighbors{})
	want := nln.Neighbors{K: 2, IDs: []int64{1, 0}, Dist: []float32{0, float32(math.Inf(1))}}
	if err != nil || !reflect.DeepEqual(nb, want) {
		t.Errorf("Search = %v, %v, want %v", nb, err, want)
	}
}

func TestExactBatchIndependent(t *testing.T) {
	const dim, k = 7, 5
	vectors, queries := noise(4, testShape, 70, 1).Pix, noise(5, testShape, 7, 1).Pix
	x := exact(t, dim, vectors)
	whole, err := x.Search(t.Context(), queries, k, nln.Neighbors{})
	if err != nil {
		t.Fatal(err)
	}
	for q := range len(queries) / dim {
		one, err := x.Search(t.Context(), queries[q*dim:(q+1)*dim], k, nln.Neighbors{})
		if err != nil {
			t.Fatal(err)
		}
		part := nln.Neighbors{K: k, IDs: whole.IDs[q*k : (q+1)*k], Dist: whole.Dist[q*k : (q+1)*k]}
		if !sameNeighbors(one, part) {
			t.Fatalf("query %d alone %v, among others %v", q, one, part)
		}
	}
}

// Vectors added in pieces get the ids and the neighbours of one Add.
func TestExactAddInPieces(t *testing.T) {
	vectors := noise(6, testShape, 10, 1).Pix
	x := nln.NewExact(6)
	for v := vectors; len(v) > 0; {
		n := min(len(v), 6*7)
		if err := x.Add(t.Context(), v[:n]); err != nil {
			t.Fatal(err)
		}
		v = v[n:]
	}
	if x.Len() != 50 || x.Dim() != 6 || !slices.Equal(x.Vectors(), vectors) {
		t.Fatalf("%d vectors of %d, want 50 of 6, as they were", x.Len(), x.Dim())
	}
	got, err := x.Search(t.Context(), vectors, 3, nln.Neighbors{})
	if want := slowSearch(6, vectors, vectors, 3); err != nil || !sameNeighbors(got, want) {
		t.Errorf("Search = %v, %v, want %v", got, err, want)
	}
}

func TestExactReusesMemory(t *testing.T) {
	x := exact(t, 1, []float32{1, 2, 3})
	dst := nln.Neighbors{IDs: make([]int64, 0, 10), Dist: make([]float32, 0, 10)}
	nb, err := x.Search(t.Context(), []float32{0, 4}, 2, dst)
	if err != nil {
		t.Fatal(err)
	}
	if &nb.IDs[0] != &dst.IDs[:1][0] || &nb.Dist[0] != &dst.Dist[:1][0] {
		t.Error("Search did not use the memory it was given")
	}
	if nb, err = x.Search(t.Context(), nil, 2, nb); err != nil || len(nb.IDs) != 0 || nb.K != 2 {
		t.Errorf("no queries: %v, %v, want none", nb, err)
	}
}

func TestExactErrors(t *testing.T) {
	ctx := t.Context()
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	x := nln.NewExact(2)
	_, err := x.Search(ctx, []float32{1, 2}, 1, nln.Neighbors{})
	if !errors.Is(err, nln.ErrEmptyIndex) {
		t.Errorf("empty index: error %v is not ErrEmptyIndex", err)
	}
	wantError(t, "ragged", x.Add(ctx, []float32{1, 2, 3}), "3 values", "dimension 2")
	wantError(t, "NaN", x.Add(ctx, []float32{1, 2, 3, nan}), "vector 1", "NaN")
	wantError(t, "infinity", x.Add(ctx, []float32{inf, 2, 3, 4}), "vector 0", "-Inf")
	if x.Len() != 0 {
		t.Errorf("%d vectors after errors, want 0", x.Len())
	}
	if err := x.Add(ctx, []float32{1, 2}); err != nil {
		t.Fatal(err)
	}
	_, err = x.Search(ctx, []float32{1, 2}, 0, nln.Neighbors{})
	wantError(t, "k 0", err, "k is 0")
	_, err = x.Search(ctx, []float32{1}, 1, nln.Neighbors{})
	wantError(t, "ragged query", err, "1 values")
	_, err = x.Search(ctx, []float32{1, 2, nan, 4}, 1, nln.Neighbors{})
	wantError(t, "NaN query", err, "query vector 1", "NaN")
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err = x.Search(canceled, []float32{1, 2}, 1, nln.Neighbors{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
}

func BenchmarkExactSearch(b *testing.B) {
	for _, dim := range []int{32, 128} {
		b.Run(fmt.Sprint(dim), func(b *testing.B) {
			const n, queries = 60000, 64
			rng := rand.New(rand.NewPCG(1, 1))
			v := make([]float32, n*dim)
			for i := range v {
				v[i] = rng.Float32()
			}
			x := exact(b, dim, v)
			var nb nln.Neighbors
			for b.Loop() {
				var err error
				if nb, err = x.Search(b.Context(), v[:queries*dim], 5, nb); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(queries*b.N)/b.Elapsed().Seconds(), "queries/s")
		})
	}
}
