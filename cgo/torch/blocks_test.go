package torch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// blockTol bounds the difference between a block and the operations that it
// stands for, relative to the largest value: both are sums of up to some hundred
// products in float32, in another order.
const blockTol = 2e-5

// A block is an operation and the ones that it stands for, which take images,
// kernel and bias.
type block struct {
	name        string
	fast, plain func(x, w, b *Tensor) *Tensor
}

var blocks = []block{
	{"relu pool", func(x, _, _ *Tensor) *Tensor { return x.ReLUPool() },
		func(x, _, _ *Tensor) *Tensor { return x.ReLU().MaxPool2D(2, 2) }},
	{"conv pool", (*Tensor).ConvPool,
		func(x, w, b *Tensor) *Tensor { return x.Pad(0, 1, 0, 1).Conv2D(w, b, 1, 0).ReLU().MaxPool2D(2, 2) }},
	{"conv before", func(x, w, b *Tensor) *Tensor { return x.Conv2x2(w, b, true, false) },
		func(x, w, b *Tensor) *Tensor { return x.Pad(1, 0, 1, 0).Conv2D(w, b, 1, 0) }},
	{"conv after", func(x, w, b *Tensor) *Tensor { return x.Conv2x2(w, b, false, false) },
		func(x, w, b *Tensor) *Tensor { return x.Pad(0, 1, 0, 1).Conv2D(w, b, 1, 0) }},
	{"conv before relu", func(x, w, b *Tensor) *Tensor { return x.Conv2x2(w, b, true, true) },
		func(x, w, b *Tensor) *Tensor { return x.Pad(1, 0, 1, 0).Conv2D(w, b, 1, 0).ReLU() }},
	{"conv after relu", func(x, w, b *Tensor) *Tensor { return x.Conv2x2(w, b, false, true) },
		func(x, w, b *Tensor) *Tensor { return x.Pad(0, 1, 0, 1).Conv2D(w, b, 1, 0).ReLU() }},
	{"conv rows", (*Tensor).Conv2x2Rows,
		func(x, w, b *Tensor) *Tensor {
			y := x.Pad(0, 1, 0, 1).Conv2D(w, b, 1, 0).ReLU()
			return y.Reshape(y.Shape()[0], -1)
		}},
	{"conv before of channels last", func(x, w, b *Tensor) *Tensor { return channelsLast(x).Conv2x2(w, b, true, true) },
		func(x, w, b *Tensor) *Tensor { return x.Pad(1, 0, 1, 0).Conv2D(w, b, 1, 0).ReLU() }},
	{"conv rows of channels last", func(x, w, b *Tensor) *Tensor { return channelsLast(x).Conv2x2Rows(w, b) },
		func(x, w, b *Tensor) *Tensor {
			y := x.Pad(0, 1, 0, 1).Conv2D(w, b, 1, 0).ReLU()
			return y.Reshape(y.Shape()[0], -1)
		}},
	{"channels last and conv pool", func(x, w, b *Tensor) *Tensor { return channelsLast(x).ConvPool(w, b) },
		func(x, w, b *Tensor) *Tensor { return x.Pad(0, 1, 0, 1).Conv2D(w, b, 1, 0).ReLU().MaxPool2D(2, 2) }},
	{"up conv", func(x, w, b *Tensor) *Tensor { return x.UpConv(w, b, false) },
		func(x, w, b *Tensor) *Tensor { return x.Upsample2D(2).Pad(1, 0, 1, 0).Conv2D(w, b, 1, 0) }},
	{"up conv relu", func(x, w, b *Tensor) *Tensor { return x.UpConv(w, b, true) },
		func(x, w, b *Tensor) *Tensor { return x.Upsample2D(2).Pad(1, 0, 1, 0).Conv2D(w, b, 1, 0).ReLU() }},
}

// channelsLast returns x in the layout in memory that blocks give their results: its
// convolution with a kernel that is 1 in one place.
func channelsLast(x *Tensor) *Tensor {
	c := x.Shape()[1]
	one := make([]float32, c*c*4)
	for i := range c {
		one[(i*c+i)*4] = 1
	}
	return x.Conv2x2(x.Scope().FromFloats(one, c, c, 2, 2), x.Scope().Full(0, c), false, false)
}

