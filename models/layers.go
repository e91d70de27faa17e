package models

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// A layer is one step of a network.
type layer func(s *torch.Scope, x *torch.Tensor) *torch.Tensor

// A network is a chain of layers.
type network []layer

func (n network) apply(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
	for _, l := range n {
		x = l(s, x)
	}
	return x
}

// A parameter is a trainable tensor.
type parameter struct {
	name string // such as "encoder.conv1.weight"
	*torch.Owned
}

// A builder makes the layers of a network and collects their parameters. The
// first failure stays in err, and the layers made then are of no use.
type builder struct {
	dev    torch.Device
	seed   uint64
	prefix string // of parameter names, such as "encoder."
	params []parameter
	err    error
}

// param adds a parameter that fill has set. Each has random numbers of its own,
// so that a change of one layer leaves the others' start as it was.
func (b *builder) param(name string, fill func(v []float32, rng *rand.Rand), shape ...int) *torch.Owned {
	n := 1
	for _, d := range shape {
		n *= d
	}
	name = b.prefix + name
	h := fnv.New64a()
	h.Write([]byte(name))
	v := make([]float32, n)
	fill(v, rand.New(rand.NewPCG(b.seed, h.Sum64())))
	o, err := torch.NewOwned(b.dev, v, shape...)
	if err == nil {
		err = o.SetRequiresGrad(true)
	}
	if err != nil {
		if b.err == nil {
			b.err = fmt.Errorf("models: parameter %s: %w", name, err)
		}
		return &torch.Owned{}
	}
	b.params = append(b.params, parameter{name, o})
	return o
}

// glorot is the uniform distribution that Keras starts kernels with:
// U(-a, a), a = sqrt(6 / (fan in + fan out)).
func glorot(fanIn, fanOut int) func([]float32, *rand.Rand) {
	a := math.Sqrt(6 / float64(fanIn+fanOut))
	return func(v []float32, rng *rand.Rand) {
		for i := range v {
			v[i] = float32((2*rng.Float64() - 1) * a)
		}
	}
}

func constant(c float32) func([]float32, *rand.Rand) {
	return func(v []float32, _ *rand.Rand) {
		for i := range v {
			v[i] = c
		}
	}
}

// dense is a linear layer, (N, in) to (N, out).
func (b *builder) dense(name string, in, out int) layer {
	w := b.param(name+".weight", glorot(in, out), out, in)
	bias := b.param(name+".bias", constant(0), out)
	return func(s *torch.Scope, x *torch.Tensor) *torch.Tensor { return x.Linear(w.In(s), bias.In(s)) }
}

// conv2x2 is a 2x2 convolution that keeps rows and columns, as "same" does in
// Keras: it adds no zeros before and one row and column after.
func (b *builder) conv2x2(name string, in, out int) layer {
	w := b.param(name+".weight", glorot(4*in, 4*out), out, in, 2, 2)
	bias := b.param(name+".bias", constant(0), out)
	return func(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
		return x.Pad(0, 1, 0, 1).Conv2D(w.In(s), bias.In(s), 1, 0)
	}
}

// convT2x2 is a 2x2 transposed convolution that keeps rows and columns, as
// "same" does in Keras: the first ones of the full result. It is computed as
// the convolution with the turned kernel over the image with one row and column
// of zeros before, which libtorch does faster.
func (b *builder) convT2x2(name string, in, out int) layer {
	w := b.param(name+".weight", glorot(4*in, 4*out), in, out, 2, 2) // PyTorch's order for transposed convolutions
	bias := b.param(name+".bias", constant(0), out)
	return func(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
		return x.Pad(1, 0, 1, 0).Conv2D(w.In(s).Permute(1, 0, 2, 3).Flip(2, 3), bias.In(s), 1, 0)
	}
}

// kerasEps is the epsilon of Keras's batch normalisation.
const kerasEps = 1e-3

// norm is what Config.Norm asks for over the channels of (N, C, H, W).
func (b *builder) norm(name, kind string, channels int) layer {
	if kind == NormNone {
		return func(_ *torch.Scope, x *torch.Tensor) *torch.Tensor { return x }
	}
	w := b.param(name+".weight", constant(1), channels)
	bias := b.param(name+".bias", constant(0), channels)
	return func(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
		// Batch normalisation by statistics that stay at mean 0, variance 1.
		scale := w.In(s).Affine(1/math.Sqrt(1+kerasEps), 0)
		return x.Mul(scale.Reshape(1, channels, 1, 1)).Add(bias.In(s).Reshape(1, channels, 1, 1))
	}
}

func relu(_ *torch.Scope, x *torch.Tensor) *torch.Tensor { return x.ReLUInPlace() }

func pool2(_ *torch.Scope, x *torch.Tensor) *torch.Tensor { return x.MaxPool2D(2, 2) }

func up2(_ *torch.Scope, x *torch.Tensor) *torch.Tensor { return x.Upsample2D(2) }

func flatten(_ *torch.Scope, x *torch.Tensor) *torch.Tensor { return x.Reshape(-1, product(x.Shape())) }

// product of all sizes but the first; 0 where the scope has failed.
func product(shape []int) int {
	if len(shape) == 0 {
		return 0
	}
	n := 1
	for _, d := range shape[1:] {
		n *= d
	}
	return n
}

// unflatten gives rows of (N, c*h*w) the shape (N, c, h, w).
func unflatten(c, h, w int) layer {
	return func(_ *torch.Scope, x *torch.Tensor) *torch.Tensor { return x.Reshape(-1, c, h, w) }
}
