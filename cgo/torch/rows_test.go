package torch

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestRows(t *testing.T) {
	s := NewScope(testDevice(t))
	defer s.Close()
	// Two images of two channels, one of them constant.
	bytes := s.FromBytes([]uint8{0, 51, 255, 7, 7, 7, 10, 20, 30, 0, 255, 128}, 2, 2, 1, 3)
	for minmax, want := range map[bool][]float32{
		false: {0, 51. / 255, 1, 7. / 255, 7. / 255, 7. / 255, 10. / 255, 20. / 255, 30. / 255, 0, 1, 128. / 255},
		true:  {0, 51. / 255, 1, 0, 0, 0, 0, .5, 1, 0, 1, 128. / 255},
	} {
		if got := bytes.ScaleImages(minmax).Floats(); !slices.Equal(got, want) {
			t.Errorf("minmax %v: %v, want %v", minmax, got, want)
		}
	}
	ids := s.FromIDs([]int64{1, 0, 1}, 3)
	if got := bytes.TakeRows(ids).ScaleImages(false).Shape(); !slices.Equal(got, []int{3, 2, 1, 3}) {
		t.Errorf("rows of shape %v", got)
	}
	x := s.FromFloats([]float32{0, 1, .5, .5}, 2, 2)
	pairs := s.FromIDs([]int64{0, 1, 1, 0}, 2, 2)
	floats := s.FromFloats([]float32{0, .5, 1, 0}, 2, 2)
	if got := x.MeanAbsRows(floats, pairs).Floats(); !slices.Equal(got, []float32{.25, 1, .5, .25}) {
		t.Errorf("mean differences to floats: %v", got)
	}
	table := s.FromBytes([]uint8{0, 255, 255, 0}, 2, 2)
	e := x.MeanAbsRows(table, pairs)
	if got := e.Floats(); !slices.Equal(got, []float32{0, 1, .5, .5}) {
		t.Errorf("mean differences to bytes: %v", got)
	}
	if got := e.PrefixMeans().Floats(); !slices.Equal(got, []float32{0, .5, .5, .5}) {
		t.Errorf("prefix means: %v", got)
	}
	got := make([]int64, 3)
	if err := ids.CopyIDsTo(got); err != nil || !slices.Equal(got, []int64{1, 0, 1}) {
		t.Errorf("ids %v, error %v", got, err)
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
}

func TestRowsRefuse(t *testing.T) {
	for name, f := range map[string]func(s *Scope) *Tensor{
		"floats as images":   func(s *Scope) *Tensor { return s.Full(1, 1, 1, 2, 2).ScaleImages(true) },
		"images without H":   func(s *Scope) *Tensor { return s.FromBytes([]uint8{1, 2}, 1, 2).ScaleImages(true) },
		"a row out of range": func(s *Scope) *Tensor { return s.Full(1, 2, 2).TakeRows(s.FromIDs([]int64{2}, 1)) },
		"ids of other rows": func(s *Scope) *Tensor {
			return s.Full(1, 2, 2).MeanAbsRows(s.Full(1, 2, 2), s.FromIDs([]int64{0}, 1, 1))
		},
		"floats as ids": func(s *Scope) *Tensor { return s.Full(1, 2, 2).TakeRows(s.Full(0, 1)) },
		"a short list":  func(s *Scope) *Tensor { return s.FromIDs([]int64{1}, 2) },
		"short bytes":   func(s *Scope) *Tensor { return s.FromBytes([]uint8{1}, 2) },
	} {
		s := NewScope(CPU)
		f(s)
		if s.Err() == nil {
			t.Errorf("%s: no error", name)
		}
		s.Close()
	}
}

func TestStaging(t *testing.T) {
	dev := testDevice(t)
	s := NewScope(dev)
	defer s.Close()
	m, err := NewStaging[uint8](1, 1, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	copy(m.Data, []uint8{0, 255, 51, 0})
	x := s.FromBytes(make([]uint8, 4), 1, 1, 2, 2)
	x.Assign(m.In(s))
	if got := x.ScaleImages(false).Floats(); !slices.Equal(got, []float32{0, 1, .2, 0}) {
		t.Errorf("staged %v, error %v", got, s.Err())
	}
	x.Assign(s.Full(0, 4))
	if s.Err() == nil {
		t.Error("another shape and type were assigned")
	}
}

// newNear returns a search among vectors of dim values.
func newNear(t *testing.T, dev Device, v []float32, dim int) *Near {
	t.Helper()
	vectors, err := NewOwned(dev, v, len(v)/dim, dim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vectors.Close() })
	near, err := NewNear(dev, vectors)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() }) // before the vectors
	return near
}

