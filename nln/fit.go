package nln

import (
	"context"
	"fmt"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Config says how a scorer is fitted and run. Start from [DefaultConfig]; a
// zero MaxK, Batch or Cache stands for its default.
type Config struct {
	Policy // can be changed later, see [Scorer.With]

	// MaxK is the number of neighbours whose parts are kept for calibration and
	// returned by [Scorer.Parts], and so the largest K of a later policy. The
	// default is 10. A larger K or Local.K raises it and a smaller index lowers
	// it.
	MaxK int

	// Spaces names the spaces to keep, each a table of a row per indexed image and
	// a column of [Parts]; the default is SpacesOf the model. A later policy can
	// score in any of them, the first is its default. What is not kept costs
	// nothing.
	Spaces []string

	Batch int   // images per call of the model, default 256; more need more memory
	Cache Cache // of the reconstructions, default CacheUint8; other features are kept as float32

	// Sources says which source image each train image comes from, in order and
	// numbered in any way, where some are crops or rotated copies of one. An
	// indexed image is not compared with others of its source. Nil: each is a
	// source of its own.
	Sources []int64

	// Patched is for models that take patches: train are then patches, of any
	// images, and calib and what is scored are images.
	Patched Patched

	// Uncalibrated lets Fit do without calibration images. Scores are then the
	// plain sum of equation 4, whose terms have different units, every p-value
	// is 1 and nothing is novel.
	Uncalibrated bool

	// Progress, unless nil, is called after each batch: stage is "index", "local"
	// (the indexed images are compared with each other) or "calibrate", done of
	// total images are through.
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
		return c, fmt.Errorf("config: MaxK is %d and Batch %d, want at least 1", c.MaxK, c.Batch)
	}
	c.MaxK = max(c.MaxK, c.K, c.Local.K)
	return c, c.Policy.check()
}

// Fit indexes the latent vectors of train, which should hold normal images
// only, keeps their reconstructions and other features that cfg.Spaces compares
// with, so that no query has to decode a neighbour, and calibrates with calib:
// normal images that are not among train and that m was not trained on. It needs
// memory for train.Len() rows of each feature: a byte or four for each value of
// a reconstruction (see [Cache]), four for each value of another feature, and
// none, in the end, for latent vectors if idx is a [VectorIndex]. Each train
// image is searched for among the others once, for the local score.
//
// idx must be empty; after an error it may hold part of train. The Scorer keeps
// m and idx, which the caller still closes.
//
// An image, latent vector, reconstruction or other feature that is not finite,
// shapes that do not fit, no train images, and no calib images unless
// cfg.Uncalibrated, are errors. What only makes scores less useful, such as a K
// above the number of train images, is listed by [Scorer.Warnings].
func Fit(ctx context.Context, m Model, idx Index, train, calib dataset.Source, cfg Config) (*Scorer, error) {
	s, err := fit(ctx, m, idx, train, calib, cfg)
	if err != nil {
		return nil, fmt.Errorf("nln: fit: %w", err)
	}
	return s, nil
}

func fit(ctx context.Context, m Model, idx Index, train, calib dataset.Source, cfg Config) (*Scorer, error) {
	s, err := newScorer(m, idx, cfg)
	if err != nil {
		return nil, err
	}
	calibrated := calib != nil && calib.Len() > 0
	switch {
	case train == nil || train.Len() == 0:
		return nil, fmt.Errorf("no train images")
	case !calibrated && !cfg.Uncalibrated:
		return nil, fmt.Errorf("no calibration images: hold out some normal ones, or set Uncalibrated to do without p-values and verdicts")
	case idx.Len() != 0:
		return nil, fmt.Errorf("index holds %d vectors, want an empty one", idx.Len())
	}
	if err := checkSources(cfg.Sources, train.Len()); err != nil {
		return nil, err
	}
	if err := s.checkCache(); err != nil {
		return nil, err
	}
	if err := s.makeTables(train.Len()); err != nil {
		return nil, err
	}
	if err := s.indexImages(ctx, train); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	s.limitK()
	latents := Feature{Of: OfLatent}
	if err := s.findSpacing(ctx, s.tables[latents].F32); err != nil {
		return nil, fmt.Errorf("compare train images: %w", err)
	}
	if s.vectors() != nil || !slices.ContainsFunc(s.spaces, func(space Space) bool { return space.Neighbor == latents }) {
		delete(s.tables, latents)
	}
	if calibrated {
		if s.calib, err = s.partsAll(ctx, calib, "calibrate"); err != nil {
			return nil, fmt.Errorf("calibrate: %w", err)
		}
	}
	if err := s.setPolicy(s.cfg.Policy); err != nil || !calibrated {
		return s, err
	}
	if err := s.calibratePixels(ctx, calib); err != nil {
		return nil, fmt.Errorf("calibrate maps: %w", err)
	}
	return s, nil
}

// Kept is what a scorer knows of the images that it was fitted with, beside what
// the index does.
type Kept struct {
	// Tables has a table for the Neighbor of each space that was kept, in any
	// order, but none of latent vectors if the index is a VectorIndex.
	Tables []*Table

	// Spacing is how far apart the indexed images are, len N*MaxK, row-major, in
	// order of id: value k-1 of a row is the mean distance to the k nearest
	// others. See [Local].
	Spacing []float32

	Calibration Parts // for MaxK neighbours, in each space; empty if Uncalibrated

	Pixels *Pixels // of the maps of calibration images; nil: ScoreMaps has no Score
}

