package models

import (
	"math"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// spaceTol bounds the relative difference of an error term between the scorer,
// which encodes in batches and adds in float64, and the equation written out.
const spaceTol = 1e-4

// The error terms of AE-res and AE-con are those of the paper's equations 7 and
// 8 and of their two other readings, written out here image by image.
func TestErrorTermsFollowTheEquations(t *testing.T) {
	atEnd(t)
	for arch, want := range map[string][]string{
		ArchAE:    {nln.SpaceImage},
		ArchAERes: {SpaceFeatures, nln.SpaceImage},
		ArchAECon: {SpaceEq8, SpaceCode, SpaceText, nln.SpaceImage},
	} {
		cfg := configOfArch(t, "fast", arch, grey28)
		cfg.Steps = 5
		m, set := newModel(t, cfg), waves(60, grey28)
		train(t, m, set, Options{})
		keep := identity(60)
		conf := nln.DefaultConfig()
		conf.Cache = nln.CacheFloat32
		s, err := nln.Fit(t.Context(), m, nln.NewExact(m.LatentDim()), set.Subset(keep[:40]), set.Subset(keep[40:50]), conf)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range keep[50:] {
			one := set.Subset([]int{i})
			p, err := s.PartsAll(t.Context(), one)
			if err != nil {
				t.Fatal(err)
			}
			if names := p.SpaceNames(); len(names) != len(want) || names[0] != want[0] {
				t.Fatalf("%s: spaces %v, want %v", arch, names, want)
			}
			x := one.Gather([]int{0}, make([]float32, grey28.Len()))
			f := features{t, m}
			z := f.encode(x.Pix)
			xhat := f.decode(z)
			for _, space := range want {
				var sum float64
				for _, id := range p.Neighbors(0, 3) {
					zk := f.encode(set.Gather([]int{int(id)}, make([]float32, grey28.Len())).Pix)
					xk := f.decode(zk)
					switch space {
					case nln.SpaceImage:
						sum += meanAbs(x.Pix, xk)
					case SpaceFeatures:
						sum += meanAbs(f.of(NetworkQ, x.Pix), f.of(NetworkQ, xk))
					case SpaceEq8:
						sum += meanAbs(z, f.of(NetworkFCon, xk))
					case SpaceCode:
						sum += meanAbs(f.of(NetworkFCon, xhat), zk)
					case SpaceText:
						sum += meanAbs(f.of(NetworkFCon, x.Pix), zk)
					}
				}
				in, err := p.In(space)
				if err != nil {
					t.Fatal(err)
				}
				if e, w := in.E(0, 3), sum/3; math.Abs(e-w) > onDevice(t, spaceTol)*w {
					t.Errorf("%s: image %d: error in space %s is %v, the equation gives %v", arch, i, space, e, w)
				}
			}
		}
	}
}

// features computes one image's features, one call at a time.
type features struct {
	t *testing.T
	m *Autoencoder
}

func (f features) encode(pix []float32) []float32 {
	f.t.Helper()
	z := make([]float32, f.m.LatentDim())
	if err := f.m.Encode(f.t.Context(), images(pix), z); err != nil {
		f.t.Fatal(err)
	}
	return z
}

func (f features) decode(z []float32) []float32 {
	f.t.Helper()
	x := make([]float32, grey28.Len())
	if err := f.m.Decode(f.t.Context(), z, x); err != nil {
		f.t.Fatal(err)
	}
	return x
}

func (f features) of(network string, pix []float32) []float32 {
	f.t.Helper()
	v := make([]float32, f.m.LatentDim())
	if err := f.m.Features(f.t.Context(), network, images(pix), v); err != nil {
		f.t.Fatal(err)
	}
	return v
}

func meanAbs(a, b []float32) float64 {
	var sum float64
	for i := range a {
		sum += math.Abs(float64(a[i]) - float64(b[i]))
	}
	return sum / float64(len(a))
}

func TestFeaturesOfAForeignNetwork(t *testing.T) {
	atEnd(t)
	m := newModel(t, config(t, "paper", grey28))
	if err := m.Features(t.Context(), NetworkQ, images(make([]float32, grey28.Len())), make([]float32, 32)); err == nil {
		t.Error("AE has no discriminator, and no error says so")
	}
}

func images(pix []float32) dataset.Images {
	return dataset.Images{Shape: grey28, N: len(pix) / grey28.Len(), Pix: pix}
}
