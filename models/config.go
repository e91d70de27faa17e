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
	"math"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Config says what a model is and how it is trained. It is kept with the
// weights as JSON. What only some of the models have is left zero by the others.
type Config struct {
	Arch   string        `json:"arch"`   // "ae", "aae", "vae", "ae-res" or "ae-con"
	Shape  dataset.Shape `json:"shape"`  // of the images; set by the caller
	Latent int           `json:"latent"` // L, values in a latent vector

	Filters    string `json:"filters"`    // of the three convolutions for small images: "up" (32, 64, 128), "const" (32 each) or "halving" (32, 16, 8)
	Norm       string `json:"norm"`       // after each pooling and upsampling of these, one of the Norm constants
	Activation string `json:"activation"` // of the networks for patches and of AAE's discriminator: "leaky" or "relu"

	Whiten  bool   `json:"whiten,omitempty"`  // after training, give latents unit variance in every direction
	Views   int    `json:"views,omitempty"`   // orientations of an image, quarter turns apart, whose latents, of L values each, are put side by side: 4, or 0 for its own alone
	Restore string `json:"restore,omitempty"` // AE: what is done to images that it learns to undo, one of the Restore constants

	QLayer        string  `json:"q_layer,omitempty"`         // AE-res, AE-con: layer whose values are q, "latent" or "flat_conv"
	VAELatent     string  `json:"vae_latent,omitempty"`      // what is indexed, one of the VAELatent constants
	VAEHidden     int     `json:"vae_hidden,omitempty"`      // values of the layer before the heads
	VAEReconScale float64 `json:"vae_recon_scale,omitempty"` // weight of the reconstruction loss beside the KL divergence

	Loss            string  `json:"loss"`                        // reconstruction loss: "mse", "bce" or "l1"
	AAEClipBug      bool    `json:"aae_clip_bug,omitempty"`      // take the logits of AAE's discriminator for probabilities, as the authors' code does
	AEResFeatureBCE bool    `json:"aeres_feature_bce,omitempty"` // take AE-res's features for probabilities, as the authors' code does
	GeneratorAll    bool    `json:"generator_all,omitempty"`     // AE-res: the whole autoencoder deceives the discriminator, not the decoder alone
	AEConLosses     string  `json:"aecon_losses,omitempty"`      // one of the AEConLosses constants
	AEConRecon      string  `json:"aecon_recon,omitempty"`       // reconstruction loss of "ganomaly": "l1", "mse" or "bce"
	LR              float64 `json:"lr"`                          // learning rate of Adam
	LRDiscriminator float64 `json:"lr_discriminator,omitempty"`  // of the discriminator; 0: LR
	LRGenerator     float64 `json:"lr_generator,omitempty"`      // of what deceives the discriminator; 0: LR
	LRSecond        float64 `json:"lr_second,omitempty"`         // of AE-con's second encoder where it has an optimiser of its own; 0: LR

	Batch  int    `json:"batch"`  // images in a training step
	Epochs int    `json:"epochs"` // passes over the training images
	Steps  int    `json:"steps"`  // if positive, training steps instead of Epochs
	Seed   uint64 `json:"seed"`   // of the weights and the order of the images
}

// Names of the models.
const (
	ArchAE    = "ae"
	ArchAAE   = "aae"
	ArchVAE   = "vae"
	ArchAERes = "ae-res"
	ArchAECon = "ae-con"
)

// Names of the filters of the networks for small images.
const (
	FiltersUp      = "up"
	FiltersConst   = "const"
	FiltersHalving = "halving" // of the authors' early code, whose decoder has 32, 4 and 4
)

// Kinds of batch normalisation.
const (
	NormNone     = "none"
	NormAffine   = "affine"   // a scale and a shift of each channel, no statistics
	NormStandard = "standard" // the batch's statistics in training, their running means afterwards
	NormCode     = "code"     // as the authors' code runs it: affine for AE, VAE, AE-res and f_con, standard for the rest
)

// Activations of the networks that have LeakyReLU in the authors' code.
const (
	ActivationLeaky = "leaky"
	ActivationReLU  = "relu"
)

