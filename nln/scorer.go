package nln

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Scorer scores images; [Fit] and [NewScorer] make one. It may be used from
// several goroutines if its model and its index may.
//
// What it returns for an image depends on the images scored with it no more
// than its model and index make it: over [Exact] and a model that is
// independent of the batch to the bit, so are the scores.
type Scorer struct {
	model       Model
	index       Index
	indexed     int                // images in the index, and rows of each table
	spaces      []Space            // kept, in the order of cfg.Spaces
	tables      map[Feature]*Table // of the neighbours' features, but for latents that the index has
	spacing     spacing            // over cfg.MaxK neighbours
	calib       Parts              // the policy's space first
	cfg         Config             // defaults filled in; K at most MaxK, MaxK at most the number of indexed images
	calibration *Calibration
	pixels      *Pixels // nil if not known
	warnings    []string
	buffers     *sync.Pool // of *buffers
	engine      Engine     // nil: model and index compute parts
}

// newScorer returns a scorer without tables and calibration.
func newScorer(m Model, idx Index, cfg Config) (*Scorer, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := checkPair(m, idx); err != nil {
		return nil, err
	}
	if err := cfg.Patched.check(m); err != nil {
		return nil, err
	}
	s := &Scorer{model: m, index: idx, cfg: cfg, tables: map[Feature]*Table{},
		buffers: &sync.Pool{New: func() any { return new(buffers) }}}
	if s.spaces, err = chooseSpaces(m, cfg.Spaces); err != nil {
		return nil, err
	}
	s.cfg.Spaces = spaceNames(s.spaces)
	completed, err := s.cfg.Policy.complete(s.cfg.MaxK, s.cfg.Spaces)
	if err != nil {
		return nil, err
	}
	s.cfg.Space = completed.Space // the rest waits for the number of indexed images
	return s, nil
}

// With returns a scorer with another policy over the same model, index, tables
// and calibration images. Both may be used. A K above [Config.MaxK] and a space
// that was not kept are errors.
func (s *Scorer) With(p Policy) (*Scorer, error) {
	t := *s
	if err := t.setPolicy(p); err != nil {
		return nil, fmt.Errorf("nln: %w", err)
	}
	return &t, nil
}

// setPolicy calibrates for a policy.
func (s *Scorer) setPolicy(p Policy) (err error) {
	if err := p.check(); err != nil {
		return err
	}
	if s.cfg.Policy, err = p.complete(s.cfg.MaxK, s.cfg.Spaces); err != nil {
		return err
	}
	if s.calib.Len() == 0 { // and Config.Uncalibrated is set
		s.calibration = newUncalibrated(s.cfg.Policy)
		return nil
	}
	if s.calib, err = s.calib.In(s.cfg.Space); err != nil {
		return err
	}
	s.calibration, err = calibrate(s.calib, s.cfg.Policy)
	return err
}

// Model returns the model that the scorer was made with.
func (s *Scorer) Model() Model { return s.model }

// Index returns the index of the latent vectors.
func (s *Scorer) Index() Index { return s.index }

// Spaces returns the spaces that were kept, in the order of [Config].
func (s *Scorer) Spaces() []Space { return slices.Clone(s.spaces) }

// Recon returns the table of reconstructions g(z), in order of the index's ids.
// It has no rows, and F 0, where no space needed them.
func (s *Scorer) Recon() *Table {
	if t := s.tables[Feature{Of: OfReconstruction}]; t != nil {
		return t
	}
	return &Table{Feature: Feature{Of: OfReconstruction}, Kind: s.cfg.Cache}
}

// CalibrationParts returns the parts of the calibration images, for MaxK
// neighbours, in order, the policy's space first.
func (s *Scorer) CalibrationParts() Parts { return s.calib }

// Kept returns what makes the same scorer again, with the model, the index and
// the Config, see [NewScorer].
func (s *Scorer) Kept() Kept {
	k := Kept{Spacing: s.spacing.mean, Calibration: s.calib, Pixels: s.pixels}
	for _, space := range s.spaces {
		if t := s.tables[space.Neighbor]; t != nil && t.Kind != CacheNone && !slices.Contains(k.Tables, t) {
			k.Tables = append(k.Tables, t)
		}
	}
	return k
}

// Calibration returns what turns parts into scores under the scorer's policy.
func (s *Scorer) Calibration() *Calibration { return s.calibration }

// Config returns the configuration as it is in use, its defaults filled in.
func (s *Scorer) Config() Config { return s.cfg }

