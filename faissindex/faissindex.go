// Package faissindex is the fast nearest-neighbour index of scoring, an
// nln.Index over the native core.
//
// [New] makes an exact index. It gives the results of nln.Exact, to the bit: the
// same neighbours, equal distances in order of id, whatever the batch. The search
// is the core's own (package cgo/search): vectors rounded to a byte a value tell
// in whole numbers which of them can be neighbours, and only these are compared in
// float64. FAISS holds the vectors and reads and writes their file.
//
// [Index.Choose] turns a filled index into an approximate one of FAISS's where
// that is faster, and measures what it misses. Such an index may miss neighbours,
// but those that it gives have the distances and the order of nln.Exact.
package faissindex

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/nlnctl/nlnctl/cgo/faiss"
	"github.com/nlnctl/nlnctl/cgo/search"
	"github.com/nlnctl/nlnctl/nln"
)

var (
	_ nln.VectorIndex   = (*Index)(nil)
	_ nln.ExactSearcher = (*Index)(nil)
)

// An Index holds vectors in memory and finds neighbours, exactly unless Choose
// has made it another kind. Searches may run at the same time, but not while
// vectors are added or the kind is chosen.
type Index struct {
	raw   *faiss.Index
	kind  Kind
	level string // of search.Pack

	mu     sync.Mutex     // guards packed, which the first of several searches makes
	packed *search.Packed // nil before the first search

	gpu *faiss.Index // a copy for Search; nil: it is done on the processor
}

// New returns an empty index of vectors of dim values. The caller closes it.
func New(dim int) (*Index, error) {
	raw, err := faiss.New(dim, "Flat")
	if err != nil {
		return nil, fmt.Errorf("faissindex: %w", err)
	}
	return &Index{raw: raw, kind: Exact}, nil
}

// Read returns the index that Write stored at path, of the kind that it had. The
// caller closes it, and has made sure that the file is what was written: FAISS
// trusts it.
func Read(path string) (*Index, error) {
	raw, err := faiss.Read(path)
	if err != nil {
		return nil, fmt.Errorf("faissindex: %w", err)
	}
	kind, err := kindOf(raw)
	if err == nil {
		_, err = raw.Vectors()
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("faissindex: read %s: %w", path, err)
	}
	return &Index{raw: raw, kind: kind}, nil
}

// Write stores the index at path.
func (x *Index) Write(path string) error {
	if err := x.raw.Write(path); err != nil {
		return fmt.Errorf("faissindex: %w", err)
	}
	return nil
}

// Close frees the index. It may be called again.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.packed != nil {
		x.packed.Close()
		x.packed = nil
	}
	return errors.Join(x.offGPU(), x.raw.Close())
}

// Dim returns the length of each vector.
func (x *Index) Dim() int { return x.raw.Dim() }

// Len returns the number of vectors.
func (x *Index) Len() int { return x.raw.Len() }

// Vectors returns the vectors in order of id, row-major, Len*Dim values in the
// index's own memory: not to be changed, and valid until the next Add, Choose or
// Close.
func (x *Index) Vectors() []float32 {
	v, err := x.raw.Vectors()
	if err != nil {
		return nil // closed; every kind has them
	}
	return v
}

// Add appends vectors, a multiple of Dim finite values.
func (x *Index) Add(_ context.Context, vectors []float32) error {
	if err := x.check(vectors); err != nil {
		return fmt.Errorf("faissindex: add: %w", err)
	}
	if x.gpu != nil {
		return errors.New("faissindex: add: the index is on a GPU: add before that")
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
	// A call of the core does this many multiplications at most, a fraction of a
	// second, so that a cancelled search ends soon.
	work = 1 << 33
	// Vectors added since packing are searched one by one until there are this
	// many, and one in pack of the others.
	loose, pack = 1024, 64
)

// Search finds the k nearest vectors of each query, or all of them when there
// are fewer than k, nearest first; equal distances are ordered by id. An index of
// an approximate kind, or on a GPU, may miss some of the nearest and give others for them. The
// first exact search after vectors were added packs them, once.
func (x *Index) Search(ctx context.Context, queries []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
	kind := x.kind
	if x.gpu != nil {
		kind = onGPU
	}
	return x.search(ctx, kind, queries, k, dst)
}

// SearchExact is the search of the exact kind, which misses none, whatever the
// kind of the index. An approximate one needs a byte more for each value of its
// vectors from then on.
func (x *Index) SearchExact(ctx context.Context, queries []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
	return x.search(ctx, Exact, queries, k, dst)
}

func (x *Index) search(ctx context.Context, kind Kind, queries []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
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
	if err := x.way(kind, k)(ctx, queries, k, dst.IDs, dst.Dist); err != nil {
		return dst, fmt.Errorf("faissindex: search: %w", err)
	}
	return dst, nil
}

// searchExact stores the neighbours of each query.
func (x *Index) searchExact(ctx context.Context, queries []float32, k int, ids []int64, dist []float32) error {
	vectors := x.Vectors()
	packed, err := x.pack(vectors)
	if err != nil {
		return err
	}
	dim, block := x.Dim(), max(1, work/len(vectors))
	return inBlocks(ctx, len(queries)/dim, block, func(lo, hi int) error {
		return packed.Search(vectors, queries[lo*dim:hi*dim], k, dist[lo*k:hi*k], ids[lo*k:hi*k])
	})
}

// inBlocks calls f for 0 to n-1 in order, a block at a time, until ctx is done.
func inBlocks(ctx context.Context, n, block int, f func(lo, hi int) error) error {
	for lo := 0; lo < n; lo += block {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(lo, min(lo+block, n)); err != nil {
			return err
		}
	}
	return nil
}

// pack returns the packed form of all vectors but the last few.
func (x *Index) pack(vectors []float32) (*search.Packed, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := len(vectors) / x.Dim()
	if x.packed != nil && n-x.packed.Len() <= max(loose, x.packed.Len()/pack) {
		return x.packed, nil
	}
	packed, err := search.Pack(vectors, x.Dim(), x.level)
	if err != nil {
		return nil, err
	}
	if x.packed != nil {
		x.packed.Close()
	}
	x.packed = packed
	return packed, nil
}

// Memory returns about how many bytes an index of n vectors of dim values takes
// while it is filled and searched: the vectors, which move to twice the room as
// they become more, and their packed form.
func Memory(n, dim int) int64 { return int64(n) * int64(3*4*dim+dim+4) }
