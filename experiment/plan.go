package experiment

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/spelling"
	"go.yaml.in/yaml/v3"
)

// A Plan says what is measured. It is a YAML file; those of the paper's tables and
// figures are part of the program, see [Plans].
type Plan struct {
	Name    string   `yaml:"-"`
	Title   string   `yaml:"title"`
	Make    []string `yaml:"make"`    // tables and figures, as package paper calls them
	Include []string `yaml:"include"` // other plans of the program, whose cells and tables are of this one too
	Cells   []Grid   `yaml:"cells"`

	K     []int     `yaml:"k"`     // numbers of neighbours; empty: the paper's
	Alpha []float64 `yaml:"alpha"` // weights of the error term; empty: the paper's

	Budgets map[string]Budget `yaml:"budgets"` // beside those of the program, or in their place
}

// A Grid is cells: one for each combination of the values in its lists.
type Grid struct {
	Data     []string          `yaml:"data"`     // folders of the data's root; "mvtec/*" is each category that is there
	Protocol dataset.Protocol  `yaml:"protocol"` // miso, simo or defects
	Classes  []string          `yaml:"classes"`  // numbers; empty: 0 to 9
	Method   []string          `yaml:"method"`   // models and baselines
	Latent   Latents           `yaml:"latent"`   // numbers, or "grid": those of the budget
	Preset   string            `yaml:"preset"`   // empty: the budget's
	Settings map[string]string `yaml:"settings"` // over those of the budget
	Pictures int               `yaml:"pictures"` // test images to keep for figures
}

// Latents are lengths of latent vectors.
type Latents struct {
	Grid  bool // those of the budget
	Sizes []int
}

// UnmarshalYAML takes a list of numbers or "grid".
func (l *Latents) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value == "grid" {
		l.Grid = true
		return nil
	}
	return n.Decode(&l.Sizes)
}

// A Budget says how much work is spent on a plan.
type Budget struct {
	About    string            `yaml:"about"`
	Preset   string            `yaml:"preset"`
	Settings map[string]string `yaml:"settings"`
	Seeds    []uint64          `yaml:"seeds"`
	Latent   []int             `yaml:"latent"`  // of a grid that asks for the budget's
	Classes  int               `yaml:"classes"` // at most so many; 0: all

	TrainImages int `yaml:"train_images"` // at most so many; 0: all
	TestImages  int `yaml:"test_images"`

	// Of sets of image files, under the protocol defects, what differs.
	Defects struct {
		Size     int               `yaml:"size"`
		Settings map[string]string `yaml:"settings"`
	} `yaml:"defects"`
}

//go:embed plans/*.yaml
var shipped embed.FS

// budgetsFile has the budgets of the program.
const budgetsFile = "plans/budgets.yaml"

// Plans returns the names of the plans of the program.
func Plans() []string {
	files, err := fs.Glob(shipped, "plans/*.yaml")
	if err != nil {
		panic(err)
	}
	var names []string
	for _, f := range files {
		if f != budgetsFile {
			names = append(names, strings.TrimSuffix(filepath.Base(f), ".yaml"))
		}
	}
	return names
}

// ReadPlan returns the plan of a name, or that of a YAML file.
func ReadPlan(nameOrFile string) (*Plan, error) {
	p, err := readPlan(nameOrFile)
	if err != nil {
		return nil, fmt.Errorf("experiment: %w", err)
	}
	return p, nil
}

func readPlan(nameOrFile string) (*Plan, error) {
	text, err := PlanText(nameOrFile)
	if err != nil {
		return nil, err
	}
	p := &Plan{Name: strings.TrimSuffix(filepath.Base(nameOrFile), filepath.Ext(nameOrFile))}
	if err := decode(text, p); err != nil {
		return nil, fmt.Errorf("%s: %w", nameOrFile, err)
	}
	budgets := map[string]Budget{}
	text, err = shipped.ReadFile(budgetsFile)
	if err != nil {
		return nil, err
	}
	if err := decode(text, &budgets); err != nil {
		return nil, fmt.Errorf("%s: %w", budgetsFile, err)
	}
	maps.Copy(budgets, p.Budgets)
	p.Budgets = budgets
	if len(p.K) == 0 {
		p.K = []int{1, 2, 3, 5, 10}
	}
	if len(p.Alpha) == 0 {
		p.Alpha = []float64{0, .1, .2, .25, .3, .4, .5, .6, .7, .75, .8, .9, 1}
	}
	for _, name := range p.Include {
		if !slices.Contains(Plans(), name) {
			return nil, fmt.Errorf("%s includes %q, which is none of: %s", nameOrFile, name, strings.Join(Plans(), ", "))
		}
		other, err := readPlan(name)
		if err != nil {
			return nil, err
		}
		p.Make = append(p.Make, other.Make...)
		p.Cells = append(p.Cells, other.Cells...)
	}
	if len(p.Cells) == 0 {
		return nil, fmt.Errorf("%s has no cells", nameOrFile)
	}
	return p, nil
}

