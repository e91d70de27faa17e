package models

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/coretest"
)

// weightTol bounds how far weights on a CUDA device may be apart after some dozens of
// steps, recorded or not: the work space that cuDNN is offered may differ, and with it
// its choice of kernels. Adam moves a weight by up to its learning rate where two
// gradients near 0 have other signs. On the CPU weights are equal to the bit.
const weightTol = 5e-3

func sameWeights(t *testing.T, what string, a, b *Autoencoder) {
	t.Helper()
	if coretest.Device(t) == torch.CPU {
		if !bytes.Equal(weights(t, a), weights(t, b)) {
			t.Errorf("%s: other weights", what)
		}
		return
	}
	for i, p := range a.params {
		x, y := make([]float32, p.Len()), make([]float32, p.Len())
		if err := p.CopyTo(x); err != nil {
			t.Fatal(err)
		}
		if err := b.params[i].CopyTo(y); err != nil {
			t.Fatal(err)
		}
		for k := range x {
			if d := math.Abs(float64(x[k] - y[k])); !(d <= weightTol) {
				t.Errorf("%s: value %d of %s is %v and %v", what, k, p.name, x[k], y[k])
				break
			}
		}
	}
}

// steps returns the losses of a training, as Progress has them.
func (o Options) steps(into *[][]Loss) Options {
	o.Progress = func(p Progress) { *into = append(*into, p.Losses, p.EpochLosses) }
	return o
}

// A queue gives the weights and losses of steps that are done one by one, for each model,
// with random numbers, running statistics, and a smaller batch at an epoch's end; whether
// the images lie on the device or not, and however rarely losses are read.
func TestQueueIsStepByStep(t *testing.T) {
	atEnd(t)
	shape := dataset.Shape{C: 1, H: 12, W: 8}
	for _, preset := range []string{"paper", "code"} {
		for _, arch := range Archs() {
			cfg := configOfArch(t, preset, arch, shape)
			cfg.Batch, cfg.Epochs = 16, 5 // 3 steps each, the last of 8 images: both are recorded
			set := waves(40, shape)
			var want [][]Loss
			slow := newModel(t, cfg)
			res := train(t, slow, set, Options{way: stepAtOnce}.steps(&want))
			for _, opt := range []Options{{way: stepQueued}, {way: stepQueued, window: 2}, {way: stepGathers}} {
				what := fmt.Sprintf("%s %s, way %d, window %d", preset, arch, opt.way, opt.window)
				var got [][]Loss
				fast := newModel(t, cfg)
				again := train(t, fast, set, opt.steps(&got))
				sameWeights(t, what, slow, fast)
				if coretest.Device(t) == torch.CPU && (!reflect.DeepEqual(got, want) || again.FirstLoss != res.FirstLoss || again.LastLoss != res.LastLoss) {
					t.Errorf("%s: losses %v, step by step %v", what, got, want)
				}
			}
		}
	}
}

// Where recording fails, a training goes on and says why it was slow.
func TestQueueUnrecorded(t *testing.T) {
	atEnd(t)
	shape := dataset.Shape{C: 1, H: 12, W: 8}
	cfg := configOfArch(t, "paper", ArchVAE, shape)
	cfg.Batch, cfg.Epochs = 16, 3
	set, asked := waves(40, shape), 0
	a, b := newModel(t, cfg), newModel(t, cfg)
	train(t, a, set, Options{way: stepAtOnce})
	failing := func(func() error) (*torch.Graph, error) {
		asked++
		return nil, errors.New("recorded badly")
	}
	res := train(t, b, set, Options{way: stepQueued, capture: failing})
	sameWeights(t, "unrecorded", a, b)
	if res.Unrecorded != "recorded badly" || asked != 1 {
		t.Errorf("asked %d times, result %+v", asked, res)
	}
}

// Both scales, several channels, and patches, in parts that a transfer takes.
func TestQueueOfOtherImages(t *testing.T) {
	atEnd(t)
	div := waves(20, dataset.Shape{C: 3, H: 8, W: 12})
	div.Scale = dataset.Scale255
	big := waves(3, dataset.Shape{C: 3, H: 100, W: 90})
	big.Scale = dataset.Scale255
	patches, err := dataset.Grid{Patch: 64, Stride: 30}.Of(big).Augmented(dataset.AugmentCode, 1)
	if err != nil {
		t.Fatal(err)
	}
	for what, set := range map[string]Images{"div255": div, "minmax": waves(20, dataset.Shape{C: 3, H: 8, W: 12}), "patches": patches,
		RestoreTurns: waves(22, square), RestoreShifts: waves(22, square)} {
		cfg := configOfArch(t, "paper", ArchAE, set.Shape())
		cfg.Batch, cfg.Steps = 4, 6
		if what == RestoreTurns || what == RestoreShifts { // the last batch of an epoch has fewer images than there are shifts
			cfg.Restore, cfg.Batch = what, 9
		}
		models := map[way]*Autoencoder{}
		for _, w := range []way{stepAtOnce, stepQueued, stepGathers} {
			models[w] = newModel(t, cfg)
			if _, err := Train(t.Context(), models[w], set, Options{way: w}); err != nil {
				t.Fatal(err)
			}
		}
		sameWeights(t, what+", resident", models[stepAtOnce], models[stepQueued])
		sameWeights(t, what+", gathered", models[stepAtOnce], models[stepGathers])
	}
}

// A training may go on in the other way.
func TestCheckpointOfTheOtherWay(t *testing.T) {
	atEnd(t)
	cfg := configOfArch(t, "paper", ArchAAE, dataset.Shape{C: 1, H: 12, W: 8})
	cfg.Batch, cfg.Steps = 16, 13
	set := waves(40, cfg.Shape)
	whole := newModel(t, cfg)
	train(t, whole, set, Options{way: stepAtOnce})
	for _, ways := range [][2]way{{stepAtOnce, stepQueued}, {stepQueued, stepAtOnce}} {
		path := filepath.Join(t.TempDir(), "checkpoint")
		half := cfg
		half.Steps = 7
		train(t, newModel(t, half), set, Options{way: ways[0], Checkpoint: path})
		m := newModel(t, cfg)
		if res := train(t, m, set, Options{way: ways[1], Checkpoint: path}); res.Resumed != 7 {
			t.Errorf("resumed at step %d, want 7", res.Resumed)
		}
		sameWeights(t, fmt.Sprint(ways), whole, m)
	}
}

// The window grows while it is filled soon, and never beyond the table.
func TestWindow(t *testing.T) {
	atEnd(t)
	cfg := configOfArch(t, "paper", ArchAE, dataset.Shape{C: 1, H: 4, W: 4})
	cfg.Filters, cfg.Batch, cfg.Epochs = FiltersHalving, 1, 1
	last, steps := Progress{}, 0
	train(t, newModel(t, cfg), waves(400, cfg.Shape), Options{way: stepQueued, Progress: func(p Progress) {
		if steps++; p.Step != steps || p.Elapsed < last.Elapsed || p.Images != steps {
			t.Fatalf("step %d after %v, step %d after %v", last.Step, last.Elapsed, p.Step, p.Elapsed)
		}
		last = p
	}})
	if steps != 400 {
		t.Errorf("%d steps, want 400", steps)
	}
}
