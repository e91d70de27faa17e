package faissindex

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

func newIndex(t testing.TB, dim int, vectors []float32) *Index {
	t.Helper()
	x, err := New(dim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	if err := x.Add(context.Background(), vectors); err != nil {
		t.Fatal(err)
	}
	return x
}

// clusters returns n vectors around a few centres, which is what latents look
// like, some of them equal.
func clusters(rng *rand.Rand, n, dim int, scale float64) []float32 {
	centers := make([]float32, 10*dim)
	for i := range centers {
		centers[i] = float32(rng.NormFloat64() * scale)
	}
	v := make([]float32, n*dim)
	for i := range n {
		if i > 0 && rng.IntN(10) == 0 { // a copy of an earlier one
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

// checkAgainstExact compares with the exact index in Go, whose results must be
// the same to the bit.
func checkAgainstExact(t *testing.T, dim, k int, vectors, queries []float32) {
	t.Helper()
	exact := nln.NewExact(dim)
	if err := exact.Add(t.Context(), vectors); err != nil {
		t.Fatal(err)
	}
	want, err := exact.Search(t.Context(), queries, k, nln.Neighbors{})
	if err != nil {
		t.Fatal(err)
	}
	x := newIndex(t, dim, vectors)
	got, err := x.Search(t.Context(), queries, k, nln.Neighbors{})
	if err != nil {
		t.Fatal(err)
	}
	if got.K != want.K || len(got.IDs) != len(want.IDs) {
		t.Fatalf("K = %d with %d ids, want %d with %d", got.K, len(got.IDs), want.K, len(want.IDs))
	}
	for i := range want.IDs {
		if got.IDs[i] != want.IDs[i] || got.Dist[i] != want.Dist[i] {
			t.Fatalf("query %d, neighbour %d: %d at %v, want %d at %v",
				i/want.K, i%want.K, got.IDs[i], got.Dist[i], want.IDs[i], want.Dist[i])
		}
	}
	// One query at a time goes another way through FAISS.
	for i := range min(20, len(queries)/dim) {
		one, err := x.Search(t.Context(), queries[i*dim:(i+1)*dim], k, nln.Neighbors{})
		if err != nil {
			t.Fatal(err)
		}
		for j := range want.K {
			if one.IDs[j] != want.IDs[i*want.K+j] || one.Dist[j] != want.Dist[i*want.K+j] {
				t.Fatalf("query %d alone, neighbour %d: %d at %v, want %d at %v",
					i, j, one.IDs[j], one.Dist[j], want.IDs[i*want.K+j], want.Dist[i*want.K+j])
			}
		}
	}
}

func TestAgreesWithExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		n, dim, k int
		scale     float64
	}{
		{3000, 32, 5, 3}, {3000, 128, 10, 3}, {1000, 7, 3, 1}, {50, 4, 100, 1},
		{2000, 32, 5, 1e4}, // far from the origin, where FAISS cancels badly
	} {
		v := clusters(rng, c.n, c.dim, c.scale)
		q := clusters(rng, 200, c.dim, c.scale)
		copy(q[:100*c.dim], v) // half of the queries are in the index
		checkAgainstExact(t, c.dim, c.k, v, q[:min(len(q), len(v))])
	}
}

// Finite vectors whose squares are not, in float32: FAISS finds nothing then.
func TestHugeVectors(t *testing.T) {
	for _, v := range []float32{1e18, 2e19, 1e30} {
		q := make([]float32, 0, 30*4)
		for range 30 {
			q = append(q, -v, v, v, 0)
		}
		checkAgainstExact(t, 4, 3, []float32{v, 0, 0, 0, 0, v, 0, 0, 0, 0, -v, 0, 1, 2, 3, 4}, q)
	}
}

// Many equal vectors: the lowest ids win, however FAISS picks among them.
func TestTiesAreOrderedByID(t *testing.T) {
	const dim, n = 8, 500
	v := make([]float32, n*dim)
	for i := range v {
		v[i] = 1
	}
	copy(v[400*dim:], []float32{5, 5, 5, 5, 5, 5, 5, 5})
	checkAgainstExact(t, dim, 3, v, make([]float32, 30*dim))
}

func TestDistancesAreNotSquared(t *testing.T) {
	x := newIndex(t, 2, []float32{0, 0, 3, 4, 6, 8})
	nb, err := x.Search(t.Context(), []float32{0, 0}, 3, nln.Neighbors{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{0, 5, 10} {
		if nb.Dist[i] != want || nb.IDs[i] != int64(i) {
			t.Errorf("neighbour %d: %d at %v, want %d at %v", i, nb.IDs[i], nb.Dist[i], i, want)
		}
	}
}

func TestWriteRead(t *testing.T) {
	before := torch.LiveHandles()
	rng := rand.New(rand.NewPCG(3, 4))
	v := clusters(rng, 300, 16, 2)
	x, err := New(16)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Add(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := x.Write(path); err != nil {
		t.Fatal(err)
	}
	y, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range y.Vectors() {
		if f != v[i] || len(y.Vectors()) != len(v) {
			t.Fatalf("vector value %d of %d is %v, want %v", i, len(y.Vectors()), f, v[i])
		}
	}
	a, err1 := x.Search(t.Context(), v[:160], 4, nln.Neighbors{})
	b, err2 := y.Search(t.Context(), v[:160], 4, nln.Neighbors{})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for i := range a.IDs {
		if a.IDs[i] != b.IDs[i] || a.Dist[i] != b.Dist[i] {
			t.Fatalf("neighbour %d differs after reading", i)
		}
	}
	x.Close()
	y.Close()
	y.Close()
	if y.Vectors() != nil {
		t.Error("a closed index gives vectors")
	}
	os.WriteFile(path, []byte("IxFI and then nothing"), 0o644)
	if _, err := Read(path); err == nil {
		t.Error("damaged file: no error")
	}
	if n := torch.LiveHandles(); n != before {
		t.Errorf("%d objects of the core live, %d before", n, before)
	}
}

func TestWrongUse(t *testing.T) {
	x := newIndex(t, 3, nil)
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
