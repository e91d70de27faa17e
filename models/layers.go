package models

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// A pass is one run of images through networks.
type pass struct {
	s          *torch.Scope
	batchStats bool  // normalise by the batch and move the running statistics
	noise      noise // nil outside of training
}

// noise is what a training step draws at random.
type noise interface {
	Close() error
	normal(s *torch.Scope, shape ...int) *torch.Tensor
	dropout(x *torch.Tensor, p float64) *torch.Tensor
}

// A layer is one step of a network.
type layer func(p pass, x *torch.Tensor) *torch.Tensor

// A chain of layers is a network.
type chain []layer

func (n chain) apply(p pass, x *torch.Tensor) *torch.Tensor {
	for _, l := range n {
		x = l(p, x)
	}
	return x
}

// A parameter is a tensor of a network. A buffer is one that is not trained.
type parameter struct {
	name   string // such as "encoder.conv1.weight"
	group  string // the network it belongs to, such as "encoder"
	buffer bool
	*torch.Owned
}

// A builder makes the layers of networks and collects their parameters. The
// first failure stays in err, and the layers made then are of no use.
type builder struct {
	dev    torch.Device
	seed   uint64
	group  string // of the parameters to come
	fixed  bool   // they are not trained
	params []parameter
	err    error
}

// param adds a parameter that fill has set. Each has random numbers of its own,
// so that a change of one layer leaves the others' start as it was.
func (b *builder) param(name string, fill func(v []float32, rng *rand.Rand), shape ...int) *torch.Owned {
	return b.add(name, false, fill, shape...)
}

