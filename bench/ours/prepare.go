package main

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/dataset/synth"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// A preparation says what folder to make.
type preparation struct {
	source, preset   string
	latent, channels int
	images           int
	trainOnly        bool
}

const (
	calibration = 1000  // test images that the bundle is calibrated with
	queries     = 4096  // test images after them, to be scored
	trainImages = 16384 // kept for training
	// With the 1e-4 of preset paper so few steps teach next to nothing, and the
	// latents of an untrained model lie too close together to be searched as
	// those of a trained one.
	setupLR = 1e-3
)

func (p preparation) run(ctx context.Context, dir string) error {
	sp, name, err := p.open()
	if err != nil {
		return err
	}
	if sp.Train == nil || sp.Test == nil || sp.Test.Len() < calibration+queries || sp.Train.Len() < trainImages {
		return fmt.Errorf("prepare: %s has too few images", p.source)
	}
	model, meta, result, err := p.train(ctx, sp.Train)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer model.Close()
	meta.Data = name
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := writeTraining(dir, model, sp.Train.Subset(numbers(0, trainImages))); err != nil {
		return err
	}
	if !p.trainOnly {
		meta.Entries, meta.Queries = sp.Train.Len(), queries
		if err := p.fit(ctx, dir, model, sp, result); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	return workload.WriteJSON(filepath.Join(dir, workload.MetaFile), meta) // last: with it the folder is complete
}

// open reads the data set or makes one of its size.
func (p preparation) open() (*dataset.Splits, string, error) {
	if p.source != "synth:" {
		kind, _, _ := strings.Cut(p.source, ":")
		sp, err := dataset.Open(p.source)
		return sp, kind, err
	}
	o := synth.DefaultOptions()
	o.Classes, o.TrainPerClass, o.TestPerClass, o.Channels = 10, 6000, 600, p.channels
	o.Size = 28
	if p.channels == 3 {
		o.Size = 32
	}
	sp, err := synth.Generate(o)
	return sp, "synth", err
}

func (p preparation) train(ctx context.Context, set *dataset.Set) (*models.Autoencoder, workload.Meta, models.Result, error) {
	cfg, err := models.Preset(p.preset, models.ArchAE, set.Shape())
	if err != nil {
		return nil, workload.Meta{}, models.Result{}, err
	}
	cfg.Latent, cfg.Steps = p.latent, max(1, p.images/cfg.Batch)
	cfg.LR = setupLR
	meta := workload.Meta{Preset: p.preset, Shape: [3]int{set.Size.C, set.Size.H, set.Size.W}, Latent: p.latent,
		Norm: cfg.Norm != models.NormNone, Loss: cfg.Loss, LR: cfg.LR, Batch: cfg.Batch, Images: cfg.Steps * cfg.Batch,
		Filters: [3]int{32, 64, 128}}
	if cfg.Filters == models.FiltersConst {
		meta.Filters = [3]int{32, 32, 32}
	}
	model, err := models.New(cfg, torch.CPU)
	if err != nil {
		return nil, meta, models.Result{}, err
	}
	res, err := models.Train(ctx, model, set, models.Options{})
	if err != nil {
		model.Close()
		return nil, meta, res, err
	}
	return model, meta, res, nil
}

// writeTraining writes what training reads.
func writeTraining(dir string, model *models.Autoencoder, set *dataset.Set) error {
	var weights bytes.Buffer
	if err := model.Save(&weights); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, workload.WeightsFile), weights.Bytes(), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, workload.TrainBytes), set.Pix, 0o644); err != nil {
		return err
	}
	return workload.WriteFloats(dir, workload.TrainFile, scaled(set))
}

// fit indexes the training images, saves the bundle, and writes what searching
// and scoring read.
func (p preparation) fit(ctx context.Context, dir string, model *models.Autoencoder, sp *dataset.Splits, res models.Result) error {
	index, err := faissindex.New(model.LatentDim())
	if err != nil {
		return err
	}
	defer index.Close()
	calib := sp.Test.Subset(numbers(0, calibration))
	fitted, err := nln.Fit(ctx, model, index, sp.Train, calib, nln.DefaultConfig())
	if err != nil {
		return err
	}
	man := bundle.Manifest{Created: time.Now().UTC().Truncate(time.Second), Program: "bench", Training: res,
		Data: bundle.Data{Source: p.source, Scale: sp.Train.Scale}}
	if man.Libraries, err = torch.Info(); err != nil {
		return err
	}
	b := &bundle.Bundle{Manifest: man, Model: model, Index: index, Scorer: fitted}
	for i := range sp.Train.Len() {
		b.Train = append(b.Train, bundle.Image{Name: sp.Train.ImageName(i)})
	}
	if err := b.Save(filepath.Join(dir, workload.BundleDir), true); err != nil {
		return err
	}
	set := sp.Test.Subset(numbers(calibration, calibration+queries))
	x := scaled(set)
	z := make([]float32, queries*model.LatentDim())
	if err := model.Encode(ctx, dataset.Images{Shape: set.Shape(), N: queries, Pix: x}, z); err != nil {
		return err
	}
	for name, v := range map[string][]float32{workload.QueryFile: x, workload.QueryLatentFile: z, workload.LatentFile: index.Vectors()} {
		if err := workload.WriteFloats(dir, name, v); err != nil {
			return err
		}
	}
	first := picture(x[:set.Size.Len()], set.Shape(), 0, 0)
	return writeImage(filepath.Join(dir, workload.ImageFile), first, png.Encode)
}

// numbers returns lo, lo+1, ... up to, not including, hi.
func numbers(lo, hi int) []int {
	ids := make([]int, 0, hi-lo)
	for i := lo; i < hi; i++ {
		ids = append(ids, i)
	}
	return ids
}

// scaled returns the values of all images.
func scaled(set *dataset.Set) []float32 {
	return set.Gather(numbers(0, set.Len()), make([]float32, len(set.Pix))).Pix
}
