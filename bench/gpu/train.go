package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/models"
)

// noise returns n images of random pixels.
func noise(n int, size dataset.Shape) *dataset.Set {
	set := &dataset.Set{Name: "noise", Size: size, Pix: make([]uint8, n*size.Len()), Scale: dataset.Scale255}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range set.Pix {
		set.Pix[i] = uint8(rng.Uint32())
	}
	return set
}

// training measures steps of the plain autoencoder.
func (b *bench) training(ctx context.Context) error {
	images, batches := 16384, []int{128, 1024}
	if b.small {
		images, batches = 512, []int{64}
	}
	small, colour := dataset.Shape{C: 1, H: 28, W: 28}, dataset.Shape{C: 3, H: 32, W: 32}
	for _, size := range []dataset.Shape{small, colour} {
		set := noise(images, size)
		for _, filters := range []string{models.FiltersUp, models.FiltersConst} {
			for _, batch := range batches {
				cfg, err := models.Preset("paper", models.ArchAE, size)
				if err != nil {
					return err
				}
				cfg.Filters, cfg.Batch, cfg.Loss, cfg.LR = filters, batch, models.LossBCE, 1e-3
				what := fmt.Sprintf("%v, filters %s, batch %d", size, filters, batch)
				for _, peer := range []struct {
					name   string
					wanted map[string]any
				}{{"eager", nil}, {"fused Adam", map[string]any{"fused": true}}, {"compiled", map[string]any{"fused": true, "compile": true}}} {
					request := map[string]any{"task": "train", "filters": widths(filters), "shape": []int{size.C, size.H, size.W}, "latent": cfg.Latent, "batch": batch}
					for k, v := range peer.wanted {
						request[k] = v
					}
					r, err := b.compare(what+", "+peer.name, func() (float64, error) { return b.train(ctx, cfg, set) }, request)
					if err != nil {
						return err
					}
					b.report.Training = append(b.report.Training, r)
					if b.peers == nil {
						break
					}
				}
			}
		}
	}
	return nil
}

// widths are the numbers of filters by their name in a configuration.
func widths(filters string) []int {
	if filters == models.FiltersConst {
		return []int{32, 32, 32}
	}
	return []int{32, 64, 128}
}

// train returns the images a second of a training that has found its pace.
func (b *bench) train(ctx context.Context, cfg models.Config, set *dataset.Set) (float64, error) {
	// The first steps record the work, and say how many are wanted.
	cfg.Steps = 30
	if b.small {
		cfg.Steps = 4
	}
	warm := cfg.Steps
	_, seconds, err := b.pace(ctx, cfg, set, 0)
	if err != nil {
		return 0, err
	}
	cfg.Steps = warm + max(warm, int(b.seconds/seconds*float64(warm)))
	images, seconds, err := b.pace(ctx, cfg, set, warm)
	return float64(images) / seconds, err
}

// pace trains and returns the images and the seconds after so many steps.
func (b *bench) pace(ctx context.Context, cfg models.Config, set *dataset.Set, after int) (images int, seconds float64, err error) {
	m, err := models.New(cfg, b.dev)
	if err != nil {
		return 0, 0, err
	}
	defer m.Close()
	start, seen := time.Now(), 0
	_, err = models.Train(ctx, m, set, models.Options{Progress: func(p models.Progress) {
		if p.Step <= after {
			start, seen = time.Now(), p.Images
		}
		images = p.Images - seen
	}})
	return images, time.Since(start).Seconds(), err
}
