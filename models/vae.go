package models

import "github.com/nlnctl/nlnctl/cgo/torch"

// VAE, the variational autoencoder: the encoder gives a mean and a variance for
// each latent value, the decoder sees a draw, and the loss holds the latents
// near N(0, I). The latent that is indexed and decoded for scoring is the mean.

// vaeHidden is the width of the layer before the heads.
const vaeHidden = 32

// vaeEncoder returns the trunk up to the heads, and the heads for the mean and
// the logarithm of the variance, (N, L) each.
func vaeEncoder(b *builder, c Config) (trunk chain, mean, logVar layer) {
	var features int
	if c.patches() {
		trunk, features = patchEncoder(b, c), c.Latent
	} else {
		trunk, features = smallTrunk(b, c)
	}
	trunk = append(trunk, b.dense("hidden", features, vaeHidden), relu)
	return trunk, b.dense("mean", vaeHidden, c.Latent), b.dense("log_variance", vaeHidden, c.Latent)
}

func (m *Autoencoder) vaeObjectives(p pass, x *torch.Tensor) []objective {
	h := m.vaeTrunk.apply(p, x)
	mean, logVar := m.mean(p, h), m.logVar(p, h)
	eps := p.noise.normal(p.s, mean.Shape()...)
	z := mean.Add(logVar.Affine(0.5, 0).Exp().Mul(eps))
	recon := m.reconLoss(m.decoder.apply(p, z), x)
	loss := recon.Affine(m.cfg.vaeScale(), 0).Add(kl(mean, logVar))
	return []objective{{"vae", loss, "ae"}}
}

// vaeScale weighs the mean reconstruction loss against the KL divergence: 1024
// for small images, as in the authors' code, and the number of pixel values for
// patches, for which 1024 lets the latents collapse.
func (c Config) vaeScale() float64 {
	if c.patches() && !c.Quirks {
		return float64(c.Shape.Len())
	}
	return 1024
}

// kl is the KL divergence of N(mean, exp(logVar)) from N(0, I), summed over the
// latent values and averaged over the images:
//
//	-1/2 sum (1 + logVar - mean^2 - exp(logVar))
func kl(mean, logVar *torch.Tensor) *torch.Tensor {
	return logVar.Affine(1, 1).Sub(mean.Square()).Sub(logVar.Exp()).SumDim(1).Mean().Affine(-0.5, 0)
}
