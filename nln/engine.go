package nln

import (
	"context"
	"fmt"

	"github.com/nlnctl/nlnctl/dataset"
)

// An Engine computes the parts of scores in one go, such as on a device where the
// model, the latents and the tables lie. It is made for one scorer, which otherwise
// calls its model and its index and looks into its tables. It may be used from several
// goroutines.
//
// Parts agree with the scorer's own as far as sums of float32 in another order do.
type Engine interface {
	// Images returns how many images it takes at a time to keep the engine busy.
	Images() int

	// Parts fills in p, which has a row for each image of x: IDs, Dist, Recon and, of
	// w.Spaces, Mean over the first w.Errors neighbours and, with w.Own, Own. It
	// returns the places of images whose parts are not finite: their rows say nothing.
	Parts(ctx context.Context, x dataset.Images, w Wanted, p Parts) (unfit []int, err error)

	// PartsBytes is Parts for 8-bit pixels.
	PartsBytes(ctx context.Context, x dataset.Bytes, w Wanted, p Parts) (unfit []int, err error)
}

// Wanted says which parts an [Engine] is to compute.
type Wanted struct {
	K      int      // neighbours to find
	Errors int      // over how many of them to compute errors, at most K
	Spaces []string // in the order of Parts.Spaces
	Own    bool     // whether to compute ErrorTerm.Own
}

// WithEngine returns the same scorer, whose parts an engine computes. Images for which
// the engine has no finite ones are left to the model and the index, as everything is
// that needs more than parts, such as pictures.
func (s *Scorer) WithEngine(e Engine) *Scorer {
	t := *s
	t.engine = e
	return &t
}

// ScoreBytes is Score for 8-bit pixels.
func (s *Scorer) ScoreBytes(ctx context.Context, x dataset.Bytes, dst []Score) ([]Score, error) {
	p, err := s.byteParts(ctx, 0, x, s.scoreParts(), Parts{})
	if err == nil {
		dst, err = s.appendScores(ctx, p, dst)
	}
	if err != nil {
		return dst, fmt.Errorf("nln: %w", err)
	}
	return dst, nil
}

// TakesBytes says whether ScoreBytes scores 8-bit pixels as they are. Without an engine
// it converts them, as it does where patches are cut out of images: a whole image is
// scaled.
func (s *Scorer) TakesBytes() bool { return s.engine != nil && !s.cfg.Patched.on() }

// byteParts is pooledParts for 8-bit pixels.
func (s *Scorer) byteParts(ctx context.Context, first int, x dataset.Bytes, w want, dst Parts) (Parts, error) {
	if want := x.N * x.Shape.Len(); len(x.Pix) != want {
		return dst, fmt.Errorf("%d images of %v hold %d pixels, want %d", x.N, x.Shape, len(x.Pix), want)
	}
	if !s.TakesBytes() {
		return s.pooledParts(ctx, first, x.Images(make([]float32, len(x.Pix))), w, dst)
	}
	if want := s.model.Shape(); x.Shape != want {
		return dst, fmt.Errorf("images are %v, want %v", x.Shape, want)
	}
	values := func(i int) dataset.Images { return x.Slice(i, i+1).Images(make([]float32, x.Shape.Len())) }
	return s.engineParts(ctx, first, x.N, w, dst, values, func(wanted Wanted, p Parts) ([]int, error) {
		return s.engine.PartsBytes(ctx, x, wanted, p)
	})
}

// engineParts appends the parts of n images, which compute fills in but for those that
// it returns the places of. values returns the values of an image.
func (s *Scorer) engineParts(ctx context.Context, first, n int, w want, dst Parts, values func(i int) dataset.Images, compute func(Wanted, Parts) ([]int, error)) (Parts, error) {
	out, err := dst.shape(w.k, spaceNames(w.spaces))
	if err != nil {
		return dst, err
	}
	out = out.grow(n)
	p := out.Slice(out.Len()-n, out.Len())
	unfit, err := compute(Wanted{K: w.k, Errors: w.errors, Spaces: spaceNames(w.spaces), Own: w.own}, p)
	if err != nil {
		return dst, fmt.Errorf("images from %d on: %w", first, err)
	}
	b := s.buffers.Get().(*buffers)
	defer s.buffers.Put(b)
	for _, i := range unfit { // this finds out which value it is
		if err := s.fill(ctx, first+i, values(i), b, w, p.Slice(i, i+1)); err != nil {
			return dst, err
		}
	}
	if err := s.checkNeighbors(first, n, w.k, Neighbors{K: w.k, IDs: p.IDs, Dist: p.Dist}); err != nil {
		return dst, err
	}
	return out, forBlocks(ctx, n, finishImages, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			s.compareImage(i, w, nil, p)
		}
	})
}

// finishImages is how many images a goroutine takes at a time of whose neighbours all
// is known.
const finishImages = 512

// eachByteBatch calls f with the images of a source as 8-bit pixels, as eachBatch does.
func (s *Scorer) eachByteBatch(ctx context.Context, src dataset.ByteSource, stage string, f func(first int, x dataset.Bytes) error) error {
	done, total := 0, src.Len()
	for x, err := range src.ByteBatches(s.BatchImages()) {
		if err != nil {
			return fmt.Errorf("read images from %d on: %w", done, err)
		}
		if err := f(done, x); err != nil {
			return err
		}
		if done += x.N; stage != "" && s.cfg.Progress != nil {
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
