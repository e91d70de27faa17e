package models

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
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
	m, err := New(c, torch.CPU)
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
			m, err := New(cfg, torch.CPU)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Parameters(); got != c.want[i] {
				t.Errorf("%s %v %s %s: %d parameters, want %d", arch, c.shape, c.filters, c.norm, got, c.want[i])
			}
			m.Close()
		}
	}
}

func TestShapesAndRange(t *testing.T) {
	atEnd(t)
	for i, arch := range append(Archs(), Archs()...) {
		preset := Presets()[i/len(Archs())]
		for _, shape := range []dataset.Shape{grey28, color32, {C: 2, H: 8, W: 12}, {C: 3, H: 64, W: 64}, {C: 1, H: 128, W: 128}, {C: 1, H: 256, W: 256}} {
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
		}
	}
}

// apply runs one layer on values of the given shape.
func apply(t *testing.T, l layer, v []float32, shape ...int) []float32 {
	t.Helper()
	s := torch.NewScope(torch.CPU)
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
	b := &builder{dev: torch.CPU}
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
	conv := ones(t, (*builder).convReLU2)
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
	b := &builder{dev: torch.CPU, seed: 5}
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
		if math.Abs(float64(got[i]-want[i])) > convTol {
			t.Fatalf("value %d = %v, want %v", i, got[i], want[i])
		}
	}
}

