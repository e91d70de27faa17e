package models

import "github.com/nlnctl/nlnctl/cgo/torch"

// AE-res, the discriminative autoencoder: a discriminator d_x learns to tell
// images from reconstructions, and the decoder to deceive it. Images are
// compared by the features q before the discriminator's last layer.

// imageDiscriminator returns q, which maps images to features (N, L), and the
// head, which maps these to logits (N, 1). q is built like the encoder.
func imageDiscriminator(b *builder, c Config) (q, head chain) {
	b.group = discriminatorGroup
	q = encoder(b, c)
	b.group = headGroup
	return q, chain{b.dense("dense", c.Latent, 1)}
}

func aeResOptimizers(c Config) []optimizer {
	return []optimizer{
		{"ae", []string{encoderGroup, decoderGroup}, c.LR},
		{"discriminator", []string{discriminatorGroup, headGroup}, c.adversaryLR()},
		{"generator", []string{decoderGroup}, c.adversaryLR()},
	}
}

func (m *Autoencoder) aeResObjectives(p pass, x *torch.Tensor) []objective {
	logits := m.decoder.apply(p, m.encoder.apply(p, x))
	d := p
	d.batchStats = m.cfg.Norm != NormNone
	real, fake := m.disc.apply(d, x), m.disc.apply(d, logits.Sigmoid())
	adversary := func(target float32, features *torch.Tensor) *torch.Tensor {
		if m.cfg.Quirks {
			// The authors' code takes the features for the probability, one by
			// one, and never trains the head.
			return clippedBCE(p.s.Full(target, features.Shape()...), features)
		}
		return bce(p, target, m.head.apply(d, features))
	}
	return []objective{
		{"recon", m.reconLoss(logits, x), "ae"},
		{"discriminator", adversary(1, real).Add(adversary(0, fake)), "discriminator"},
		{"generator", adversary(1, fake), "generator"},
	}
}
