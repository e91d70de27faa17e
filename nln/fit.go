package nln

import (
	"context"
	"fmt"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Config says how a scorer is fitted and run. Start from [DefaultConfig]; a
// zero MaxK, Batch or Cache stands for its default.
type Config struct {
	Policy // can be changed later, see [Scorer.With]

	// MaxK is the number of neighbours whose parts are kept for calibration and
	// returned by [Scorer.Parts], and so the largest K of a later policy. The
	// default is 10. A larger K raises it and a smaller index lowers it.
	MaxK int

	Batch int   // images per call of the model, default 256; more need more memory
	Cache Cache // of the reconstructions, default CacheUint8

	// Uncalibrated lets Fit do without calibration images. Scores are then the
	// plain sum of equation 4, whose terms have different units, every p-value
	// is 1 and nothing is novel.
	Uncalibrated bool

	// Progress, unless nil, is called after each batch: stage is "index" or
	// "calibrate", done of total images are through.
	Progress func(stage string, done, total int)
}

// DefaultConfig returns DefaultPolicy and the defaults named at Config.
func DefaultConfig() Config {
	return Config{Policy: DefaultPolicy(), MaxK: 10, Batch: 256, Cache: CacheUint8}
}

// complete fills in defaults and checks the rest.
func (c Config) complete() (Config, error) {
	def := DefaultConfig()
	if c.MaxK == 0 {
		c.MaxK = def.MaxK
	}
	if c.Batch == 0 {
		c.Batch = def.Batch
	}
	if c.Cache == "" {
		c.Cache = def.Cache
	}
	if c.MaxK < 0 || c.Batch < 0 {
		return c, fmt.Errorf("nln: config: MaxK is %d and Batch %d, want at least 1", c.MaxK, c.Batch)
	}
	c.MaxK = max(c.MaxK, c.K)
	return c, c.Policy.check()
}

// Fit indexes the latent vectors of train, which should hold normal images
// only, keeps their reconstructions so that no query has to decode a neighbour,
// and calibrates with calib: normal images that are not among train and that m
// was not trained on. It needs memory for train.Len() reconstructions, a byte
// or four for each value (see [Cache]).
//
// idx must be empty; after an error it may hold part of train. The Scorer keeps
// m and idx, which the caller still closes.
//
// An image, latent vector or reconstruction that is not finite, shapes that do
// not fit, no train images, and no calib images unless cfg.Uncalibrated, are
// errors. What only makes scores less useful, such as a K above the number of
// train images, is listed by [Scorer.Warnings].
func Fit(ctx context.Context, m Model, idx Index, train, calib dataset.Source, cfg Config) (*Scorer, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	calibrated := calib != nil && calib.Len() > 0
	switch {
	case train == nil || train.Len() == 0:
		return nil, fmt.Errorf("nln: fit: no train images")
	case !calibrated && !cfg.Uncalibrated:
		return nil, fmt.Errorf("nln: fit: no calibration images: hold out some normal ones, or set Uncalibrated to do without p-values and verdicts")
	case idx.Len() != 0:
		return nil, fmt.Errorf("nln: fit: index holds %d vectors, want an empty one", idx.Len())
	}
	if err := checkPair(m, idx); err != nil {
		return nil, fmt.Errorf("nln: fit: %w", err)
	}
	recon, err := NewRecon(cfg.Cache, featureLen(m), train.Len())
	if err != nil {
		return nil, err
	}
	s := newScorer(m, idx, recon, cfg)
	if err := s.indexImages(ctx, train); err != nil {
		return nil, fmt.Errorf("nln: fit: train: %w", err)
	}
	s.limitK(idx.Len())
	if calibrated {
		if s.calib, err = s.partsAll(ctx, calib, "calibrate"); err != nil {
			return nil, fmt.Errorf("nln: fit: calibrate: %w", err)
		}
	}
	if s.calibration, err = s.calibrate(); err != nil {
		return nil, err
	}
	return s, nil
}

// NewScorer puts together a scorer out of what an earlier one was made of: the
// filled index, the reconstructions in order of its ids and the parts of the
// calibration images, which may be empty if cfg.Uncalibrated. cfg.Cache and,
// with calibration images, cfg.MaxK are replaced by what recon and calib hold.
func NewScorer(m Model, idx Index, recon *Recon, calib Parts, cfg Config) (*Scorer, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := checkPair(m, idx); err != nil {
		return nil, fmt.Errorf("nln: new scorer: %w", err)
	}
	if err := recon.check(); err != nil {
		return nil, err
	}
	switch {
	case idx.Len() == 0:
		return nil, fmt.Errorf("nln: new scorer: %w", ErrEmptyIndex)
	case recon.Len() != idx.Len():
		return nil, fmt.Errorf("nln: new scorer: %d reconstructions for %d indexed vectors", recon.Len(), idx.Len())
	case recon.F != featureLen(m):
		return nil, fmt.Errorf("nln: new scorer: reconstructions of %d values, want %d", recon.F, featureLen(m))
	case calib.Len() == 0 && !cfg.Uncalibrated:
		return nil, fmt.Errorf("nln: new scorer: no calibration images, and Uncalibrated is not set")
	}
	cfg.Cache = recon.Kind
	s := newScorer(m, idx, recon, cfg)
	if calib.Len() > 0 {
		s.calib = calib
		s.cfg.MaxK = calib.K
	}
	s.limitK(idx.Len())
	if s.calibration, err = s.calibrate(); err != nil {
		return nil, err
	}
	return s, nil
}

// checkPair makes sure that the model's vectors fit the index.
func checkPair(m Model, idx Index) error {
	if m.Shape().Len() < 1 || m.LatentDim() < 1 {
		return fmt.Errorf("model takes images of %v and has %d latent values, want at least 1 of each", m.Shape(), m.LatentDim())
	}
	if m.LatentDim() != idx.Dim() {
		return fmt.Errorf("model has %d latent values, index %d", m.LatentDim(), idx.Dim())
	}
	return nil
}

// indexImages adds images to the index and their reconstructions to the cache.
func (s *Scorer) indexImages(ctx context.Context, src dataset.Source) error {
	return s.eachBatch(ctx, src, "index", func(first int, x dataset.Images) error {
		if err := checkImages(s.model.Shape(), first, x); err != nil {
			return err
		}
		b := s.buffers.Get().(*buffers)
		defer s.buffers.Put(b)
		if err := s.encode(ctx, first, x, b); err != nil {
			return err
		}
		if err := s.index.Add(ctx, b.z); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if err := s.decode(ctx, first, x, b); err != nil {
			return err
		}
		if err := s.recon.Append(reconFeatures(b.xhat)); err != nil {
			return err
		}
		if s.index.Len() != s.recon.Len() {
			return fmt.Errorf("index holds %d vectors after %d images", s.index.Len(), s.recon.Len())
		}
		return nil
	})
}

// limitK lowers K and MaxK to the number of indexed images.
func (s *Scorer) limitK(n int) {
	if s.cfg.K > n {
		s.warnings = append(s.warnings, fmt.Sprintf("K is %d but only %d images are indexed: using %d", s.cfg.K, n, n))
		s.cfg.K = n
	}
	s.cfg.MaxK = min(s.cfg.MaxK, n)
}

// calibrate returns the calibration of the scorer's policy.
func (s *Scorer) calibrate() (*Calibration, error) {
	if s.calib.Len() == 0 { // and Config.Uncalibrated is set
		return newUncalibrated(s.cfg.Policy), nil
	}
	return Calibrate(s.calib, s.cfg.Policy)
}
