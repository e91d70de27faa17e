package faissindex

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/nlnctl/nlnctl/cgo/faiss"
	"github.com/nlnctl/nlnctl/nln"
)

// A Kind is a way to search.
type Kind string

// Kinds of an index. Auto is none of them: it leaves the choice to Choose.
const (
	Auto  Kind = "auto"
	Exact Kind = "exact" // compares with every vector, and misses none
	HNSW  Kind = "hnsw"  // walks a graph of neighbours (Malkov and Yashunin, 2016)
	IVF   Kind = "ivf"   // compares with the vectors of the nearest lists
)

// Kinds returns what Choose takes.
func Kinds() []string { return []string{string(Auto), string(Exact), string(HNSW), string(IVF)} }

// Kind returns the kind of the index.
func (x *Index) Kind() Kind { return x.kind }

// kindOf returns the kind of what FAISS holds.
func kindOf(raw *faiss.Index) (Kind, error) {
	name, _, err := raw.Kind()
	if err != nil {
		return "", err
	}
	switch name {
	case faiss.KindFlat:
		return Exact, nil
	case faiss.KindHNSW:
		return HNSW, nil
	case faiss.KindIVF:
		return IVF, nil
	}
	return "", fmt.Errorf("a FAISS index of another kind than exact, hnsw or ivf")
}

const (
	// links is the number of neighbours in the graph of HNSW. Half as many need
	// half the memory for them, and twice the effort for the same recall.
	links = 32
	// perList is how many vectors a list must have on average: FAISS warns below
	// 39 that its centre is not well known. The centres are found with at most
	// learnt vectors for each.
	perList, learnt = 39, 64
	// A call of FAISS adds this many vectors at most, so that a cancelled build
	// ends soon.
	addBlock = 20000
	// A call searches for this many queries at most: from 20 on FAISS finds the
	// nearest lists by a matrix product, which rounds differently, and a score must
	// not depend on the images scored with it.
	searchBlock = 16
)

// factory returns FAISS's name of an index of the kind for n vectors. Both
// approximate kinds keep the vectors themselves once, in order of id.
func (k Kind) factory(n int) string {
	switch k {
	case HNSW:
		return fmt.Sprintf("HNSW%d", links)
	case IVF:
		return fmt.Sprintf("IVF%d,SQ8,RFlat", lists(n))
	}
	return "Flat"
}

// lists returns into how many lists n vectors are divided: four roots of n, at
// which finding the nearest lists costs about as much as looking through them.
func lists(n int) int {
	return max(1, min(int(4*math.Sqrt(float64(n))), n/perList))
}

// build returns an index of FAISS over the vectors, row-major.
func build(ctx context.Context, kind Kind, dim int, vectors []float32) (_ *faiss.Index, err error) {
	n := len(vectors) / dim
	raw, err := faiss.New(dim, kind.factory(n))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	if kind == IVF {
		if err := raw.Train(sample(vectors, dim, learnt*lists(n))); err != nil {
			return nil, err
		}
	}
	return raw, inBlocks(ctx, n, addBlock, func(lo, hi int) error { return raw.Add(vectors[lo*dim : hi*dim]) })
}

// sample returns at most n of the vectors, evenly spaced.
func sample(vectors []float32, dim, n int) []float32 {
	total := len(vectors) / dim
	if total <= n {
		return vectors
	}
	some := make([]float32, 0, n*dim)
	for i := range n {
		at := i * total / n
		some = append(some, vectors[at*dim:(at+1)*dim]...)
	}
	return some
}

// spare is how many candidates more than neighbours FAISS is asked for: it rounds
// distances, by which the last ones would change places.
const spare = 6

// searchApproximate stores what FAISS proposes, at its exact distances, in order.
// A query for which it finds too few is searched exactly: lists may hold fewer
// than k vectors, part of a graph may be out of reach, and nothing is near where
// squares overflow.
func (x *Index) searchApproximate(ctx context.Context, queries []float32, k int, ids []int64, dist []float32) error {
	dim, want := x.Dim(), min(k+spare, x.Len())
	vectors := x.Vectors()
	raw, most := x.raw, searchBlock
	if x.gpu != nil {
		raw, most = x.gpu, gpuBlock
	}
	block := min(most, len(queries)/dim)
	found, squares := make([]int64, block*want), make([]float32, block*want)
	var short []int // queries with too few
	err := inBlocks(ctx, len(queries)/dim, most, func(lo, hi int) error {
		m := (hi - lo) * want
		if err := raw.Search(queries[lo*dim:hi*dim], want, squares[:m], found[:m]); err != nil {
			return err
		}
		for i := lo; i < hi; i++ {
			near := rank(queries[i*dim:(i+1)*dim], vectors, found[(i-lo)*want:(i-lo+1)*want], squares[(i-lo)*want:(i-lo+1)*want])
			if len(near) < k {
				short = append(short, i)
				continue
			}
			for j, n := range near[:k] {
				ids[i*k+j], dist[i*k+j] = n.id, n.dist
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range short {
		if err := x.searchExact(ctx, queries[i*dim:(i+1)*dim], k, ids[i*k:(i+1)*k], dist[i*k:(i+1)*k]); err != nil {
			return err
		}
	}
	return nil
}

// A neighbor is a vector at its exact distance.
type neighbor struct {
	dist float32
	id   int64
}

// rank returns the vectors that ids name, nearest first and equal distances by id,
// without those below 0, by which FAISS says that there are no more, and those
// whose squared distance is not finite, which FAISS cannot tell from each other.
func rank(query, vectors []float32, ids []int64, squares []float32) []neighbor {
	near := make([]neighbor, 0, len(ids))
	for i, id := range ids {
		if id >= 0 && squares[i]-squares[i] == 0 {
			near = append(near, neighbor{nln.Distance(query, vectors[int(id)*len(query):int(id+1)*len(query)]), id})
		}
	}
	slices.SortFunc(near, func(a, b neighbor) int {
		return cmp.Or(cmp.Compare(a.dist, b.dist), cmp.Compare(a.id, b.id))
	})
	return near
}
