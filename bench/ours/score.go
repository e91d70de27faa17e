package main

import (
	"context"
	"path/filepath"
	"strconv"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A scorer scores images with the folder's bundle.
type scorer struct {
	meta    workload.Meta
	bundle  *bundle.Bundle
	byK     map[int]*nln.Scorer
	queries cycle
	scores  []nln.Score
}

func newScorer(dir string) (worker, error) {
	s := &scorer{byK: map[int]*nln.Scorer{}}
	var err error
	if s.meta, err = workload.ReadMeta(dir); err != nil {
		return nil, err
	}
	if s.bundle, err = bundle.Open(filepath.Join(dir, workload.BundleDir), torch.CPU); err != nil {
		return nil, err
	}
	s.queries.dim = shape(s.meta).Len()
	s.queries.rows, err = workload.ReadFloats(dir, workload.QueryFile)
	return s, err
}

// with returns the scorer of K neighbours.
func (s *scorer) with(k int) (*nln.Scorer, error) {
	if s.byK[k] == nil {
		policy := s.bundle.Scorer.Config().Policy
		policy.K = k
		var err error
		if s.byK[k], err = s.bundle.Scorer.With(policy); err != nil {
			return nil, err
		}
	}
	return s.byK[k], nil
}

func (s *scorer) images(pix []float32) dataset.Images {
	return dataset.Images{Shape: shape(s.meta), N: len(pix) / s.queries.dim, Pix: pix}
}

func (s *scorer) check(ctx context.Context) (workload.Answer, error) {
	a := workload.Answer{Terms: map[string]workload.Terms{}}
	for _, k := range []int{1, 3, 5} {
		scorer, err := s.with(k)
		if err != nil {
			return a, err
		}
		scores, err := scorer.Score(ctx, s.images(s.queries.rows[:batch*s.queries.dim]), nil)
		if err != nil {
			return a, err
		}
		var t workload.Terms
		for _, v := range scores {
			t.Recon, t.Error, t.Distance = append(t.Recon, v.Recon), append(t.Error, v.Error), append(t.Distance, v.Distance)
		}
		a.Terms[strconv.Itoa(k)] = t
	}
	return a, nil
}

func (s *scorer) work(ctx context.Context, req workload.Request) (int, error) {
	scorer, err := s.with(req.K)
	if err == nil {
		s.scores, err = scorer.Score(ctx, s.images(s.queries.next(batch)), s.scores[:0])
	}
	return batch, err
}

func (s *scorer) close() { s.bundle.Close() }