// What an autoencoder learns to undo: images reach the encoder changed, and what comes
// out of the decoder is compared with what they were. A batch, which is in random order,
// is parted evenly among the changes.
const (
	RestoreNothing = ""
	RestoreTurns   = "turns"  // of 0, 90, 180 and 270 degrees (Fei et al., 2020)
	RestoreShifts  = "shifts" // of -1, 0 and 1 pixels each way (Vincent et al., 2008, with other noise)
)

// Layers of the discriminator that give the features q.
const (
	QLatent   = "latent"    // the last but one, as in the authors' code: q has L values
	QFlatConv = "flat_conv" // the last convolution, and the discriminator has no layer of L values
)

// What a VAE gives as the latent of an image.
const (
	VAELatentMu      = "mu"       // the mean
	VAELatentSample  = "sample"   // a draw that depends on the image and the seed alone
	VAELatentPreHead = "pre_head" // as the authors' code: a layer beside the heads, for small images never trained, and images decoded from draws
)

// Losses of AE-con.
const (
	AEConGanomaly = "ganomaly"  // Akcay et al.
	AEConCode2021 = "code-2021" // the authors' code when the paper was written
	AEConHead2022 = "head-2022" // the authors' code of February 2022
)

// Reconstruction losses.
const (
	LossMSE = "mse"
	LossBCE = "bce"
	LossL1  = "l1"
)

// Archs returns the names of the models.
func Archs() []string { return []string{ArchAE, ArchAAE, ArchVAE, ArchAERes, ArchAECon} }

var losses = []string{LossMSE, LossBCE, LossL1}

// Presets returns the names that Preset knows.
func Presets() []string { return []string{"paper", "code", "fast"} }

// Preset returns the settings of a name for a model and a shape of images:
//
//	paper  what the paper says; what it leaves open is filled from its authors' code
//	code   what the authors' code of November 2021 does, its quirks included
//	fast   what gains most in a few minutes: small batches, binary cross-entropy
//	       and a larger learning rate, for a fixed number of steps
func Preset(name, arch string, shape dataset.Shape) (Config, error) {
	c := Config{Arch: arch, Shape: shape, Latent: 32, Filters: FiltersUp, Norm: NormNone, Activation: ActivationLeaky}
	if c.patches() {
		c.Latent = 128
	}
	c.ownSettings()
	switch name {
	case "paper":
		c.Loss, c.LR, c.Batch, c.Epochs = LossMSE, 1e-4, 128, 50
	case "code":
		c.Filters, c.Norm, c.Loss = FiltersConst, NormCode, LossBCE
		c.LR, c.Batch, c.Epochs = 1e-3, 1024, 50
		c.authorsSettings()
	case "fast":
		c.Loss, c.LR, c.Batch, c.Epochs, c.Steps = LossBCE, 1e-3, 32, 50, 4000
	default:
		return c, fmt.Errorf("models: unknown preset %q, want one of: %s", name, strings.Join(Presets(), ", "))
	}
	return c, nil
}

// smallReconScale weighs a VAE's mean reconstruction loss in the authors' code,
// for images of any size; for patches it lets the latents collapse.
const smallReconScale = 1024

// ownSettings sets what the model alone has.
func (c *Config) ownSettings() {
	switch c.Arch {
	case ArchVAE:
		c.VAELatent, c.VAEHidden, c.VAEReconScale = VAELatentMu, 32, smallReconScale
		if c.patches() {
			c.VAEReconScale = float64(c.Shape.Len())
		}
	case ArchAERes:
		c.QLayer = QLatent
	case ArchAECon:
		c.QLayer, c.AEConLosses, c.AEConRecon = QLatent, AEConGanomaly, LossL1
	}
}

// authorsSettings sets what the authors' code has otherwise, model by model.
func (c *Config) authorsSettings() {
	switch c.Arch {
	case ArchAAE:
		c.LR, c.AAEClipBug = 1e-5, true
	case ArchVAE:
		c.VAELatent, c.VAEReconScale = VAELatentPreHead, smallReconScale
	case ArchAERes:
		c.LRDiscriminator, c.LRGenerator, c.AEResFeatureBCE = 1e-5, 1e-5, true
	case ArchAECon:
		c.LR, c.AEConLosses = 1e-4, AEConCode2021
	}
}

// rate returns a learning rate that stands for LR where it is 0.
func (c Config) rate(lr float64) float64 {
	if lr > 0 {
		return lr
	}
	return c.LR
}

