package models

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// Whitening gives the latents of normal images the same spread in every
// direction, so that a distance does not go by the few in which they vary most.
// It is a linear map A of the latents, and the layers at both sides of them are
// linear: A goes into the encoder's last layer and its inverse into the decoder's
// first, so that reconstructions stay what they were and nothing is added to
// the networks.

// whiteFloor is the least spread of a direction, as a share of the largest: one
// in which the latents hardly vary would be noise with a weight.
const whiteFloor = 1e-3

// whitenOver whitens the latents by their covariance C over the images of set:
// A = C^(-1/2), which of all such maps moves the latents least. Of several views C is
// that of all, since one encoder makes them.
func (m *Autoencoder) whitenOver(ctx context.Context, set dataset.Source) error {
	l := m.cfg.Latent
	z := make([]float32, chunk*m.LatentDim())
	var sum covariance
	for x, err := range set.Batches(chunk) {
		if err != nil {
			return fmt.Errorf("models: whiten: %w", err)
		}
		some := z[:x.N*m.LatentDim()]
		if err := m.Encode(ctx, x, some); err != nil {
			return fmt.Errorf("models: whiten: %w", err)
		}
		sum.add(some, l)
	}
	a, inverse, err := powers(sum.matrix())
	if err != nil {
		return fmt.Errorf("models: whiten: %w", err)
	}
	return m.foldIn(a, inverse)
}

// A covariance is added up from parts of the vectors, which need not be kept.
type covariance struct {
	n       int
	around  []float64     // the mean of the first part: products of what is far from 0 would cancel
	sums    []float64     // of the vectors less around
	squares *mat.SymDense // of the same, of their products
}

// add takes vectors of l values.
func (c *covariance) add(vectors []float32, l int) {
	n := len(vectors) / l
	values := mat.NewDense(n, l, nil)
	for i, v := range vectors {
		values.Set(i/l, i%l, float64(v))
	}
	if c.n == 0 {
		c.around, c.sums, c.squares = make([]float64, l), make([]float64, l), mat.NewSymDense(l, nil)
		for j := range l {
			c.around[j] = stat.Mean(mat.Col(nil, j, values), nil)
		}
	}
	c.n += n
	for i := range n {
		for j, v := range values.RawRowView(i) {
			v -= c.around[j]
			values.Set(i, j, v)
			c.sums[j] += v
		}
	}
	var squares mat.SymDense
	squares.SymOuterK(1, values.T())
	c.squares.AddSym(c.squares, &squares)
}

// matrix returns the covariance, with n-1 for the denominator.
func (c *covariance) matrix() *mat.SymDense {
	var m mat.SymDense
	m.SymRankOne(c.squares, -1/float64(c.n), mat.NewVecDense(len(c.sums), c.sums))
	m.ScaleSym(1/float64(c.n-1), &m)
	return &m
}

// powers returns C^(-1/2) and C^(1/2).
func powers(cov *mat.SymDense) (a, inverse *mat.Dense, err error) {
	var e mat.EigenSym
	if !e.Factorize(cov, true) {
		return nil, nil, errors.New("the covariance of the latents has no eigenvectors")
	}
	variances := e.Values(nil) // ascending
	largest := variances[len(variances)-1]
	if !(largest > 0) || math.IsInf(largest, 1) {
		return nil, nil, fmt.Errorf("the largest variance of the latents is %v: the images are all alike, or the model has diverged", largest)
	}
	var v mat.Dense
	e.VectorsTo(&v)
	power := func(p float64) *mat.Dense {
		scales := make([]float64, len(variances))
		for i, s := range variances {
			scales[i] = math.Pow(max(s, largest*whiteFloor*whiteFloor), p)
		}
		var out mat.Dense
		out.Mul(&v, mat.NewDiagDense(len(scales), scales))
		out.Mul(&out, v.T())
		return &out
	}
	return power(-.5), power(.5), nil
}

// foldIn puts a into the layers that give latents, and its inverse into the one
// that takes them.
func (m *Autoencoder) foldIn(a, inverse *mat.Dense) error {
	left := func(by *mat.Dense) func(out, w *mat.Dense) {
		return func(out, w *mat.Dense) { out.Mul(by, w) }
	}
	folds := map[string]func(out, w *mat.Dense){
		"latent.weight": left(a), "latent.bias": left(a), // rows are latent values
		"mean.weight": left(a), "mean.bias": left(a),
	}
	if m.cfg.Arch == ArchVAE { // in a VAE for patches this comes before the heads
		delete(folds, "latent.weight")
		delete(folds, "latent.bias")
	}
	for _, p := range m.params {
		name := strings.TrimPrefix(p.name, p.group+".")
		var fold func(out, w *mat.Dense)
		switch {
		case p.group == encoderGroup || p.group == secondGroup:
			fold = folds[name]
		case p.group == decoderGroup && name == "latent.weight": // of a transposed convolution
			fold = left(inverse)
		case p.group == decoderGroup && name == "dense.weight": // columns are latent values
			fold = func(out, w *mat.Dense) { out.Mul(w, inverse) }
		}
		if fold == nil {
			continue
		}
		if err := change(p, fold); err != nil {
			return fmt.Errorf("models: whiten %s: %w", p.name, err)
		}
	}
	return nil
}

// change replaces a parameter, taken as a matrix with as many rows as its first
// dimension has places.
func change(p parameter, f func(out, w *mat.Dense)) error {
	v := make([]float32, p.Len())
	if err := p.CopyTo(v); err != nil {
		return err
	}
	values := make([]float64, len(v))
	for i, x := range v {
		values[i] = float64(x)
	}
	rows := p.Shape()[0]
	var out mat.Dense
	f(&out, mat.NewDense(rows, len(v)/rows, values))
	for i, x := range out.RawMatrix().Data {
		v[i] = float32(x)
	}
	return p.Set(v)
}
