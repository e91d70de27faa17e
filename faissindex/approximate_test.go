package faissindex

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

var approximate = []Kind{HNSW, IVF}

// chosen returns an index of the kind and what Choose measured.
func chosen(t *testing.T, kind Kind, dim int, vectors, queries []float32, k int) (*Index, Choice) {
	t.Helper()
	x := newIndex(t, dim, vectors)
	c, err := x.Choose(t.Context(), kind, queries, k)
	if err != nil {
		t.Fatal(err)
	}
	if x.Kind() != kind || c.Kind != kind || c.Asked != kind {
		t.Fatalf("kind %q, choice %+v, want %q", x.Kind(), c, kind)
	}
	return x, c
}

// find returns what x finds, all queries at once.
func find(t *testing.T, x nln.Index, queries []float32, k int) nln.Neighbors {
	t.Helper()
	nb, err := x.Search(t.Context(), queries, k, nln.Neighbors{})
	if err != nil {
		t.Fatal(err)
	}
	return nb
}

// slowRecall counts by the plain exact index which of its neighbours were found.
func slowRecall(t *testing.T, dim int, vectors, queries []float32, got nln.Neighbors) float64 {
	t.Helper()
	exact := nln.NewExact(dim)
	if err := exact.Add(t.Context(), vectors); err != nil {
		t.Fatal(err)
	}
	want := find(t, exact, queries, got.K)
	found := 0
	for i := range len(queries) / dim {
		row := got.IDs[i*got.K : (i+1)*got.K]
		for _, id := range row {
			if nln.Distance(queries[i*dim:(i+1)*dim], vectors[int(id)*dim:int(id+1)*dim]) <= want.Dist[(i+1)*want.K-1] {
				found++
			}
		}
	}
	return float64(found) / float64(len(want.IDs))
}

// checkRows makes sure that neighbours are distinct, at the distances that they
// have, and in order.
func checkRows(t *testing.T, dim int, vectors, queries []float32, nb nln.Neighbors) {
	t.Helper()
	for i := range len(queries) / dim {
		q := queries[i*dim : (i+1)*dim]
		for j := i * nb.K; j < (i+1)*nb.K; j++ {
			id := int(nb.IDs[j])
			if d := nln.Distance(q, vectors[id*dim:(id+1)*dim]); nb.Dist[j] != d {
				t.Fatalf("query %d: vector %d at %v, want %v", i, id, nb.Dist[j], d)
			}
			if j > i*nb.K && cmp.Or(cmp.Compare(nb.Dist[j-1], nb.Dist[j]), cmp.Compare(nb.IDs[j-1], nb.IDs[j])) >= 0 {
				t.Fatalf("query %d: %d at %v before %d at %v", i, nb.IDs[j-1], nb.Dist[j-1], nb.IDs[j], nb.Dist[j])
			}
		}
	}
}

func TestApproximateKindsReachTheRecall(t *testing.T) {
	const dim, n, queries, k = 16, 6000, 300, 5
	rng := rand.New(rand.NewPCG(1, 2))
	v, q := latents(rng, n, dim), latents(rng, queries, dim)
	copy(q, v[:20*dim]) // some are in the index
	for _, kind := range approximate {
		x, c := chosen(t, kind, dim, v, q, k)
		nb := find(t, x, q, k)
		checkRows(t, dim, v, q, nb)
		if got := slowRecall(t, dim, v, q, nb); got != c.Recall || got < MinRecall {
			t.Errorf("%s: recall %v, said to be %v, want at least %v", kind, got, c.Recall, MinRecall)
		}
		if c.K != k || c.Queries != queries || c.Gain <= 0 || c.Factory == "" {
			t.Errorf("%s: %+v", kind, c)
		}
		if !strings.Contains(c.String(), c.Factory) {
			t.Errorf("%s: %q does not say what it is", kind, c)
		}
		// Less effort finds less: the effort means something.
		if err := x.raw.SetEffort(1); err != nil {
			t.Fatal(err)
		}
		if least := slowRecall(t, dim, v, q, find(t, x, q, k)); least >= c.Recall {
			t.Errorf("%s: recall %v with the least effort, %v with the chosen one", kind, least, c.Recall)
		}
	}
}

// What an approximate index finds for a query is independent of the others, to
// the bit, and of which of two equal builds is asked.
func TestApproximateKindsAreDeterministic(t *testing.T) {
	defer torch.SetThreads(0)
	const dim, n, queries, k = 16, 4000, 90, 4
	rng := rand.New(rand.NewPCG(3, 4))
	v, q := latents(rng, n, dim), latents(rng, queries, dim)
	for _, kind := range approximate {
		var first nln.Neighbors
		for _, threads := range []int{2, 2, 3} {
			if err := torch.SetThreads(threads); err != nil {
				t.Fatal(err)
			}
			x, _ := chosen(t, kind, dim, v, q, k)
			nb := find(t, x, q, k)
			if first.K == 0 {
				first = nb
			}
			if threads == 2 && !slices.Equal(nb.IDs, first.IDs) {
				t.Errorf("%s: two builds find different neighbours", kind)
			}
			for i := range queries {
				one := find(t, x, q[i*dim:(i+1)*dim], k)
				if !slices.Equal(one.IDs, nb.IDs[i*k:(i+1)*k]) || !slices.Equal(one.Dist, nb.Dist[i*k:(i+1)*k]) {
					t.Fatalf("%s: query %d finds others alone than among %d", kind, i, queries)
				}
			}
		}
	}
}

