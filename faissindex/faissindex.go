// Package faissindex is the fast nearest-neighbour index of scoring, an
// nln.Index over FAISS.
//
// It gives the results of nln.Exact, to the bit: the same neighbours, equal
// distances in order of id, whatever the batch. FAISS alone does not: it
// returns squared distances, computes them for many queries by
// |q|^2 + |v|^2 - 2 q v, which cancels, and otherwise for a few, and keeps ties
// in any order. So it is asked for some more neighbours than wanted, whose
// distances are computed anew, and for still more where its rounding could have
// hidden a neighbour.
package faissindex

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/nlnctl/nlnctl/cgo/faiss"
	"github.com/nlnctl/nlnctl/nln"
)

var _ nln.VectorIndex = (*Index)(nil)

// An Index holds vectors in memory and finds neighbours exactly. Searches may
// run at the same time, but not while vectors are added.
type Index struct{ raw *faiss.Index }

// New returns an empty index of vectors of dim values. The caller closes it.
func New(dim int) (*Index, error) {
	raw, err := faiss.New(dim, "Flat")
	if err != nil {
		return nil, fmt.Errorf("faissindex: %w", err)
	}
	return &Index{raw}, nil
}

// Read returns the index that Write stored at path. The caller closes it, and
// has made sure that the file is what was written: FAISS trusts it.
func Read(path string) (*Index, error) {
	raw, err := faiss.Read(path)
	if err != nil {
		return nil, fmt.Errorf("faissindex: %w", err)
	}
	if _, err := raw.Vectors(); err != nil {
		raw.Close()
		return nil, fmt.Errorf("faissindex: %s is not a flat index: %w", path, err)
	}
	return &Index{raw}, nil
}

// Write stores the index at path.
func (x *Index) Write(path string) error {
	if err := x.raw.Write(path); err != nil {
		return fmt.Errorf("faissindex: %w", err)
	}
	return nil
}

// Close frees the index. It may be called again.
func (x *Index) Close() error { return x.raw.Close() }

// Dim returns the length of each vector.
func (x *Index) Dim() int { return x.raw.Dim() }

// Len returns the number of vectors.
func (x *Index) Len() int { return x.raw.Len() }

// Vectors returns the vectors in order of id, row-major, Len*Dim values in the
// index's own memory: not to be changed, and valid until the next Add or Close.
func (x *Index) Vectors() []float32 {
	v, err := x.raw.Vectors()
	if err != nil {
		return nil // closed; a flat index has them
	}
	return v
}

// Add appends vectors, a multiple of Dim finite values.
func (x *Index) Add(_ context.Context, vectors []float32) error {
	if err := x.check(vectors); err != nil {
		return fmt.Errorf("faissindex: add: %w", err)
	}
	if err := x.raw.Add(vectors); err != nil {
		return fmt.Errorf("faissindex: add: %w", err)
	}
	return nil
}

// check makes sure that v is a whole number of finite vectors.
func (x *Index) check(v []float32) error {
	if len(v)%x.Dim() != 0 {
		return fmt.Errorf("%d values are not a multiple of the dimension %d", len(v), x.Dim())
	}
	for i, f := range v {
		if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
			return fmt.Errorf("vector %d: value %d is %v", i/x.Dim(), i%x.Dim(), f)
		}
	}
	return nil
}

const (
	// spare is how many neighbours more than wanted FAISS is asked for first.
	spare = 16
	// block is how many queries are searched at a time, which bounds memory.
	block = 2048
)

// Search finds the k nearest vectors of each query, or all of them when there
// are fewer than k, nearest first; equal distances are ordered by id.
func (x *Index) Search(ctx context.Context, queries []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
	if k < 1 {
		return dst, fmt.Errorf("faissindex: search: k is %d, want at least 1", k)
	}
	if x.Len() == 0 {
		return dst, fmt.Errorf("faissindex: search: %w", nln.ErrEmptyIndex)
	}
	if err := x.check(queries); err != nil {
		return dst, fmt.Errorf("faissindex: search: query %w", err)
	}
	n := len(queries) / x.Dim()
	k = min(k, x.Len())
	dst.K = k
	dst.IDs = slices.Grow(dst.IDs[:0], n*k)[:n*k]
	dst.Dist = slices.Grow(dst.Dist[:0], n*k)[:n*k]
	for lo := 0; lo < n; lo += block {
		if err := ctx.Err(); err != nil {
			return dst, fmt.Errorf("faissindex: search: %w", err)
		}
		hi := min(lo+block, n)
		part := nln.Neighbors{K: k, IDs: dst.IDs[lo*k : hi*k], Dist: dst.Dist[lo*k : hi*k]}
		if err := x.searchBlock(queries[lo*x.Dim():hi*x.Dim()], part); err != nil {
			return dst, fmt.Errorf("faissindex: search: %w", err)
		}
	}
	return dst, nil
}

