// Package torchindex is an exact nearest-neighbour index on a device of libtorch, the
// processor or a CUDA device: an nln.Index over package cgo/torch.
//
// [New] makes one. It gives the results of nln.Exact, to the bit: the same neighbours,
// equal distances in order of id. The device looks at products of float32 first and
// compares what they propose in float64; where they cannot tell which vectors are
// nearest, as among many equal ones, it compares all.
package torchindex

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

var (
	_ nln.VectorIndex   = (*Index)(nil)
	_ nln.ExactSearcher = (*Index)(nil)
)

// An Index holds vectors in memory and, once they are searched, on a device. Searches
// take turns, and may not run while vectors are added.
type Index struct {
	dev     torch.Device
	dim     int
	vectors []float32 // row-major

	mu    sync.Mutex   // guards what follows
	there *torch.Owned // vectors on the device; nil before the first search
	near  *torch.Near  // among them
}

// New returns an empty index of vectors of dim values on dev. The caller closes it.
func New(dev torch.Device, dim int) (*Index, error) {
	if dim < 1 {
		return nil, fmt.Errorf("torchindex: dimension %d, want at least 1", dim)
	}
	return &Index{dev: dev, dim: dim}, nil
}

// Close frees what is on the device. It may be called again.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.leave()
}

// leave frees what is on the device.
func (x *Index) leave() error {
	if x.there == nil {
		return nil
	}
	err := errors.Join(x.near.Close(), x.there.Close())
	x.near, x.there = nil, nil
	return err
}

// Dim returns the length of each vector.
func (x *Index) Dim() int { return x.dim }

// Len returns the number of vectors.
func (x *Index) Len() int { return len(x.vectors) / x.dim }

// Vectors returns the vectors in order of id, row-major, Len*Dim values that the index
// still owns.
func (x *Index) Vectors() []float32 { return x.vectors }

// Add appends vectors, a multiple of Dim finite values. After an error the index is
// as it was. The next search copies all vectors to the device.
func (x *Index) Add(_ context.Context, vectors []float32) error {
	if err := x.check(vectors); err != nil {
		return fmt.Errorf("torchindex: add: %w", err)
	}
	if err := x.Close(); err != nil {
		return fmt.Errorf("torchindex: add: %w", err)
	}
	x.vectors = append(x.vectors, vectors...)
	return nil
}

// check makes sure that v is a whole number of finite vectors.
func (x *Index) check(v []float32) error {
	if len(v)%x.dim != 0 {
		return fmt.Errorf("%d values are not a multiple of the dimension %d", len(v), x.dim)
	}
	for i, f := range v {
		if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
			return fmt.Errorf("vector %d: value %d is %v", i/x.dim, i%x.dim, f)
		}
	}
	return nil
}

const (
	// A search compares at most this many values of candidates at a time, in float64.
	compared = 32 << 20
	// mostQueries go to the device at a time, of those that are compared with all
	// vectors mostAll.
	mostQueries, mostAll = 4096, 64
	// spare is how many candidates more than neighbours the core compares.
	spare = 16
)

// Search finds the k nearest vectors of each query, or all of them when there are
// fewer than k, nearest first; equal distances are ordered by id.
func (x *Index) Search(ctx context.Context, queries []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
	if k < 1 {
		return dst, fmt.Errorf("torchindex: search: k is %d, want at least 1", k)
	}
	if x.Len() == 0 {
		return dst, fmt.Errorf("torchindex: search: %w", nln.ErrEmptyIndex)
	}
	if err := x.check(queries); err != nil {
		return dst, fmt.Errorf("torchindex: search: query %w", err)
	}
	n := len(queries) / x.dim
	k = min(k, x.Len())
	dst.K = k
	dst.IDs = slices.Grow(dst.IDs[:0], n*k)[:n*k]
	dst.Dist = slices.Grow(dst.Dist[:0], n*k)[:n*k]
	x.mu.Lock()
	defer x.mu.Unlock()
	block := max(1, min(mostQueries, compared/((k+spare)*x.dim)))
	for lo := 0; lo < n; lo += block {
		if err := ctx.Err(); err != nil {
			return dst, fmt.Errorf("torchindex: search: %w", err)
		}
		hi := min(lo+block, n)
		err := torch.Run(func() error {
			return x.searchBlock(queries[lo*x.dim:hi*x.dim], k, dst.IDs[lo*k:hi*k], dst.Dist[lo*k:hi*k])
		})
		if err != nil {
			return dst, fmt.Errorf("torchindex: search: %w", err)
		}
	}
	return dst, nil
}

// SearchExact is Search.
func (x *Index) SearchExact(ctx context.Context, queries []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
	return x.Search(ctx, queries, k, dst)
}

// searchBlock stores the neighbours of some queries.
func (x *Index) searchBlock(queries []float32, k int, ids []int64, dist []float32) error {
	if err := x.arrive(); err != nil {
		return err
	}
	s := torch.NewScope(x.dev)
	defer s.Close()
	n := len(queries) / x.dim
	d, i, unsure := x.near.Search(s.FromFloats(queries, n, x.dim), k)
	if err := copyOut(d, i, dist, ids); err != nil {
		return err
	}
	var open []int // queries to be compared with all
	for q, v := range unsure.Floats() {
		if v != 0 {
			open = append(open, q)
		}
	}
	if s.Err() != nil {
		return s.Err()
	}
	for part := range slices.Chunk(open, mostAll) {
		if err := x.searchAll(queries, part, k, ids, dist); err != nil {
			return err
		}
	}
	return nil
}

// searchAll stores the neighbours of those of the queries that open names.
func (x *Index) searchAll(queries []float32, open []int, k int, ids []int64, dist []float32) error {
	q := make([]float32, 0, len(open)*x.dim)
	for _, i := range open {
		q = append(q, queries[i*x.dim:(i+1)*x.dim]...)
	}
	s := torch.NewScope(x.dev)
	defer s.Close()
	someDist, someIDs := make([]float32, len(open)*k), make([]int64, len(open)*k)
	d, i := x.near.All(s.FromFloats(q, len(open), x.dim), k)
	if err := copyOut(d, i, someDist, someIDs); err != nil {
		return err
	}
	for row, i := range open {
		copy(ids[i*k:(i+1)*k], someIDs[row*k:])
		copy(dist[i*k:(i+1)*k], someDist[row*k:])
	}
	return nil
}

func copyOut(d, i *torch.Tensor, dist []float32, ids []int64) error {
	if err := d.CopyTo(dist); err != nil {
		return err
	}
	return i.CopyIDsTo(ids)
}

// arrive brings the vectors to the device unless they are there.
func (x *Index) arrive() (err error) {
	if x.there != nil {
		return nil
	}
	there, err := torch.NewOwned(x.dev, x.vectors, x.Len(), x.dim)
	if err != nil {
		return err
	}
	near, err := torch.NewNear(x.dev, there)
	if err != nil {
		return errors.Join(err, there.Close())
	}
	x.there, x.near = there, near
	return nil
}
