package models

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/coretest"
	"github.com/nlnctl/nlnctl/nln"
)

var (
	grey28  = dataset.Shape{C: 1, H: 28, W: 28}
	color32 = dataset.Shape{C: 3, H: 32, W: 32}
)

// atEnd fails the test if it ends with more objects of the core than it began with.
func atEnd(t *testing.T) {
	t.Helper()
	if err := torch.Load(); err != nil {
		t.Fatal(err)
	}
	before := torch.LiveHandles()
	t.Cleanup(func() {
		if n := torch.LiveHandles(); n != before {
			t.Errorf("%d objects of the core live, %d before the test", n, before)
		}
	})
}

func config(t testing.TB, preset string, shape dataset.Shape) Config {
	t.Helper()
	return configOfArch(t, preset, ArchAE, shape)
}

func configOfArch(t testing.TB, preset, arch string, shape dataset.Shape) Config {
	t.Helper()
	c, err := Preset(preset, arch, shape)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newModel(t testing.TB, c Config) *Autoencoder {
	t.Helper()
	m, err := New(c, coretest.Device(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// waves returns n images of a random plane wave each, one a channel.
func waves(n int, shape dataset.Shape) *dataset.Set {
	rng := rand.New(rand.NewPCG(1, 2))
	s := &dataset.Set{Name: "waves", Size: shape, Pix: make([]uint8, n*shape.Len())}
	for i := range n {
		for c := range shape.C {
			ky, kx, phase := rng.Float64()*.4, rng.Float64()*.4, rng.Float64()*6
			for y := range shape.H {
				for x := range shape.W {
					v := 127.5 + 127*math.Sin(ky*float64(y)+kx*float64(x)+phase)
					s.Image(i)[(c*shape.H+y)*shape.W+x] = uint8(v)
				}
			}
		}
	}
	return s
}

// The counts are those of the authors' networks, worked out layer by layer.
func TestParameterCounts(t *testing.T) {
	atEnd(t)
	patch := func(channels int) dataset.Shape { return dataset.Shape{C: channels, H: 128, W: 128} }
	archs := []string{ArchAE, ArchVAE, ArchAAE, ArchAERes, ArchAECon}
	for _, c := range []struct {
		filters, norm string
		shape         dataset.Shape
		want          [5]int // in the order of archs
	}{
		{FiltersUp, NormNone, grey28, [5]int{490209, 492321, 533922, 732290, 974338}},
		{FiltersConst, NormNone, grey28, [5]int{118753, 120865, 162466, 177410, 236034}},
		{FiltersConst, NormCode, grey28, [5]int{119073, 121185, 162786, 177922, 236738}},
		{FiltersHalving, NormCode, grey28, [5]int{67793, 69905, 111506, 83258, 98690}},
		{FiltersUp, NormNone, color32, [5]int{615523, 617635, 659236, 919300, 1223044}},
		{FiltersConst, NormCode, color32, [5]int{150787, 152899, 194500, 225252, 299684}},
		{FiltersUp, NormNone, patch(3), [5]int{935811, 948387, 985668, 1367012, 1798084}},
		{FiltersUp, NormNone, patch(1), [5]int{933761, 946337, 983618, 1363938, 1793986}},
	} {
		for i, arch := range archs {
			cfg := configOfArch(t, "paper", arch, c.shape)
			cfg.Filters, cfg.Norm = c.filters, c.norm
			m, err := New(cfg, coretest.Device(t))
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Parameters(); got != c.want[i] {
				t.Errorf("%s %v %s %s: %d parameters, want %d", arch, c.shape, c.filters, c.norm, got, c.want[i])
			}
			m.Close()
			// The presets are rows of the table, whatever else they change.
			for preset, filters := range map[string]string{"paper": FiltersUp, "fast": FiltersUp, "code": FiltersConst} {
				norm := NormNone
				if preset == "code" {
					norm = NormCode
				}
				if c.filters != filters || c.norm != norm {
					continue
				}
				m := newModel(t, configOfArch(t, preset, arch, c.shape))
				if got := m.Parameters(); got != c.want[i] {
					t.Errorf("%s %v, preset %s: %d parameters, want %d", arch, c.shape, preset, got, c.want[i])
				}
				m.Close()
			}
		}
	}
}

func TestShapesAndRange(t *testing.T) {
	atEnd(t)
	for _, preset := range []string{"paper", "code"} {
		for _, arch := range Archs() {
			for _, shape := range []dataset.Shape{grey28, color32, {C: 2, H: 8, W: 12}, {C: 3, H: 64, W: 64}, {C: 1, H: 128, W: 128}, {C: 3, H: 128, W: 128}, {C: 1, H: 256, W: 256}} {
				m := newModel(t, configOfArch(t, preset, arch, shape))
				set := waves(3, shape)
				x := set.Gather([]int{0, 1, 2}, make([]float32, 3*shape.Len()))
				z, xhat := make([]float32, 3*m.LatentDim()), make([]float32, len(x.Pix))
				if err := m.Encode(t.Context(), x, z); err != nil {
					t.Fatal(err)
				}
				if err := m.Decode(t.Context(), z, xhat); err != nil {
					t.Fatal(err)
				}
				for _, v := range xhat {
					if !(v > 0 && v < 1) {
						t.Fatalf("%s %s %v: pixel %v outside (0, 1)", preset, arch, shape, v)
					}
				}
				m.Close()
			}
		}
	}
}

// Each model trains on images of each size that its networks are made for, and
// what was trained scores: the terms in each of its spaces are finite.
func TestEverySizeTrainsAndScores(t *testing.T) {
	atEnd(t)
	for _, shape := range []dataset.Shape{grey28, color32, {C: 1, H: 128, W: 128}, {C: 3, H: 128, W: 128}} {
		for _, arch := range Archs() {
			cfg := configOfArch(t, "paper", arch, shape)
			cfg.Batch, cfg.Steps, cfg.Latent = 4, 2, 8
			m, set := newModel(t, cfg), waves(14, shape)
			before := snapshot(t, m)
			train(t, m, set.Subset(identity(14)[:8]), Options{})
			for name, v := range snapshot(t, m) {
				if strings.HasSuffix(name, ".weight") && v == before[name] {
					t.Errorf("%s %v: training left %s as it was", arch, shape, name)
				}
			}
			conf := nln.DefaultConfig()
			conf.K, conf.FPR = 2, .5
			s, err := nln.Fit(t.Context(), m, nln.NewExact(m.LatentDim()), set.Subset(identity(14)[:8]), set.Subset(identity(14)[8:11]), conf)
			if err != nil {
				t.Fatalf("%s %v: %v", arch, shape, err)
			}
			p, err := s.PartsAll(t.Context(), set.Subset(identity(14)[11:]))
			if err == nil {
				err = p.Check()
			}
			if err != nil || p.Len() != 3 || len(p.Spaces) != len(m.Spaces()) {
				t.Errorf("%s %v: scores of %d images in the spaces %v: %v", arch, shape, p.Len(), p.SpaceNames(), err)
			}
			for i := range p.Len() {
				if p.Recon[i] == 0 || p.E(i, 2) == 0 {
					t.Errorf("%s %v: image %d: reconstruction error %v, error term %v", arch, shape, i, p.Recon[i], p.E(i, 2))
				}
			}
			m.Close()
		}
	}
}

// apply runs one layer on values of the given shape.
func apply(t *testing.T, l layer, v []float32, shape ...int) []float32 {
	t.Helper()
	s := torch.NewScope(coretest.Device(t))
	defer s.Close()
	out := l(pass{s: s}, s.FromFloats(v, shape...)).Floats()
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// ones returns a layer made by mk with all weights 1 and no bias.
func ones(t *testing.T, mk func(b *builder, name string, in, out int) layer) layer {
	t.Helper()
	b := &builder{dev: coretest.Device(t)}
	l := mk(b, "l", 1, 1)
	t.Cleanup(func() {
		for _, p := range b.params {
			p.Close()
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	if err := b.params[0].Set([]float32{1, 1, 1, 1}); err != nil {
		t.Fatal(err)
	}
	return l
}

func equal(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			t.Errorf("%s = %v, want %v", what, got, want)
			return
		}
	}
}

func TestSamePadding(t *testing.T) {
	atEnd(t)
	conv := ones(t, func(b *builder, name string, in, out int) layer { return b.convRows2(name, "", NormNone, in, out) })
	equal(t, "conv of ones", apply(t, conv, []float32{1, 1, 1, 1, 1, 1, 1, 1, 1}, 1, 1, 3, 3), []float32{4, 4, 2, 4, 4, 2, 2, 2, 1})
	convT := ones(t, (*builder).convTReLU2)
	equal(t, "transposed conv of the first pixel", apply(t, convT, []float32{1, 0, 0, 0, 0, 0, 0, 0, 0}, 1, 1, 3, 3), []float32{1, 1, 0, 1, 1, 0, 0, 0, 0})
	equal(t, "transposed conv of the last pixel", apply(t, convT, []float32{0, 0, 0, 0, 0, 0, 0, 0, 1}, 1, 1, 3, 3), []float32{0, 0, 0, 0, 0, 0, 0, 0, 1})
}

// convTol bounds the difference of two ways to compute a convolution of some
// dozens of products in float32.
const convTol = 1e-5

// The transposed convolution must be libtorch's own without its last row and column.
func TestConvT2x2IsTheTransposedConvolution(t *testing.T) {
	atEnd(t)
	b := &builder{dev: coretest.Device(t), seed: 5}
	l := b.convTReLU2("l", 3, 4)
	defer b.params[0].Close()
	defer b.params[1].Close()
	b.params[1].Set([]float32{.1, .2, .3, .4})
	rng := rand.New(rand.NewPCG(1, 1))
	x := make([]float32, 2*3*5*6)
	for i := range x {
		x[i] = rng.Float32()
	}
	got := apply(t, l, x, 2, 3, 5, 6)
	want := apply(t, func(p pass, x *torch.Tensor) *torch.Tensor {
		return x.ConvTranspose2D(b.params[0].In(p.s), b.params[1].In(p.s), 1, 0).Narrow(2, 0, 5).Narrow(3, 0, 6).ReLU()
	}, x, 2, 3, 5, 6)
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > onDevice(t, convTol) {
			t.Fatalf("value %d = %v, want %v", i, got[i], want[i])
		}
	}
}

// Batch normalisation whose running statistics never moved is a scale and a
// shift; with the batch's statistics it normalises, and moves them.
func TestNorm(t *testing.T) {
	atEnd(t)
	b := &builder{dev: coretest.Device(t)}
	l := b.norm("n", NormCode, 2)
	for _, p := range b.params {
		defer p.Close()
	}
	b.params[0].Set([]float32{2, 3})
	b.params[1].Set([]float32{10, 20})
	got := apply(t, l, []float32{1, -1}, 1, 2, 1, 1)
	root := math.Sqrt(1.001)
	for i, want := range []float64{2/root + 10, -3/root + 20} {
		if math.Abs(float64(got[i])-want) > onDevice(t, convTol) {
			t.Errorf("channel %d = %v, want %v", i, got[i], want)
		}
	}
	s := torch.NewScope(coretest.Device(t))
	defer s.Close()
	v := l(pass{s: s, batchStats: true}, s.FromFloats([]float32{1, 5, 3, 7}, 2, 2, 1, 1)).Floats()
	if math.Abs(float64(v[0]-8)) > 1e-2 || math.Abs(float64(v[2]-12)) > 1e-2 {
		t.Errorf("normalised by the batch: %v, want about 8 and 12 in channel 0", v)
	}
	mean := make([]float32, 2)
	if err := b.params[2].CopyTo(mean); err != nil || math.Abs(float64(mean[0])-.02) > 1e-6 {
		t.Errorf("running mean moved to %v, want 0.02", mean)
	}
}

// Every kernel starts as in Keras, from U(-a, a) with a = sqrt(6/(fan in + fan
// out)), every bias at 0, and batch normalisation as the identity.
func TestGlorotStart(t *testing.T) {
	atEnd(t)
	for _, arch := range Archs() {
		for _, shape := range []dataset.Shape{grey28, {C: 3, H: 128, W: 128}} {
			m := newModel(t, configOfArch(t, "code", arch, shape))
			for _, p := range m.params {
				checkStart(t, arch, p)
			}
			m.Close()
		}
	}
}

func checkStart(t *testing.T, arch string, p parameter) {
	t.Helper()
	v := make([]float32, p.Len())
	if err := p.CopyTo(v); err != nil {
		t.Fatal(err)
	}
	var sum, squares float64
	lo, hi := float64(v[0]), float64(v[0])
	for _, x := range v {
		lo, hi = min(lo, float64(x)), max(hi, float64(x))
		sum, squares = sum+float64(x), squares+float64(x)*float64(x)
	}
	s := p.Shape()
	if len(s) == 1 {
		want := 0.
		if strings.Contains(p.name, ".norm") && (strings.HasSuffix(p.name, ".weight") || strings.HasSuffix(p.name, ".running_var")) {
			want = 1
		}
		if lo != want || hi != want {
			t.Errorf("%s: %s in [%v, %v], want %v", arch, p.name, lo, hi, want)
		}
		return
	}
	window := 1
	if len(s) == 4 {
		window = s[2] * s[3]
	}
	n, a := float64(len(v)), math.Sqrt(6/float64(window*(s[0]+s[1])))
	// U(-a, a) has mean 0, and squares of mean a^2/3 and variance 4a^4/45: five
	// standard errors.
	if lo < -a || hi > a || math.Abs(sum/n) > 5*a/math.Sqrt(3*n) || math.Abs(squares/n-a*a/3) > 5*a*a*math.Sqrt(4/(45*n)) {
		t.Errorf("%s: %s in [%v, %v], mean %v, mean square %v, want U(-%v, %v)", arch, p.name, lo, hi, sum/n, squares/n, a, a)
	}
}

func TestConfigCheckNamesEverySetting(t *testing.T) {
	err := Config{Arch: "resnet", Shape: dataset.Shape{C: 1, H: 30, W: 28}, Filters: "x", Norm: "y", Loss: "z"}.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"arch", "filters", "norm", "loss", "latent", "batch", "epochs", "lr", "30x28x1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %s:\n%v", want, err)
		}
	}
	if _, err := Preset("papper", ArchAE, grey28); err == nil || !strings.Contains(err.Error(), "paper") {
		t.Errorf("unknown preset: %v", err)
	}
}

func TestSaveLoad(t *testing.T) {
	atEnd(t)
	m := newModel(t, config(t, "code", color32))
	b := weights(t, m)
	l, err := Load(bytes.NewReader(b), coretest.Device(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Config() != m.Config() || !bytes.Equal(weights(t, l), b) {
		t.Error("loaded model differs")
	}
	for n := 0; n < len(b); n += len(b)/50 + 1 {
		if _, err := Load(bytes.NewReader(b[:n]), coretest.Device(t)); err == nil {
			t.Fatalf("first %d bytes of %d: no error", n, len(b))
		}
	}
	for _, c := range []struct{ old, new, want string }{
		{"encoder.conv2.weight", "encoder.conv9.weight", "encoder.conv2.weight"},
		{`\"latent\":32`, `\"latent\":33`, "shape"},
		{`\"loss\":\"bce\"`, `\"loss\":\"bcd\"`, "loss"},
		{`\"batch\"`, `\"botch\"`, "botch"},
	} {
		if !bytes.Contains(b, []byte(c.old)) {
			t.Fatalf("the file has no %s", c.old)
		}
		if _, err := Load(bytes.NewReader(bytes.ReplaceAll(b, []byte(c.old), []byte(c.new))), coretest.Device(t)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: %v", c.new, c.old, err)
		}
	}
}

// batchTol bounds the relative change of a latent or a pixel with the batch
// around an image: libtorch picks other kernels for other sizes, which sum in
// another order.
const batchTol = 1e-5

func TestBatchDoesNotMatter(t *testing.T) {
	atEnd(t)
	for _, preset := range Presets() {
		m := newModel(t, config(t, preset, grey28))
		n := chunk + 40
		set := waves(n, grey28)
		x := set.Gather(identity(n), make([]float32, len(set.Pix)))
		z := make([]float32, n*m.LatentDim())
		if err := m.Encode(t.Context(), x, z); err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, 7, chunk - 1, chunk, n - 1} {
			alone := make([]float32, m.LatentDim())
			if err := m.Encode(t.Context(), x.Slice(i, i+1), alone); err != nil {
				t.Fatal(err)
			}
			for j, v := range alone {
				if w := z[i*m.LatentDim()+j]; math.Abs(float64(v-w)) > onDevice(t, batchTol)*(1+math.Abs(float64(w))) {
					t.Fatalf("%s: latent %d of image %d is %v alone, %v in the batch", preset, j, i, v, w)
				}
			}
		}
	}
}
