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
	recon       *Recon
	calib       Parts
	cfg         Config // K at most MaxK, MaxK at most the number of indexed images
	calibration *Calibration
	warnings    []string
	buffers     *sync.Pool // of *buffers
}

// buffers is the memory of one batch.
type buffers struct {
	z, xhat []float32
	nb      Neighbors
}

func newScorer(m Model, idx Index, recon *Recon, cfg Config) *Scorer {
	return &Scorer{model: m, index: idx, recon: recon, cfg: cfg,
		buffers: &sync.Pool{New: func() any { return new(buffers) }}}
}

// With returns a scorer with another policy over the same model, index,
// reconstructions and calibration images. Both may be used. A K above
// [Config.MaxK] is an error.
func (s *Scorer) With(p Policy) (*Scorer, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if p.K > s.cfg.MaxK {
		return nil, fmt.Errorf("nln: K is %d but %d neighbours were kept: fit again with a larger MaxK", p.K, s.cfg.MaxK)
	}
	t := *s
	t.cfg.Policy = p
	var err error
	if t.calibration, err = t.calibrate(); err != nil {
		return nil, err
	}
	return &t, nil
}

// Model returns the model that the scorer was made with.
func (s *Scorer) Model() Model { return s.model }

// Index returns the index of the latent vectors.
func (s *Scorer) Index() Index { return s.index }

// Recon returns the cache of reconstructions, in order of the index's ids.
func (s *Scorer) Recon() *Recon { return s.recon }

// CalibrationParts returns the parts of the calibration images, for MaxK
// neighbours, in order. With the model, index, Recon and Config they make the
// same scorer again, see [NewScorer].
func (s *Scorer) CalibrationParts() Parts { return s.calib }

// Calibration returns what turns parts into scores under the scorer's policy.
func (s *Scorer) Calibration() *Calibration { return s.calibration }

// Config returns the configuration, with K and MaxK as they are in use.
func (s *Scorer) Config() Config { return s.cfg }

// Warnings returns what makes scores less useful than they could be, one line
// each, with the remedy.
func (s *Scorer) Warnings() []string {
	return append(slices.Clone(s.warnings), s.calibration.warnings()...)
}