// Warnings returns what makes scores less useful than they could be, one line
// each, with the remedy.
func (s *Scorer) Warnings() []string {
	return append(slices.Clone(s.warnings), s.calibration.Warnings()...)
}

// Parts appends to dst the parts of the images x for MaxK neighbours, in each
// space that was kept, the policy's first. After an error it returns dst as it
// was, though memory behind its end may have changed. The error names images by
// their position in x.
func (s *Scorer) Parts(ctx context.Context, x dataset.Images, dst Parts) (Parts, error) {
	p, err := s.pooledParts(ctx, 0, x, s.allParts(), dst)
	if err != nil {
		return dst, fmt.Errorf("nln: %w", err)
	}
	return p, nil
}

// Score appends to dst the scores of the images x under the scorer's policy.
// Errors are as with Parts.
func (s *Scorer) Score(ctx context.Context, x dataset.Images, dst []Score) ([]Score, error) {
	scores, err := s.score(ctx, 0, x, dst)
	if err != nil {
		return dst, fmt.Errorf("nln: %w", err)
	}
	return scores, nil
}

func (s *Scorer) score(ctx context.Context, first int, x dataset.Images, dst []Score) ([]Score, error) {
	p, err := s.pooledParts(ctx, first, x, s.scoreParts(), Parts{})
	if err != nil {
		return dst, err
	}
	return s.appendScores(ctx, p, dst)
}

// appendScores appends the scores of p to dst, or returns dst as it was.
func (s *Scorer) appendScores(ctx context.Context, p Parts, dst []Score) ([]Score, error) {
	scores := longer(dst, p.Len())
	to := scores[len(dst):]
	err := forBlocks(ctx, p.Len(), finishImages, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			to[i] = s.calibration.Score(p, i)
		}
	})
	if err != nil {
		return dst, err
	}
	return scores, nil
}

// PartsAll returns the parts of all images of src, in order, for MaxK
// neighbours. Errors name images by their position in src.
func (s *Scorer) PartsAll(ctx context.Context, src dataset.Source) (Parts, error) {
	p, err := s.partsAll(ctx, src, "")
	if err != nil {
		return Parts{}, fmt.Errorf("nln: %w", err)
	}
	return p, nil
}

func (s *Scorer) partsAll(ctx context.Context, src dataset.Source, stage string) (Parts, error) {
	w := s.allParts()
	p, err := Parts{}.shape(w.k, spaceNames(w.spaces))
	if err != nil {
		return p, err
	}
	p = p.grow(src.Len()).Reset() // all the memory at once
	if bytes, ok := src.(dataset.ByteSource); ok && s.TakesBytes() {
		err = s.eachByteBatch(ctx, bytes, stage, func(first int, x dataset.Bytes) (err error) {
			p, err = s.byteParts(ctx, first, x, w, p)
			return err
		})
		return p, err
	}
	err = s.eachBatch(ctx, src, s.BatchImages(), stage, func(first int, x dataset.Images) (err error) {
		p, err = s.pooledParts(ctx, first, x, w, p)
		return err
	})
	return p, err
}

// ScoreAll yields the scores of all images of src, in order, a batch at a time.
// After an error, which names images by their position in src, nothing more is
// yielded.
func (s *Scorer) ScoreAll(ctx context.Context, src dataset.Source) iter.Seq2[Score, error] {
	return func(yield func(Score, error) bool) {
		var scores []Score
		err := s.eachBatch(ctx, src, s.BatchImages(), "", func(first int, x dataset.Images) (err error) {
			if scores, err = s.score(ctx, first, x, scores[:0]); err != nil {
				return err
			}
			for _, sc := range scores {
				if !yield(sc, nil) {
					return errStopped
				}
			}
			return nil
		})
		if err != nil && err != errStopped {
			yield(Score{}, fmt.Errorf("nln: %w", err))
		}
	}
}

// errStopped ends eachBatch when the consumer of an iterator has.
var errStopped = errors.New("stopped")

// eachBatch calls f with each batch of src and the position of its first image,
// and reports progress unless stage is empty. It returns f's errors unchanged.
func (s *Scorer) eachBatch(ctx context.Context, src dataset.Source, size int, stage string, f func(first int, x dataset.Images) error) error {
	done, total := 0, src.Len()
	for x, err := range src.Batches(size) {
		if err != nil {
			return fmt.Errorf("read images from %d on: %w", done, err)
		}
		if err := f(done, x); err != nil {
			return err
		}
		done += x.N
		if stage != "" && s.cfg.Progress != nil {
			s.cfg.Progress(stage, done, total)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if done != total {
		return fmt.Errorf("source gave %d images of %d", done, total)
	}
	return nil
}
