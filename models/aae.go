package models

import "github.com/nlnctl/nlnctl/cgo/torch"

// AAE, the adversarial autoencoder: beside the reconstruction, a discriminator
// d_z learns to tell latents from draws of N(0, I), and the encoder to deceive it.

// latentDiscriminator maps latent vectors (N, L) to logits (N, 1).
func latentDiscriminator(b *builder, c Config) chain {
	act, drop := c.hidden(0.3), dropout(0.3) // Keras's default slope
	return chain{
		b.dense("dense1", c.Latent, 64), act, drop,
		b.dense("dense2", 64, 128), act, drop,
		b.dense("dense3", 128, 256), act, drop,
		b.dense("dense4", 256, 1),
	}
}

func aaeOptimizers(c Config) []optimizer {
	return []optimizer{
		{"ae", []string{encoderGroup, decoderGroup}, c.LR},
		{"discriminator", []string{latentGroup}, c.rate(c.LRDiscriminator)},
		{"generator", []string{encoderGroup}, c.rate(c.LRGenerator)},
	}
}

func (m *Autoencoder) aaeObjectives(p pass, x *torch.Tensor) []objective {
	recon, z := m.reconstructAndEncode(p, x)
	real := m.latentDisc.apply(p, p.noise.normal(p.s, x.Shape()[0], m.cfg.Latent))
	fake := m.latentDisc.apply(p, z)
	adversary := func(target float32, logits *torch.Tensor) *torch.Tensor {
		if m.cfg.AAEClipBug {
			// The authors' code takes the logit for a probability, which leaves
			// no gradient for a logit outside of (0, 1).
			return clippedBCE(p.s.Full(target, logits.Shape()...), logits)
		}
		return bce(p, target, logits)
	}
	return []objective{
		{name: "recon", loss: m.reconLoss(recon, x), optimizer: "ae"},
		{name: "discriminator", loss: adversary(1, real).Add(adversary(0, fake)), optimizer: "discriminator"},
		{name: "generator", loss: adversary(1, fake), optimizer: "generator"},
	}
}

// reconstructAndEncode returns the reconstructions of x before the sigmoid and
// the latents that the other losses see. With batch normalisation the authors'
// code encodes a second time for these, by the running statistics.
func (m *Autoencoder) reconstructAndEncode(p pass, x *torch.Tensor) (logits, z *torch.Tensor) {
	train := p
	train.batchStats = m.cfg.batchStats(true)
	z = m.encoder.apply(train, x)
	logits = m.decoder.apply(train, z)
	if m.cfg.Norm == NormCode {
		z = m.encoder.apply(p, x)
	}
	return logits, z
}
