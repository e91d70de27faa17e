package models

import "github.com/nlnctl/nlnctl/cgo/torch"

// AE, the plain autoencoder: it minimises the reconstruction loss, which with
// Config.Restore is of images that it was not shown as they are.

// objective is a loss and the optimiser that minimises it. parts are what the
// loss is a weighted sum of, if of more than one, to be reported.
type objective struct {
	name      string
	loss      *torch.Tensor
	optimizer string
	parts     []part
}

// part is a summand of a loss, before its weight.
type part struct {
	name  string
	value *torch.Tensor
}

// optimizer is an Adam over the trainable parameters of some networks.
type optimizer struct {
	name   string
	groups []string
	lr     float64
}

// Names of the networks, under which their parameters are saved.
const (
	encoderGroup       = "encoder"
	decoderGroup       = "decoder"
	discriminatorGroup = "discriminator"        // d_x: trunk and head
	headGroup          = "discriminator_head"   // of d_x
	secondGroup        = "second_encoder"       // f_con
	latentGroup        = "latent_discriminator" // d_z
)

func aeOptimizers(c Config) []optimizer {
	return []optimizer{{"ae", []string{encoderGroup, decoderGroup}, c.LR}}
}

func (m *Autoencoder) aeObjectives(p pass, x *torch.Tensor) []objective {
	p.batchStats = m.cfg.batchStats(false)
	logits := m.decoder.apply(p, m.encoder.apply(p, m.cfg.spoilt(x)))
	return []objective{{name: "recon", loss: m.reconLoss(logits, x), optimizer: "ae"}}
}

// reconLoss compares images before the sigmoid with the images x: a mean over
// images, pixels and channels.
func (m *Autoencoder) reconLoss(logits, x *torch.Tensor) *torch.Tensor {
	return imageLoss(m.cfg.Loss, logits, x)
}

// imageLoss is a loss by name, see reconLoss.
func imageLoss(name string, logits, x *torch.Tensor) *torch.Tensor {
	switch name {
	case LossBCE:
		return logits.BCEWithLogitsLoss(x)
	case LossL1:
		return logits.Sigmoid().L1Loss(x)
	}
	return logits.Sigmoid().MSELoss(x)
}

// featureLoss compares values that are no images by the same kind of loss.
// Binary cross-entropy needs probabilities, and so the authors' code takes what
// it gets for some, clipped (see clippedBCE).
func (m *Autoencoder) featureLoss(target, x *torch.Tensor) *torch.Tensor {
	switch m.cfg.Loss {
	case LossBCE:
		return clippedBCE(target, x)
	case LossL1:
		return x.L1Loss(target)
	}
	return x.MSELoss(target)
}

// kerasFuzz is the epsilon with which Keras keeps logarithms finite.
const kerasFuzz = 1e-7

// clippedBCE is Keras's binary cross-entropy of "probabilities" x, which are
// clipped to [1e-7, 1-1e-7] and have no gradient outside; target may be anything.
func clippedBCE(target, x *torch.Tensor) *torch.Tensor {
	q := x.Clamp(kerasFuzz, 1-kerasFuzz)
	yes := target.Mul(q.Affine(1, kerasFuzz).Log())
	no := target.Affine(-1, 1).Mul(q.Affine(-1, 1).Affine(1, kerasFuzz).Log()) // 1 - q is exact near 1, 1+1e-7 is not
	return yes.Add(no).Mean().Affine(-1, 0)
}

// bce is the mean binary cross-entropy of sigmoid(logits) against a constant.
func bce(p pass, target float32, logits *torch.Tensor) *torch.Tensor {
	return logits.BCEWithLogitsLoss(p.s.Full(target, logits.Shape()...))
}