// TestNear compares the search with comparing everything, in plain Go.
func TestNear(t *testing.T) {
	dev := testDevice(t)
	rng := rand.New(rand.NewPCG(1, 2))
	const n, dim = 3000, 20
	v := make([]float32, n*dim)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	for i := 1; i < 5; i++ { // vectors 0 to 4 are equal, for ties
		copy(v[i*dim:], v[:dim])
	}
	near := newNear(t, dev, v, dim)
	q := make([]float32, 50*dim)
	for i := range q {
		q[i] = float32(rng.NormFloat64())
	}
	copy(q, v[:dim])
	for _, k := range []int{1, 3, 40, n} {
		s := NewScope(dev)
		queries := s.FromFloats(q, 50, dim)
		dist, ids, unsure := near.Search(queries, k)
		checkNear(t, v, q, dim, k, dist, ids)
		if n := unsure.Sum().Item(); n > 1 {
			t.Errorf("k = %d: %v queries unsure", k, n)
		}
		if k < n {
			dist, ids = near.All(queries, k)
			checkNear(t, v, q, dim, k, dist, ids)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s := NewScope(dev)
	defer s.Close()
	if near.Search(s.Full(0, 1, dim), n+1); s.Err() == nil {
		t.Error("more neighbours than vectors")
	}
}

func checkNear(t *testing.T, v, q []float32, dim, k int, dist, ids *Tensor) {
	t.Helper()
	got, gotDist := make([]int64, len(q)/dim*k), dist.Floats()
	if err := ids.CopyIDsTo(got); err != nil {
		t.Fatal(err)
	}
	type hit struct {
		d  float32
		id int64
	}
	for i := range len(q) / dim {
		hits := make([]hit, len(v)/dim)
		for j := range hits {
			var sum float64
			for l := range dim {
				d := float64(q[i*dim+l]) - float64(v[j*dim+l])
				sum += d * d
			}
			hits[j] = hit{float32(math.Sqrt(sum)), int64(j)}
		}
		slices.SortStableFunc(hits, func(a, b hit) int {
			switch {
			case a.d < b.d:
				return -1
			case a.d > b.d:
				return 1
			}
			return 0
		})
		for j := range k {
			if got[i*k+j] != hits[j].id || gotDist[i*k+j] != hits[j].d {
				t.Fatalf("k = %d: query %d: neighbour %d is %d at %v, want %v", k, i, j, got[i*k+j], gotDist[i*k+j], hits[j])
			}
		}
	}
}

// TestNearSaysWhenUnsure: among many equal vectors the float32 products cannot tell
// which are nearest.
func TestNearSaysWhenUnsure(t *testing.T) {
	dev := testDevice(t)
	const n, dim, k = 500, 4, 3
	v := make([]float32, n*dim)
	for i := range v {
		v[i] = 1000
	}
	near := newNear(t, dev, v, dim)
	s := NewScope(dev)
	defer s.Close()
	q := []float32{1001, 1000, 999, 1000}
	_, _, unsure := near.Search(s.FromFloats(q, 1, dim), k)
	if unsure.Item() == 0 {
		t.Error("sure of three among 500 equal vectors")
	}
	dist, ids := near.All(s.FromFloats(q, 1, dim), k)
	checkNear(t, v, q, dim, k, dist, ids)
}
