// Package models has the autoencoders of Nearest Latent Neighbours and their
// training, computed by libtorch through package cgo/torch.
//
// [New] makes an untrained [Autoencoder] from a [Config], for which [Preset]
// gives sound starting values; [Train] trains it on normal images. It is an
// nln.Model.
package models

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Config says what a model is and how it is trained. It is kept with the
// weights as JSON.
type Config struct {
	Arch   string        `json:"arch"`   // "ae"
	Shape  dataset.Shape `json:"shape"`  // of the images; set by the caller
	Latent int           `json:"latent"` // L, values in a latent vector

	Filters string `json:"filters"` // of the three convolutions: "up" (32, 64, 128) or "const" (32 each)
	Norm    string `json:"norm"`    // after each pooling and upsampling: "none" or "affine" (scale and shift per channel)

	Loss   string  `json:"loss"`   // reconstruction loss: "mse", "bce" or "l1"
	LR     float64 `json:"lr"`     // of Adam
	Batch  int     `json:"batch"`  // images in a training step
	Epochs int     `json:"epochs"` // passes over the training images
	Steps  int     `json:"steps"`  // if positive, training steps instead of Epochs
	Seed   uint64  `json:"seed"`   // of the weights and the order of the images
}

// Names of the settings' values.
const (
	ArchAE = "ae"

	FiltersUp    = "up"
	FiltersConst = "const"

	NormNone   = "none"
	NormAffine = "affine"

	LossMSE = "mse"
	LossBCE = "bce"
	LossL1  = "l1"
)

var presets = map[string]Config{
	// The paper's text; what it leaves open is filled from the authors' code.
	"paper": {
		Arch: ArchAE, Latent: 32, Filters: FiltersUp, Norm: NormNone,
		Loss: LossMSE, LR: 1e-4, Batch: 128, Epochs: 50,
	},
	// The authors' code of November 2021. Its batch normalisation ran in
	// inference mode while training an AE, which leaves the scale and shift.
	"code": {
		Arch: ArchAE, Latent: 32, Filters: FiltersConst, Norm: NormAffine,
		Loss: LossBCE, LR: 1e-3, Batch: 1024, Epochs: 50,
	},
}

// Presets returns the names that Preset knows, sorted.
func Presets() []string {
	var names []string
	for name := range presets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Preset returns the settings of a name, without a shape: "paper", what the
// paper says, or "code", what its authors' code of November 2021 does.
func Preset(name string) (Config, error) {
	c, ok := presets[name]
	if !ok {
		return c, fmt.Errorf("models: unknown preset %q, want one of: %s", name, strings.Join(Presets(), ", "))
	}
	return c, nil
}

// Check returns an error that names every setting that cannot be.
func (c Config) Check() error {
	var errs []error
	oneOf := func(setting, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			errs = append(errs, fmt.Errorf("models: unknown %s %q, want one of: %s", setting, value, strings.Join(allowed, ", ")))
		}
	}
	atLeast1 := func(setting string, value int) {
		if value < 1 {
			errs = append(errs, fmt.Errorf("models: %s is %d, want at least 1", setting, value))
		}
	}
	oneOf("arch", c.Arch, ArchAE)
	oneOf("filters", c.Filters, FiltersUp, FiltersConst)
	oneOf("norm", c.Norm, NormNone, NormAffine)
	oneOf("loss", c.Loss, LossMSE, LossBCE, LossL1)
	atLeast1("latent", c.Latent)
	atLeast1("batch", c.Batch)
	if c.Steps < 1 {
		atLeast1("epochs", c.Epochs)
	}
	if !(c.LR > 0 && c.LR < 1) {
		errs = append(errs, fmt.Errorf("models: lr is %v, want more than 0 and less than 1", c.LR))
	}
	errs = append(errs, checkShape(c.Shape))
	return errors.Join(errs...)
}

// checkShape accepts the sizes that the two poolings of the networks halve
// without a rest.
func checkShape(s dataset.Shape) error {
	if s.C < 1 || s.C > 16 || s.H < 4 || s.W < 4 || s.H%4 != 0 || s.W%4 != 0 {
		return fmt.Errorf("models: images of %v: rows and columns must be multiples of 4, channels 1 to 16", s)
	}
	return nil
}

// TotalSteps returns how many training steps n images take.
func (c Config) TotalSteps(n int) int {
	if c.Steps > 0 {
		return c.Steps
	}
	return c.Epochs * stepsPerEpoch(n, c.Batch)
}

func stepsPerEpoch(n, batch int) int { return (n + batch - 1) / batch }
