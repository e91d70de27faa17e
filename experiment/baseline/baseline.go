// Package baseline scores images by methods that an autoencoder has to beat: the
// distance to the nearest training images as they are ([Pixels]), among their principal
// components and by what these leave out ([PCA]), and among the features of a network
// that was trained for something else ([DKNN]). Nothing is trained. The same sets in
// the same order give the same scores.
package baseline

import (
	"context"
	"errors"
	"fmt"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/nln"
)

// Scores are those of N test images, in order; larger is more novel.
type Scores struct {
	// Recon is the mean of |x - xhat| over the values of an image, in their units,
	// where xhat is what the principal components make of it; nil but for PCA.
	Recon []float64

	// Distance holds for each image the mean Euclidean distance to its 1 to K nearest
	// training images: len N*K, row-major, value k-1 that for k neighbours. The search
	// is exact.
	Distance []float64
	K        int
}

// Of returns the distance of each image for k neighbours, which must be 1 to K.
func (s Scores) Of(k int) []float64 {
	if k < 1 || k > s.K {
		panic(fmt.Sprintf("baseline: %d neighbours of scores for 1 to %d", k, s.K))
	}
	d := make([]float64, len(s.Distance)/s.K)
	for i := range d {
		d[i] = s.Distance[i*s.K+k-1]
	}
	return d
}

// ErrTooFew is returned, wrapped, if there are fewer training images than neighbours
// are asked for, or no test images.
var ErrTooFew = errors.New("too few images")

// Pixels returns the distances among the images themselves, as their sources scale
// them. The values of all training images are in memory, a few times over while the
// index grows; see faissindex.Memory.
func Pixels(ctx context.Context, train, test dataset.Source, k int) (Scores, error) {
	s, err := nearest(ctx, train, test, k, func(x dataset.Images, _ bool) ([]float32, int, error) {
		return x.Pix, x.Shape.Len(), nil
	})
	if err != nil {
		return s, fmt.Errorf("baseline: pixels: %w", err)
	}
	return s, nil
}

// An Extractor makes features of images, as a models.Backbone does: x.N*dim finite
// values, row-major.
type Extractor interface {
	Features(ctx context.Context, x dataset.Images) (v []float32, dim int, err error)
}

// DKNN returns the distances among the features of images (Bergman, Cohen and Hoshen:
// Deep nearest neighbor anomaly detection, https://arxiv.org/abs/2002.10445). The
// features of all training images are in memory, those of the test images a batch at
// a time.
//
// Bergman et al. take the mean of the squared distances, which ranks otherwise for
// k > 1. The authors of the NLN paper, who compare with it, sum the distances; the
// mean ranks as their sum.
func DKNN(ctx context.Context, e Extractor, train, test dataset.Source, k int) (Scores, error) {
	s, err := nearest(ctx, train, test, k, func(x dataset.Images, _ bool) ([]float32, int, error) {
		return e.Features(ctx, x)
	})
	if err != nil {
		return s, fmt.Errorf("baseline: dknn: %w", err)
	}
	return s, nil
}

// How many images are in work at a time.
const (
	batchImages = 1024
	batchValues = 1 << 22 // of the images, where these are large
)

func batchSize(s dataset.Shape) int { return max(1, min(batchImages, batchValues/max(1, s.Len()))) }

// check says what is wrong with the sets.
func check(train, test dataset.Source, k int) error {
	switch {
	case k < 1:
		return fmt.Errorf("k is %d, want at least 1", k)
	case train.Len() < k:
		return fmt.Errorf("%w: k is %d and there are %d training images", ErrTooFew, k, train.Len())
	case test.Len() == 0:
		return fmt.Errorf("%w: there are no test images", ErrTooFew)
	case train.Shape() != test.Shape():
		return fmt.Errorf("training images of %v and test images of %v", train.Shape(), test.Shape())
	}
	return nil
}

// nearest returns the distances among what vectors makes of images, those of train
// first: dim values for each, valid until its next call.
func nearest(ctx context.Context, train, test dataset.Source, k int, vectors func(x dataset.Images, isTest bool) (v []float32, dim int, err error)) (s Scores, err error) {
	if err := check(train, test, k); err != nil {
		return s, err
	}
	var index *faissindex.Index
	defer func() {
		if index != nil {
			index.Close()
		}
	}()
	err = each(ctx, train, func(x dataset.Images) error {
		v, dim, err := vectors(x, false)
		if err != nil {
			return err
		}
		if index == nil {
			if index, err = faissindex.New(dim); err != nil {
				return err
			}
		}
		if err := fits(v, dim, x.N, index.Dim()); err != nil {
			return err
		}
		return index.Add(ctx, v)
	})
	if err != nil {
		return s, fmt.Errorf("training images: %w", err)
	}
	s.K = k
	s.Distance = make([]float64, 0, test.Len()*k)
	var nb nln.Neighbors
	err = each(ctx, test, func(x dataset.Images) error {
		v, dim, err := vectors(x, true)
		if err != nil {
			return err
		}
		if err := fits(v, dim, x.N, index.Dim()); err != nil {
			return err
		}
		if nb, err = index.Search(ctx, v, k, nb); err != nil {
			return err
		}
		s.Distance = appendMeans(s.Distance, nb)
		return nil
	})
	if err != nil {
		return Scores{}, fmt.Errorf("test images: %w", err)
	}
	return s, nil
}

// each calls f for the images in order, a batch at a time.
func each(ctx context.Context, src dataset.Source, f func(dataset.Images) error) error {
	for x, err := range src.Batches(batchSize(src.Shape())) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = f(x)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fits says whether v holds n vectors of the index's dimension.
func fits(v []float32, dim, n, want int) error {
	if dim != want || len(v) != n*dim {
		return fmt.Errorf("%d values for %d images, of %d each, want %d each", len(v), n, dim, want)
	}
	return nil
}

// appendMeans appends the mean distance to the 1 to K nearest neighbours of each
// query.
func appendMeans(dst []float64, nb nln.Neighbors) []float64 {
	for i := 0; i < len(nb.Dist); i += nb.K {
		var sum float64
		for j, d := range nb.Dist[i : i+nb.K] {
			sum += float64(d)
			dst = append(dst, sum/float64(j+1))
		}
	}
	return dst
}
