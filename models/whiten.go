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
	n, l := set.Len()*m.cfg.views(), m.cfg.Latent
	z, values := make([]float32, chunk*m.LatentDim()), mat.NewDense(n, l, nil)
	row := 0
	for x, err := range set.Batches(chunk) {
		if err != nil {
			return fmt.Errorf("models: whiten: %w", err)
		}
		some := z[:x.N*m.LatentDim()]
		if err := m.Encode(ctx, x, some); err != nil {
			return fmt.Errorf("models: whiten: %w", err)
		}
		for i, v := range some {
			values.Set(row+i/l, i%l, float64(v))
		}
		row += len(some) / l
	}
	var cov mat.SymDense
	stat.CovarianceMatrix(&cov, values, nil)
	a, inverse, err := powers(&cov)
	if err != nil {
		return fmt.Errorf("models: whiten: %w", err)
	}
	return m.foldIn(a, inverse)
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
