package main

import (
	"context"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/nln"
)

// A searcher finds nearest neighbours in the folder's latent vectors.
type searcher struct {
	index   *faissindex.Index
	queries cycle
	found   nln.Neighbors
}

func newSearcher(dir string) (worker, error) {
	meta, err := workload.ReadMeta(dir)
	if err != nil {
		return nil, err
	}
	vectors, err := workload.ReadFloats(dir, workload.LatentFile)
	if err != nil {
		return nil, err
	}
	s := &searcher{queries: cycle{dim: meta.Latent}}
	if s.queries.rows, err = workload.ReadFloats(dir, workload.QueryLatentFile); err != nil {
		return nil, err
	}
	if s.index, err = faissindex.New(meta.Latent); err != nil {
		return nil, err
	}
	return s, s.index.Add(context.Background(), vectors)
}

func (s *searcher) check(ctx context.Context) (a workload.Answer, err error) {
	s.found, err = s.index.Search(ctx, s.queries.rows, workload.AnswerNeighbours, s.found)
	for i := 0; i < len(s.found.IDs); i += workload.AnswerNeighbours {
		a.IDs = append(a.IDs, append([]int64(nil), s.found.IDs[i:i+workload.AnswerNeighbours]...))
	}
	return a, err
}

func (s *searcher) work(ctx context.Context, req workload.Request) (n int, err error) {
	q := s.queries.next(batch)
	if req.Mode != "single" {
		s.found, err = s.index.Search(ctx, q, req.K, s.found)
		return batch, err
	}
	const calls = batch / 16 // or one reading of the clock would wait for too many
	dim := s.queries.dim
	for i := range calls {
		if s.found, err = s.index.Search(ctx, q[i*dim:(i+1)*dim], req.K, s.found); err != nil {
			return i, err
		}
	}
	return calls, nil
}

func (s *searcher) close() { s.index.Close() }
