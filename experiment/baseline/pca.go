package baseline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/nlnctl/nlnctl/dataset"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"
)

// PCA returns the distances among the first principal components of images, and the
// error of the reconstruction from these. The components are found over the training
// images, or an even sample of them where they are many: at most 10,000, and at most
// 2^25 values, which is 10,922 images of 32x32x3 and 682 of 128x128x3.
//
// Directions in which the sampled images do not vary are left out, so that fewer than
// asked for may be used. It is an error if the images are all the same, or if there
// are not at least as many images, and values in an image, as components.
func PCA(ctx context.Context, train, test dataset.Source, components, k int) (Scores, error) {
	s, err := pca(ctx, train, test, components, k)
	if err != nil {
		return Scores{}, fmt.Errorf("baseline: pca: %w", err)
	}
	return s, nil
}

func pca(ctx context.Context, train, test dataset.Source, components, k int) (s Scores, err error) {
	if err := check(train, test, k); err != nil {
		return s, err
	}
	if dim := train.Shape().Len(); components < 1 || components > dim {
		return s, fmt.Errorf("%d components, want 1 to %d, the values of an image", components, dim)
	}
	x, err := sample(ctx, train)
	if err != nil {
		return s, fmt.Errorf("training images: %w", err)
	}
	if n, _ := x.Dims(); components > n {
		return s, fmt.Errorf("%w: %d components of %d images", ErrTooFew, components, n)
	}
	p := projection{mean: center(x)}
	if p.directions, err = principal(ctx, x, components); err != nil {
		return s, err
	}
	var recon []float64
	s, err = nearest(ctx, train, test, k, func(x dataset.Images, isTest bool) ([]float32, int, error) {
		z := p.project(x)
		if isTest {
			recon = p.appendErrors(recon, x, z)
		}
		v, dim := rows32(z)
		return v, dim, nil
	})
	s.Recon = recon
	return s, err // PCA drops s if there is one
}

// What the components are found over.
const (
	sampleImages = 10000
	sampleValues = 1 << 25 // in float64, 256 MB
)

// sample returns images as rows, all or evenly spaced ones.
func sample(ctx context.Context, src dataset.Source) (*mat.Dense, error) {
	total, dim := src.Len(), src.Shape().Len()
	n := min(total, sampleImages, max(1, sampleValues/dim))
	x := mat.NewDense(n, dim, nil)
	at, taken := 0, 0
	err := each(ctx, src, func(b dataset.Images) error {
		for i := range b.N {
			if taken < n && at+i == taken*total/n {
				widen(x.RawRowView(taken), b.At(i))
				taken++
			}
		}
		at += b.N
		return nil
	})
	if err == nil && taken < n {
		err = fmt.Errorf("the source gave %d images of %d", at, total)
	}
	return x, err
}

func widen(dst []float64, v []float32) {
	for i, f := range v {
		dst[i] = float64(f)
	}
}

// center subtracts from the rows of x their mean, and returns it.
func center(x *mat.Dense) []float64 {
	n, dim := x.Dims()
	mean := make([]float64, dim)
	for i := range n {
		for j, v := range x.RawRowView(i) {
			mean[j] += v / float64(n)
		}
	}
	for i := range n {
		row := x.RawRowView(i)
		for j := range row {
			row[j] -= mean[j]
		}
	}
	return mean
}

const (
	// Up to this many rows or columns all eigenvectors are computed, in seconds.
	eigenSize = 1024
	// A direction whose variance is less than this part of the largest is rounding.
	leastVariance = 1e-12
)

var errAllSame = errors.New("the images do not differ")

// principal returns the first principal directions of the centred rows of x as
// orthonormal columns, the one with the largest variance first: c of them, or as many
// as have any variance.
func principal(ctx context.Context, x *mat.Dense, c int) (*mat.Dense, error) {
	n, dim := x.Dims()
	if sum := mat.Norm(x, 2); sum == 0 || math.IsNaN(sum) || math.IsInf(sum, 0) {
		if sum == 0 {
			return nil, errAllSame
		}
		return nil, errors.New("the images have values that are not finite")
	}
	switch {
	case dim <= min(n, eigenSize):
		var cov mat.SymDense
		cov.SymOuterK(1, x.T())
		values, v, err := eigen(&cov)
		if err != nil {
			return nil, err
		}
		return first(v, rank(values, c)), nil
	case n <= eigenSize:
		// The eigenvectors of the smaller x x' are those of x' x times x.
		var gram mat.SymDense
		gram.SymOuterK(1, x)
		values, u, err := eigen(&gram)
		if err != nil {
			return nil, err
		}
		var v mat.Dense
		v.Mul(x.T(), first(u, rank(values, c)))
		orthonormalize(&v)
		return &v, nil
	}
	return iterate(ctx, x, c)
}