// Batch normalisation whose running statistics never moved is a scale and a
// shift; with the batch's statistics it normalises, and moves them.
func TestNorm(t *testing.T) {
	atEnd(t)
	b := &builder{dev: torch.CPU}
	l := b.norm("n", NormCode, 2)
	for _, p := range b.params {
		defer p.Close()
	}
	b.params[0].Set([]float32{2, 3})
	b.params[1].Set([]float32{10, 20})
	got := apply(t, l, []float32{1, -1}, 1, 2, 1, 1)
	root := math.Sqrt(1.001)
	for i, want := range []float64{2/root + 10, -3/root + 20} {
		if math.Abs(float64(got[i])-want) > convTol {
			t.Errorf("channel %d = %v, want %v", i, got[i], want)
		}
	}
	s := torch.NewScope(torch.CPU)
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

func TestGlorotStart(t *testing.T) {
	atEnd(t)
	m := newModel(t, config(t, "paper", grey28))
	for _, p := range m.params {
		v := make([]float32, p.Len())
		if err := p.CopyTo(v); err != nil {
			t.Fatal(err)
		}
		var lo, hi, sum float64
		for _, x := range v {
			lo, hi, sum = min(lo, float64(x)), max(hi, float64(x)), sum+float64(x)
		}
		switch p.name {
		case "encoder.conv3.weight": // fans 4*64 and 4*128
			a := math.Sqrt(6. / (4*64 + 4*128))
			if lo < -a || hi > a || hi < .99*a || lo > -.99*a || math.Abs(sum/float64(len(v))) > 5*a/math.Sqrt(3*float64(len(v))) {
				t.Errorf("%s in [%v, %v], mean %v, want U(-%v, %v)", p.name, lo, hi, sum/float64(len(v)), a, a)
			}
		case "encoder.conv3.bias":
			if lo != 0 || hi != 0 {
				t.Errorf("%s in [%v, %v], want 0", p.name, lo, hi)
			}
		}
	}
}

func train(t testing.TB, m *Autoencoder, set *dataset.Set, opt Options) Result {
	t.Helper()
	res, err := Train(t.Context(), m, set, opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func weights(t *testing.T, m *Autoencoder) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Spec: an autoencoder on 64 images must be able to learn them by heart.
func TestOverfits64Images(t *testing.T) {
	atEnd(t)
	for _, loss := range []string{LossMSE, LossBCE, LossL1} {
		cfg := config(t, "paper", grey28)
		cfg.Filters, cfg.Loss, cfg.LR, cfg.Batch, cfg.Steps = FiltersConst, loss, 3e-3, 16, 120
		m, set := newModel(t, cfg), waves(64, grey28)
		res := train(t, m, set, Options{})
		if res.LastLoss >= res.FirstLoss {
			t.Errorf("%s: loss went from %v to %v", loss, res.FirstLoss, res.LastLoss)
		}
		x := set.Gather(identity(64), make([]float32, len(set.Pix)))
		z, xhat := make([]float32, 64*m.LatentDim()), make([]float32, len(x.Pix))
		if err := errors.Join(m.Encode(t.Context(), x, z), m.Decode(t.Context(), z, xhat)); err != nil {
			t.Fatal(err)
		}
		var mse float64
		for i := range xhat {
			d := float64(xhat[i] - x.Pix[i])
			mse += d * d / float64(len(xhat))
		}
		if mse >= 1e-2 {
			t.Errorf("%s: MSE %v after %d steps, want less than 0.01", loss, mse, res.Steps)
		}
	}
}

func identity(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

func TestTrainingRepeats(t *testing.T) {
	atEnd(t)
	cfg := config(t, "code", grey28)
	cfg.Batch, cfg.Epochs = 32, 2
	set := waves(100, grey28)
	run := func(seed uint64) []byte {
		cfg.Seed = seed
		m := newModel(t, cfg)
		res := train(t, m, set, Options{})
		if res.Steps != 8 { // two epochs of 32, 32, 32 and 4
			t.Errorf("%d steps, want 8", res.Steps)
		}
		return weights(t, m)
	}
	a, b, c := run(1), run(1), run(2)
	if !bytes.Equal(a, b) {
		t.Error("one seed, two results")
	}
	if bytes.Equal(a, c) {
		t.Error("two seeds, one result")
	}
}

func TestCheckpointResumes(t *testing.T) {
	atEnd(t)
	cfg := config(t, "paper", grey28)
	cfg.Batch, cfg.Epochs = 16, 4
	set := waves(40, grey28)
	whole := newModel(t, cfg)
	train(t, whole, set, Options{})

	path := filepath.Join(t.TempDir(), "checkpoint")
	ctx, cancel := context.WithCancel(t.Context())
	stopped := newModel(t, cfg)
	_, err := Train(ctx, stopped, set, Options{Checkpoint: path, Progress: func(p Progress) {
		if p.Step == 5 { // in the middle of the second epoch
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "step 5") {
		t.Fatalf("stopped training: %v", err)
	}
	resumed := newModel(t, cfg)
	res := train(t, resumed, set, Options{Checkpoint: path})
	if res.Resumed != 5 {
		t.Errorf("resumed at step %d, want 5", res.Resumed)
	}
	if !bytes.Equal(weights(t, whole), weights(t, resumed)) {
		t.Error("resumed training ends elsewhere than one in one go")
	}

	fewer := cfg
	fewer.Steps = 3
	if _, err := Train(t.Context(), newModel(t, fewer), set, Options{Checkpoint: path}); !errors.Is(err, ErrOtherTraining) {
		t.Errorf("fewer steps than were done: %v", err)
	}
	other := cfg
	other.LR *= 2
	if _, err := Train(t.Context(), newModel(t, other), set, Options{Checkpoint: path}); !errors.Is(err, ErrOtherTraining) {
		t.Errorf("other learning rate: %v", err)
	}
	if _, err := Train(t.Context(), newModel(t, cfg), waves(41, grey28), Options{Checkpoint: path}); !errors.Is(err, ErrOtherTraining) {
		t.Errorf("other images: %v", err)
	}
	b, _ := os.ReadFile(path)
	os.WriteFile(path, b[:len(b)-9], 0o644)
	if _, err := Train(t.Context(), newModel(t, cfg), set, Options{Checkpoint: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("truncated checkpoint: %v", err)
	}
}

func TestTrainRefuses(t *testing.T) {
	atEnd(t)
	cfg := config(t, "paper", grey28)
	cfg.Steps, cfg.Batch = 20, 16
	m := newModel(t, cfg)
	if _, err := Train(t.Context(), m, waves(4, color32), Options{}); err == nil {
		t.Error("wrong shape: no error")
	}
	if _, err := Train(t.Context(), m, &dataset.Set{Size: grey28}, Options{}); err == nil {
		t.Error("no images: no error")
	}
	cfg.LR = 0.99
	if _, err := Train(t.Context(), newModel(t, cfg), waves(64, grey28), Options{}); err != nil && !errors.Is(err, ErrDiverged) {
		t.Errorf("huge learning rate: %v", err)
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
	l, err := Load(bytes.NewReader(b), torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Config() != m.Config() || !bytes.Equal(weights(t, l), b) {
		t.Error("loaded model differs")
	}
	for n := 0; n < len(b); n += len(b)/50 + 1 {
		if _, err := Load(bytes.NewReader(b[:n]), torch.CPU); err == nil {
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
		if _, err := Load(bytes.NewReader(bytes.ReplaceAll(b, []byte(c.old), []byte(c.new))), torch.CPU); err == nil || !strings.Contains(err.Error(), c.want) {
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
				if w := z[i*m.LatentDim()+j]; math.Abs(float64(v-w)) > batchTol*(1+math.Abs(float64(w))) {
					t.Fatalf("%s: latent %d of image %d is %v alone, %v in the batch", preset, j, i, v, w)
				}
			}
		}
	}
}

func BenchmarkTrainStep(b *testing.B) {
	for _, preset := range Presets() {
		b.Run(preset, func(b *testing.B) {
			cfg := config(b, preset, grey28)
			cfg.Batch, cfg.Steps = 128, 1
			m, set := newModel(b, cfg), waves(512, grey28)
			t, err := newTrainer(m, set, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer t.close()
			for b.Loop() {
				if _, err := t.train(identity(128)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(128*float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
