package nln

import (
	"context"
	"fmt"
)

// SearchOthers finds the k nearest vectors of each query that are not the
// query itself: self[i] is the id of query i in the index. It leaves out by id,
// since a distance of 0 may also be another, equal image. At most Len-1
// vectors are found; an index of one vector is an error.
//
// Scores of indexed images need this, or each would find itself.
func SearchOthers(ctx context.Context, idx Index, queries []float32, self []int64, k int, dst Neighbors) (Neighbors, error) {
	if n := len(queries) / idx.Dim(); n != len(self) {
		return dst, fmt.Errorf("nln: search others: %d queries, %d ids", n, len(self))
	}
	if k < 1 || idx.Len() < 2 {
		return dst, fmt.Errorf("nln: search others: k is %d and the index holds %d, want at least 1 and 2", k, idx.Len())
	}
	nb, err := searchExcept(ctx, idx, queries, min(k, idx.Len()-1), func(i int, id int64) bool { return id == self[i] }, dst)
	if err != nil {
		return dst, fmt.Errorf("nln: search others: %w", err)
	}
	return nb, nil
}

// SearchOtherSources finds the k nearest vectors of each query that come from
// other source images: source[i] is the source of query i and sources[id] that
// of each vector, numbered in any way. Crops and rotated copies of one image
// are near each other however novel it is, so that an indexed image must be
// judged without all of them. Sources that are the ids make it SearchOthers.
//
// At most Len minus the vectors of the largest source are found, so that each
// query has as many; vectors of a single source are an error.
func SearchOtherSources(ctx context.Context, idx Index, queries []float32, source, sources []int64, k int, dst Neighbors) (Neighbors, error) {
	if n := len(queries) / idx.Dim(); n != len(source) {
		return dst, fmt.Errorf("nln: search other sources: %d queries, %d sources", n, len(source))
	}
	if idx.Len() != len(sources) {
		return dst, fmt.Errorf("nln: search other sources: %d vectors, %d sources of them", idx.Len(), len(sources))
	}
	others := len(sources) - largestSource(sources)
	if k < 1 {
		return dst, fmt.Errorf("nln: search other sources: k is %d, want at least 1", k)
	}
	if others < 1 {
		return dst, fmt.Errorf("nln: search other sources: all %d vectors are of one source", len(sources))
	}
	nb, err := searchExcept(ctx, idx, queries, min(k, others), func(i int, id int64) bool { return sources[id] == source[i] }, dst)
	if err != nil {
		return dst, fmt.Errorf("nln: search other sources: %w", err)
	}
	return nb, nil
}

// largestSource returns how many vectors the source with the most of them has.
func largestSource(sources []int64) int {
	count, most := map[int64]int{}, 0
	for _, s := range sources {
		count[s]++
		most = max(most, count[s])
	}
	return most
}

// searchExcept finds the k nearest vectors of each query i that skip(i, id) does
// not leave out, of which each query must have k. It asks the index for one
// more than k and, where too few are left of these, for more and more.
func searchExcept(ctx context.Context, idx Index, queries []float32, k int, skip func(i int, id int64) bool, dst Neighbors) (Neighbors, error) {
	search := idx.Search
	if x, ok := idx.(ExactSearcher); ok {
		search = x.SearchExact
	}
	dim := idx.Dim()
	n := len(queries) / dim
	out := Neighbors{K: k, IDs: resize(dst.IDs, n*k), Dist: resize(dst.Dist, n*k)}
	open := make([]int, n) // queries whose neighbours are not complete
	for i := range open {
		open[i] = i
	}
	var nb Neighbors
	for want := min(k+1, idx.Len()); len(open) > 0; want = min(4*want, idx.Len()) {
		q := queries
		if len(open) < n {
			q = make([]float32, 0, len(open)*dim)
			for _, i := range open {
				q = append(q, queries[i*dim:(i+1)*dim]...)
			}
		}
		var err error
		if nb, err = search(ctx, q, want, nb); err != nil {
			return dst, err
		}
		if nb.K != want || len(nb.IDs) != len(open)*want || len(nb.Dist) != len(open)*want {
			return dst, fmt.Errorf("index gave %d neighbours of %d queries, want %d each", len(nb.IDs), len(open), want)
		}
		left := open[:0]
		for row, i := range open {
			found := 0
			for j := row * want; j < (row+1)*want && found < k; j++ {
				if id := nb.IDs[j]; id < 0 || id >= int64(idx.Len()) {
					return dst, fmt.Errorf("index of %d vectors gave id %d", idx.Len(), id)
				}
				if !skip(i, nb.IDs[j]) {
					out.IDs[i*k+found], out.Dist[i*k+found] = nb.IDs[j], nb.Dist[j]
					found++
				}
			}
			if found < k {
				left = append(left, i)
			}
		}
		if open = left; len(open) > 0 && want == idx.Len() {
			return dst, fmt.Errorf("index of %d vectors gave query %d fewer than %d others", want, open[0], k)
		}
	}
	return out, nil
}
