package models

import "github.com/nlnctl/nlnctl/cgo/torch"

// AE-con, the feature-consistent autoencoder, after GANomaly (Akcay et al.): a
// second encoder f_con learns to find a reconstruction's latent again, and a
// discriminator d_x supplies features in which reconstructions should look like
// images. Images are compared by their latents and the second encoder's.

// Weights of GANomaly's losses.
const (
	weightAdversarial = 1
	weightContent     = 50
	weightEncoder     = 1
)

func aeConOptimizers(c Config) []optimizer {
	if c.Quirks {
		return []optimizer{
			{"ae", []string{encoderGroup, decoderGroup}, c.LR},
			{"discriminator", []string{discriminatorGroup}, c.adversaryLR()},
			{"second encoder", []string{secondGroup}, c.LR},
		}
	}
	return []optimizer{
		{"generator", []string{encoderGroup, decoderGroup, secondGroup}, c.LR},
		{"discriminator", []string{discriminatorGroup, headGroup}, c.adversaryLR()},
	}
}

func (m *Autoencoder) aeConObjectives(p pass, x *torch.Tensor) []objective {
	logits, z := m.reconstructAndEncode(p, x)
	xhat := logits.Sigmoid()
	d := p
	d.batchStats = m.cfg.Norm != NormNone
	qx, qxhat := m.disc.apply(d, x), m.disc.apply(d, xhat)
	again := m.second.apply(p, xhat)
	if m.cfg.Quirks {
		// The authors' code of 2021: the autoencoder sees the reconstruction loss
		// alone; the discriminator learns to make features equal.
		return []objective{
			{"recon", m.reconLoss(logits, x), "ae"},
			{"discriminator", m.featureLoss(qx, qxhat).Affine(weightContent, 0), "discriminator"},
			{"second encoder", m.featureLoss(z, again), "second encoder"},
		}
	}
	content := xhat.L1Loss(x)
	generator := qxhat.MSELoss(qx).Affine(weightAdversarial, 0).
		Add(content.Affine(weightContent, 0)).
		Add(again.MSELoss(z).Affine(weightEncoder, 0))
	discriminator := bce(p, 1, m.head.apply(d, qx)).Add(bce(p, 0, m.head.apply(d, qxhat))).Affine(0.5, 0)
	return []objective{
		{"generator", generator, "generator"},
		{"discriminator", discriminator, "discriminator"},
	}
}
