package models

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/coretest"
	"github.com/nlnctl/nlnctl/nln"
)

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
			if p.D(0, 1) > onDevice(t, selfTol) || p.Neighbors(0, 1)[0] != int64(i) {
				t.Errorf("%s: image %d is at %v from image %d", arch, i, p.D(0, 1), p.Neighbors(0, 1)[0])
			}
			for _, space := range p.Spaces {
				want := space.Own[0]
				if space.Space == nln.SpaceImage {
					want = p.Recon[0]
				}
				if math.Abs(space.Mean[0]-want) > onDevice(t, selfTol) {
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

	s := torch.NewScope(coretest.Device(t))
	defer s.Close()
	draw := func(seed uint64, step int) (normal, dropped []float32) {
		tr := &trainer{m: &Autoencoder{cfg: Config{Seed: seed}, dev: coretest.Device(t)}}
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
// running statistics of batch normalisation, and reports the same losses; step by step
// and in a queue.
func TestCheckpointResumes(t *testing.T) {
	atEnd(t)
	for _, preset := range []string{"paper", "code"} {
		for _, arch := range Archs() {
			for _, way := range []way{byDevice, stepQueued} {
				checkResume(t, fmt.Sprintf("%s %s way %d", preset, arch, way),
					configOfArch(t, preset, arch, dataset.Shape{C: 1, H: 12, W: 8}), Options{way: way, window: 1})
			}
		}
	}
}

func checkResume(t *testing.T, what string, cfg Config, opt Options) {
	t.Helper()
	cfg.Batch, cfg.Epochs = 16, 4 // 3 steps each, the last of 8 images
	set := waves(40, cfg.Shape)
	var losses [][]Loss
	opt.Progress = func(p Progress) { losses = append(losses, p.EpochLosses) }
	gather := opt.Progress
	whole := newModel(t, cfg)
	want := train(t, whole, set, opt)
	wantLosses := losses

	losses = nil
	opt.Checkpoint = filepath.Join(t.TempDir(), "checkpoint")
	for _, at := range []int{2, 3, 7} { // in the first epoch, after it, in the third
		ctx, cancel := context.WithCancel(t.Context())
		note, short := "", opt
		short.Progress = func(p Progress) {
			if gather(p); p.Step == at {
				cancel()
			}
		}
		short.Note = func() (string, error) { return fmt.Sprint("stopped at ", at), nil }
		short.Recall = func(s string) error { note = s; return nil }
		_, err := Train(ctx, newModel(t, cfg), set, short)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), fmt.Sprint("step ", at)) {
			t.Fatalf("%s: stopped training: %v", what, err)
		}
		if at == 3 && note != "stopped at 2" {
			t.Errorf("%s: the note in the checkpoint is %q", what, note)
		}
	}
	resumed := newModel(t, cfg)
	got := train(t, resumed, set, opt)
	if got.Resumed != 7 {
		t.Errorf("%s: resumed at step %d, want 7", what, got.Resumed)
	}
	if !bytes.Equal(weights(t, whole), weights(t, resumed)) {
		t.Errorf("%s: resumed training ends elsewhere than one in one go", what)
	}
	if !reflect.DeepEqual(losses, wantLosses) || got.FirstLoss != want.FirstLoss || got.LastLoss != want.LastLoss {
		t.Errorf("%s: losses %v, in one go %v", what, losses, wantLosses)
	}
	// After the last step there is a checkpoint too, with nothing left to do.
	again := newModel(t, cfg)
	if got := train(t, again, set, opt); got.Resumed != 12 || got.LastLoss != want.LastLoss || got.FirstLoss != want.FirstLoss {
		t.Errorf("%s: resumed after the end: %+v, want the losses of %+v", what, got, want)
	}
	if !bytes.Equal(weights(t, whole), weights(t, again)) {
		t.Errorf("%s: the last checkpoint has other weights", what)
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
		for _, way := range []way{stepAtOnce, stepQueued} {
			m := newModel(t, cfg)
			last := 0
			_, err := Train(t.Context(), m, waves(40, m.Shape()), Options{way: way, window: 3, Progress: func(p Progress) {
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

func BenchmarkTrainStep(b *testing.B) {
	for _, preset := range Presets() {
		b.Run(preset, func(b *testing.B) {
			cfg := config(b, preset, grey28)
			cfg.Batch, cfg.Steps = 128, 1
			m, set := newModel(b, cfg), waves(512, grey28)
			t, err := newTrainer(m, set, Options{way: stepAtOnce})
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