// NewScorer puts together a scorer out of what an earlier one was made of: the
// model, the filled index and what the scorer kept. cfg.Cache and cfg.MaxK are
// replaced by what was kept.
func NewScorer(m Model, idx Index, kept Kept, cfg Config) (*Scorer, error) {
	s, err := assemble(m, idx, kept, cfg)
	if err != nil {
		return nil, fmt.Errorf("nln: new scorer: %w", err)
	}
	return s, nil
}

func assemble(m Model, idx Index, kept Kept, cfg Config) (*Scorer, error) {
	s, err := newScorer(m, idx, cfg)
	if err != nil {
		return nil, err
	}
	n := idx.Len()
	switch {
	case n == 0:
		return nil, ErrEmptyIndex
	case kept.Calibration.Len() == 0 && !cfg.Uncalibrated:
		return nil, fmt.Errorf("no calibration images, and Uncalibrated is not set")
	case len(kept.Spacing) == 0 || len(kept.Spacing)%n != 0 || len(kept.Spacing)/n > n:
		return nil, fmt.Errorf("spacing of %d values for %d indexed vectors", len(kept.Spacing), n)
	}
	s.indexed, s.cfg.MaxK = n, len(kept.Spacing)/n
	if _, err := cfg.Policy.complete(s.cfg.MaxK, s.cfg.Spaces); err != nil {
		return nil, err
	}
	s.spacing = newSpacing(kept.Spacing, s.cfg.MaxK)
	if err := s.spacing.check(s.indexed); err != nil {
		return nil, err
	}
	for _, t := range kept.Tables {
		if err := t.check(); err != nil {
			return nil, err
		}
		s.tables[t.Feature] = t
	}
	if err := s.checkCache(); err != nil {
		return nil, err
	}
	for _, space := range s.spaces {
		if f := space.Neighbor; s.tables[f] == nil && s.demanded(f) {
			s.tables[f] = &Table{Feature: f, Kind: CacheNone, F: space.Dim}
			continue
		}
		switch t := s.table(space.Neighbor); {
		case t == nil:
			return nil, fmt.Errorf("no table of %v, by which space %q compares", space.Neighbor, space.Name)
		case t.Len() != s.indexed:
			return nil, fmt.Errorf("table of %v has %d rows for %d indexed vectors", space.Neighbor, t.Len(), s.indexed)
		case t.F != space.Dim:
			return nil, fmt.Errorf("table of %v has rows of %d values, want %d", space.Neighbor, t.F, space.Dim)
		}
	}
	if kept.Calibration.Len() > 0 {
		if err := kept.Calibration.check(); err != nil {
			return nil, fmt.Errorf("calibration images: %w", err)
		}
		if kept.Calibration.K != s.cfg.MaxK {
			return nil, fmt.Errorf("calibration images with %d neighbours, spacing over %d", kept.Calibration.K, s.cfg.MaxK)
		}
		if id := slices.Max(kept.Calibration.IDs); id >= int64(n) {
			return nil, fmt.Errorf("calibration images have the neighbour %d of %d indexed vectors", id, n)
		}
		for _, space := range s.spaces {
			if kept.Calibration.space(space.Name) < 0 {
				return nil, fmt.Errorf("calibration images have no errors in space %q", space.Name)
			}
		}
	}
	if s.cfg.Cache != CacheNone {
		s.cfg.Cache = s.Recon().Kind
	}
	s.calib, s.pixels = kept.Calibration, kept.Pixels
	return s, s.setPolicy(s.cfg.Policy)
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

// makeTables makes an empty table with memory for n rows for each feature of
// neighbours, and one of latents, which findSpacing needs.
func (s *Scorer) makeTables(n int) (err error) {
	latents := latentSpace(s.model)
	if s.tables[latents.Neighbor], err = newTable(latents.Neighbor, CacheFloat32, latents.Dim, n); err != nil {
		return err
	}
	for _, space := range s.spaces {
		f := space.Neighbor
		if s.tables[f] != nil {
			continue
		}
		kind := CacheFloat32
		if f == (Feature{Of: OfReconstruction}) || s.demanded(f) {
			kind = s.cfg.Cache
		}
		if s.tables[f], err = newTable(f, kind, space.Dim, n); err != nil {
			return err
		}
	}
	return nil
}

// indexImages adds images to the index and their features to the tables.
func (s *Scorer) indexImages(ctx context.Context, src dataset.Source) error {
	return s.eachBatch(ctx, src, s.cfg.Batch, "index", func(first int, x dataset.Images) error {
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
		s.indexed += x.N
		if s.index.Len() != s.indexed {
			return fmt.Errorf("index holds %d vectors after %d images", s.index.Len(), s.indexed)
		}
		if err := s.reconstruct(ctx, first, x, b); err != nil {
			return err
		}
		for _, t := range s.tables {
			rows, err := s.feature(ctx, first, x, b, t.Feature, t.F)
			if err != nil {
				return err
			}
			if err := t.add(rows); err != nil {
				return err
			}
		}
		return nil
	})
}

// limitK lowers K and MaxK to the number of indexed images.
func (s *Scorer) limitK() {
	n := s.indexed
	for _, k := range []struct {
		name string
		k    *int
	}{{"K", &s.cfg.K}, {"K of the local score", &s.cfg.Local.K}} {
		if *k.k > n {
			s.warnings = append(s.warnings, fmt.Sprintf("%s is %d but only %d images are indexed: using %d", k.name, *k.k, n, n))
			*k.k = n
		}
	}
	s.cfg.MaxK = min(s.cfg.MaxK, n)
}