// batchStats says whether batch normalisation takes the statistics of the batch
// in training; code is whether it does in the authors' code.
func (c Config) batchStats(code bool) bool {
	return c.Norm == NormStandard || c.Norm == NormCode && code
}

// hidden returns the activation of layers that are LeakyReLU in the authors' code.
func (c Config) hidden(slope float64) layer {
	if c.Activation == ActivationReLU {
		return relu
	}
	return leaky(slope)
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
	rate := func(setting string, value float64, zero bool) {
		if zero && value == 0 {
			return
		}
		if !(value > 0 && value < 1) {
			errs = append(errs, fmt.Errorf("models: %s is %v, want more than 0 and less than 1", setting, value))
		}
	}
	oneOf("arch", c.Arch, Archs()...)
	oneOf("filters", c.Filters, FiltersUp, FiltersConst, FiltersHalving)
	oneOf("norm", c.Norm, NormNone, NormAffine, NormStandard, NormCode)
	oneOf("activation", c.Activation, ActivationLeaky, ActivationReLU)
	oneOf("loss", c.Loss, losses...)
	if c.Arch == ArchAERes || c.Arch == ArchAECon {
		oneOf("q_layer", c.QLayer, QLatent, QFlatConv)
	}
	if c.Arch == ArchAECon {
		oneOf("aecon_losses", c.AEConLosses, AEConGanomaly, AEConCode2021, AEConHead2022)
		oneOf("aecon_recon", c.AEConRecon, losses...)
	}
	if c.Arch == ArchVAE {
		oneOf("vae_latent", c.VAELatent, VAELatentMu, VAELatentSample, VAELatentPreHead)
		if c.Whiten && c.VAELatent != VAELatentMu {
			errs = append(errs, fmt.Errorf("models: whiten goes with vae_latent %s alone, not %s", VAELatentMu, c.VAELatent))
		}
		from1("vae_hidden", c.VAEHidden, 1<<16)
		if !(c.VAEReconScale > 0) || math.IsInf(c.VAEReconScale, 1) {
			errs = append(errs, fmt.Errorf("models: vae_recon_scale is %v, want more than 0", c.VAEReconScale))
		}
	}
	errs = append(errs, c.checkTurns())
	from1("latent", c.Latent, 1<<16)
	from1("batch", c.Batch, 1<<20)
	if c.Steps > 1<<40 {
		errs = append(errs, fmt.Errorf("models: steps is %d, want at most %d", c.Steps, 1<<40))
	}
	if c.Steps < 1 {
		from1("epochs", c.Epochs, 1<<30)
	}
	rate("lr", c.LR, false)
	rate("lr_discriminator", c.LRDiscriminator, true)
	rate("lr_generator", c.LRGenerator, true)
	rate("lr_second", c.LRSecond, true)
	errs = append(errs, checkShape(c.Shape))
	return errors.Join(errs...)
}

// checkTurns looks at what turns or changes images.
func (c Config) checkTurns() error {
	var errs []error
	if c.Views != 0 && c.Views != 4 {
		errs = append(errs, fmt.Errorf("models: views is %d, want 4, or 0 for the image's own alone", c.Views))
	}
	many := c.views() > 1
	if many && c.Arch == ArchVAE && c.VAELatent != VAELatentMu {
		errs = append(errs, fmt.Errorf("models: views go with vae_latent %s alone, not %s", VAELatentMu, c.VAELatent))
	}
	parts, known := map[string]int{RestoreNothing: 1, RestoreTurns: turns, RestoreShifts: shifts}[c.Restore]
	if !known {
		errs = append(errs, fmt.Errorf("models: unknown restore %q, want %s or %s, or nothing", c.Restore, RestoreTurns, RestoreShifts))
	}
	if c.restores() != RestoreNothing && c.Batch < parts {
		errs = append(errs, fmt.Errorf("models: restore: %s parts a batch in %d, which is more than its %d images", c.Restore, parts, c.Batch))
	}
	if (many || c.restores() == RestoreTurns) && c.Shape.H != c.Shape.W {
		errs = append(errs, fmt.Errorf("models: images of %v cannot be turned by 90 degrees, which 4 views and restore: %s do", c.Shape, RestoreTurns))
	}
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