// PlanText returns the YAML of a plan.
func PlanText(nameOrFile string) ([]byte, error) {
	if slices.Contains(Plans(), nameOrFile) {
		return shipped.ReadFile("plans/" + nameOrFile + ".yaml")
	}
	text, err := os.ReadFile(nameOrFile)
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(nameOrFile) == nameOrFile {
		near := slices.MinFunc(Plans(), func(a, b string) int {
			return spelling.Distance(nameOrFile, a) - spelling.Distance(nameOrFile, b)
		})
		return nil, fmt.Errorf("no plan %q, nearest is %q; there are: %s, or a YAML file", nameOrFile, near, strings.Join(Plans(), ", "))
	}
	return text, err
}

func decode(text []byte, v any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// Expand returns the cells of a plan with a budget, each once, in the order of the
// plan. root is the folder of the data sets, and backbone what is said of the network of
// MethodDKNN, without which there are no cells of it.
func (p *Plan) Expand(budget, root, backbone string) ([]Cell, error) {
	b, ok := p.Budgets[budget]
	if !ok {
		return nil, fmt.Errorf("experiment: unknown budget %q, want one of: %s", budget, strings.Join(slices.Sorted(maps.Keys(p.Budgets)), ", "))
	}
	var cells []Cell
	at := map[string]int{}
	for i, g := range p.Cells {
		some, err := g.expand(b, root, backbone)
		if err != nil {
			return nil, fmt.Errorf("experiment: %s: entry %d of cells: %w", p.Name, i+1, err)
		}
		for _, c := range some {
			c.K, c.Alpha = p.K, p.Alpha
			key := c.Digest("", nil)
			if j, seen := at[key]; seen {
				cells[j].Pictures = max(cells[j].Pictures, c.Pictures)
				continue
			}
			at[key] = len(cells)
			cells = append(cells, c)
		}
	}
	if len(cells) == 0 {
		return nil, fmt.Errorf("experiment: nothing in %s has the data that plan %s is of", root, p.Name)
	}
	return cells, nil
}

// expand returns the cells of a grid.
func (g Grid) expand(b Budget, root, backbone string) (cells []Cell, err error) {
	if g.Protocol, err = dataset.ParseProtocol(string(g.Protocol)); err != nil {
		return nil, err
	}
	data, err := g.data(root)
	if err != nil {
		return nil, err
	}
	sizes := g.Latent.Sizes
	if g.Latent.Grid {
		sizes = b.Latent
	}
	for _, name := range data {
		for _, class := range g.classes(b) {
			for _, method := range g.Method {
				c := Cell{Data: name, Protocol: g.Protocol, Class: class, Method: method,
					TrainImages: b.TrainImages, TestImages: b.TestImages, Pictures: g.Pictures}
				if g.Protocol == dataset.Defects {
					c.Size, c.Pixels = b.Defects.Size, !Baseline(method)
				}
				switch {
				case method == MethodDKNN && backbone == "":
				case Baseline(method):
					if method == MethodDKNN {
						c.Backbone = backbone
					}
					c.Pictures = 0
					cells = append(cells, c)
				case len(sizes) == 0:
					return nil, fmt.Errorf("%s needs latent: numbers, or grid", method)
				default:
					cells = append(cells, g.models(b, c, sizes)...)
				}
			}
		}
	}
	return cells, nil
}

// models returns the cells of c with each length of latents and each seed.
func (g Grid) models(b Budget, c Cell, sizes []int) (cells []Cell) {
	c.Preset, c.Settings = b.Preset, maps.Clone(b.Settings)
	if g.Preset != "" {
		c.Preset = g.Preset
	}
	if c.Settings == nil {
		c.Settings = map[string]string{}
	}
	if g.Protocol == dataset.Defects {
		maps.Copy(c.Settings, b.Defects.Settings)
	}
	maps.Copy(c.Settings, g.Settings)
	for _, l := range sizes {
		for _, seed := range b.Seeds {
			c.Latent, c.Seed = l, seed
			cells = append(cells, c)
		}
	}
	return cells
}

// data returns the folders that the grid names; of a pattern those that are there.
func (g Grid) data(root string) (names []string, err error) {
	for _, d := range g.Data {
		parent, all := strings.CutSuffix(d, "/*")
		if !all {
			names = append(names, d)
			continue
		}
		entries, err := os.ReadDir(filepath.Join(root, parent))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, parent+"/"+e.Name())
			}
		}
	}
	return names, nil
}

// classes returns the classes of the grid, "" where the protocol takes none.
func (g Grid) classes(b Budget) []string {
	if !g.Protocol.NeedsClass() {
		return []string{""}
	}
	classes := g.Classes
	if len(classes) == 0 {
		for i := range 10 {
			classes = append(classes, strconv.Itoa(i))
		}
	}
	if b.Classes > 0 && len(classes) > b.Classes {
		classes = classes[:b.Classes]
	}
	return classes
}
