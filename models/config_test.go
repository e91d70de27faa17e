package models

import (
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

// The presets paper and code, setting by setting and model by model: what the
// paper says, filled in from its authors' code, and that code of November 2021.
func TestPresets(t *testing.T) {
	patch := dataset.Shape{C: 3, H: 128, W: 128}
	paper := Config{Latent: 32, Filters: FiltersUp, Norm: NormNone, Activation: ActivationLeaky, Loss: LossMSE, LR: 1e-4, Batch: 128, Epochs: 50}
	code := Config{Latent: 32, Filters: FiltersConst, Norm: NormCode, Activation: ActivationLeaky, Loss: LossBCE, LR: 1e-3, Batch: 1024, Epochs: 50}
	for _, c := range []struct {
		preset, arch string
		shape        dataset.Shape
		base         Config
		own          func(*Config)
	}{
		{"paper", ArchAE, grey28, paper, func(*Config) {}},
		{"paper", ArchAE, patch, paper, func(c *Config) { c.Latent = 128 }},
		{"paper", ArchAAE, color32, paper, func(*Config) {}},
		{"paper", ArchVAE, grey28, paper, func(c *Config) { c.VAELatent, c.VAEHidden, c.VAEReconScale = VAELatentMu, 32, 1024 }},
		{"paper", ArchVAE, patch, paper, func(c *Config) {
			c.Latent, c.VAELatent, c.VAEHidden, c.VAEReconScale = 128, VAELatentMu, 32, 128*128*3
		}},
		{"paper", ArchAERes, grey28, paper, func(c *Config) { c.QLayer = QLatent }},
		{"paper", ArchAECon, grey28, paper, func(c *Config) {
			c.QLayer, c.AEConLosses, c.AEConRecon = QLatent, AEConGanomaly, LossL1
		}},

		{"code", ArchAE, grey28, code, func(*Config) {}},
		{"code", ArchAAE, grey28, code, func(c *Config) { c.LR, c.AAEClipBug = 1e-5, true }},
		{"code", ArchVAE, grey28, code, func(c *Config) { c.VAELatent, c.VAEHidden, c.VAEReconScale = VAELatentPreHead, 32, 1024 }},
		{"code", ArchVAE, patch, code, func(c *Config) {
			c.Latent, c.VAELatent, c.VAEHidden, c.VAEReconScale = 128, VAELatentPreHead, 32, 1024
		}},
		{"code", ArchAERes, color32, code, func(c *Config) {
			c.QLayer, c.LRDiscriminator, c.LRGenerator, c.AEResFeatureBCE = QLatent, 1e-5, 1e-5, true
		}},
		{"code", ArchAECon, grey28, code, func(c *Config) {
			c.LR, c.QLayer, c.AEConLosses, c.AEConRecon = 1e-4, QLatent, AEConCode2021, LossL1
		}},
	} {
		want := c.base
		want.Arch, want.Shape = c.arch, c.shape
		c.own(&want)
		if got := configOfArch(t, c.preset, c.arch, c.shape); got != want {
			t.Errorf("preset %s, %s, %v:\n have %+v\n want %+v", c.preset, c.arch, c.shape, got, want)
		}
		// Rates that are not given are that of the autoencoder.
		rates := map[string]float64{}
		m := newModel(t, want)
		for _, o := range m.optimizers() {
			rates[o.name] = o.lr
		}
		m.Close()
		for name, rate := range rates {
			wantRate := want.LR
			if c.preset == "code" && c.arch == ArchAERes && name != "ae" {
				wantRate = 1e-5
			}
			if rate != wantRate {
				t.Errorf("preset %s, %s: optimiser %s has learning rate %v, want %v", c.preset, c.arch, name, rate, wantRate)
			}
		}
	}
}

// Sizes that the networks cannot halve twice are refused before anything is made.
func TestShapes(t *testing.T) {
	for shape, ok := range map[dataset.Shape]bool{
		{C: 1, H: 28, W: 28}: true, {C: 3, H: 32, W: 32}: true, {C: 3, H: 4, W: 100}: true, {C: 16, H: 8, W: 8}: true,
		{C: 1, H: 30, W: 28}: false, {C: 1, H: 28, W: 29}: false, {C: 0, H: 28, W: 28}: false, {C: 17, H: 28, W: 28}: false, {C: 1, H: 0, W: 0}: false,
	} {
		if err := configOfArch(t, "paper", ArchAE, shape).Check(); (err == nil) != ok {
			t.Errorf("images of %v: error %v", shape, err)
		}
	}
}
