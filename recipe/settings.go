package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// Settings are everything that decides what a training makes of some images.
type Settings struct {
	Model   models.Config
	Scoring nln.Config
	Scale   dataset.Scale // "" leaves the data set's own
	HeldOut float64       // share of the normal images held out for calibration
	Noise   float64       // share of the images that a protocol excludes that count as normal all the same
	AlphaOf string        // what Scoring.Alpha is the weight of: one of the AlphaOf constants
	Index   string        // a faissindex.Kind

	Patch, Stride int    // of the grid of patches; 0: whole images, and a stride of a patch
	Borders       string // one of the Borders constants
	Augment       string // one of dataset.Augments
	Dedup         bool   // whether equal patches are indexed once
}

// What becomes of the pixels behind the last whole stride.
const (
	BordersCovered = "covered" // by a patch that ends at the border
	BordersLeft    = "left"    // out, as the authors' code does
)

// Grid returns the grid of patches.
func (s *Settings) Grid() dataset.Grid {
	return dataset.Grid{Patch: s.Patch, Stride: cmp.Or(s.Stride, s.Patch), Inside: s.Borders == BordersLeft}
}

// What alpha is the weight of: the error term, as in equation 4, or the distance
// term, as in some of the authors' programs. All that is printed or kept has the
// first meaning.
const (
	AlphaOfError    = "eq4"
	AlphaOfDistance = "flipped"
)

// A setting is one value that a configuration file may give; flag is the option
// of the same meaning, if there is one. Where archs is set, it means something
// to these models alone: others take it, so that one file can serve several
// models, and do not print it.
type setting struct {
	name, flag, doc string
	value           any // pointer to the value
	archs           []string
}

// table lists the settings in the order in which they are printed.
func (s *Settings) table() []setting {
	m, p := &s.Model, &s.Scoring
	discriminated := []string{models.ArchAAE, models.ArchAERes, models.ArchAECon}
	only := func(archs ...string) []string { return archs }
	return []setting{
		{"latent", "latent", "length of a latent vector", &m.Latent, nil},
		{"filters", "", "of the three convolutions for small images: up (32, 64, 128), const (32 each) or halving (32, 16, 8)", &m.Filters, nil},
		{"norm", "", "batch normalisation: none, affine, standard, or code: as the authors' code runs it", &m.Norm, nil},
		{"activation", "", "where the authors' code has LeakyReLU: leaky or relu", &m.Activation, nil},
		{"whiten", "", "after training, give latents unit variance in every direction", &m.Whiten, nil},
		{"views", "", "4: latents of an image's four orientations, side by side; 0: its own alone", &m.Views, only(models.ArchAE, models.ArchAAE, models.ArchVAE, models.ArchAERes)},
		{"restore", "", "what is done to images that training learns to undo: turns or shifts; empty: nothing", &m.Restore, only(models.ArchAE)},
		{"q_layer", "", "discriminator's layer that gives its features: latent or flat_conv", &m.QLayer, only(models.ArchAERes, models.ArchAECon)},
		{"vae_latent", "", "what is indexed: mu, sample or pre_head", &m.VAELatent, only(models.ArchVAE)},
		{"vae_hidden", "", "values of the layer before the heads", &m.VAEHidden, only(models.ArchVAE)},
		{"vae_recon_scale", "", "weight of the reconstruction loss beside the KL divergence", &m.VAEReconScale, only(models.ArchVAE)},
		{"loss", "loss", "reconstruction loss: mse, bce or l1; of ae-con with the losses ganomaly it is aecon_recon", &m.Loss, nil},
		{"aae_clip_bug", "", "take logits for probabilities, as the authors' code does", &m.AAEClipBug, only(models.ArchAAE)},
		{"aeres_feature_bce", "", "take features for probabilities, as the authors' code does", &m.AEResFeatureBCE, only(models.ArchAERes)},
		{"generator_all", "", "the whole autoencoder deceives the discriminator, not the decoder alone", &m.GeneratorAll, only(models.ArchAERes)},
		{"aecon_losses", "", "ganomaly, code-2021 or head-2022", &m.AEConLosses, only(models.ArchAECon)},
		{"aecon_recon", "", "reconstruction loss of ganomaly: l1, mse or bce", &m.AEConRecon, only(models.ArchAECon)},
		{"lr", "lr", "learning rate of Adam", &m.LR, nil},
		{"lr_discriminator", "", "of the discriminator; 0: lr", &m.LRDiscriminator, discriminated},
		{"lr_generator", "", "of what deceives the discriminator; 0: lr", &m.LRGenerator, only(models.ArchAAE, models.ArchAERes)},
		{"lr_second", "", "of the second encoder where it has an optimiser of its own; 0: lr", &m.LRSecond, only(models.ArchAECon)},
		{"batch", "batch", "images in a training step", &m.Batch, nil},
		{"epochs", "epochs", "passes over the images", &m.Epochs, nil},
		{"steps", "steps", "training steps instead of epochs, if positive", &m.Steps, nil},
		{"seed", "seed", "of everything random", &m.Seed, nil},
		{"patch", "patch", "rows and columns of the patches that images are cut into; 0: whole images", &s.Patch, nil},
		{"stride", "stride", "from one patch to the next; 0: a patch", &s.Stride, nil},
		{"borders", "", "covered: a patch more ends at the border; left: as the authors' code leaves them out", &s.Borders, nil},
		{"augment", "", "patches to learn from beside those of the grid: none, code or bergmann", &s.Augment, nil},
		{"index_dedup", "", "index equal patches once", &s.Dedup, nil},
		{"scale", "", "of pixels to [0, 1]: minmax (each channel of each image), div255, or empty: the data set's own", (*string)(&s.Scale), nil},
		{"label_noise", "", "share of the images excluded by the protocol that count as normal all the same", &s.Noise, nil},
		{"held_out", "", "share of the normal images held out for calibration", &s.HeldOut, nil},
		{"neighbors", "neighbors", "nearest normal images to compare with", &p.K, nil},
		{"alpha", "alpha", "weight of the error term; the distance has the rest", &p.Alpha, nil},
		{"alpha_orientation", "", "eq4: alpha is as said; flipped: alpha is the weight of the distance", &s.AlphaOf, nil},
		{"normalise", "", "of error and distance before they are mixed: minmax, robust, zscore or none", &p.Normalise, nil},
		{"fpr", "", "share of normal images that may be called novel", &p.FPR, nil},
		{"rank", "", "score that verdicts go by: total (error and distance), local, or product (local times reconstruction error)", &p.Rank, nil},
		{"space", "", "where the error term compares images; empty: the model's own", &p.Space, nil},
		{"metric", "", "of the distance term: l2, l2sq or l1mean, as which l1 ranks", &p.Metric, nil},
		{"radius", "", "largest distance of a neighbour; 0: any", &p.Radius, nil},
		{"local_neighbors", "", "nearest images of the local score and of the product", &p.Local.K, nil},
		{"local_power", "", "of the neighbours' own distances in the local score and the product", &p.Local.Power, nil},
		{"max_neighbors", "", "largest number of neighbours that can be chosen later", &p.MaxK, nil},
		{"index", "index", "how neighbours are searched for: auto, exact, hnsw or ivf; the last two may miss some", &s.Index, nil},
		{"cache", "", "of reconstructions: uint8, float32, or none: neighbours are decoded again when they are needed", (*string)(&p.Cache), nil},
	}
}

