package nln_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

func TestSearchOthersLeavesOutSelf(t *testing.T) {
	x := exact(t, 2, []float32{0, 0, 3, 4, 6, 8})
	nb, err := nln.SearchOthers(t.Context(), x, []float32{0, 0}, []int64{0}, 2, nln.Neighbors{})
	want := nln.Neighbors{K: 2, IDs: []int64{1, 2}, Dist: []float32{5, 10}}
	if err != nil || !reflect.DeepEqual(nb, want) {
		t.Errorf("SearchOthers = %v, %v, want %v", nb, err, want)
	}
	// An equal vector with a smaller id hides the query itself, and stays.
	x = exact(t, 1, []float32{7, 7, 7, 9})
	nb, err = nln.SearchOthers(t.Context(), x, []float32{7, 7, 9}, []int64{2, 0, 3}, 9, nln.Neighbors{})
	want = nln.Neighbors{K: 3, IDs: []int64{0, 1, 3, 1, 2, 3, 0, 1, 2}, Dist: []float32{0, 0, 2, 0, 0, 2, 2, 2, 2}}
	if err != nil || !reflect.DeepEqual(nb, want) {
		t.Errorf("SearchOthers = %v, %v, want %v", nb, err, want)
	}
	nb, err = nln.SearchOthers(t.Context(), x, []float32{7}, []int64{2}, 1, nln.Neighbors{})
	want = nln.Neighbors{K: 1, IDs: []int64{0}, Dist: []float32{0}}
	if err != nil || !reflect.DeepEqual(nb, want) {
		t.Errorf("SearchOthers = %v, %v, want %v", nb, err, want)
	}
	_, err = nln.SearchOthers(t.Context(), x, []float32{7}, []int64{2, 1}, 1, nln.Neighbors{})
	wantError(t, "more ids than queries", err, "1 queries, 2 ids")
	_, err = nln.SearchOthers(t.Context(), exact(t, 1, []float32{7}), []float32{7}, []int64{0}, 1, nln.Neighbors{})
	wantError(t, "one vector", err, "index holds 1")
}

// slowOtherSources is the literal search: all vectors in order, without those
// of the query's source.
func slowOtherSources(dim int, vectors, queries []float32, source, sources []int64, k int) nln.Neighbors {
	all := slowSearch(dim, vectors, queries, len(sources))
	nb := nln.Neighbors{K: k}
	for i, own := range source {
		n := 0
		for j := i * all.K; j < (i+1)*all.K && n < k; j++ {
			if sources[all.IDs[j]] != own {
				nb.IDs, nb.Dist = append(nb.IDs, all.IDs[j]), append(nb.Dist, all.Dist[j])
				n++
			}
		}
	}
	return nb
}

func TestSearchOtherSourcesEqualsDefinition(t *testing.T) {
	const dim, n, most = 2, 90, 40
	rng := rand.New(rand.NewPCG(7, 7))
	vectors, sources := make([]float32, n*dim), make([]int64, n)
	for i := range vectors {
		vectors[i] = float32(rng.IntN(5)) // many equal ones, across sources
	}
	for i := range sources {
		sources[i] = 1000 + int64(rng.IntN(9))
		if i < most {
			sources[i] = 7 // a large group, near which the first search finds nothing else
			vectors[dim*i], vectors[dim*i+1] = 2, float32(i%2)/64
		}
	}
	x := exact(t, dim, vectors)
	for _, k := range []int{1, 3, 10, n - most} {
		got, err := nln.SearchOtherSources(t.Context(), x, vectors, sources, sources, k, nln.Neighbors{})
		if err != nil {
			t.Fatal(err)
		}
		if want := slowOtherSources(dim, vectors, vectors, sources, sources, k); !sameNeighbors(got, want) {
			t.Errorf("k %d: not what leaving out by hand gives", k)
		}
	}
	// One neighbour more than the largest source leaves to its entries.
	got, err := nln.SearchOtherSources(t.Context(), x, vectors[:dim], sources[:1], sources, n, nln.Neighbors{})
	if err != nil || got.K != n-most || len(got.IDs) != n-most {
		t.Errorf("%d neighbours, %v, want %d", got.K, err, n-most)
	}
	// Sources that are the entries themselves: the same as leaving out the id.
	self := make([]int64, n)
	for i := range self {
		self[i] = int64(i)
	}
	a, err1 := nln.SearchOtherSources(t.Context(), x, vectors, self, self, 5, nln.Neighbors{})
	b, err2 := nln.SearchOthers(t.Context(), x, vectors, self, 5, nln.Neighbors{})
	if err := errors.Join(err1, err2); err != nil || !sameNeighbors(a, b) {
		t.Errorf("by source %v, by id %v (%v)", a, b, err)
	}
}

func TestSearchOtherSourcesErrors(t *testing.T) {
	ctx := t.Context()
	x := exact(t, 1, []float32{7, 8, 9})
	none := nln.Neighbors{}
	_, err := nln.SearchOtherSources(ctx, x, []float32{7}, []int64{1, 2}, []int64{1, 2, 3}, 1, none)
	wantError(t, "more sources than queries", err, "1 queries, 2 sources")
	_, err = nln.SearchOtherSources(ctx, x, []float32{7}, []int64{1}, []int64{1, 2}, 1, none)
	wantError(t, "fewer sources than vectors", err, "3 vectors, 2 sources")
	_, err = nln.SearchOtherSources(ctx, x, []float32{7}, []int64{1}, []int64{1, 1, 1}, 1, none)
	wantError(t, "one source", err, "all 3 vectors", "one source")
	_, err = nln.SearchOtherSources(ctx, x, []float32{7}, []int64{1}, []int64{1, 2, 3}, 0, none)
	wantError(t, "k 0", err, "k is 0")
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err = nln.SearchOtherSources(canceled, x, []float32{7}, []int64{1}, []int64{1, 2, 3}, 1, none); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
}

// A forgetful index misses every neighbour but the first few ids, unless it is
// asked not to.
type forgetful struct{ *nln.Exact }

func (f forgetful) Search(_ context.Context, queries []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
	for range len(queries) / f.Dim() {
		for id := range k {
			dst.IDs, dst.Dist = append(dst.IDs, int64(id)), append(dst.Dist, 0)
		}
	}
	dst.K = k
	return dst, nil
}

func (f forgetful) SearchExact(ctx context.Context, queries []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
	return f.Exact.Search(ctx, queries, k, dst)
}

func TestSearchOthersMissesNone(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const n, dim, k = 60, 4, 3
	v := make([]float32, n*dim)
	self := make([]int64, n)
	for i := range v {
		v[i], self[i/dim] = rng.Float32(), int64(i/dim)
	}
	want, err := nln.SearchOthers(t.Context(), exact(t, dim, v), v, self, k, nln.Neighbors{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := nln.SearchOthers(t.Context(), forgetful{exact(t, dim, v)}, v, self, k, nln.Neighbors{})
	if err != nil || !sameNeighbors(got, want) {
		t.Errorf("others by an index that misses some: %v", err)
	}
}