// searchBlock fills dst with the neighbours of queries, asking for more and
// more candidates until each result is certain.
func (x *Index) searchBlock(queries []float32, dst nln.Neighbors) error {
	vectors, err := x.raw.Vectors()
	if err != nil {
		return err
	}
	dim, k := x.Dim(), dst.K
	open := make([]int, len(queries)/dim) // queries without a certain result
	for i := range open {
		open[i] = i
	}
	for want := min(k+spare, x.Len()); len(open) > 0; want = min(4*want, x.Len()) {
		q := queries
		if len(open) < len(queries)/dim {
			q = make([]float32, 0, len(open)*dim)
			for _, i := range open {
				q = append(q, queries[i*dim:(i+1)*dim]...)
			}
		}
		dist, ids := make([]float32, len(open)*want), make([]int64, len(open)*want)
		if err := x.raw.Search(q, want, dist, ids); err != nil {
			return err
		}
		certain := make([]bool, len(open))
		inParallel(len(open), func(j int) {
			i := open[j]
			r := refiner{vectors: vectors, dim: dim, all: want == x.Len()}
			certain[j] = r.refine(q[j*dim:(j+1)*dim], ids[j*want:(j+1)*want], dist[(j+1)*want-1],
				dst.IDs[i*k:(i+1)*k], dst.Dist[i*k:(i+1)*k])
		})
		left := open[:0]
		for j, ok := range certain {
			if !ok {
				left = append(left, open[j])
			}
		}
		open = left
	}
	return nil
}

// A refiner computes the distances of candidates exactly.
type refiner struct {
	vectors []float32
	dim     int
	all     bool // the candidates are all vectors
}

type neighbor struct {
	id   int64
	dist float32
}

// refine stores the nearest of the candidates in ids and dist. last is the
// squared distance of the last candidate as FAISS gave it. It returns whether
// no other vector can belong to the result.
func (r refiner) refine(q []float32, candidates []int64, last float32, ids []int64, dist []float32) bool {
	if r.all { // whatever FAISS found: its float32 may have overflowed
		candidates = make([]int64, len(r.vectors)/r.dim)
		for i := range candidates {
			candidates[i] = int64(i)
		}
	}
	found := make([]neighbor, len(candidates))
	for i, id := range candidates {
		if id < 0 {
			return false // FAISS had no number to compare
		}
		found[i] = neighbor{id, nln.Distance(q, r.vectors[int(id)*r.dim:(int(id)+1)*r.dim])}
	}
	slices.SortFunc(found, func(a, b neighbor) int {
		return cmp.Or(cmp.Compare(a.dist, b.dist), cmp.Compare(a.id, b.id))
	})
	for i := range ids {
		ids[i], dist[i] = found[i].id, found[i].dist
	}
	if r.all {
		return true
	}
	// A vector v that belongs to the result lies within d of q, so |v| is at most
	// |q| + d, and FAISS has its squared distance right up to some units in the
	// last place of the sums it cancels. Beyond that it would be a candidate.
	var norm float64
	for _, f := range q {
		norm += float64(f) * float64(f)
	}
	d := float64(dist[len(dist)-1])
	reach := 2*math.Sqrt(norm) + d
	slack := 2 * float64(r.dim+4) * 0x1p-24 * reach * reach
	return d*d+slack < float64(last)
}

// inParallel calls f for 0 to n-1 from as many goroutines as there are processors.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), n)
	for w := range workers {
		wg.Go(func() {
			for i := w * n / workers; i < (w+1)*n/workers; i++ {
				f(i)
			}
		})
	}
	wg.Wait()
}