// defaultSettings returns the settings of a preset.
func defaultSettings(preset, arch string, shape dataset.Shape) (*Settings, error) {
	m, err := models.Preset(preset, arch, shape)
	scoring := nln.DefaultConfig()
	scoring.Rank, scoring.Metric, scoring.Normalise, scoring.Local = nln.ScoreTotal, nln.MetricL2, nln.NormaliseMinMax, nln.DefaultLocal()
	if preset == "code" && arch == models.ArchAECon {
		scoring.Space = models.SpaceCode // as the authors' code compares
	}
	s := &Settings{Model: m, Scoring: scoring, HeldOut: 0.1, AlphaOf: AlphaOfError, Index: string(faissindex.Exact),
		Borders: BordersCovered, Augment: dataset.AugmentCode, Dedup: true}
	switch preset {
	case "code":
		s.Borders, s.Dedup = BordersLeft, false
	case "fast":
		s.Augment = dataset.AugmentNone
	}
	return s, err
}

// FitConfig returns the settings of scoring with a model, alpha being the weight
// of the error term.
func (s *Settings) FitConfig(m nln.Model) nln.Config {
	c := s.Scoring
	if s.AlphaOf == AlphaOfDistance {
		c.Alpha = 1 - c.Alpha
	}
	if c.Metric == nln.MetricL1Mean { // needs latents to be kept as a space
		for _, space := range nln.SpacesOf(m) {
			c.Spaces = append(c.Spaces, space.Name)
		}
		c.Spaces = append(c.Spaces, nln.SpaceLatent)
	}
	return c
}

