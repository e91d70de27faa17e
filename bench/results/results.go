// Package results is what the benchmarks found: kept as JSON, from which the page
// docs/benchmarks.md is written, and with which later measurements are compared.
// [Read] and [Results.Save] are where to begin.
package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/nlnctl/nlnctl/bench/workload"
)

// Where the results and their page are in a folder, which is the repository for
// those that are kept in it.
const (
	File = "bench/ratios.json"
	Page = "docs/benchmarks.md"
)

// Results are what the programs found, nil for one that has not run.
type Results struct {
	Comparison *Comparison `json:"comparison,omitempty"` // of bench/compare
	Growth     *Growth     `json:"growth,omitempty"`     // of bench/growth
}

// A Stamp says when, where and how something was measured.
type Stamp struct {
	Date      string            `json:"date"`
	Commit    string            `json:"commit"`
	Command   string            `json:"command"`
	Minutes   float64           `json:"minutes"` // that the run took
	Machine   Machine           `json:"machine"`
	Libraries map[string]string `json:"libraries,omitempty"` // version by name
}

// A Comparison is one run of both sides.
type Comparison struct {
	Stamp
	Data    []Data   `json:"data"`
	Cases   []Case   `json:"cases"`
	Checks  []Check  `json:"checks"` // that the sides found the same
	Peaks   []Peak   `json:"peaks"`  // memory of training
	Starts  []Start  `json:"starts"`
	Files   []Files  `json:"files"`
	Streams []Stream `json:"streams"`
	Roofs   []Roof   `json:"roofs"`

	Again []Stamp `json:"again,omitempty"` // runs that measured a part of it anew
}

// Update puts what a run of a part found in the place of what stood there.
func (c *Comparison) Update(part *Comparison) {
	c.Data = replaced(c.Data, part.Data, func(d Data) string { return d.Name })
	c.Cases = replaced(c.Cases, part.Cases, func(d Case) string { return d.Name })
	c.Checks = replaced(c.Checks, part.Checks, func(d Check) string { return d.Name + " " + d.Way })
	c.Peaks = replaced(c.Peaks, part.Peaks, func(p Peak) string { return p.Name })
	c.Starts = replaced(c.Starts, part.Starts, func(s Start) string { return s.Name })
	c.Files = replaced(c.Files, part.Files, func(f Files) string { return fmt.Sprint(f.Name, f.Threads) })
	c.Streams = replaced(c.Streams, part.Streams, func(s Stream) string { return fmt.Sprint(s.Images) })
	c.Roofs = replaced(c.Roofs, part.Roofs, func(r Roof) string { return fmt.Sprint(r.Threads) })
	c.Again = append(c.Again, part.Stamp)
}

// replaced returns old with those of another key of new in their places, or behind.
func replaced[T any](old, new []T, key func(T) string) []T {
	for _, v := range new {
		if i := slices.IndexFunc(old, func(o T) bool { return key(o) == key(v) }); i >= 0 {
			old[i] = v
		} else {
			old = append(old, v)
		}
	}
	return old
}

// Data is what a case was measured on.
type Data struct {
	Name    string `json:"name"`    // such as "paper/28x28x1/L32"
	Source  string `json:"source"`  // such as "mnist"
	Entries int    `json:"entries"` // in the index; 0: for training alone
	Trained int    `json:"trained"` // images that the model was trained on
}

// A Case is one task at one setting, done by us and by peers in turn.
type Case struct {
	Name  string `json:"name"` // such as "search/28x28x1/L32/threads1/batch/K3"
	Unit  string `json:"unit"` // such as "images/s"
	Ours  Spread `json:"ours"`
	Peers []Peer `json:"peers"`
}

// A Peer is another way to do a case.
type Peer struct {
	Way    string  `json:"way"`
	Rate   Spread  `json:"rate"`
	Ratio  Spread  `json:"ratio"`            // ours over theirs, round by round
	Target float64 `json:"target,omitempty"` // of the ratio; 0: none was set
	Recall float64 `json:"recall,omitempty"` // of a search that is not exact
}

// A Check says how far the answers of both sides agree.
type Check struct {
	Name   string `json:"name"`
	Way    string `json:"way"`
	Result string `json:"result"`
}

// A Peak is the largest resident memory of training, in MB, the libraries
// and the images included.
type Peak struct {
	Name string             `json:"name"`
	Ours float64            `json:"ours"`
	Ways map[string]float64 `json:"ways"`
}

// A Start is one image scored from nothing.
type Start struct {
	Name    string  `json:"name"`
	Entries int     `json:"entries"` // of the bundle
	Ours    Launch  `json:"ours"`
	Peer    Launch  `json:"peer"`
	Ratio   float64 `json:"ratio"` // of the peer's seconds to ours
}

// A Launch is what a program that starts and ends took.
type Launch struct {
	Seconds   Spread  `json:"seconds"`
	Peak      float64 `json:"peak_mb"`
	Libraries float64 `json:"libraries_mb"` // peak of a process that only loads them
}

