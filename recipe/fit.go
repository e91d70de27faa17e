package recipe

import (
	"context"
	"time"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// RecallImages is how many held-out images the recall of an index is measured by.
const RecallImages = 1000

// Fitted is a detector in memory.
type Fitted struct {
	Scorer *nln.Scorer
	Index  *faissindex.Index
	Search faissindex.Choice // how neighbours are searched for
}

// Fit indexes the images of n with a model that was trained on them, and calibrates.
// The caller closes the index.
func Fit(ctx context.Context, m *models.Autoencoder, n *Normals, log Log) (_ *Fitted, err error) {
	x, err := faissindex.New(m.LatentDim())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			x.Close()
		}
	}()
	cfg := n.FitConfig(m)
	cfg.Progress = func(stage string, done, total int) { log.Show("%s: %d of %d", stage, done, total) }
	s, err := nln.Fit(ctx, m, x, n.Indexed, n.Calib, cfg)
	log.Clear()
	if err != nil {
		return nil, err
	}
	for _, w := range s.Warnings() {
		log.Say("warning: %s", w)
	}
	f := &Fitted{Scorer: s, Index: x, Search: faissindex.Choice{Asked: faissindex.Exact, Kind: faissindex.Exact}}
	asked := faissindex.Kind(n.Settings.Index)
	if asked == faissindex.Exact {
		return f, nil
	}
	queries, err := latents(ctx, m, n.HeldOut(RecallImages))
	if err != nil {
		return nil, err
	}
	f.Scorer, f.Search, err = Choose(ctx, log, asked, x, s, queries, func() (nln.Parts, error) { return s.PartsAll(ctx, n.Calib) })
	return f, err
}

// Choose makes a scorer's index one of the kind that was asked for, judged by held-out
// latents, row-major. Where the index may now miss neighbours, the held-out images
// are compared anew, by compare, so that p-values and thresholds hold for what scoring
// does.
func Choose(ctx context.Context, log Log, asked faissindex.Kind, x *faissindex.Index, s *nln.Scorer, queries []float32, compare func() (nln.Parts, error)) (*nln.Scorer, faissindex.Choice, error) {
	start := time.Now()
	log.Show("index: choosing how to search %d vectors", x.Len())
	c, err := x.Choose(ctx, asked, queries, s.Config().MaxK)
	log.Clear()
	if err != nil {
		return nil, c, err
	}
	log.Say("index: %v (%.1f s)", c, time.Since(start).Seconds())
	if c.Kind == faissindex.Exact {
		return s, c, nil
	}
	if c.Recall < faissindex.MinRecall {
		log.Say("warning: %s misses more neighbours than 1 in 100, even with the most effort: --index exact misses none", c.Factory)
	}
	kept := s.Kept()
	if kept.Calibration, err = compare(); err != nil {
		return nil, c, err
	}
	s, err = nln.NewScorer(s.Model(), x, kept, s.Config())
	return s, c, err
}

// latents returns the latent vectors of the images, row-major.
func latents(ctx context.Context, model nln.Model, set *dataset.Set) ([]float32, error) {
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
