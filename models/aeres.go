package models

import "github.com/nlnctl/nlnctl/cgo/torch"

// AE-res, the discriminative autoencoder: a discriminator d_x learns to tell
// images from reconstructions, and the decoder to deceive it. Images are
// compared by the features q before the discriminator's last layer.

// imageDiscriminator returns q, which maps images to features (N, H), and the
// head, which maps these to logits (N, 1). q is built like the encoder, so that
// H is L; or, as the paper can be read, like the encoder without its last layer.
func imageDiscriminator(b *builder, c Config) (q, head chain) {
	b.group = discriminatorGroup
	if c.QLayer == QFlatConv {
		q, _ = flatTrunk(b, c)
	} else {
		q = encoder(b, c)
	}
	b.group = headGroup
	return q, chain{b.dense("dense", c.qDim(), 1)}
}

// qDim returns H, the number of features of the discriminator.
func (c Config) qDim() int {
	if c.QLayer != QFlatConv {
		return c.Latent
	}
	if c.patches() {
		return patchFeatures
	}
	f, _ := filters(c.Filters)
	return f[2] * (c.Shape.H / 4) * (c.Shape.W / 4)
}

func aeResOptimizers(c Config) []optimizer {
	deceiver := []string{decoderGroup} // as in the authors' code; the paper does not say
	if c.GeneratorAll {
		deceiver = []string{encoderGroup, decoderGroup}
	}
	return []optimizer{
		{"ae", []string{encoderGroup, decoderGroup}, c.LR},
		{"discriminator", []string{discriminatorGroup, headGroup}, c.rate(c.LRDiscriminator)},
		{"generator", deceiver, c.rate(c.LRGenerator)},
	}
}

func (m *Autoencoder) aeResObjectives(p pass, x *torch.Tensor) []objective {
	p.batchStats = m.cfg.batchStats(false)
	logits := m.decoder.apply(p, m.encoder.apply(p, x))
	d := p
	d.batchStats = m.cfg.batchStats(true)
	real, fake := m.disc.apply(d, x), m.disc.apply(d, logits.Sigmoid())
	adversary := func(target float32, features *torch.Tensor) *torch.Tensor {
		if m.cfg.AEResFeatureBCE {
			// The authors' code takes the features for the probability, one by
			// one, and never trains the head.
			return clippedBCE(p.s.Full(target, features.Shape()...), features)
		}
		return bce(p, target, m.head.apply(d, features))
	}
	return []objective{
		{name: "recon", loss: m.reconLoss(logits, x), optimizer: "ae"},
		{name: "discriminator", loss: adversary(1, real).Add(adversary(0, fake)), optimizer: "discriminator"},
		{name: "generator", loss: adversary(1, fake), optimizer: "generator"},
	}
}
