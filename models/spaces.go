package models

import (
	"context"
	"fmt"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

var _ nln.FeatureModel = (*Autoencoder)(nil)

// Networks whose features images are compared by.
const (
	NetworkQ    = "q"     // the discriminator of AE-res before its last layer
	NetworkFCon = "f_con" // the second encoder of AE-con
)

// Names of the spaces beside nln.SpaceImage.
const (
	SpaceFeatures = "features" // AE-res, equation 7
	SpaceEq8      = "eq8"      // AE-con, equation 8
	SpaceCode     = "code"     // AE-con, as the authors' code has it
	SpaceText     = "text"     // AE-con, as the paper's section 3.3 has it
)

// Spaces returns where the error term may compare images; the model's own, as
// in the paper's equations, comes first and pixels last.
func (m *Autoencoder) Spaces() []nln.Space {
	var spaces []nln.Space
	l := m.cfg.Latent
	latent := nln.Feature{Of: nln.OfLatent}
	of := func(network string, in nln.Input) nln.Feature { return nln.Feature{Of: in, Network: network} }
	switch m.cfg.Arch {
	case ArchAERes:
		spaces = []nln.Space{{Name: SpaceFeatures, Dim: m.cfg.qDim(), Query: of(NetworkQ, nln.OfImage), Neighbor: of(NetworkQ, nln.OfReconstruction)}}
	case ArchAECon:
		spaces = []nln.Space{
			{Name: SpaceEq8, Dim: l, Query: latent, Neighbor: of(NetworkFCon, nln.OfReconstruction)},
			{Name: SpaceCode, Dim: l, Query: of(NetworkFCon, nln.OfReconstruction), Neighbor: latent},
			{Name: SpaceText, Dim: l, Query: of(NetworkFCon, nln.OfImage), Neighbor: latent},
		}
	}
	return append(spaces, nln.ImageSpace(m))
}

// SpaceNames returns the names of the spaces of a model of this configuration, in
// the order of Autoencoder.Spaces.
func (c Config) SpaceNames() []string {
	var names []string
	for _, s := range (&Autoencoder{cfg: c}).Spaces() {
		names = append(names, s.Name)
	}
	return names
}

// Features stores what a network makes of x in dst; see nln.FeatureModel.
func (m *Autoencoder) Features(ctx context.Context, network string, x dataset.Images, dst []float32) error {
	n, dim := m.network(network)
	if n == nil {
		return fmt.Errorf("models: features: model %s has no network %q", m.cfg.Arch, network)
	}
	f := func(p pass, x *torch.Tensor, _ dataset.Images) *torch.Tensor { return n.apply(p, x) }
	return m.encodeWith(ctx, f, dim, x, dst)
}

// network returns a network that makes features and how many, nil if there is none of
// the name.
func (m *Autoencoder) network(name string) (chain, int) {
	switch name {
	case NetworkQ:
		return m.disc, m.cfg.qDim()
	case NetworkFCon:
		return m.second, m.cfg.Latent
	}
	return nil, 0
}