func TestApproximateKindsKeepVectorsAndFiles(t *testing.T) {
	before := torch.LiveHandles()
	const dim, n, k = 8, 2000, 3
	rng := rand.New(rand.NewPCG(5, 6))
	v, q := latents(rng, n, dim), latents(rng, 120, dim)
	for _, kind := range approximate {
		x, c := chosen(t, kind, dim, v, q, k)
		path := filepath.Join(t.TempDir(), "x")
		if err := x.Write(path); err != nil {
			t.Fatal(err)
		}
		y, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if y.Kind() != kind || !slices.Equal(y.Vectors(), v) {
			t.Errorf("read an index of kind %q with %d values, want %q", y.Kind(), len(y.Vectors()), kind)
		}
		if _, effort, err := y.raw.Kind(); err != nil || effort != c.Effort {
			t.Errorf("%s: effort %d after reading, want %d: %v", kind, effort, c.Effort, err)
		}
		a, b := find(t, x, q, k), find(t, y, q, k)
		if !slices.Equal(a.IDs, b.IDs) || !slices.Equal(a.Dist, b.Dist) {
			t.Errorf("%s: finds others after reading", kind)
		}
		// Far from all others, so that nothing hides it.
		far := slices.Repeat([]float32{1000}, dim)
		if err := y.Add(t.Context(), far); err != nil {
			t.Fatal(err)
		}
		if nb := find(t, y, far, 1); nb.IDs[0] != n || nb.Dist[0] != 0 {
			t.Errorf("%s: an added vector is not found: %v", kind, nb)
		}
		y.Close()
		x.Close()
	}
	if n := torch.LiveHandles(); n != before {
		t.Errorf("%d objects of the core live, %d before", n, before)
	}
}

// What an approximate index cannot find it searches for exactly, and SearchExact
// always does.
func TestApproximateKindsFallBackToExact(t *testing.T) {
	const dim, n, k = 8, 2000, 3
	rng := rand.New(rand.NewPCG(7, 8))
	v, q := latents(rng, n, dim), latents(rng, 50, dim)
	exact := nln.NewExact(dim)
	if err := exact.Add(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	same := func(name string, got, want nln.Neighbors) {
		t.Helper()
		if got.K != want.K || !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.Dist, want.Dist) {
			t.Errorf("%s: not what the exact index gives", name)
		}
	}
	huge := slices.Repeat([]float32{2e19}, dim)
	for _, kind := range approximate {
		x, _ := chosen(t, kind, dim, v, q, k)
		same(string(kind)+", all vectors", find(t, x, q[:dim], n+1), find(t, exact, q[:dim], n+1))
		same(string(kind)+", squares overflow", find(t, x, huge, k), find(t, exact, huge, k))
		nb, err := x.SearchExact(t.Context(), q, k, nln.Neighbors{})
		if err != nil {
			t.Fatal(err)
		}
		same(string(kind)+", SearchExact", nb, find(t, exact, q, k))
	}
}

func TestAuto(t *testing.T) {
	const dim, n, k = 8, 3000, 5
	rng := rand.New(rand.NewPCG(9, 10))
	v, q := latents(rng, n, dim), latents(rng, 200, dim)
	willing := rule{from: 1, fewest: 1, recall: .5}
	for name, c := range map[string]struct {
		rule   rule
		kind   Kind
		reason string
	}{
		"all is well":     {willing, IVF, ""},
		"few vectors":     {rule{from: n + 1, fewest: 1}, Exact, "from about 3001 vectors on, not for 3000"},
		"few queries":     {rule{from: 1, fewest: 201}, Exact, "200 held-out vectors are too few"},
		"too little seen": {rule{from: 1, fewest: 1, recall: 1.1}, Exact, "of the neighbours at most"},
		"too slow":        {rule{from: 1, fewest: 1, recall: .5, gain: 1e9}, Exact, "times as fast"},
	} {
		x := newIndex(t, dim, v)
		got, err := x.choose(t.Context(), Auto, q, k, c.rule)
		if err != nil {
			t.Fatal(err)
		}
		if got.Asked != Auto || got.Kind != c.kind || x.Kind() != c.kind || !strings.Contains(got.String(), c.reason) || (c.reason == "") != (got.Reason == "") {
			t.Errorf("%s: index of kind %q, %+v, want kind %q and a reason with %q", name, x.Kind(), got, c.kind, c.reason)
		}
		checkRows(t, dim, v, q, find(t, x, q, k))
	}
}

func TestChooseWrongUse(t *testing.T) {
	before := torch.LiveHandles()
	const dim = 4
	rng := rand.New(rand.NewPCG(11, 12))
	v := latents(rng, 200, dim)
	x, err := New(dim)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if _, err := x.Choose(t.Context(), HNSW, v, 1); !errors.Is(err, nln.ErrEmptyIndex) {
		t.Errorf("empty index: %v", err)
	}
	if err := x.Add(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, unknown := x.Choose(t.Context(), "flat", v, 1)
	_, none := x.Choose(t.Context(), IVF, nil, 1)
	_, ragged := x.Choose(t.Context(), IVF, v[:dim+1], 1)
	_, cancelled := x.Choose(ctx, IVF, v, 1)
	for name, err := range map[string]error{"unknown kind": unknown, "no queries": none, "ragged queries": ragged, "cancelled": cancelled} {
		if err == nil || x.Kind() != Exact {
			t.Errorf("%s: kind %q, %v", name, x.Kind(), err)
		}
	}
	if _, err := x.Choose(t.Context(), IVF, v, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Choose(t.Context(), HNSW, v, 1); err == nil || x.Kind() != IVF {
		t.Errorf("chosen twice: kind %q, %v", x.Kind(), err)
	}
	x.Close()
	if n := torch.LiveHandles(); n != before {
		t.Errorf("%d objects of the core live, %d before", n, before)
	}
}
