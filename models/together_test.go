package models

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

// several returns trainings that differ in model, seed, images and length.
func several(t *testing.T, opt Options) []*Training {
	t.Helper()
	var all []*Training
	for i, arch := range Archs() {
		cfg := configOfArch(t, "paper", arch, dataset.Shape{C: 1, H: 12, W: 8})
		cfg.Batch, cfg.Seed, cfg.Steps = 16, uint64(i), 9+4*i
		all = append(all, &Training{Model: newModel(t, cfg), Images: waves(30+7*i, cfg.Shape), Options: opt})
	}
	return all
}

// What is trained at once is what is trained alone, also over an interrupt.
func TestTrainAll(t *testing.T) {
	atEnd(t)
	for _, way := range []way{byDevice, stepQueued} {
		alone, dir := several(t, Options{way: way}), t.TempDir()
		for _, x := range alone {
			train(t, x.Model, x.Images.(*dataset.Set), x.Options)
		}
		atOnce := several(t, Options{way: way})
		TrainAll(t.Context(), atOnce)

		ctx, cancel := context.WithCancel(t.Context())
		first := several(t, Options{way: way, window: 1, Progress: func(p Progress) {
			if p.Step == 6 {
				cancel()
			}
		}})
		resumed := several(t, Options{way: way, window: 1})
		for i := range first {
			first[i].Options.Checkpoint = filepath.Join(dir, fmt.Sprint(i))
			resumed[i].Options.Checkpoint = first[i].Options.Checkpoint
		}
		TrainAll(ctx, first)
		TrainAll(t.Context(), resumed)
		for i, x := range alone {
			if err := errors.Join(atOnce[i].Err, resumed[i].Err); err != nil {
				t.Fatal(err)
			}
			if !errors.Is(first[i].Err, context.Canceled) {
				t.Errorf("way %d: training %d was to be interrupted: %v", way, i, first[i].Err)
			}
			sameWeights(t, fmt.Sprintf("way %d, training %d at once", way, i), x.Model, atOnce[i].Model)
			sameWeights(t, fmt.Sprintf("way %d, training %d resumed", way, i), x.Model, resumed[i].Model)
			if n := atOnce[i].Result.Steps; n != 9+4*i {
				t.Errorf("training %d: %d steps", i, n)
			}
		}
	}
}

// One training that cannot be, and one that diverges, leave the third alone.
func TestTrainAllFails(t *testing.T) {
	atEnd(t)
	all := several(t, Options{way: stepQueued})[:3]
	all[0].Images = waves(5, color32)
	for _, w := range all[1].Model.params {
		if w.name == "decoder.conv3.bias" {
			w.Set([]float32{float32(math.NaN())})
		}
	}
	TrainAll(t.Context(), all)
	if all[0].Err == nil || !errors.Is(all[1].Err, ErrDiverged) || all[2].Err != nil || all[2].Result.Together != 2 {
		t.Errorf("errors %v, %v and %v; %+v", all[0].Err, all[1].Err, all[2].Err, all[2].Result)
	}
}
