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
	autoencoder := []string{encoderGroup, decoderGroup}
	discriminator := optimizer{"discriminator", []string{discriminatorGroup, headGroup}, c.rate(c.LRDiscriminator)}
	second := optimizer{"second encoder", []string{secondGroup}, c.rate(c.LRSecond)}
	switch c.AEConLosses {
	case AEConCode2021:
		discriminator.groups = []string{discriminatorGroup} // the head is never used
		return []optimizer{{"ae", autoencoder, c.LR}, discriminator, second}
	case AEConHead2022:
		return []optimizer{{"ae", autoencoder, c.LR}, discriminator, second}
	}
	return []optimizer{{"generator", append(autoencoder, secondGroup), c.LR}, discriminator}
}

func (m *Autoencoder) aeConObjectives(p pass, x *torch.Tensor) []objective {
	logits, z := m.reconstructAndEncode(p, x)
	xhat := logits.Sigmoid()
	d, f := p, p
	d.batchStats, f.batchStats = m.cfg.batchStats(true), m.cfg.batchStats(false)
	qx, qxhat := m.disc.apply(d, x), m.disc.apply(d, xhat)
	again := m.second.apply(f, xhat)
	real := func() *torch.Tensor { return m.head.apply(d, qx) }
	fake := func() *torch.Tensor { return m.head.apply(d, qxhat) }
	switch m.cfg.AEConLosses {
	case AEConCode2021: // the discriminator learns to make features equal
		return []objective{
			{name: "recon", loss: m.reconLoss(logits, x), optimizer: "ae"},
			{name: "discriminator", loss: m.featureLoss(qx, qxhat).Affine(weightContent, 0), optimizer: "discriminator"},
			{name: "second encoder", loss: m.featureLoss(z, again), optimizer: "second encoder"},
		}
	case AEConHead2022: // latents are taken for probabilities
		content, adversarial, latent := m.reconLoss(logits, x), bce(p, 1, fake()), m.featureLoss(z, again)
		return []objective{
			{"ae", content.Affine(weightContent, 0).Add(adversarial).Add(latent), "ae",
				[]part{{"recon", content}, {"adversarial", adversarial}, {"latent", latent}}},
			{name: "discriminator", loss: bce(p, 1, real()).Add(bce(p, 0, fake())), optimizer: "discriminator"},
			{name: "second encoder", loss: latent, optimizer: "second encoder"},
		}
	}
	content, adversarial, latent := imageLoss(m.cfg.AEConRecon, logits, x), qxhat.MSELoss(qx), again.MSELoss(z)
	generator := adversarial.Affine(weightAdversarial, 0).Add(content.Affine(weightContent, 0)).Add(latent.Affine(weightEncoder, 0))
	return []objective{
		{"generator", generator, "generator", []part{{"recon", content}, {"adversarial", adversarial}, {"latent", latent}}},
		{name: "discriminator", loss: bce(p, 1, real()).Add(bce(p, 0, fake())).Affine(0.5, 0), optimizer: "discriminator"},
	}
}
