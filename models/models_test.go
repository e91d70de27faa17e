package models

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
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
	conv := ones(t, (*builder).conv2x2)
	equal(t, "conv of ones", apply(t, conv, []float32{1, 1, 1, 1, 1, 1, 1, 1, 1}, 1, 1, 3, 3), []float32{4, 4, 2, 4, 4, 2, 2, 2, 1})
	convT := ones(t, (*builder).convT2x2)
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
	l := b.convT2x2("l", 3, 4)
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
		return x.ConvTranspose2D(b.params[0].In(p.s), b.params[1].In(p.s), 1, 0).Narrow(2, 0, 5).Narrow(3, 0, 6)
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

// selfTol bounds the distance of an indexed image from itself and the difference
// of two ways to compute its error: both are rounding.
const selfTol = 1e-4

// Spec: an indexed image is at no distance from its nearest neighbour, and its
// error term is its own reconstruction error, in pixels and in any other space.
func TestIndexedImageFindsItself(t *testing.T) {
	atEnd(t)
	for _, arch := range Archs() {
		cfg := configOfArch(t, "fast", arch, grey28)
		cfg.Steps = 5
		m, set := newModel(t, cfg), waves(40, grey28)
		train(t, m, set, Options{})
		conf := nln.DefaultConfig()
		conf.K, conf.Cache, conf.Uncalibrated = 1, nln.CacheFloat32, true
		s, err := nln.Fit(t.Context(), m, nln.NewExact(m.LatentDim()), set, nil, conf)
		if err != nil {
			t.Fatal(err)
		}
		for i := range set.Len() { // alone, so in another batch than when it was indexed
			p, err := s.PartsAll(t.Context(), set.Subset([]int{i}))
			if err != nil {
				t.Fatal(err)
			}
			if p.D(0, 1) > selfTol || p.Neighbors(0, 1)[0] != int64(i) {
				t.Errorf("%s: image %d is at %v from image %d", arch, i, p.D(0, 1), p.Neighbors(0, 1)[0])
			}
			for _, space := range p.Spaces {
				want := space.Own[0]
				if space.Space == nln.SpaceImage {
					want = p.Recon[0]
				}
				if math.Abs(space.Mean[0]-want) > selfTol {
					t.Errorf("%s: image %d: error %v in space %s, its own %v", arch, i, space.Mean[0], space.Space, want)
				}
			}
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

// Each epoch has an order of its own of all images, each step draws of its own,
// and both depend on the seed.
func TestRandomNumbers(t *testing.T) {
	atEnd(t)
	const n = 200
	orders := map[string]bool{}
	for _, seed := range []uint64{0, 1} {
		for epoch := range 3 {
			p := permutation(n, seed, epoch)
			orders[fmt.Sprint(p)] = true
			if slices.Sort(p); !slices.Equal(p, identity(n)) {
				t.Errorf("seed %d, epoch %d: not every image once", seed, epoch)
			}
		}
	}
	if len(orders) != 6 {
		t.Errorf("%d orders for 3 epochs and 2 seeds, want 6", len(orders))
	}

	s := torch.NewScope(torch.CPU)
	defer s.Close()
	draw := func(seed uint64, step int) (normal, dropped []float32) {
		tr := &trainer{m: &Autoencoder{cfg: Config{Seed: seed}, dev: torch.CPU}}
		g, err := tr.drawn(step)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		return g.normal(s, 100, 100).Floats(), g.dropout(s.Full(1, 100, 100), .3).Floats()
	}
	a, dropped := draw(1, 7)
	var sum, squares, zero float64
	for i, v := range a {
		sum, squares = sum+float64(v), squares+float64(v)*float64(v)
		switch d := float64(dropped[i]); {
		case d == 0:
			zero++
		case math.Abs(d-1/.7) > 1e-6:
			t.Fatalf("dropout of 0.3 makes 1 into %v, want 0 or 1/0.7", d)
		}
	}
	count := float64(len(a))
	// Five standard errors of mean and variance of N(0, 1) and of a share of 0.3.
	if math.Abs(sum/count) > 5/math.Sqrt(count) || math.Abs(squares/count-1) > 5*math.Sqrt(2/count) || math.Abs(zero/count-.3) > 5*math.Sqrt(.3*.7/count) {
		t.Errorf("mean %v, variance %v, share dropped %v, want 0, 1 and 0.3", sum/count, squares/count, zero/count)
	}
	if again, _ := draw(1, 7); !slices.Equal(a, again) {
		t.Error("one step draws two things")
	}
	for _, other := range []struct {
		seed uint64
		step int
	}{{1, 8}, {2, 7}} {
		if b, _ := draw(other.seed, other.step); slices.Equal(a, b) {
			t.Errorf("seed %d, step %d draws what seed 1, step 7 does", other.seed, other.step)
		}
	}
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

// A training that was stopped and resumed, as often as one likes, has the same
// weights to the bit as one in one go, for each model, with and without the
// running statistics of batch normalisation, and reports the same losses.
func TestCheckpointResumes(t *testing.T) {
	atEnd(t)
	shape := dataset.Shape{C: 1, H: 12, W: 8}
	for _, preset := range []string{"paper", "code"} {
		for _, arch := range Archs() {
			cfg := configOfArch(t, preset, arch, shape)
			cfg.Batch, cfg.Epochs = 16, 4 // 3 steps each, the last of 8 images
			set := waves(40, shape)
			var losses [][]Loss
			gather := func(p Progress) { losses = append(losses, p.EpochLosses) }
			whole := newModel(t, cfg)
			want := train(t, whole, set, Options{Progress: gather})
			wantLosses := losses

			losses = nil
			path := filepath.Join(t.TempDir(), "checkpoint")
			for _, at := range []int{2, 3, 7} { // in the first epoch, after it, in the third
				ctx, cancel := context.WithCancel(t.Context())
				note := ""
				_, err := Train(ctx, newModel(t, cfg), set, Options{Checkpoint: path,
					Progress: func(p Progress) {
						if gather(p); p.Step == at {
							cancel()
						}
					},
					Note:   func() (string, error) { return fmt.Sprint("stopped at ", at), nil },
					Recall: func(s string) error { note = s; return nil },
				})
				if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), fmt.Sprint("step ", at)) {
					t.Fatalf("%s %s: stopped training: %v", preset, arch, err)
				}
				if at == 3 && note != "stopped at 2" {
					t.Errorf("%s %s: the note in the checkpoint is %q", preset, arch, note)
				}
			}
			resumed := newModel(t, cfg)
			got := train(t, resumed, set, Options{Checkpoint: path, Progress: gather})
			if got.Resumed != 7 {
				t.Errorf("%s %s: resumed at step %d, want 7", preset, arch, got.Resumed)
			}
			if !bytes.Equal(weights(t, whole), weights(t, resumed)) {
				t.Errorf("%s %s: resumed training ends elsewhere than one in one go", preset, arch)
			}
			if !reflect.DeepEqual(losses, wantLosses) || got.FirstLoss != want.FirstLoss || got.LastLoss != want.LastLoss {
				t.Errorf("%s %s: losses %v, in one go %v", preset, arch, losses, wantLosses)
			}
			// After the last step there is a checkpoint too, with nothing left to do.
			again := newModel(t, cfg)
			if got := train(t, again, set, Options{Checkpoint: path}); got.Resumed != 12 || got.LastLoss != want.LastLoss || got.FirstLoss != want.FirstLoss {
				t.Errorf("%s %s: resumed after the end: %+v, want the losses of %+v", preset, arch, got, want)
			}
			if !bytes.Equal(weights(t, whole), weights(t, again)) {
				t.Errorf("%s %s: the last checkpoint has other weights", preset, arch)
			}
		}
	}
}

func TestCheckpointOfAnotherTraining(t *testing.T) {
	atEnd(t)
	cfg := config(t, "paper", grey28)
	cfg.Batch, cfg.Epochs = 16, 2
	set := waves(40, grey28)
	path := filepath.Join(t.TempDir(), "checkpoint")
	train(t, newModel(t, cfg), set, Options{Checkpoint: path})
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
}

// A loss that is no number stops the training, and the error says which, where,
// and what to try.
func TestDivergedTrainingStops(t *testing.T) {
	atEnd(t)
	for arch, says := range map[string]string{
		ArchAE:    "epoch 2, step 4: recon loss is NaN",
		ArchAAE:   "epoch 2, step 4: recon loss is NaN",
		ArchVAE:   "epoch 2, step 4: vae loss is NaN",
		ArchAERes: "epoch 2, step 4: recon loss is NaN",
		ArchAECon: "epoch 2, step 4: generator loss is NaN",
	} {
		cfg := configOfArch(t, "paper", arch, dataset.Shape{C: 1, H: 8, W: 8})
		cfg.Steps, cfg.Batch = 20, 16 // 3 an epoch
		m := newModel(t, cfg)
		last := 0
		_, err := Train(t.Context(), m, waves(40, m.Shape()), Options{Progress: func(p Progress) {
			if last = p.Step; last < 3 {
				return
			}
			for _, w := range m.params {
				if w.name == "decoder.conv3.bias" {
					w.Set([]float32{float32(math.NaN())})
				}
			}
		}})
		if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "smaller learning rate") {
			t.Errorf("%s: error %v, want one with %q", arch, err, says)
		}
		if last != 3 {
			t.Errorf("%s: stopped after step %d, want 3", arch, last)
		}
	}
}

// Progress counts the images that went through, of which the last batch of an
// epoch has fewer.
func TestProgress(t *testing.T) {
	atEnd(t)
	cfg := configOfArch(t, "paper", ArchAECon, dataset.Shape{C: 1, H: 8, W: 8})
	cfg.Batch, cfg.Epochs = 16, 2
	var images, epochs []int
	train(t, newModel(t, cfg), waves(40, cfg.Shape), Options{Progress: func(p Progress) {
		images, epochs = append(images, p.Images), append(epochs, p.Epoch)
		var names []string
		for _, l := range p.Losses {
			names = append(names, l.Name)
		}
		if want := []string{"generator", "generator/recon", "generator/adversarial", "generator/latent", "discriminator"}; !slices.Equal(names, want) {
			t.Errorf("losses %v, want %v", names, want)
		}
		if p.Steps != 6 || len(p.EpochLosses) != len(names) {
			t.Errorf("step %d of %d, %d means", p.Step, p.Steps, len(p.EpochLosses))
		}
	}})
	if want := []int{16, 32, 40, 56, 72, 80}; !slices.Equal(images, want) || !slices.Equal(epochs, []int{1, 1, 1, 2, 2, 2}) {
		t.Errorf("images %v in epochs %v, want %v", images, epochs, want)
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