// check returns an error if the settings cannot be.
func (s *Settings) check() error {
	err := s.Model.Check()
	if !(s.HeldOut > 0 && s.HeldOut < 1) {
		err = errors.Join(err, fmt.Errorf("held_out is %v, want more than 0 and less than 1", s.HeldOut))
	}
	if s.Scale != "" && s.Scale != dataset.ScaleMinMax && s.Scale != dataset.Scale255 {
		err = errors.Join(err, fmt.Errorf("scale is %q, want %s or %s", s.Scale, dataset.ScaleMinMax, dataset.Scale255))
	}
	if !(s.Noise >= 0 && s.Noise <= 1) {
		err = errors.Join(err, fmt.Errorf("label_noise is %v, want 0 to 1", s.Noise))
	}
	if s.AlphaOf != AlphaOfError && s.AlphaOf != AlphaOfDistance {
		err = errors.Join(err, fmt.Errorf("alpha_orientation is %q, want %s or %s", s.AlphaOf, AlphaOfError, AlphaOfDistance))
	}
	if kinds := faissindex.Kinds(); !slices.Contains(kinds, s.Index) {
		err = errors.Join(err, fmt.Errorf("index is %q, want one of: %s", s.Index, strings.Join(kinds, ", ")))
	}
	if s.Patch < 0 || s.Stride < 0 {
		err = errors.Join(err, fmt.Errorf("patch is %d and stride %d, want 0 or more", s.Patch, s.Stride))
	}
	if s.Borders != BordersCovered && s.Borders != BordersLeft {
		err = errors.Join(err, fmt.Errorf("borders is %q, want %s or %s", s.Borders, BordersCovered, BordersLeft))
	}
	if !slices.Contains(dataset.Augments(), s.Augment) {
		err = errors.Join(err, fmt.Errorf("augment is %q, want one of: %s", s.Augment, strings.Join(dataset.Augments(), ", ")))
	}
	p := s.Scoring
	if n := []string{nln.NormaliseMinMax, nln.NormaliseRobust, nln.NormaliseZScore, nln.NormaliseNone}; !slices.Contains(n, p.Normalise) {
		err = errors.Join(err, fmt.Errorf("normalise is %q, want one of: %s", p.Normalise, strings.Join(n, ", ")))
	}
	if p.K < 1 || p.MaxK < p.K {
		err = errors.Join(err, fmt.Errorf("neighbors is %d and max_neighbors %d, want 1 <= neighbors <= max_neighbors", p.K, p.MaxK))
	}
	if !(p.Alpha >= 0 && p.Alpha <= 1) {
		err = errors.Join(err, fmt.Errorf("alpha is %v, want 0 to 1", p.Alpha))
	}
	if names := s.Model.SpaceNames(); p.Space != "" && !slices.Contains(names, p.Space) {
		err = errors.Join(err, fmt.Errorf("model %s has no space %q, want one of: %s", s.Model.Arch, p.Space, strings.Join(names, ", ")))
	}
	if !(p.FPR > 0 && p.FPR < 1) {
		err = errors.Join(err, fmt.Errorf("fpr is %v, want more than 0 and less than 1", p.FPR))
	}
	if ranks := nln.Ranks(); !slices.Contains(ranks, p.Rank) {
		err = errors.Join(err, fmt.Errorf("rank is %q, want one of: %s", p.Rank, strings.Join(ranks, ", ")))
	}
	if p.Metric != nln.MetricL2 && p.Metric != nln.MetricSquared && p.Metric != nln.MetricL1Mean {
		err = errors.Join(err, fmt.Errorf("metric is %q, want %s, %s or %s", p.Metric, nln.MetricL2, nln.MetricSquared, nln.MetricL1Mean))
	}
	if !(p.Radius >= 0) || p.Local.K < 1 || !(p.Local.Power > 0 && p.Local.Power <= 1) {
		err = errors.Join(err, fmt.Errorf("radius is %v, local_neighbors %d and local_power %v, want 0 or more, at least 1, and more than 0 to 1",
			p.Radius, p.Local.K, p.Local.Power))
	}
	if p.Cache != nln.CacheUint8 && p.Cache != nln.CacheFloat32 && p.Cache != nln.CacheNone {
		err = errors.Join(err, fmt.Errorf("cache is %q, want %s, %s or %s", p.Cache, nln.CacheUint8, nln.CacheFloat32, nln.CacheNone))
	}
	if err == nil {
		_, err = p.Policy.Apply(nln.Parts{}) // what it finds wrong beside that
	}
	return err
}

// Values returns all settings as texts, by name: what Request.Values takes. Settings
// with equal ones train and score alike.
func (s *Settings) Values() map[string]string {
	v := map[string]string{}
	for _, t := range s.table() {
		v[t.name] = t.text()
	}
	return v
}

// set reads text into the setting.
func (s setting) set(text string) (err error) {
	switch v := s.value.(type) {
	case *int:
		*v, err = strconv.Atoi(text)
	case *uint64:
		*v, err = strconv.ParseUint(text, 10, 64)
	case *float64:
		*v, err = strconv.ParseFloat(text, 64)
	case *bool:
		*v, err = strconv.ParseBool(text)
	case *string:
		*v = text
	}
	if err != nil {
		return fmt.Errorf("%q is not %s", text, s.kind())
	}
	return nil
}

func (s setting) kind() string {
	switch s.value.(type) {
	case *int, *uint64:
		return "a whole number"
	case *float64:
		return "a number"
	case *bool:
		return "true or false"
	}
	return "a text"
}

// String returns the value as a configuration file has it.
func (s setting) String() string {
	if text := s.text(); text != "" {
		return text
	}
	return `""`
}

func (s setting) text() string {
	switch v := s.value.(type) {
	case *int:
		return strconv.Itoa(*v)
	case *uint64:
		return strconv.FormatUint(*v, 10)
	case *float64:
		return strconv.FormatFloat(*v, 'g', -1, 64)
	case *bool:
		return strconv.FormatBool(*v)
	case *string:
		return *v
	}
	panic("recipe: setting of an unknown type")
}