func (b *builder) add(name string, buffer bool, fill func(v []float32, rng *rand.Rand), shape ...int) *torch.Owned {
	n := 1
	for _, d := range shape {
		n *= d
	}
	name, buffer = b.group+"."+name, buffer || b.fixed
	h := fnv.New64a()
	h.Write([]byte(name))
	v := make([]float32, n)
	fill(v, rand.New(rand.NewPCG(b.seed, h.Sum64())))
	o, err := torch.NewOwned(b.dev, v, shape...)
	if err == nil {
		err = o.SetRequiresGrad(!buffer)
	}
	if err != nil {
		if b.err == nil {
			b.err = fmt.Errorf("models: parameter %s: %w", name, err)
		}
		return &torch.Owned{}
	}
	b.params = append(b.params, parameter{name, b.group, buffer, o})
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

// frozen returns the layer that make makes, with parameters that are not trained.
func (b *builder) frozen(make func() layer) layer {
	b.fixed = true
	defer func() { b.fixed = false }()
	return make()
}

// dense is a linear layer, (N, in) to (N, out).
func (b *builder) dense(name string, in, out int) layer {
	w := b.param(name+".weight", glorot(in, out), out, in)
	bias := b.param(name+".bias", constant(0), out)
	return func(p pass, x *torch.Tensor) *torch.Tensor { return x.Linear(w.In(p.s), bias.In(p.s)) }
}

// conv is a k x k convolution with zeros on all sides.
func (b *builder) conv(name string, in, out, k, stride, padding int) layer {
	w := b.param(name+".weight", glorot(k*k*in, k*k*out), out, in, k, k)
	bias := b.param(name+".bias", constant(0), out)
	return func(p pass, x *torch.Tensor) *torch.Tensor {
		return x.Conv2D(w.In(p.s), bias.In(p.s), stride, padding)
	}
}

// convT is the transpose of conv.
func (b *builder) convT(name string, in, out, k, stride, padding int) layer {
	w := b.param(name+".weight", glorot(k*k*in, k*k*out), in, out, k, k)
	bias := b.param(name+".bias", constant(0), out)
	return func(p pass, x *torch.Tensor) *torch.Tensor {
		return x.ConvTranspose2D(w.In(p.s), bias.In(p.s), stride, padding)
	}
}

// kernel2x2 makes the parameters of a 2x2 convolution.
func (b *builder) kernel2x2(name string, in, out int) (w, bias *torch.Owned) {
	return b.param(name+".weight", glorot(4*in, 4*out), out, in, 2, 2), b.param(name+".bias", constant(0), out)
}

// convRows2 is a 2x2 convolution that keeps rows and columns, as "same" does in
// Keras, ReLU, a normalisation, and flatten: it adds no zeros before and one row and
// column after.
func (b *builder) convRows2(name, normName, kind string, in, out int) layer {
	w, bias := b.kernel2x2(name, in, out)
	if kind == NormNone {
		return func(p pass, x *torch.Tensor) *torch.Tensor { return x.Conv2x2Rows(w.In(p.s), bias.In(p.s)) }
	}
	norm := b.norm(normName, kind, out)
	return func(p pass, x *torch.Tensor) *torch.Tensor {
		return flatten(p, norm(p, x.Conv2x2(w.In(p.s), bias.In(p.s), false, true)))
	}
}

// convPool2 is such a convolution, ReLU and a pooling of 2x2 windows to their maxima.
func (b *builder) convPool2(name string, in, out int) layer {
	w, bias := b.kernel2x2(name, in, out)
	return func(p pass, x *torch.Tensor) *torch.Tensor { return x.ConvPool(w.In(p.s), bias.In(p.s)) }
}

// kernelT2x2 makes the parameters of a 2x2 transposed convolution. turned is the
// kernel of the convolution that computes it.
func (b *builder) kernelT2x2(name string, in, out int) (turned func(p pass) *torch.Tensor, bias *torch.Owned) {
	w := b.param(name+".weight", glorot(4*in, 4*out), in, out, 2, 2) // PyTorch's order for transposed convolutions
	bias = b.param(name+".bias", constant(0), out)
	return func(p pass) *torch.Tensor { return w.In(p.s).Permute(1, 0, 2, 3).Flip(2, 3) }, bias
}

// convTReLU2 is a 2x2 transposed convolution that keeps rows and columns, as
// "same" does in Keras, the first ones of the full result, and ReLU. It is the
// convolution with the turned kernel over the image with one row and column of
// zeros before.
func (b *builder) convTReLU2(name string, in, out int) layer {
	w, bias := b.kernelT2x2(name, in, out)
	return func(p pass, x *torch.Tensor) *torch.Tensor { return x.Conv2x2(w(p), bias.In(p.s), true, true) }
}

// upConvT2x2 repeats each row and column, normalises, and is a transposed
// convolution as that of convTReLU2, with ReLU if relu is set. To normalise before the repetition is the same, but for the
// running variance that is taken of a batch, whose values count four times then.
func (b *builder) upConvT2x2(norm layer, name string, in, out int, relu bool) layer {
	w, bias := b.kernelT2x2(name, in, out)
	return func(p pass, x *torch.Tensor) *torch.Tensor {
		if !p.batchStats {
			return norm(p, x).UpConv(w(p), bias.In(p.s), relu)
		}
		return norm(p, x.Upsample2D(2)).Conv2x2(w(p), bias.In(p.s), true, relu)
	}
}

// Keras's settings of batch normalisation.
const (
	kerasEps      = 1e-3
	kerasMomentum = 0.01 // PyTorch's meaning: the share of the new
)

// norm normalises the channels of (N, C, H, W) where Config.Norm asks for it.
// Whether by the batch or by the running statistics is up to the pass: where
// these never move, a scale and a shift is left.
func (b *builder) norm(name, kind string, channels int) layer {
	if kind == NormNone {
		return func(_ pass, x *torch.Tensor) *torch.Tensor { return x }
	}
	w := b.param(name+".weight", constant(1), channels)
	bias := b.param(name+".bias", constant(0), channels)
	mean := b.add(name+".running_mean", true, constant(0), channels)
	variance := b.add(name+".running_var", true, constant(1), channels)
	return func(p pass, x *torch.Tensor) *torch.Tensor {
		return x.BatchNorm(torch.BatchNorm{Weight: w.In(p.s), Bias: bias.In(p.s),
			RunningMean: mean.In(p.s), RunningVar: variance.In(p.s),
			Momentum: kerasMomentum, Eps: kerasEps}, p.batchStats)
	}
}

func relu(_ pass, x *torch.Tensor) *torch.Tensor { return x.ReLUInPlace() }

// leaky returns LeakyReLU with a slope.
func leaky(slope float64) layer {
	return func(_ pass, x *torch.Tensor) *torch.Tensor { return x.LeakyReLU(slope) }
}

// dropout zeroes values with probability rate where the pass has noise.
func dropout(rate float64) layer {
	return func(p pass, x *torch.Tensor) *torch.Tensor {
		if p.noise == nil {
			return x
		}
		return p.noise.dropout(x, rate)
	}
}

func flatten(_ pass, x *torch.Tensor) *torch.Tensor { return x.Reshape(-1, rowLen(x.Shape())) }

// rowLen is the product of all sizes but the first; 0 where the scope has failed.
func rowLen(shape []int) int {
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
	return func(_ pass, x *torch.Tensor) *torch.Tensor { return x.Reshape(-1, c, h, w) }
}
