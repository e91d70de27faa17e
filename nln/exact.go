package nln

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// ErrEmptyIndex is returned, wrapped, by a search in an index without vectors.
var ErrEmptyIndex = errors.New("index is empty: add vectors first")

// Exact is an [Index] that compares each query with every vector.
//
// A distance is the root of the float64 sum, in order of dimension, of the
// squared differences, rounded to float32 at the end: it depends on nothing but
// the two vectors. Neighbours are ordered by that distance and then by id.
//
// Searches may run at the same time, but not while vectors are added.
type Exact struct {
	dim     int
	vectors []float32 // row-major
}

var _ Index = (*Exact)(nil)

// NewExact returns an empty index of vectors of dim values. It panics if
// dim < 1.
func NewExact(dim int) *Exact {
	if dim < 1 {
		panic(fmt.Sprintf("nln: exact index of dimension %d, want at least 1", dim))
	}
	return &Exact{dim: dim}
}

// Dim returns the length of each vector.
func (x *Exact) Dim() int { return x.dim }

// Len returns the number of vectors.
func (x *Exact) Len() int { return len(x.vectors) / x.dim }

// Vectors returns the vectors in order of id, row-major, Len*Dim values that
// the index still owns.
func (x *Exact) Vectors() []float32 { return x.vectors }

// Add appends vectors, a multiple of Dim finite values. After an error the
// index is as it was.
func (x *Exact) Add(_ context.Context, vectors []float32) error {
	if err := x.check(vectors); err != nil {
		return fmt.Errorf("nln: exact index: add: %w", err)
	}
	x.vectors = append(x.vectors, vectors...)
	return nil
}

// check makes sure that v is a whole number of finite vectors.
func (x *Exact) check(v []float32) error {
	if len(v)%x.dim != 0 {
		return fmt.Errorf("%d values are not a multiple of the dimension %d", len(v), x.dim)
	}
	if i := notFinite(v); i >= 0 {
		return fmt.Errorf("vector %d: value %d is %v", i/x.dim, i%x.dim, v[i])
	}
	return nil
}

const (
	// A goroutine takes this many queries at a time and scans the vectors for
	// all of them in pieces of this many values, which stay in the L1 cache.
	exactQueries = 16
	exactPiece   = 4096
)

// Search finds the k nearest vectors of each query, or all of them, nearest
// first, when there are fewer than k. It keeps each query's neighbours in
// sorted order, so that its time grows with k*k for a large k.
func (x *Exact) Search(ctx context.Context, queries []float32, k int, dst Neighbors) (Neighbors, error) {
	if k < 1 {
		return dst, fmt.Errorf("nln: exact index: search: k is %d, want at least 1", k)
	}
	if x.Len() == 0 {
		return dst, fmt.Errorf("nln: exact index: search: %w", ErrEmptyIndex)
	}
	if err := x.check(queries); err != nil {
		return dst, fmt.Errorf("nln: exact index: search: query %w", err)
	}
	n := len(queries) / x.dim
	k = min(k, x.Len())
	nb := Neighbors{K: k, IDs: resize(dst.IDs, n*k), Dist: resize(dst.Dist, n*k)}
	err := forBlocks(ctx, n, exactQueries, func(lo, hi int) {
		x.searchBlock(queries[lo*x.dim:hi*x.dim], k, nb.IDs[lo*k:hi*k], nb.Dist[lo*k:hi*k])
	})
	if err != nil {
		return dst, fmt.Errorf("nln: exact index: search: %w", err)
	}
	return nb, nil
}

// searchBlock scans all vectors in order of id for a few queries.
func (x *Exact) searchBlock(queries []float32, k int, ids []int64, dist []float32) {
	n, total := len(queries)/x.dim, x.Len()
	piece := max(1, exactPiece/x.dim)
	tops := make([]top, n)
	for i := range tops {
		tops[i] = top{bound: math.Inf(1), ids: ids[i*k : i*k : (i+1)*k], dist: dist[i*k : i*k : (i+1)*k]}
	}
	for lo := 0; lo < total; lo += piece {
		hi := min(lo+piece, total)
		for i := range tops {
			t, q := &tops[i], queries[i*x.dim:(i+1)*x.dim]
			id := lo
			for ; id+4 <= hi; id += 4 {
				a, b, c, d := squared4(q, x.vectors[id*x.dim:(id+4)*x.dim])
				t.offer(a, id)
				t.offer(b, id+1)
				t.offer(c, id+2)
				t.offer(d, id+3)
			}
			for ; id < hi; id++ {
				t.offer(squared(q, x.vectors[id*x.dim:(id+1)*x.dim]), id)
			}
		}
	}
}

// squared returns the squared Euclidean distance. The products are converted
// so that no platform fuses them with the sum, which would round differently.
func squared(q, v []float32) float64 {
	v = v[:len(q)]
	var sum float64
	for i, f := range q {
		d := float64(f) - float64(v[i])
		sum += float64(d * d)
	}
	return sum
}

// squared4 returns what squared does for each of four vectors in a row. One
// sum has to wait for its last addition; four of them fill the time.
func squared4(q, v []float32) (a, b, c, d float64) {
	n := len(q)
	v0, v1, v2, v3 := v[:n], v[n:][:n], v[2*n:][:n], v[3*n:][:n]
	for i, f := range q {
		f := float64(f)
		d0, d1, d2, d3 := f-float64(v0[i]), f-float64(v1[i]), f-float64(v2[i]), f-float64(v3[i])
		a += float64(d0 * d0)
		b += float64(d1 * d1)
		c += float64(d2 * d2)
		d += float64(d3 * d3)
	}
	return a, b, c, d
}

// A top keeps the nearest vectors of one query among those offered so far,
// sorted; the capacity of its slices is how many.
type top struct {
	ids   []int64
	dist  []float32
	bound float64 // square of the last distance once full; nothing from there on gets in
}

// offer takes vectors in order of id. Of vectors at one distance the earlier
// ones therefore stay and stay in front.
func (t *top) offer(sq float64, id int) {
	// The root rounds correctly and so keeps order: sq >= dist*dist, which is
	// exact in float64, means that the rounded root is at least dist.
	if sq >= t.bound {
		return
	}
	d := float32(math.Sqrt(sq))
	n, k := len(t.dist), cap(t.dist)
	if n == k {
		if d >= t.dist[n-1] {
			return
		}
		n--
	} else {
		t.ids, t.dist = t.ids[:n+1], t.dist[:n+1]
	}
	for n > 0 && t.dist[n-1] > d {
		t.ids[n], t.dist[n] = t.ids[n-1], t.dist[n-1]
		n--
	}
	t.ids[n], t.dist[n] = int64(id), d
	if len(t.dist) == k {
		t.bound = float64(t.dist[k-1]) * float64(t.dist[k-1])
	}
}

// Distance returns the Euclidean distance of two vectors of one length as
// [Exact] computes it, for other indexes that must agree with it to the bit.
func Distance(q, v []float32) float32 { return float32(math.Sqrt(squared(q, v))) }