// Beyond returns the memory beyond the libraries, in MB.
func (l Launch) Beyond() float64 { return l.Peak - l.Libraries }

// Files are the stages of scoring image files, each alone, and all together.
type Files struct {
	Name    string           `json:"name"`
	Count   int              `json:"count"`
	Threads int              `json:"threads"`
	Start   workload.Stage   `json:"start"` // of the command: an image alone
	Stages  []workload.Stage `json:"stages"`
	Whole   workload.Stage   `json:"whole"` // zero where there is no model for such images
	Ratio   Spread           `json:"ratio"` // of the whole to the slowest stage
}

// Rate returns the files a second of the whole.
func (f Files) Rate() float64 { return float64(f.Count) / f.Whole.Seconds }

// Slowest returns the seconds of the slowest stage.
func (f Files) Slowest() (seconds float64) {
	for _, s := range f.Stages {
		seconds = max(seconds, s.Seconds)
	}
	return seconds
}

// Bound returns the shortest time for the work of all stages and the start on
// n processors.
func (f Files) Bound(n int) float64 {
	sum := f.Start.CPU
	for _, s := range f.Stages {
		sum += s.CPU
	}
	return sum / float64(n)
}

// A Stream is the resident memory while many images are scored, in MB.
type Stream struct {
	Images  int     `json:"images"`
	Minutes float64 `json:"minutes"`
	Early   float64 `json:"early_mb"` // after a tenth of the images
	Late    float64 `json:"late_mb"`  // at the end
	Peak    float64 `json:"peak_mb"`
}

// A Roof is what a machine gives with some threads, and what the stages reach.
type Roof struct {
	Threads int         `json:"threads"`
	GEMM    float64     `json:"gemm_gflops"` // float32
	Copy    float64     `json:"copy_gbs"`    // bytes read and bytes written, 1e9 a second
	Stages  []RoofStage `json:"stages"`
}

// A RoofStage is a part of the main path with its operations and bytes, counted.
type RoofStage struct {
	Name    string  `json:"name"`
	FLOP    float64 `json:"flop"`  // of a call
	Bytes   float64 `json:"bytes"` // that a call must read and write at least
	Seconds float64 `json:"seconds"`
}

// Limit returns what bounds a stage on r, the seconds it would take there, and
// the share of the limit that it reaches.
func (r Roof) Limit(s RoofStage) (name string, seconds, share float64) {
	compute, memory := s.FLOP/r.GEMM/1e9, s.Bytes/r.Copy/1e9
	if compute > memory {
		return "arithmetic", compute, compute / s.Seconds
	}
	return "memory", memory, memory / s.Seconds
}

// Growth is how cost grows.
type Growth struct {
	Stamp
	Points    []Point    `json:"points"`
	Fits      []Fit      `json:"fits"`
	Crossings []Crossing `json:"crossings"`
}

// A Point is one measurement of a curve.
type Point struct {
	Axis   string  `json:"axis"` // what is varied: "N", "L", "K", ...
	Kind   string  `json:"kind"` // what is measured, such as "exact"
	X      float64 `json:"x"`
	Rate   float64 `json:"rate"` // images or queries a second
	MB     float64 `json:"mb"`   // resident memory that it added
	Recall float64 `json:"recall,omitempty"`
	Build  float64 `json:"build_s,omitempty"`
}

// A Fit is the exponent p of rate ~ x^p along the second half of a curve.
type Fit struct {
	Axis     string  `json:"axis"`
	Kind     string  `json:"kind"`
	Exponent float64 `json:"exponent"`
	From     float64 `json:"from"`
}

// A Crossing is from where on a kind of index is faster than the exact search.
type Crossing struct {
	Kind   string  `json:"kind"`
	N      float64 `json:"n"` // 0: nowhere
	Recall float64 `json:"recall"`
}

// Ratios returns the ratio of each case to each peer, higher being better.
func (c *Comparison) Ratios() map[string]float64 {
	ratios := map[string]float64{}
	for _, k := range c.Cases {
		for _, p := range k.Peers {
			ratios[k.Name+" "+p.Way] = p.Ratio.Median
		}
	}
	return ratios
}

// Case returns the case of a name, nil if there is none.
func (c *Comparison) Case(name string) *Case {
	if i := slices.IndexFunc(c.Cases, func(k Case) bool { return k.Name == name }); i >= 0 {
		return &c.Cases[i]
	}
	return nil
}

// Read returns the results in a folder; there may be none.
func Read(dir string) (Results, error) {
	var r Results
	b, err := os.ReadFile(filepath.Join(dir, File))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("results: read: %w", err)
	}
	return r, nil
}

// Save writes the results and their page to a folder.
func (r Results) Save(dir string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("results: write: %w", err)
	}
	page, err := r.Render()
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{File: append(b, '\n'), Page: page} {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("results: write: %w", err)
		}
	}
	return nil
}
