package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/spelling"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
	ucli "github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
)

// settings is everything that decides what train makes of some images.
type settings struct {
	model   models.Config
	scoring nln.Config
	scale   dataset.Scale // "" leaves the data set's own
	held    float64       // share of the normal images held out for calibration
	noise   float64       // share of the images that a protocol excludes that count as normal all the same
	flipped string        // what alpha is the weight of
	index   string        // a faissindex.Kind

	patch, stride int    // of the grid of patches; 0: whole images, and a stride of a patch
	borders       string // one of the borders constants
	augment       string // one of dataset.Augments
	dedup         bool   // whether equal patches are indexed once
}

// What becomes of the pixels behind the last whole stride.
const (
	bordersCovered = "covered" // by a patch that ends at the border
	bordersLeft    = "left"    // out, as the authors' code does
)

// grid returns the grid of patches.
func (s *settings) grid() dataset.Grid {
	return dataset.Grid{Patch: s.patch, Stride: cmp.Or(s.stride, s.patch), Inside: s.borders == bordersLeft}
}

// What alpha is the weight of: the error term, as in equation 4, or the distance
// term, as in some of the authors' programs. All that is printed or kept has the
// first meaning.
const (
	alphaOfError    = "eq4"
	alphaOfDistance = "flipped"
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
func (s *settings) table() []setting {
	m, p := &s.model, &s.scoring
	discriminated := []string{models.ArchAAE, models.ArchAERes, models.ArchAECon}
	only := func(archs ...string) []string { return archs }
	return []setting{
		{"latent", "latent", "length of a latent vector", &m.Latent, nil},
		{"filters", "", "of the three convolutions for small images: up (32, 64, 128), const (32 each) or halving (32, 16, 8)", &m.Filters, nil},
		{"norm", "", "batch normalisation: none, affine, standard, or code: as the authors' code runs it", &m.Norm, nil},
		{"activation", "", "where the authors' code has LeakyReLU: leaky or relu", &m.Activation, nil},
		{"whiten", "", "after training, give latents unit variance in every direction", &m.Whiten, nil},
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
		{"patch", "patch", "rows and columns of the patches that images are cut into; 0: whole images", &s.patch, nil},
		{"stride", "stride", "from one patch to the next; 0: a patch", &s.stride, nil},
		{"borders", "", "covered: a patch more ends at the border; left: as the authors' code leaves them out", &s.borders, nil},
		{"augment", "", "patches to learn from beside those of the grid: none, code or bergmann", &s.augment, nil},
		{"index_dedup", "", "index equal patches once", &s.dedup, nil},
		{"scale", "", "of pixels to [0, 1]: minmax (each channel of each image), div255, or empty: the data set's own", (*string)(&s.scale), nil},
		{"label_noise", "", "share of the images excluded by the protocol that count as normal all the same", &s.noise, nil},
		{"held_out", "", "share of the normal images held out for calibration", &s.held, nil},
		{"neighbors", "neighbors", "nearest normal images to compare with", &p.K, nil},
		{"alpha", "alpha", "weight of the error term; the distance has the rest", &p.Alpha, nil},
		{"alpha_orientation", "", "eq4: alpha is as said; flipped: alpha is the weight of the distance", &s.flipped, nil},
		{"normalise", "", "of error and distance before they are mixed: minmax, robust, zscore or none", &p.Normalise, nil},
		{"fpr", "", "share of normal images that may be called novel", &p.FPR, nil},
		{"rank", "", "score that verdicts go by: total (error and distance) or local", &p.Rank, nil},
		{"space", "", "where the error term compares images; empty: the model's own", &p.Space, nil},
		{"metric", "", "of the distance term: l2, l2sq or l1mean, as which l1 ranks", &p.Metric, nil},
		{"radius", "", "largest distance of a neighbour; 0: any", &p.Radius, nil},
		{"local_neighbors", "", "nearest images of the local score", &p.Local.K, nil},
		{"local_power", "", "of the neighbours' own distances in the local score", &p.Local.Power, nil},
		{"max_neighbors", "", "largest number of neighbours that can be chosen later", &p.MaxK, nil},
		{"index", "index", "how neighbours are searched for: auto, exact, hnsw or ivf; the last two may miss some", &s.index, nil},
		{"cache", "", "of reconstructions: uint8, float32, or none: neighbours are decoded again when they are needed", (*string)(&p.Cache), nil},
	}
}

// defaultSettings returns the settings of a preset.
func defaultSettings(preset, arch string, shape dataset.Shape) (*settings, error) {
	m, err := models.Preset(preset, arch, shape)
	scoring := nln.DefaultConfig()
	scoring.Rank, scoring.Metric, scoring.Normalise, scoring.Local = nln.ScoreTotal, nln.MetricL2, nln.NormaliseMinMax, nln.DefaultLocal()
	if preset == "code" && arch == models.ArchAECon {
		scoring.Space = models.SpaceCode // as the authors' code compares
	}
	s := &settings{model: m, scoring: scoring, held: 0.1, flipped: alphaOfError, index: string(faissindex.Exact),
		borders: bordersCovered, augment: dataset.AugmentCode, dedup: true}
	switch preset {
	case "code":
		s.borders, s.dedup = bordersLeft, false
	case "fast":
		s.augment = dataset.AugmentNone
	}
	return s, err
}

// fitConfig returns the settings of scoring with a model, alpha being the weight
// of the error term.
func (s *settings) fitConfig(m nln.Model) nln.Config {
	c := s.scoring
	if s.flipped == alphaOfDistance {
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
func (s *settings) check() error {
	err := s.model.Check()
	if !(s.held > 0 && s.held < 1) {
		err = errors.Join(err, fmt.Errorf("held_out is %v, want more than 0 and less than 1", s.held))
	}
	if s.scale != "" && s.scale != dataset.ScaleMinMax && s.scale != dataset.Scale255 {
		err = errors.Join(err, fmt.Errorf("scale is %q, want %s or %s", s.scale, dataset.ScaleMinMax, dataset.Scale255))
	}
	if !(s.noise >= 0 && s.noise <= 1) {
		err = errors.Join(err, fmt.Errorf("label_noise is %v, want 0 to 1", s.noise))
	}
	if s.flipped != alphaOfError && s.flipped != alphaOfDistance {
		err = errors.Join(err, fmt.Errorf("alpha_orientation is %q, want %s or %s", s.flipped, alphaOfError, alphaOfDistance))
	}
	if kinds := faissindex.Kinds(); !slices.Contains(kinds, s.index) {
		err = errors.Join(err, fmt.Errorf("index is %q, want one of: %s", s.index, strings.Join(kinds, ", ")))
	}
	if s.patch < 0 || s.stride < 0 {
		err = errors.Join(err, fmt.Errorf("patch is %d and stride %d, want 0 or more", s.patch, s.stride))
	}
	if s.borders != bordersCovered && s.borders != bordersLeft {
		err = errors.Join(err, fmt.Errorf("borders is %q, want %s or %s", s.borders, bordersCovered, bordersLeft))
	}
	if !slices.Contains(dataset.Augments(), s.augment) {
		err = errors.Join(err, fmt.Errorf("augment is %q, want one of: %s", s.augment, strings.Join(dataset.Augments(), ", ")))
	}
	p := s.scoring
	if n := []string{nln.NormaliseMinMax, nln.NormaliseRobust, nln.NormaliseZScore, nln.NormaliseNone}; !slices.Contains(n, p.Normalise) {
		err = errors.Join(err, fmt.Errorf("normalise is %q, want one of: %s", p.Normalise, strings.Join(n, ", ")))
	}
	if p.K < 1 || p.MaxK < p.K {
		err = errors.Join(err, fmt.Errorf("neighbors is %d and max_neighbors %d, want 1 <= neighbors <= max_neighbors", p.K, p.MaxK))
	}
	if !(p.Alpha >= 0 && p.Alpha <= 1) {
		err = errors.Join(err, fmt.Errorf("alpha is %v, want 0 to 1", p.Alpha))
	}
	if names := s.model.SpaceNames(); p.Space != "" && !slices.Contains(names, p.Space) {
		err = errors.Join(err, fmt.Errorf("model %s has no space %q, want one of: %s", s.model.Arch, p.Space, strings.Join(names, ", ")))
	}
	if !(p.FPR > 0 && p.FPR < 1) {
		err = errors.Join(err, fmt.Errorf("fpr is %v, want more than 0 and less than 1", p.FPR))
	}
	if p.Rank != nln.ScoreTotal && p.Rank != nln.ScoreLocal {
		err = errors.Join(err, fmt.Errorf("rank is %q, want %s or %s", p.Rank, nln.ScoreTotal, nln.ScoreLocal))
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

func (s setting) String() string {
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
		if *v == "" {
			return `""`
		}
		return *v
	}
	panic("cli: setting of an unknown type")
}

// sources says where the value of each setting comes from.
type sources map[string]string

// resolve returns the settings for images of a shape: the preset's, over them
// the configuration file's, over these the command line's. If they say that images
// are cut into patches, the model is for these.
func (o trainOptions) resolve(shape dataset.Shape) (*settings, sources, error) {
	small := dataset.Shape{C: shape.C, H: 32, W: 32} // any that all models take
	s, _, err := o.resolveFor(small)
	if err != nil {
		return nil, nil, err
	}
	if s.patch > 0 {
		shape.H, shape.W = s.patch, s.patch
	}
	return o.resolveFor(shape)
}

func (o trainOptions) resolveFor(shape dataset.Shape) (*settings, sources, error) {
	s, err := defaultSettings(o.preset, o.arch, shape)
	if err != nil {
		return nil, nil, err
	}
	from := sources{}
	table := s.table()
	preset := "preset " + o.preset
	for _, t := range table {
		from[t.name] = preset
	}
	if o.config != "" {
		alone := func(i int, text string) error { // whether a value is sound over the preset
			one, err := defaultSettings(o.preset, o.arch, shape)
			if err != nil || one.check() != nil {
				return err
			}
			if err := one.table()[i].set(text); err != nil {
				return err
			}
			one.completeK()
			return one.check()
		}
		if err := readConfig(o.config, table, from, alone); err != nil {
			return nil, nil, err
		}
		if from["epochs"] != preset && from["steps"] == preset {
			s.model.Steps, from["steps"] = 0, from["epochs"] // what the preset says of steps is not meant then
		}
	}
	for _, t := range table {
		if text, ok := o.flags[t.flag]; ok && t.flag != "" {
			if err := t.set(text); err != nil {
				return nil, nil, fmt.Errorf("--%s: %w", t.flag, err)
			}
			from[t.name] = "--" + t.flag
		}
	}
	if _, ok := o.flags["epochs"]; ok {
		s.model.Steps, from["steps"] = 0, "--epochs" // nor is what a file says of them
	}
	if _, ok := o.flags["loss"]; ok && o.arch == models.ArchAECon && from["aecon_recon"] == preset {
		s.model.AEConRecon, from["aecon_recon"] = s.model.Loss, "--loss" // or the option would do nothing
	}
	if by := s.completeK(); by != "" {
		from["max_neighbors"] = by
	}
	return s, from, s.check()
}

// completeK raises the number of neighbours to keep to those that are asked for,
// and returns the name of the setting by which, or "".
func (s *settings) completeK() (by string) {
	p := &s.scoring
	for _, t := range []struct {
		name string
		k    int
	}{{"neighbors", p.K}, {"local_neighbors", p.Local.K}} {
		if t.k > p.MaxK {
			p.MaxK, by = t.k, t.name
		}
	}
	return by
}

// commandOptions are what only the command line can say.
var commandOptions = []string{"arch", "preset", "data", "output", "protocol", "class", "config", "threads", "resume", "force"}

// readConfig reads the settings in a YAML file. alone says whether a value of a
// setting is sound if all others are the preset's, so that the error can name
// the line.
func readConfig(path string, table []setting, from sources, alone func(i int, text string) error) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	switch err := d.Decode(&doc); {
	case err == io.EOF:
		return nil // an empty file
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := d.Decode(&more); err == nil {
		return fmt.Errorf("%s:%d: a second document; want one", path, more.Line)
	} else if err != io.EOF {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) == 0 {
		return nil // comments
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: want lines of the form \"name: value\"", path, root.Line)
	}
	var errs []error
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := fmt.Sprintf("%s:%d", path, key.Line)
		j := slices.IndexFunc(table, func(s setting) bool { return s.name == key.Value })
		switch {
		case j < 0 && slices.Contains(commandOptions, key.Value):
			errs = append(errs, fmt.Errorf("%s: %q is no setting but an option of the command, --%s", at, key.Value, key.Value))
		case j < 0:
			errs = append(errs, fmt.Errorf("%s: unknown setting %q, nearest is %q", at, key.Value, nearest(key.Value, table)))
		case seen[key.Value] > 0:
			errs = append(errs, fmt.Errorf("%s: %q is set in line %d already", at, key.Value, seen[key.Value]))
		case value.Kind != yaml.ScalarNode:
			errs = append(errs, fmt.Errorf("%s: %s: want %s", at, key.Value, table[j].kind()))
		default:
			if err := table[j].set(value.Value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", at, key.Value, err))
			} else if err := alone(j, value.Value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", at, err))
			}
			from[key.Value] = at
		}
		seen[key.Value] = key.Line
	}
	return errors.Join(errs...)
}

// nearest returns the name of the setting with the fewest letters to change.
func nearest(name string, table []setting) string {
	name = strings.ToLower(name)
	return slices.MinFunc(table, func(a, b setting) int {
		return cmp.Compare(spelling.Distance(name, a.name), spelling.Distance(name, b.name))
	}).name
}

// printConfig writes the settings for the images of a set as a configuration file
// that says where each value comes from.
func printConfig(w io.Writer, o trainOptions, set *dataset.Set) error {
	s, from, err := o.resolve(set.Shape())
	if err != nil {
		return err
	}
	// What an empty value stands for. It is not written in its place, so that the
	// file goes for other models and other data too.
	own := map[string]string{
		"scale": string(cmp.Or(set.Scale, dataset.ScaleMinMax)),
		"space": s.model.SpaceNames()[0],
	}
	fmt.Fprintf(w, "# nlnctl train --arch %s --preset %s, for images of %v\n", o.arch, o.preset, set.Shape())
	for _, t := range s.table() {
		if t.archs != nil && !slices.Contains(t.archs, o.arch) {
			continue
		}
		line := fmt.Sprintf("%s: %s", t.name, t)
		if text, ok := t.value.(*string); ok && *text == "" && own[t.name] != "" {
			t.doc += ", here " + own[t.name]
		}
		if _, err := fmt.Fprintf(w, "%-24s # %s; %s\n", line, from[t.name], t.doc); err != nil {
			return err
		}
	}
	return nil
}

// setFlags returns the options of the table that the command line gives.
func setFlags(c *ucli.Context) map[string]string {
	flags := map[string]string{}
	for _, t := range new(settings).table() {
		if t.flag != "" && c.IsSet(t.flag) {
			flags[t.flag] = strings.TrimSpace(fmt.Sprint(c.Value(t.flag)))
		}
	}
	return flags
}
