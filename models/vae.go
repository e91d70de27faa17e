package models

import (
	"context"
	"hash/fnv"
	"math/rand/v2"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/safetensors"
)

// VAE, the variational autoencoder: the encoder gives a mean and a variance for
// each latent value, the decoder sees a draw, and the loss holds the latents
// near N(0, I). The latent that is indexed and decoded for scoring is the mean,
// unless Config.VAELatent says otherwise.

// vae holds the layers of its encoder.
type vae struct {
	trunk        chain // images to features
	hidden       chain // features to the values that the heads see
	mean, logVar layer // of the latents, (N, L) each
	preHead      chain // features to (N, L), not trained; nil unless it is indexed
}

func vaeEncoder(b *builder, c Config) *vae {
	v := &vae{}
	features := c.Latent
	if c.patches() {
		v.trunk, v.preHead = patchEncoder(b, c), chain{}
	} else {
		v.trunk, features = smallTrunk(b, c)
		if c.VAELatent == VAELatentPreHead {
			v.preHead = chain{b.frozen(func() layer { return b.dense("latent", features, c.Latent) })}
		}
	}
	v.hidden = chain{b.dense("hidden", features, c.VAEHidden), relu}
	v.mean, v.logVar = b.dense("mean", c.VAEHidden, c.Latent), b.dense("log_variance", c.VAEHidden, c.Latent)
	return v
}

// heads returns the mean and the logarithm of the variance of x's latents.
func (v *vae) heads(p pass, x *torch.Tensor) (mean, logVar *torch.Tensor) {
	h := v.hidden.apply(p, v.trunk.apply(p, x))
	return v.mean(p, h), v.logVar(p, h)
}

// draw returns mean + sqrt(variance) eps.
func draw(mean, logVar, eps *torch.Tensor) *torch.Tensor {
	return mean.Add(logVar.Affine(0.5, 0).Exp().Mul(eps))
}

func (m *Autoencoder) vaeObjectives(p pass, x *torch.Tensor) []objective {
	p.batchStats = m.cfg.batchStats(false)
	mean, logVar := m.vae.heads(p, x)
	z := draw(mean, logVar, p.noise.normal(p.s, mean.Shape()...))
	// With binary cross-entropy the authors' code clips the VAE's pixels to
	// [1e-7, 1-1e-7], unlike the other models': no more than rounding.
	recon, divergence := m.reconLoss(m.decoder.apply(p, z), x), kl(mean, logVar)
	loss := recon.Affine(m.cfg.VAEReconScale, 0).Add(divergence)
	return []objective{{"vae", loss, "ae", []part{{"recon", recon}, {"kl", divergence}}}}
}

// kl is the KL divergence of N(mean, exp(logVar)) from N(0, I), summed over the
// latent values and averaged over the images:
//
//	-1/2 sum (1 + logVar - mean^2 - exp(logVar))
func kl(mean, logVar *torch.Tensor) *torch.Tensor {
	return logVar.Affine(1, 1).Sub(mean.Square()).Sub(logVar.Exp()).SumDim(1).Mean().Affine(-0.5, 0)
}

// vaeLatents returns the latents of the images x, whose pixels are pix.
func (m *Autoencoder) vaeLatents(p pass, x *torch.Tensor, pix dataset.Images) *torch.Tensor {
	switch m.cfg.VAELatent {
	case VAELatentSample:
		return m.vaeSample(p, x, pix)
	case VAELatentPreHead:
		return m.vae.preHead.apply(p, m.vae.trunk.apply(p, x))
	}
	mean, _ := m.vae.heads(p, x)
	return mean
}

// vaeSample returns a draw of the latents of each image. It depends on the seed
// and the image alone, so that a score does not depend on the images around it.
func (m *Autoencoder) vaeSample(p pass, x *torch.Tensor, pix dataset.Images) *torch.Tensor {
	eps := make([]float32, 0, pix.N*m.cfg.Latent)
	for i := range pix.N {
		h := fnv.New64a()
		h.Write(safetensors.Bytes(pix.Slice(i, i+1).Pix))
		rng := rand.New(rand.NewPCG(m.cfg.Seed, h.Sum64()))
		for range m.cfg.Latent {
			eps = append(eps, float32(rng.NormFloat64()))
		}
	}
	mean, logVar := m.vae.heads(p, x)
	return draw(mean, logVar, p.s.FromFloats(eps, pix.N, m.cfg.Latent))
}

// Reconstructs returns whether the model's reconstruction of an image is another
// than the decoded latent: Reconstruct gives it then. So it is where a VAE
// indexes a vector that its decoder never saw.
func (m *Autoencoder) Reconstructs() bool {
	return m.cfg.Arch == ArchVAE && m.cfg.VAELatent == VAELatentPreHead
}

// Reconstruct stores in xhat the reconstructions of x, as Decode does. Where the
// decoder sees draws, the draw depends on the seed and the image alone.
func (m *Autoencoder) Reconstruct(ctx context.Context, x dataset.Images, xhat []float32) error {
	f := func(p pass, in *torch.Tensor, part dataset.Images) *torch.Tensor {
		z := m.latents
		if m.Reconstructs() {
			z = m.vaeSample
		}
		return m.decode(p, z(p, in, part))
	}
	return m.encodeWith(ctx, f, m.cfg.Shape.Len(), x, xhat)
}
