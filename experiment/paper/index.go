package paper

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
)

// A task is what class means are over: a data set under a protocol.
type task struct {
	set      string
	protocol dataset.Protocol
}

func (t task) String() string {
	s := cmp.Or(setNames[t.set], t.set)
	if t.set != mvtec {
		s += " " + strings.ToUpper(string(t.protocol))
	}
	return s
}

// place returns the task of a cell and which of its classes the cell is of.
func place(c experiment.Cell) (task, string) {
	if name, ok := strings.CutPrefix(c.Data, mvtec+"/"); ok {
		return task{mvtec, c.Protocol}, name
	}
	return task{c.Data, c.Protocol}, c.Class
}

// A key is what a result is found by.
type key struct {
	protocol, score string
	k               int
	alpha           int // in millionths: 1-0.9 is 0.1
}

func millionths(alpha float64) int { return int(math.Round(alpha * 1e6)) }

// A run is one training, with all that was measured of it.
type run struct {
	cell    experiment.Cell
	class   string
	records []*experiment.Record // one, or more of the same cell with other K and alpha
	images  map[key]nln.Result
	pixels  map[key]experiment.PixelResult
}

func newRun(c experiment.Cell, class string) *run {
	return &run{cell: c, class: class, images: map[key]nln.Result{}, pixels: map[key]experiment.PixelResult{}}
}

// add takes the results of a record that r has none of.
func (r *run) add(rec *experiment.Record) {
	r.records = append(r.records, rec)
	for _, v := range rec.Results {
		k := key{v.Protocol, v.Score, v.K, millionths(v.Alpha)}
		if _, ok := r.images[k]; !ok {
			r.images[k] = v
		}
	}
	for _, v := range rec.Pixels {
		k := key{v.Protocol, v.Score, v.K, millionths(v.Alpha)}
		if _, ok := r.pixels[k]; !ok {
			r.pixels[k] = v
		}
	}
}

// A model is one method of one size on one task.
type model struct {
	task   task
	method string
	latent int
}

// An index finds runs.
type index struct {
	runs    map[model][]*run // by class, then seed
	left    map[task][]string
	records []experiment.Record
	own     []experiment.Record // of these, those of settings that the paper has not: see beyond
}

// setup is what all cells behind one number must agree in: their seed, class, latent
// size and what is measured may differ.
func setup(c experiment.Cell) string {
	s, err := json.Marshal(struct {
		Preset            string
		Settings          map[string]string
		Size, Train, Test int
		Backbone          string
	}{c.Preset, c.Settings, c.Size, c.TrainImages, c.TestImages, c.Backbone})
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return string(s)
}

// settingWords says what settings of some names a cell has.
func settingWords(c experiment.Cell, some func(name string) bool) (words []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		if some(name) {
			words = append(words, name+" = "+c.Settings[name])
		}
	}
	return words
}

// setupWords says what setup holds.
func setupWords(c experiment.Cell) string {
	var words []string
	if c.Preset != "" {
		words = append(words, "preset "+c.Preset)
	}
	words = append(words, settingWords(c, func(string) bool { return true })...)
	if c.Size > 0 {
		words = append(words, fmt.Sprintf("images of %d by %d pixels", c.Size, c.Size))
	}
	if c.TrainImages > 0 {
		words = append(words, fmt.Sprintf("at most %d training images, drawn at random", c.TrainImages))
	}
	if c.TestImages > 0 {
		words = append(words, fmt.Sprintf("at most %d test images, drawn at random", c.TestImages))
	}
	if c.Backbone != "" {
		words = append(words, "features of "+c.Backbone)
	}
	if words == nil {
		return "no settings of its own"
	}
	return strings.Join(words, ", ")
}

func newIndex(records []experiment.Record) *index {
	ix := &index{runs: map[model][]*run{}, left: map[task][]string{}, records: records}
	type method struct {
		task task
		name string
	}
	groups := map[method]map[string][]*experiment.Record{}
	for i := range records {
		rec := &records[i]
		if beyond(rec.Cell) {
			ix.own = append(ix.own, *rec)
			continue
		}
		t, _ := place(rec.Cell)
		m, s := method{t, rec.Cell.Method}, setup(rec.Cell)
		if groups[m] == nil {
			groups[m] = map[string][]*experiment.Record{}
		}
		groups[m][s] = append(groups[m][s], rec)
	}
	ordered := slices.SortedFunc(maps.Keys(groups), func(a, b method) int {
		return cmp.Or(strings.Compare(a.task.String(), b.task.String()), strings.Compare(a.name, b.name))
	})
	for _, m := range ordered {
		setups := slices.SortedFunc(maps.Keys(groups[m]), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(groups[m][b]), len(groups[m][a])), strings.Compare(a, b))
		})
		for i, s := range setups {
			recs := groups[m][s]
			if i == 0 {
				ix.add(recs)
				continue
			}
			ix.left[m.task] = append(ix.left[m.task], fmt.Sprintf("Left out, for other records of %s on %s are more: %s with %s.",
				methodName(m.name), m.task, plural(len(recs), "record"), setupWords(recs[0].Cell)))
		}
	}
	ix.sort()
	return ix
}

// sort puts the runs of each model in order.
func (ix *index) sort() {
	for _, runs := range ix.runs {
		slices.SortFunc(runs, func(a, b *run) int {
			return cmp.Or(compareClasses(a.class, b.class), cmp.Compare(a.cell.Seed, b.cell.Seed))
		})
	}
}

func (ix *index) add(records []*experiment.Record) {
	type slot struct {
		model model
		class string
		seed  uint64
	}
	found := map[slot]*run{}
	for _, rec := range records {
		t, class := place(rec.Cell)
		s := slot{model{t, rec.Cell.Method, rec.Cell.Latent}, class, rec.Cell.Seed}
		if found[s] == nil {
			found[s] = newRun(rec.Cell, class)
			ix.runs[s.model] = append(ix.runs[s.model], found[s])
		}
		found[s].add(rec)
	}
}

// compareClasses orders numbers by value and names by the alphabet.
func compareClasses(a, b string) int {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}

// latents returns the latent sizes of a method on a task, ascending.
func (ix *index) latents(t task, method string) []int {
	var sizes []int
	for m := range ix.runs {
		if m.task == t && m.method == method {
			sizes = append(sizes, m.latent)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// has says whether any of the methods was run on a task.
func (ix *index) has(t task, methods ...string) bool {
	return slices.ContainsFunc(methods, func(m string) bool { return len(ix.latents(t, m)) > 0 })
}

func methodName(method string) string {
	if name := modelNames[method]; name != "" {
		return name
	}
	switch method {
	case experiment.MethodPixels:
		return "pixels"
	case experiment.MethodPCA:
		return "PCA"
	case experiment.MethodDKNN:
		return "DKNN, run here"
	}
	return method
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