// Parts appends to dst the parts of the images x for MaxK neighbours. After an
// error it returns dst as it was, though memory behind its end may have
// changed. The error names images by their position in x.
func (s *Scorer) Parts(ctx context.Context, x dataset.Images, dst Parts) (Parts, error) {
	p, err := s.parts(ctx, 0, x, s.cfg.MaxK, dst)
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
	p, err := s.parts(ctx, first, x, s.cfg.K, Parts{})
	if err != nil {
		return dst, err
	}
	for i := range p.Len() {
		dst = append(dst, s.calibration.Score(p, i))
	}
	return dst, nil
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
	p := Parts{K: s.cfg.MaxK}.grow(src.Len()).Reset() // all the memory at once
	err := s.eachBatch(ctx, src, stage, func(first int, x dataset.Images) (err error) {
		p, err = s.parts(ctx, first, x, s.cfg.MaxK, p)
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
		err := s.eachBatch(ctx, src, "", func(first int, x dataset.Images) (err error) {
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
func (s *Scorer) eachBatch(ctx context.Context, src dataset.Source, stage string, f func(first int, x dataset.Images) error) error {
	done, total := 0, src.Len()
	for x, err := range src.Batches(s.cfg.Batch) {
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

// parts appends the parts of x for k neighbours, Config.Batch images at a time.
// first is the number of x's first image in errors.
func (s *Scorer) parts(ctx context.Context, first int, x dataset.Images, k int, dst Parts) (Parts, error) {
	if dst.Len() > 0 && dst.K != k {
		return dst, fmt.Errorf("append parts of %d neighbours to parts of %d", k, dst.K)
	}
	if err := checkImages(s.model.Shape(), first, x); err != nil {
		return dst, err
	}
	out := dst
	out.K = k
	b := s.buffers.Get().(*buffers)
	defer s.buffers.Put(b)
	for lo := 0; lo < x.N; lo += s.cfg.Batch {
		hi := min(lo+s.cfg.Batch, x.N)
		out = out.grow(hi - lo)
		batch := out.Slice(out.Len()-(hi-lo), out.Len())
		if err := s.fill(ctx, first+lo, x.Slice(lo, hi), b, batch); err != nil {
			return dst, err
		}
	}
	return out, nil
}

// scoreImages is how many images a goroutine compares at a time.
const scoreImages = 8

// fill computes the parts of one batch into p, which has one row per image.
func (s *Scorer) fill(ctx context.Context, first int, x dataset.Images, b *buffers, p Parts) (err error) {
	if err := s.encode(ctx, first, x, b); err != nil {
		return err
	}
	if b.nb, err = s.index.Search(ctx, b.z, p.K, b.nb); err != nil {
		return fmt.Errorf("search neighbours of images from %d on: %w", first, err)
	}
	if err := s.checkNeighbors(first, x.N, p.K, b.nb); err != nil {
		return err
	}
	if err := s.decode(ctx, first, x, b); err != nil {
		return err
	}
	copy(p.IDs, b.nb.IDs)
	query := queryFeatures(x)
	return forBlocks(ctx, x.N, scoreImages, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			p.Recon[i] = meanAbs32(x.At(i), b.xhat[i*len(x.At(i)):])
			row := query[i*s.recon.F : (i+1)*s.recon.F]
			var e, d float64
			for j := range p.K {
				e += s.recon.MeanAbs(row, int(p.IDs[i*p.K+j]))
				d += float64(b.nb.Dist[i*p.K+j])
				p.Error[i*p.K+j] = e / float64(j+1)
				p.Distance[i*p.K+j] = d / float64(j+1)
			}
		}
	})
}

// encode fills b.z with the latent vectors of x.
func (s *Scorer) encode(ctx context.Context, first int, x dataset.Images, b *buffers) error {
	l := s.model.LatentDim()
	b.z = resize(b.z, x.N*l)
	if err := s.model.Encode(ctx, x, b.z); err != nil {
		return fmt.Errorf("encode images from %d on: %w", first, err)
	}
	if i := notFinite(b.z); i >= 0 {
		return fmt.Errorf("image %d: latent value %d is %v: the model has diverged", first+i/l, i%l, b.z[i])
	}
	return nil
}

// decode fills b.xhat with the reconstructions of x, whose latents are b.z.
func (s *Scorer) decode(ctx context.Context, first int, x dataset.Images, b *buffers) error {
	n := x.Shape.Len()
	b.xhat = resize(b.xhat, x.N*n)
	if err := s.model.Decode(ctx, b.z, b.xhat); err != nil {
		return fmt.Errorf("decode images from %d on: %w", first, err)
	}
	if i := notFinite(b.xhat); i >= 0 {
		return fmt.Errorf("image %d: reconstructed value %d is %v: the model has diverged", first+i/n, i%n, b.xhat[i])
	}
	return nil
}

// checkNeighbors makes sure that the index kept its contract: an id outside the
// cache would read another image's row or none.
func (s *Scorer) checkNeighbors(first, n, k int, nb Neighbors) error {
	if nb.K != k || len(nb.IDs) != n*k || len(nb.Dist) != n*k {
		return fmt.Errorf("index gave %d neighbours, %d ids and %d distances for %d images, want %d neighbours each",
			nb.K, len(nb.IDs), len(nb.Dist), n, k)
	}
	for i, id := range nb.IDs {
		if id < 0 || id >= int64(s.recon.Len()) {
			return fmt.Errorf("image %d: index gave id %d, have %d reconstructions", first+i/k, id, s.recon.Len())
		}
		if d := nb.Dist[i]; !(d >= 0) || d-d != 0 {
			return fmt.Errorf("image %d: index gave distance %v to id %d", first+i/k, d, id)
		}
	}
	return nil
}

// checkImages makes sure that x has the wanted shape and is finite.
func checkImages(want dataset.Shape, first int, x dataset.Images) error {
	if x.Shape != want {
		return fmt.Errorf("images are %v, want %v", x.Shape, want)
	}
	if n := want.Len(); len(x.Pix) != x.N*n {
		return fmt.Errorf("%d images of %v hold %d values, want %d", x.N, want, len(x.Pix), x.N*n)
	}
	if i := notFinite(x.Pix); i >= 0 {
		return fmt.Errorf("image %d: value %d is %v", first+i/want.Len(), i%want.Len(), x.Pix[i])
	}
	return nil
}
