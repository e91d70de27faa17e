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
	Arch   string        `json:"arch"`   // "ae", "aae", "vae", "ae-res" or "ae-con"
	Shape  dataset.Shape `json:"shape"`  // of the images; set by the caller
	Latent int           `json:"latent"` // L, values in a latent vector

	Filters string `json:"filters"` // of the three convolutions: "up" (32, 64, 128) or "const" (32 each)
	Norm    string `json:"norm"`    // after each pooling and upsampling: "none" or "code" (batch normalisation as the authors' code runs it)

	Loss   string  `json:"loss"`         // reconstruction loss: "mse", "bce" or "l1"
	LR     float64 `json:"lr"`           // learning rate of Adam
	LRAdv  float64 `json:"lr_adversary"` // the same for discriminators and what deceives them; 0: LR
	Quirks bool    `json:"quirks"`       // adversarial losses as the authors' code has them; see each model's file
	Batch  int     `json:"batch"`        // images in a training step
	Epochs int     `json:"epochs"`       // passes over the training images
	Steps  int     `json:"steps"`        // if positive, training steps instead of Epochs
	Seed   uint64  `json:"seed"`         // of the weights and the order of the images
}

// Names of the settings' values.
const (
	ArchAE    = "ae"
	ArchAAE   = "aae"
	ArchVAE   = "vae"
	ArchAERes = "ae-res"
	ArchAECon = "ae-con"

	FiltersUp    = "up"
	FiltersConst = "const"

	NormNone = "none"
	NormCode = "code"

	LossMSE = "mse"
	LossBCE = "bce"
	LossL1  = "l1"
)

// Archs returns the names of the models.
func Archs() []string { return []string{ArchAE, ArchAAE, ArchVAE, ArchAERes, ArchAECon} }

// Presets returns the names that Preset knows.
func Presets() []string { return []string{"paper", "code", "fast"} }

// Preset returns the settings of a name for a model and a shape of images:
//
//	paper  what the paper says; what it leaves open is filled from its authors' code
//	code   what the authors' code of November 2021 does, its quirks included, but
//	       for its VAE, whose latents come from a layer that it never trains
//	fast   what gains most in a few minutes: small batches, binary cross-entropy
//	       and a larger learning rate, for a fixed number of steps
func Preset(name, arch string, shape dataset.Shape) (Config, error) {
	c := Config{Arch: arch, Shape: shape, Latent: 32}
	if c.patches() {
		c.Latent = 128
	}
	switch name {
	case "paper":
		c.Filters, c.Norm, c.Loss = FiltersUp, NormNone, LossMSE
		c.LR, c.Batch, c.Epochs = 1e-4, 128, 50
	case "code":
		c.Filters, c.Norm, c.Loss, c.Quirks = FiltersConst, NormCode, LossBCE, true
		c.LR, c.Batch, c.Epochs = 1e-3, 1024, 50
		switch arch {
		case ArchAAE:
			c.LR = 1e-5
		case ArchAERes:
			c.LRAdv = 1e-5
		case ArchAECon:
			c.LR = 1e-4
		}
	case "fast":
		c.Filters, c.Norm, c.Loss = FiltersUp, NormNone, LossBCE
		c.LR, c.Batch, c.Epochs, c.Steps = 1e-3, 32, 50, 4000
	default:
		return c, fmt.Errorf("models: unknown preset %q, want one of: %s", name, strings.Join(Presets(), ", "))
	}
	return c, nil
}

// adversaryLR returns the learning rate of the adversarial optimisers.
func (c Config) adversaryLR() float64 {
	if c.LRAdv > 0 {
		return c.LRAdv
	}
	return c.LR
}

// patches says whether the images are of a size that the networks for MVTec AD
// are made for.
func (c Config) patches() bool {
	return c.Shape.H == c.Shape.W && (c.Shape.H == 64 || c.Shape.H == 128 || c.Shape.H == 256)
}

// Check returns an error that names every setting that cannot be.
func (c Config) Check() error {
	var errs []error
	oneOf := func(setting, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			errs = append(errs, fmt.Errorf("models: unknown %s %q, want one of: %s", setting, value, strings.Join(allowed, ", ")))
		}
	}
	from1 := func(setting string, value, most int) {
		if value < 1 || value > most {
			errs = append(errs, fmt.Errorf("models: %s is %d, want 1 to %d", setting, value, most))
		}
	}
	oneOf("arch", c.Arch, Archs()...)
	oneOf("filters", c.Filters, FiltersUp, FiltersConst)
	oneOf("norm", c.Norm, NormNone, NormCode)
	oneOf("loss", c.Loss, LossMSE, LossBCE, LossL1)
	from1("latent", c.Latent, 1<<16)
	from1("batch", c.Batch, 1<<20)
	if c.Steps > 1<<40 {
		errs = append(errs, fmt.Errorf("models: steps is %d, want at most %d", c.Steps, 1<<40))
	}
	if c.Steps < 1 {
		from1("epochs", c.Epochs, 1<<30)
	}
	if !(c.LR > 0 && c.LR < 1) {
		errs = append(errs, fmt.Errorf("models: lr is %v, want more than 0 and less than 1", c.LR))
	}
	if !(c.LRAdv >= 0 && c.LRAdv < 1) {
		errs = append(errs, fmt.Errorf("models: lr_adversary is %v, want 0 or more and less than 1", c.LRAdv))
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