// outcome runs f on the values and returns its result and the gradients of the
// images, the kernel and the bias for a fixed weighting of the result.
func outcome(t *testing.T, f func(x, w, b *Tensor) *Tensor, owned []*Owned, weight []float32) (out []float32, grads [][]float32) {
	t.Helper()
	s := NewGradScope(CPU)
	defer s.Close()
	y := f(owned[0].In(s), owned[1].In(s), owned[2].In(s))
	out = y.Floats()
	loss := y.Mul(s.FromFloats(weight[:len(out)], y.Shape()...)).Sum()
	for _, g := range s.Grad(loss, owned, false) {
		if g == nil {
			grads = append(grads, nil)
			continue
		}
		grads = append(grads, g.Floats())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return out, grads
}

func normal(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

func TestBlocks(t *testing.T) {
	atEnd(t)
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, c := range []struct{ n, channels, filters, h, w int }{
		{1, 1, 1, 2, 2}, {3, 1, 32, 28, 28}, {2, 3, 32, 8, 12}, {7, 2, 20, 4, 6}, {2, 4, 33, 6, 4},
		{2, 5, 16, 4, 4}, {5, 32, 64, 14, 14}, {21, 16, 48, 6, 8}, {3, 32, 16, 2, 10}, {1, 16, 16, 12, 16},
		{19, 64, 32, 7, 7}, {2, 16, 32, 3, 5}, {5, 32, 16, 9, 11}, {35, 16, 16, 2, 2}, {3, 16, 16, 4, 4},
		{2, 16, 16, 32, 32}, {1, 16, 16, 34, 32}, {13, 5, 20, 8, 8}, {23, 8, 3, 6, 6}, {3, 8, 1, 6, 6}, {4, 16, 3, 4, 2}, {64, 1, 8, 6, 6},
	} {
		shapes := [][]int{{c.n, c.channels, c.h, c.w}, {c.filters, c.channels, 2, 2}, {c.filters}}
		var owned []*Owned
		for _, shape := range shapes {
			size := 1
			for _, d := range shape {
				size *= d
			}
			o, err := NewOwned(CPU, normal(rng, size), shape...)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.SetRequiresGrad(true); err != nil {
				t.Fatal(err)
			}
			owned = append(owned, o)
		}
		weight := normal(rng, 4*c.n*c.h*c.w*max(c.filters, c.channels))
		for _, b := range blocks {
			if c.h%2+c.w%2 > 0 && strings.Contains(b.name, "pool") {
				continue // it wants even sizes
			}
			t.Run(fmt.Sprintf("%s/%v", b.name, c), func(t *testing.T) {
				got, gotGrads := outcome(t, b.fast, owned, weight)
				want, wantGrads := outcome(t, b.plain, owned, weight)
				within(t, "result", got, want)
				for i, what := range []string{"images", "kernel", "bias"} {
					within(t, "gradient of the "+what, gotGrads[i], wantGrads[i])
				}
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			})
		}
		for _, o := range owned {
			o.Close()
		}
	}
}

// within fails unless the values are equal up to blockTol of the largest.
func within(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	var largest float64 = 1
	for _, v := range want {
		largest = max(largest, float64(v), -float64(v))
	}
	for i := range want {
		if d := float64(got[i] - want[i]); !(d <= blockTol*largest && -d <= blockTol*largest) {
			t.Fatalf("value %d of the %s is %v, want %v", i, what, got[i], want[i])
		}
	}
}

// The core takes the fastest instructions that the processor has; the others
// must give the same. It chooses once, so each gets a process of its own.
func TestBlocksOfEachLevel(t *testing.T) {
	if os.Getenv("NLN_ISA") != "" {
		t.Skip("this is the process of one level")
	}
	for _, level := range []string{"plain", "avx2"} { // where there is no AVX2, both are plain
		cmd := exec.Command(os.Args[0], "-test.run=^TestBlocks")
		cmd.Env = append(os.Environ(), "NLN_ISA="+level)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", level, err, out)
		}
	}
}

func TestBlocksRefuse(t *testing.T) {
	atEnd(t)
	for name, f := range map[string]func(s *Scope) *Tensor{
		"odd rows":       func(s *Scope) *Tensor { return s.Full(1, 1, 2, 3, 4).ReLUPool() },
		"odd columns":    func(s *Scope) *Tensor { return s.Full(1, 1, 1, 2, 3).ConvPool(s.Full(1, 4, 1, 2, 2), s.Full(0, 4)) },
		"other channels": func(s *Scope) *Tensor { return s.Full(1, 1, 1, 2, 2).ConvPool(s.Full(1, 4, 3, 2, 2), s.Full(0, 4)) },
		"3x3 kernel": func(s *Scope) *Tensor {
			return s.Full(1, 1, 1, 2, 2).UpConv(s.Full(1, 4, 1, 3, 3), s.Full(0, 4), false)
		},
		"too few biases":  func(s *Scope) *Tensor { return s.Full(1, 1, 1, 2, 2).ConvPool(s.Full(1, 4, 1, 2, 2), s.Full(0, 3)) },
		"three dimension": func(s *Scope) *Tensor { return s.Full(1, 2, 2, 2).ReLUPool() },
	} {
		s := NewScope(CPU)
		if f(s); s.Err() == nil {
			t.Errorf("%s: no error", name)
		}
		s.Close()
	}
}

// A diverged network must not look sound: what libtorch makes NaN of is NaN.
func TestBlocksKeepNaN(t *testing.T) {
	atEnd(t)
	s := NewScope(CPU)
	defer s.Close()
	for _, channels := range []int{1, 5, 16} {
		w, b := s.Full(1, 16, channels, 2, 2), s.Full(0, 16)
		for _, at := range []int{0, 1, 6, 7, 20, 35} {
			pixels := make([]float32, channels*36)
			for i := range pixels {
				pixels[i] = float32(i%5) + 1
			}
			pixels[at] = float32(math.NaN())
			x := s.FromFloats(pixels, 1, channels, 6, 6)
			for _, block := range blocks {
				got, want := block.fast(x, w, b).Floats(), block.plain(x, w, b).Floats()
				if s.Err() != nil {
					t.Fatal(s.Err())
				}
				for i, v := range want {
					if v != v && got[i] == got[i] {
						t.Errorf("%s of %d channels, NaN at %d: value %d is %v", block.name, channels, at, i, got[i])
						break
					}
				}
			}
		}
	}
}

// A map's result must not depend on those around it, nor on whether it is recorded for
// gradients, to the bit; and a kernel's gradient not on whether the images want one.
func TestBlocksOneByOne(t *testing.T) {
	atEnd(t)
	const n, filters, h, w = 19, 16, 8, 6
	for _, channels := range []int{3, 8, 32} {
		rng := rand.New(rand.NewPCG(3, uint64(channels)))
		size := channels * h * w
		pixels := normal(rng, n*size)
		kernel, err := NewOwned(CPU, normal(rng, filters*channels*4), filters, channels, 2, 2)
		if err != nil {
			t.Fatal(err)
		}
		defer kernel.Close()
		if err := kernel.SetRequiresGrad(true); err != nil {
			t.Fatal(err)
		}
		bias := normal(rng, filters)
		for _, b := range blocks {
			s := NewScope(CPU)
			var one []float32
			for i := range n {
				x := s.FromFloats(pixels[i*size:(i+1)*size], 1, channels, h, w)
				one = append(one, b.fast(x, kernel.In(s), s.FromFloats(bias, filters)).Floats()...)
			}
			if s.Err() != nil {
				t.Fatal(s.Err())
			}
			s.Close()
			r := NewGradScope(CPU)
			all := b.fast(r.FromFloats(pixels, n, channels, h, w), kernel.In(r), r.FromFloats(bias, filters))
			if got := all.Floats(); !slices.Equal(got, one) {
				t.Errorf("%s of %d channels: maps by themselves and together differ", b.name, channels)
			}
			if !strings.HasPrefix(b.name, "relu") {
				gradient := r.Grad(all.Sum(), []*Owned{kernel}, false)
				x, err := NewOwned(CPU, pixels, n, channels, h, w)
				if err != nil {
					t.Fatal(err)
				}
				if err := x.SetRequiresGrad(true); err != nil {
					t.Fatal(err)
				}
				again := b.fast(x.In(r), kernel.In(r), r.FromFloats(bias, filters))
				both := r.Grad(again.Sum(), []*Owned{kernel, x}, true)
				alone := r.Grad(again.Sum(), []*Owned{x}, false)
				if r.Err() != nil {
					t.Fatal(r.Err())
				}
				if !slices.Equal(gradient[0].Floats(), both[0].Floats()) {
					t.Errorf("%s of %d channels: the kernel's gradient with and without that of the images differ", b.name, channels)
				}
				if !slices.Equal(alone[0].Floats(), both[1].Floats()) {
					t.Errorf("%s of %d channels: the images' gradient with and without that of the kernel differ", b.name, channels)
				}
				x.Close()
			}
			r.Close()
		}
	}
}
