package faiss

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/internal/core"
)

func atEnd(t *testing.T) {
	t.Helper()
	if err := core.Load(); err != nil {
		t.Fatal(err)
	}
	before := core.LiveHandles()
	t.Cleanup(func() {
		if n := core.LiveHandles(); n != before {
			t.Errorf("%d objects of the core live, %d before the test", n, before)
		}
	})
}

func flat(t *testing.T, dim int, vectors []float32) *Index {
	t.Helper()
	x, err := New(dim, "Flat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	if err := x.Add(vectors); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestSearchGivesSquaredDistances(t *testing.T) {
	atEnd(t)
	x := flat(t, 2, []float32{0, 0, 3, 4, 6, 8})
	dist, ids := make([]float32, 4), make([]int64, 4)
	if err := x.Search([]float32{0, 0}, 4, dist, ids); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{0, 25, 100} {
		if dist[i] != want || ids[i] != int64(i) {
			t.Errorf("neighbour %d = %d at %v, want %d at %v", i, ids[i], dist[i], i, want)
		}
	}
	if ids[3] != -1 {
		t.Errorf("id beyond the index = %d, want -1", ids[3])
	}
}

func TestVectorsAndFiles(t *testing.T) {
	atEnd(t)
	rng := rand.New(rand.NewPCG(1, 2))
	v := make([]float32, 5*300)
	for i := range v {
		v[i] = rng.Float32()
	}
	x := flat(t, 5, v)
	path := filepath.Join(t.TempDir(), "x.faiss")
	if err := x.Write(path); err != nil {
		t.Fatal(err)
	}
	y, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	if y.Dim() != 5 || y.Len() != 300 {
		t.Fatalf("read %d vectors of %d", y.Len(), y.Dim())
	}
	got, err := y.Vectors()
	if err != nil {
		t.Fatal(err)
	}
	for i := range v {
		if got[i] != v[i] {
			t.Fatalf("value %d = %v, want %v", i, got[i], v[i])
		}
	}

	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.HasPrefix(err.Error(), "faiss: read index: ") {
		t.Errorf("half a file: %v", err)
	}
	if _, err := Read(path + ".none"); err == nil {
		t.Error("no file: no error")
	}
	if err := x.Write(filepath.Join(t.TempDir(), "none", "x")); err == nil {
		t.Error("write into a folder that is not there: no error")
	}
}

func TestApproximateIndexHasNoVectors(t *testing.T) {
	atEnd(t)
	x, err := New(8, "HNSW4,SQ8")
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if _, err := x.Vectors(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("vectors of a quantised index: %v, want ErrUnsupported", err)
	}
	if err := x.Add(make([]float32, 8)); err == nil || !strings.Contains(err.Error(), "trained") {
		t.Errorf("add before training: %v", err)
	}
}

func TestWrongUse(t *testing.T) {
	atEnd(t)
	x := flat(t, 3, make([]float32, 6))
	dist, ids := make([]float32, 2), make([]int64, 2)
	for name, err := range map[string]error{
		"ragged add":   x.Add(make([]float32, 4)),
		"ragged query": x.Search(make([]float32, 4), 2, dist, ids),
		"no k":         x.Search(make([]float32, 3), 0, nil, nil),
		"short result": x.Search(make([]float32, 3), 2, dist[:1], ids),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := x.Add(nil); err != nil {
		t.Errorf("adding nothing: %v", err)
	}
	if err := x.Search(nil, 2, nil, nil); err != nil {
		t.Errorf("searching nothing: %v", err)
	}
	for _, bad := range []struct {
		dim     int
		factory string
	}{{0, "Flat"}, {-1, "Flat"}, {4, "NoSuchIndex"}} {
		if _, err := New(bad.dim, bad.factory); err == nil {
			t.Errorf("New(%d, %q): no error", bad.dim, bad.factory)
		}
	}
	x.Close()
	x.Close()
	if err := x.Add(make([]float32, 3)); !errors.Is(err, errClosed) {
		t.Errorf("add after Close: %v", err)
	}
	if x.Len() != 0 {
		t.Errorf("Len after Close = %d", x.Len())
	}
}
