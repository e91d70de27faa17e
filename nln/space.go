package nln

import (
	"context"
	"fmt"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
)

// An Input is what a feature of an image is computed from.
type Input string

// Inputs of features.
const (
	OfImage          Input = "image"          // x; of queries only
	OfLatent         Input = "latent"         // z = f(x)
	OfReconstruction Input = "reconstruction" // g(z), or what a [Reconstructor] makes of x
)

// A Feature is a vector that an image has: its pixels, its latent vector or its
// reconstruction, or what a further network of the model makes of the image or
// of the reconstruction.
type Feature struct {
	Of      Input
	Network string // of a [FeatureModel], applied to an image; "": Of itself
}

// String returns the feature as a formula, such as "q(g(z))".
func (f Feature) String() string {
	inner := map[Input]string{OfImage: "x", OfLatent: "z", OfReconstruction: "g(z)"}[f.Of]
	if inner == "" {
		inner = fmt.Sprintf("%q", f.Of)
	}
	if f.Network == "" {
		return inner
	}
	return f.Network + "(" + inner + ")"
}

// A Space is where the error term compares an image x with its neighbour k, by
// the mean absolute difference of two vectors of Dim values,
//
//	e_k(x) = 1/Dim sum over i of |Query(x)[i] - Neighbor(k)[i]|
//
// With q the features of a discriminator and f_con a second encoder, the
// paper's spaces are
//
//	equation 4, AE, AAE, VAE   x                 g(z^k)
//	equation 7, AE-res         q(x)              q(g(z^k))
//	equation 8, AE-con         z = f(x)          f_con(g(z^k))
//	its authors' code          f_con(g(f(x)))    z^k
//	its section 3.3            f_con(x)          z^k
type Space struct {
	Name     string // as in [Policy] and [Config]
	Dim      int    // values of each vector
	Query    Feature
	Neighbor Feature // of an indexed image, so not OfImage
}

// Spaces that every model has.
const (
	// SpaceImage compares the image with its neighbours' reconstructions, pixel
	// by pixel (equation 4). It is the space of a Model that is no FeatureModel.
	SpaceImage = "image"

	// SpaceLatent compares latent vectors: the distance term by L1 instead of
	// L2, divided by the latent dimension. It is kept only where asked for.
	SpaceLatent = "latent"
)

// A FeatureModel is a [Model] with further networks, whose features the error
// term can compare images by.
type FeatureModel interface {
	Model

	// Spaces returns the spaces of the model, of which there is at least one,
	// its default one first. SpaceImage is among them where scores, pictures or
	// error maps in image space are wanted beside the others: see [ImageSpace].
	Spaces() []Space

	// Features stores what a network makes of x in dst, row-major. len(dst) is
	// x.N times the Dim of the spaces that name the network. x may hold images or
	// reconstructions, with values in [0, 1]; a result must not depend on the
	// batch beyond rounding.
	Features(ctx context.Context, network string, x dataset.Images, dst []float32) error
}

// ImageSpace returns the SpaceImage of a model.
func ImageSpace(m Model) Space {
	return Space{SpaceImage, m.Shape().Len(), Feature{Of: OfImage}, Feature{Of: OfReconstruction}}
}

func latentSpace(m Model) Space {
	return Space{SpaceLatent, m.LatentDim(), Feature{Of: OfLatent}, Feature{Of: OfLatent}}
}

// SpacesOf returns the spaces that are kept of a model unless [Config] names
// others: its own, or SpaceImage alone.
func SpacesOf(m Model) []Space {
	if f, ok := m.(FeatureModel); ok {
		return f.Spaces()
	}
	return []Space{ImageSpace(m)}
}

// chooseSpaces returns the spaces of a model with the given names, or those of
// SpacesOf, after checking all that the model has.
func chooseSpaces(m Model, names []string) ([]Space, error) {
	all := SpacesOf(m)
	if err := checkSpaces(m, all); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return all, nil
	}
	for _, s := range []Space{ImageSpace(m), latentSpace(m)} {
		if !slices.ContainsFunc(all, func(a Space) bool { return a.Name == s.Name }) {
			all = append(all, s)
		}
	}
	var chosen []Space
	for i, name := range names {
		at := slices.IndexFunc(all, func(s Space) bool { return s.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("model has no space %q, only %q", name, spaceNames(all))
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("space %q is named twice", name)
		}
		chosen = append(chosen, all[at])
	}
	return chosen, nil
}

// checkSpaces makes sure that what a model says of its spaces holds together.
func checkSpaces(m Model, spaces []Space) error {
	if len(spaces) == 0 {
		return fmt.Errorf("model has no space to compare images in")
	}
	_, networks := m.(FeatureModel)
	dims := map[string]int{} // of networks
	for i, s := range spaces {
		if s.Name == "" || slices.ContainsFunc(spaces[:i], func(t Space) bool { return t.Name == s.Name }) {
			return fmt.Errorf("space %d of the model has the name %q, want a name of its own", i, s.Name)
		}
		if s.Neighbor.Of == OfImage {
			return fmt.Errorf("space %q compares with the features %v of a neighbour, of which only z and g(z) are kept", s.Name, s.Neighbor)
		}
		for _, f := range []Feature{s.Query, s.Neighbor} {
			dim := map[Input]int{OfImage: m.Shape().Len(), OfLatent: m.LatentDim(), OfReconstruction: m.Shape().Len()}[f.Of]
			switch {
			case dim == 0:
				return fmt.Errorf("space %q: feature of %q, want one of %q, %q or %q", s.Name, f.Of, OfImage, OfLatent, OfReconstruction)
			case f.Network != "" && (f.Of == OfLatent || !networks):
				return fmt.Errorf("space %q: feature %v, but networks of a FeatureModel take images", s.Name, f)
			case f.Network != "":
				if dim = s.Dim; dims[f.Network] > 0 {
					dim = dims[f.Network]
				}
				dims[f.Network] = dim
			}
			if s.Dim != dim || dim < 1 {
				return fmt.Errorf("space %q has %d values, its feature %v has %d", s.Name, s.Dim, f, dim)
			}
		}
	}
	return nil
}

func spaceNames(spaces []Space) []string {
	names := make([]string, len(spaces))
	for i, s := range spaces {
		names[i] = s.Name
	}
	return names
}
