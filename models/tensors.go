package models

import (
	"fmt"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

// What follows is the model on tensors, of scopes on its device, for who computes
// before and after it there. Calls come from the thread of torch.Run.

// Device returns where the model computes.
func (m *Autoencoder) Device() torch.Device { return m.dev }

// Draws says whether latents or reconstructions of images depend on draws that are made
// out of their pixels, on the host. EncodeTensor and DecodeTensor then are no match for
// Encode and Reconstruct.
func (m *Autoencoder) Draws() bool {
	return m.cfg.Arch == ArchVAE && m.cfg.VAELatent != VAELatentMu
}

// EncodeTensor returns the latents (N, LatentDim) of images x (N, C, H, W), values in [0, 1].
// With several views it frees all else in the scope.
func (m *Autoencoder) EncodeTensor(x *torch.Tensor) *torch.Tensor {
	if m.Draws() {
		x.Scope().Fail(fmt.Errorf("models: encode: latents are drawn out of pixels"))
	}
	return m.latents(pass{s: x.Scope()}, x, dataset.Images{})
}

// DecodeTensor returns the images (N, C, H, W) of latents z (N, LatentDim).
func (m *Autoencoder) DecodeTensor(z *torch.Tensor) *torch.Tensor {
	return m.decode(pass{s: z.Scope()}, z)
}

// FeaturesTensor returns what a network makes of images x (N, C, H, W), (N, F): see
// Features.
func (m *Autoencoder) FeaturesTensor(network string, x *torch.Tensor) *torch.Tensor {
	n, _ := m.network(network)
	if n == nil {
		x.Scope().Fail(fmt.Errorf("models: features: model %s has no network %q", m.cfg.Arch, network))
		return x
	}
	return n.apply(pass{s: x.Scope()}, x)
}
