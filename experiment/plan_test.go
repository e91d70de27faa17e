package experiment

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// root returns a folder with a category, as plans that look for some want it.
func root(t *testing.T) string {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "mvtec", "bottle"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Every plan gives cells with every budget, each once, of settings that there are.
func TestPlansExpand(t *testing.T) {
	data := root(t)
	var all []string
	for _, name := range Plans() {
		p, err := ReadPlan(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Title == "" || len(p.Make) == 0 {
			t.Errorf("%s has no title or makes nothing", name)
		}
		for _, budget := range []string{"smoke", "quick", "full"} {
			cells, err := p.Expand(budget, data, "net.pt")
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, c := range cells {
				key := c.Digest("", nil)
				if seen[key] {
					t.Errorf("%s with %s has %v twice", name, budget, c)
				}
				seen[key] = true
				if budget == "full" && name == "paper" {
					all = append(all, key)
				}
				if Baseline(c.Method) {
					continue
				}
				if !slices.Contains(models.Archs(), c.Method) {
					t.Errorf("%s: unknown method %s", name, c.Method)
				}
				if _, _, err := c.request().Resolve(shapeOf(c)); err != nil {
					t.Errorf("%s with %s: %v: %v", name, budget, c, err)
				}
			}
		}
	}
	// The grids of tables 1 and 2 alone are 1,800 trainings a seed; what the others
	// need is mostly among these.
	if n := len(all); n < 3*1800 || n > 3*1900 {
		t.Errorf("the paper's plan has %d cells", n)
	}
}

func TestPlanErrors(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"title: x\nmake: [table1]\n":                                 "no cells",
		"cells:\n  - {data: [mnist], protocol: miso, methods: [ae]}": "methods",
		"cells:\n  - {data: [mnist], protocol: misso, method: [ae]}": "misso",
		"cells:\n  - {data: [mnist], protocol: miso, method: [ae]}":  "latent",
		"include: [table9]": "table9",
		"cells:\n  - {data: [no/*], protocol: defects, method: [pixels]}":      "nothing in",
		"cells:\n  - {data: [mnist], protocol: miso, method: [ae], latent: x}": "line 2",
	} {
		path := filepath.Join(dir, "p.yaml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := ReadPlan(path)
		if err == nil {
			_, err = p.Expand("quick", dir, "")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := ReadPlan("tabel1"); err == nil || !strings.Contains(err.Error(), `nearest is "table1"`) {
		t.Error(err)
	}
	p, err := ReadPlan("table1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Expand("tiny", dir, ""); err == nil || !strings.Contains(err.Error(), "smoke") {
		t.Error(err)
	}
}

// What is another training has another folder, and what is not has none.
func TestDigest(t *testing.T) {
	c := Cell{Data: "mnist", Protocol: "miso", Class: "1", Method: "ae", Latent: 32, Preset: "fast", K: []int{1}, Alpha: []float64{.5}}
	settings := map[string]string{"lr": "0.001"}
	was := c.Digest("d", settings)
	others := map[string]string{
		"data":     c.Digest("e", settings),
		"settings": c.Digest("d", map[string]string{"lr": "0.002"}),
	}
	for name, change := range map[string]func(c *Cell){
		"class": func(c *Cell) { c.Class = "2" }, "seed": func(c *Cell) { c.Seed = 1 }, "k": func(c *Cell) { c.K = []int{1, 2} },
		"limit": func(c *Cell) { c.TrainImages = 5 }, "method": func(c *Cell) { c.Method = "vae" },
	} {
		d := c
		change(&d)
		others[name] = d.Digest("d", settings)
	}
	for name, d := range others {
		if d == was {
			t.Errorf("another %s is the same cell", name)
		}
	}
	c.Pictures, c.Pixels = 4, true
	if c.Digest("d", settings) != was {
		t.Error("pictures make another cell")
	}
	if (Record{}).serves(c) || !(Record{Cell: c}).serves(Cell{Pictures: 2}) {
		t.Error("a record serves cells of which it has no pictures, or does not serve one with fewer")
	}
}

func TestExamplesAreKept(t *testing.T) {
	shape := shapeOf(Cell{})
	pix := make([]float32, shape.Len())
	for i := range pix {
		pix[i] = float32(i) / float32(len(pix))
	}
	x := Examples{ErrorRange: nln.Range{Min: .1, Max: .9}, Images: []Example{{Name: "a", Class: "b", Novel: true, Shape: shape, Input: pix, Recon: pix,
		Neighbors: [][]float32{pix, pix}, ErrorMap: pix[:shape.H*shape.W], Mask: make([]byte, shape.H*shape.W), Total: 3, K: 2, Alpha: .5}}}
	dir := filepath.Join(t.TempDir(), "cell")
	if err := save(dir, Record{Format: Format, Digest: "cell", Cell: Cell{Pictures: 1}}, &x); err != nil {
		t.Fatal(err)
	}
	y, err := readExamples(filepath.Join(dir, examplesFile))
	if err != nil {
		t.Fatal(err)
	}
	got, want := y.Images[0], x.Images[0]
	if got.Name != want.Name || !got.Novel || !slices.Equal(got.Input, want.Input) || len(got.Neighbors) != 2 || !slices.Equal(got.Neighbors[1], pix) ||
		!slices.Equal(got.ErrorMap, want.ErrorMap) || got.ScoreMap != nil || len(got.Mask) != len(want.Mask) || got.Total != 3 || y.ErrorRange != x.ErrorRange {
		t.Errorf("read back %+v", got)
	}
}
