package cli

import (
	"context"
	"time"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/nln"
)

// recallImages is how many held-out images the recall of an index is measured by.
const recallImages = 1000

// chooseIndex makes the scorer's index one of the kind that was asked for and says
// what came of it. Where the index may now miss neighbours, the held-out images
// are compared anew, so that p-values and thresholds hold for what scoring does.
func chooseIndex(ctx context.Context, m *meter, asked faissindex.Kind, x *faissindex.Index, s *nln.Scorer, normal *normals) (*nln.Scorer, bundle.Index, error) {
	if asked == faissindex.Exact {
		return s, bundle.Index{Asked: asked, Kind: asked}, nil
	}
	queries, err := someLatents(ctx, s.Model(), normal.heldOut(recallImages))
	if err != nil {
		return nil, bundle.Index{}, err
	}
	return chooseIndexBy(ctx, m, asked, x, s, queries, func() (nln.Parts, error) { return s.PartsAll(ctx, normal.calib) })
}

// chooseIndexBy is chooseIndex by held-out latents, row-major, and what compares
// the held-out images anew.
func chooseIndexBy(ctx context.Context, m *meter, asked faissindex.Kind, x *faissindex.Index, s *nln.Scorer, queries []float32, compare func() (nln.Parts, error)) (*nln.Scorer, bundle.Index, error) {
	start := time.Now()
	m.show("index: choosing how to search %d vectors", x.Len())
	c, err := x.Choose(ctx, asked, queries, s.Config().MaxK)
	m.clear()
	if err != nil {
		return nil, bundle.Index{}, err
	}
	m.say("index: %v (%.1f s)", c, time.Since(start).Seconds())
	if c.Kind == faissindex.Exact {
		return s, bundle.Index(c), nil
	}
	if c.Recall < faissindex.MinRecall {
		m.say("warning: %s misses more neighbours than 1 in 100, even with the most effort: --index exact misses none", c.Factory)
	}
	kept := s.Kept()
	if kept.Calibration, err = compare(); err != nil {
		return nil, bundle.Index{}, err
	}
	s, err = nln.NewScorer(s.Model(), x, kept, s.Config())
	return s, bundle.Index(c), err
}

// someLatents returns the latent vectors of the images, row-major.
func someLatents(ctx context.Context, model nln.Model, set *dataset.Set) ([]float32, error) {
	z := make([]float32, 0, set.Len()*model.LatentDim())
	for x, err := range set.Batches(nln.DefaultConfig().Batch) {
		if err != nil {
			return nil, err
		}
		at := len(z)
		z = z[:at+x.N*model.LatentDim()]
		if err := model.Encode(ctx, x, z[at:]); err != nil {
			return nil, err
		}
	}
	return z, nil
}
