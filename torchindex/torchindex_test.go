package torchindex

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

// testDevice is where the tests compute: NLN_TEST_DEVICE, such as "cuda:0", or the CPU.
func testDevice(t testing.TB) torch.Device {
	t.Helper()
	name := os.Getenv("NLN_TEST_DEVICE")
	if name == "" {
		return torch.CPU
	}
	d, err := torch.FindDevice(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newIndex(t testing.TB, dim int, vectors []float32) *Index {
	t.Helper()
	x, err := New(testDevice(t), dim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	if err := x.Add(context.Background(), vectors); err != nil {
		t.Fatal(err)
	}
	return x
}

// checkAgainstExact compares with the exact index in Go, whose results must be the
// same to the bit.
func checkAgainstExact(t *testing.T, dim, k int, vectors, queries []float32) {
	t.Helper()
	exact := nln.NewExact(dim)
	if err := exact.Add(t.Context(), vectors); err != nil {
		t.Fatal(err)
	}
	want, err1 := exact.Search(t.Context(), queries, k, nln.Neighbors{})
	got, err2 := newIndex(t, dim, vectors).Search(t.Context(), queries, k, nln.Neighbors{})
	if err := errors.Join(err1, err2); err != nil {
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
}

// clusters returns n vectors around a few centres, one in ten a copy of another.
func clusters(rng *rand.Rand, n, dim int, scale float64) []float32 {
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

func TestAgreesWithExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		n, dim, k int
		scale     float64
	}{
		{3000, 32, 5, 3}, {2000, 128, 10, 3}, {1000, 7, 3, 1}, {50, 4, 100, 1},
		{2000, 32, 5, 1e4}, // far from the origin, where products cancel badly
	} {
		v := clusters(rng, c.n, c.dim, c.scale)
		q := clusters(rng, 200, c.dim, c.scale)
		copy(q[:100*c.dim], v) // half of the queries are in the index
		checkAgainstExact(t, c.dim, c.k, v, q[:min(len(q), len(v))])
	}
}

// Finite vectors whose squares are not, in float32.
func TestHugeVectors(t *testing.T) {
	for _, v := range []float32{1e18, 2e19, 1e30} {
		q := make([]float32, 0, 30*4)
		for range 30 {
			q = append(q, -v, v, v, 0)
		}
		x := make([]float32, 0, 40*4)
		for j := range 10 {
			i := float32(j)
			x = append(x, v, i, 0, 0, 0, v, i, 0, 0, 0, -v, i, 1, 2, 3, i)
		}
		checkAgainstExact(t, 4, 3, x, q)
	}
}

// Many equal vectors: the lowest ids win.
func TestTiesAreOrderedByID(t *testing.T) {
	const dim, n = 8, 500
	v := make([]float32, n*dim)
	for i := range v {
		v[i] = 1
	}
	copy(v[400*dim:], []float32{5, 5, 5, 5, 5, 5, 5, 5})
	checkAgainstExact(t, dim, 3, v, make([]float32, 100*dim))
}

func TestGrows(t *testing.T) {
	before := torch.LiveHandles()
	rng := rand.New(rand.NewPCG(3, 4))
	v := clusters(rng, 300, 16, 2)
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

func TestWrongUse(t *testing.T) {
	if _, err := New(torch.CPU, 0); err == nil {
		t.Error("vectors of no values")
	}
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