// eigen returns the eigenvalues and eigenvectors of a, the largest first.
func eigen(a mat.Symmetric) ([]float64, *mat.Dense, error) {
	var e mat.EigenSym
	if !e.Factorize(a, true) {
		return nil, nil, errors.New("the eigenvectors of the covariance cannot be computed")
	}
	ascending := e.Values(nil)
	n := len(ascending)
	var v mat.Dense
	e.VectorsTo(&v)
	values, vectors := make([]float64, n), mat.NewDense(n, n, nil)
	for j := range n {
		values[j] = ascending[n-1-j]
		for i := range n {
			vectors.Set(i, j, v.At(i, n-1-j))
		}
	}
	return values, vectors, nil
}

// rank returns how many of the first c of descending eigenvalues are not rounding.
func rank(values []float64, c int) int {
	r := 0
	for r < min(c, len(values)) && values[r] > leastVariance*values[0] {
		r++
	}
	return r
}

// first returns the first c columns of v.
func first(v *mat.Dense, c int) *mat.Dense {
	n, _ := v.Dims()
	return v.Slice(0, n, 0, c).(*mat.Dense)
}

const (
	// The iteration has twice as many columns as components, and ends when a round
	// adds less than this part to the variance that these explain.
	gain      = 1e-6
	maxRounds = 40
)

// iterate is principal by subspace iteration from a random start (Halko, Martinsson
// and Tropp, https://arxiv.org/abs/0909.4061, algorithm 4.4), which is always the
// same. With b columns a round takes 2 n dim b multiplications and divides the error
// in direction i by the ratio of the variances of directions i and b+1, squared.
func iterate(ctx context.Context, x *mat.Dense, c int) (*mat.Dense, error) {
	n, dim := x.Dims()
	b := min(2*c+16, n, dim)
	rng := rand.New(rand.NewPCG(1, 2))
	q := mat.NewDense(dim, b, nil)
	for i := range dim {
		row := q.RawRowView(i)
		for j := range row {
			row[j] = rng.NormFloat64()
		}
	}
	orthonormalize(q)
	var before float64
	for round := 1; ; round++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// What x explains in the columns of q, and the directions of most of it.
		var y mat.Dense
		y.Mul(x, q)
		var cov mat.SymDense
		cov.SymOuterK(1, y.T())
		values, turn, err := eigen(&cov)
		if err != nil {
			return nil, err
		}
		r := rank(values, c)
		var explained float64
		for _, v := range values[:r] {
			explained += v
		}
		if round > 1 && explained-before <= gain*explained || round == maxRounds {
			var v mat.Dense
			v.Mul(q, first(turn, r))
			return &v, nil
		}
		before = explained
		q.Mul(x.T(), &y)
		orthonormalize(q)
	}
}

// orthonormalize replaces the columns of v, at most as many as its rows, by
// orthonormal ones that span the same, by Householder reflections.
func orthonormalize(v *mat.Dense) {
	raw := v.RawMatrix()
	tau := make([]float64, raw.Cols)
	size := make([]float64, 1)
	lapack64.Geqrf(raw, tau, size, -1)
	work := make([]float64, int(size[0]))
	lapack64.Geqrf(raw, tau, work, len(work))
	lapack64.Orgqr(raw, tau, size, -1)
	work = make([]float64, int(size[0]))
	lapack64.Orgqr(raw, tau, work, len(work))
}

// A projection takes images to their principal components.
type projection struct {
	mean       []float64
	directions *mat.Dense // (values of an image, components), orthonormal columns
}

// project returns the components of images, a row each.
func (p projection) project(x dataset.Images) *mat.Dense {
	centred := mat.NewDense(x.N, len(p.mean), nil)
	for i := range x.N {
		row := centred.RawRowView(i)
		widen(row, x.At(i))
		for j := range row {
			row[j] -= p.mean[j]
		}
	}
	var z mat.Dense
	z.Mul(centred, p.directions)
	return &z
}

// appendErrors appends the mean of |x - xhat| over the values of each image, where
// xhat is the mean and what the components z add to it.
func (p projection) appendErrors(dst []float64, x dataset.Images, z *mat.Dense) []float64 {
	var hat mat.Dense
	hat.Mul(z, p.directions.T())
	for i := range x.N {
		var sum float64
		row := hat.RawRowView(i)
		for j, v := range x.At(i) {
			sum += math.Abs(float64(v) - p.mean[j] - row[j])
		}
		dst = append(dst, sum/float64(len(row)))
	}
	return dst
}

// rows32 returns the values of z in float32, row-major, and the length of a row.
func rows32(z *mat.Dense) (v []float32, dim int) {
	n, dim := z.Dims()
	v = make([]float32, 0, n*dim)
	for i := range n {
		for _, f := range z.RawRowView(i) {
			v = append(v, float32(f))
		}
	}
	return v, dim
}
