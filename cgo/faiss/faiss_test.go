package faiss

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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

func random(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = rng.Float32()
	}
	return v
}

// trained returns an index of the kind with vectors in it.
func trained(t *testing.T, dim int, factory string, vectors []float32) *Index {
	t.Helper()
	x, err := New(dim, factory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	if err := errors.Join(x.Train(vectors), x.Add(vectors)); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestKinds(t *testing.T) {
	atEnd(t)
	const dim, n = 8, 800
	v := random(1, n*dim)
	for _, c := range []struct {
		factory, kind string
		effort        int // 0: cannot be set
		vectors       bool
	}{
		{"Flat", KindFlat, 0, true},
		{"HNSW8", KindHNSW, 40, true},
		{"HNSW8,SQ8", KindHNSW, 40, false},
		{"IVF16,Flat", KindIVF, 5, false},
		{"IVF16,SQ8,RFlat", KindIVF, 5, true},
		{"SQ8", KindOther, 0, false},
	} {
		x := trained(t, dim, c.factory, v)
		if err := x.SetEffort(max(c.effort, 1)); (err == nil) != (c.effort > 0) || err != nil && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: set the effort: %v", c.factory, err)
		}
		path := filepath.Join(t.TempDir(), "x")
		if err := x.Write(path); err != nil {
			t.Fatal(err)
		}
		y, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		kind, effort, err := y.Kind()
		if err != nil || kind != c.kind || effort != c.effort {
			t.Errorf("%s: kind %q with effort %d after reading: %v", c.factory, kind, effort, err)
		}
		got, err := y.Vectors()
		if c.vectors != slices.Equal(got, v) || c.vectors == errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %d vector values, %v", c.factory, len(got), err)
		}
		y.Close()
	}
	x := trained(t, dim, "IVF16,Flat", v)
	if err := x.SetEffort(1000); err != nil {
		t.Fatal(err)
	}
	if _, effort, _ := x.Kind(); effort != 16 {
		t.Errorf("%d of 16 lists searched, want all", effort)
	}
	if err := x.SetEffort(0); err == nil {
		t.Error("no effort: no error")
	}
}

// Two builds of the same vectors are the same index, with several threads as well.
func TestBuildsAreAlike(t *testing.T) {
	atEnd(t)
	if err := core.SetThreads(4); err != nil {
		t.Fatal(err)
	}
	defer core.SetThreads(0)
	const dim, n = 8, 2000
	v := random(2, n*dim)
	for _, factory := range []string{"HNSW8", "IVF16,SQ8,RFlat"} {
		var files [2][]byte
		for i := range files {
			path := filepath.Join(t.TempDir(), "x")
			if err := trained(t, dim, factory, v).Write(path); err != nil {
				t.Fatal(err)
			}
			var err error
			if files[i], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(files[0], files[1]) {
			t.Errorf("%s: two builds differ", factory)
		}
	}
}
