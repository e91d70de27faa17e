package recipe

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/spelling"
	"github.com/nlnctl/nlnctl/models"
	"go.yaml.in/yaml/v3"
)

// Sources says where the value of each setting comes from.
type Sources map[string]string

// Resolve returns the settings for images of a shape and where each comes from. If
// they say that images are cut into patches, the model is for these.
func (o Request) Resolve(shape dataset.Shape) (*Settings, Sources, error) {
	small := dataset.Shape{C: shape.C, H: 32, W: 32} // any that all models take
	s, _, err := o.resolveFor(small)
	if err != nil {
		return nil, nil, err
	}
	if s.Patch > 0 {
		shape.H, shape.W = s.Patch, s.Patch
	}
	return o.resolveFor(shape)
}

func (o Request) resolveFor(shape dataset.Shape) (*Settings, Sources, error) {
	s, err := defaultSettings(o.Preset, o.Arch, shape)
	if err != nil {
		return nil, nil, err
	}
	from := Sources{}
	table := s.table()
	preset := "preset " + o.Preset
	for _, t := range table {
		from[t.name] = preset
	}
	if o.File != "" {
		alone := func(i int, text string) error { // whether a value is sound over the preset
			one, err := defaultSettings(o.Preset, o.Arch, shape)
			if err != nil || one.check() != nil {
				return err
			}
			if err := one.table()[i].set(text); err != nil {
				return err
			}
			one.completeK()
			return one.check()
		}
		if err := readConfig(o.File, table, from, alone); err != nil {
			return nil, nil, err
		}
		if from["epochs"] != preset && from["steps"] == preset {
			s.Model.Steps, from["steps"] = 0, from["epochs"] // what the preset says of steps is not meant then
		}
	}
	for name, text := range o.Values {
		i := slices.IndexFunc(table, func(t setting) bool { return t.name == name })
		if i < 0 {
			return nil, nil, fmt.Errorf("unknown setting %q, nearest is %q", name, nearest(name, table))
		}
		if err := table[i].set(text); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		from[name] = "given"
	}
	if _, ok := o.Values["epochs"]; ok && o.Values["steps"] == "" {
		s.Model.Steps, from["steps"] = 0, "epochs"
	}
	for _, t := range table {
		if text, ok := o.Flags[t.flag]; ok && t.flag != "" {
			if err := t.set(text); err != nil {
				return nil, nil, fmt.Errorf("--%s: %w", t.flag, err)
			}
			from[t.name] = "--" + t.flag
		}
	}
	if _, ok := o.Flags["epochs"]; ok {
		s.Model.Steps, from["steps"] = 0, "--epochs" // nor is what a file says of them
	}
	if _, ok := o.Flags["loss"]; ok && o.Arch == models.ArchAECon && from["aecon_recon"] == preset {
		s.Model.AEConRecon, from["aecon_recon"] = s.Model.Loss, "--loss" // or the option would do nothing
	}
	if by := s.completeK(); by != "" {
		from["max_neighbors"] = by
	}
	return s, from, s.check()
}

// completeK raises the number of neighbours to keep to those that are asked for,
// and returns the name of the setting by which, or "".
func (s *Settings) completeK() (by string) {
	p := &s.Scoring
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
func readConfig(path string, table []setting, from Sources, alone func(i int, text string) error) error {
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

// Print writes the settings for the images of a set as a configuration file
// that says where each value comes from.
func (o Request) Print(w io.Writer, set *dataset.Set) error {
	s, from, err := o.Resolve(set.Shape())
	if err != nil {
		return err
	}
	// What an empty value stands for. It is not written in its place, so that the
	// file goes for other models and other data too.
	own := map[string]string{
		"scale": string(cmp.Or(set.Scale, dataset.ScaleMinMax)),
		"space": s.Model.SpaceNames()[0],
	}
	fmt.Fprintf(w, "# nlnctl train --arch %s --preset %s, for images of %v\n", o.Arch, o.Preset, set.Shape())
	for _, t := range s.table() {
		if t.archs != nil && !slices.Contains(t.archs, o.Arch) {
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
