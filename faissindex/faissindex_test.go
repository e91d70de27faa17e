package faissindex

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/internal/coretest"
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

func TestAgreesWithExact(t *testing.T) {
	coretest.ExactIndex(t, func(t testing.TB, dim int, v []float32) nln.Index { return newIndex(t, dim, v) })
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
	v := coretest.Clusters(rng, 300, 16, 2)
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
