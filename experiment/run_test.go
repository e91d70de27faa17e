package experiment

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/dataset/synth"
	"github.com/nlnctl/nlnctl/nln"
)

// shapeOf returns the shape of the images that a cell is of.
func shapeOf(c Cell) dataset.Shape {
	switch {
	case strings.HasPrefix(c.Data, "cifar"):
		return dataset.Shape{C: 3, H: 32, W: 32}
	case c.Size > 0:
		return dataset.Shape{C: 3, H: c.Size, W: c.Size}
	}
	return dataset.Shape{C: 1, H: 28, W: 28}
}

// tiny is a plan of a few seconds over generated data.
const tiny = `
title: tiny
make: [table1]
k: [1, 2]
alpha: [0, 0.8, 1]
cells:
  - {data: [mnist], protocol: miso, classes: [0, 3], method: [ae], latent: [8], pictures: 3}
  - {data: [mnist], protocol: miso, classes: [0], method: [pixels, pca]}
  - {data: [mvtec/symbols], protocol: defects, method: [ae], latent: [8]}
budgets:
  tiny:
    preset: fast
    settings: {filters: const, steps: 4, batch: 16}
    seeds: [0]
    train_images: 120
    test_images: 60
    defects: {settings: {patch: 64, batch: 4}}
`

// generated makes the data sets of tests once.
var generated = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nlnctl-experiment-")
	if err == nil {
		err = synth.WriteAll(dir, 1)
	}
	return dir, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := generated(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func tinyOptions(t *testing.T, text string) Options {
	t.Helper()
	data, err := generated()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tiny.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := ReadPlan(path)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Plan: p, Budget: "tiny", Dir: filepath.Join(t.TempDir(), "run"), Data: data, Program: "test"}
}

func TestRun(t *testing.T) {
	o := tinyOptions(t, tiny)
	rep, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if rep != (Report{Cells: 5, Done: 5}) {
		t.Fatalf("%+v", rep)
	}
	records, examples, err := Load(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 5 || len(examples) != 2 {
		t.Fatalf("%d records, %d with examples", len(records), len(examples))
	}
	for _, r := range records {
		checkRecord(t, r)
	}
	for _, x := range examples {
		if len(x.Images) != 3 || !x.Images[0].Novel || x.Images[2].Novel || !(x.ErrorRange.Max > x.ErrorRange.Min) || len(x.Images[0].Neighbors) == 0 {
			t.Errorf("examples of %v: %d, ranges %+v", x.Cell, len(x.Images), x.ErrorRange)
		}
	}
	// Once more there is nothing to do, and what is there is not touched.
	was := times(t, o.Dir)
	if rep, err = Run(t.Context(), o); err != nil || rep != (Report{Cells: 5, Before: 5}) {
		t.Fatalf("again: %+v, %v", rep, err)
	}
	if !maps.Equal(was, times(t, o.Dir)) {
		t.Error("cells were written again")
	}
	// Other settings are other cells.
	other := tinyOptions(t, strings.Replace(tiny, "steps: 4", "steps: 5", 1))
	other.Dir = o.Dir
	if rep, err = Run(t.Context(), other); err != nil || rep != (Report{Cells: 5, Done: 3, Before: 2}) {
		t.Fatalf("with other settings: %+v, %v", rep, err)
	}
	// Another budget has another folder.
	o.Budget = "smoke"
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "take another folder") {
		t.Errorf("another budget: %v", err)
	}
}

// times returns when the records of a run were written.
func times(t *testing.T, run string) map[string]int64 {
	found, err := filepath.Glob(filepath.Join(run, cellsDir, "*", recordFile))
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int64{}
	for _, f := range found {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		at[f] = st.ModTime().UnixNano()
	}
	return at
}

func checkRecord(t *testing.T, r Record) {
	t.Helper()
	if r.Inliers == 0 || r.Train == 0 || r.Calibration == 0 || r.Indexed == 0 || r.Test == 0 || r.Novel == 0 || len(r.Results) == 0 || r.Program != "test" {
		t.Errorf("%v: %+v", r.Cell, r)
	}
	scores := map[string]int{}
	for _, x := range r.Results {
		scores[x.Score]++
		if !(x.AUROC >= 0 && x.AUROC <= 1 && x.Lo <= x.AUROC && x.AUROC <= x.Hi) {
			t.Errorf("%v: %+v", r.Cell, x)
		}
	}
	want := map[string]int{nln.ScoreRecon: 2, nln.ScoreError: 4, nln.ScoreDistance: 4, nln.ScoreTotal: 12, nln.ScoreSum3: 4, nln.ScoreLocal: 4, nln.ScoreProduct: 4}
	switch r.Cell.Method {
	case MethodPixels:
		want = map[string]int{nln.ScoreDistance: 4}
	case MethodPCA:
		want = map[string]int{nln.ScoreRecon: 2, nln.ScoreDistance: 4}
	}
	if !maps.Equal(scores, want) {
		t.Errorf("%v: %v, want %v", r.Cell, scores, want)
	}
	if pixels := len(r.Pixels); r.Cell.Pixels && pixels != 2+2*3 || !r.Cell.Pixels && pixels != 0 {
		t.Errorf("%v: %d results of pixels", r.Cell, pixels)
	}
}

// An interrupt leaves what is done; a second run does the rest and goes on with the
// training that had begun.
func TestInterrupt(t *testing.T) {
	o := tinyOptions(t, tiny)
	ctx, cancel := context.WithCancel(t.Context())
	o.Done = func(_ Record, done, all int) {
		if done == 2 && all == 5 {
			cancel()
		}
	}
	if rep, err := Run(ctx, o); !errors.Is(err, context.Canceled) || rep.Done != 2 {
		t.Fatalf("%+v, %v", rep, err)
	}
	was := times(t, o.Dir)
	if rep, err := Run(t.Context(), o); err != nil || rep != (Report{Cells: 5, Done: 3, Before: 2}) {
		t.Fatalf("%+v, %v", rep, err)
	}
	for f, at := range times(t, o.Dir) {
		if old, ok := was[f]; ok && old != at {
			t.Errorf("%s was done again", f)
		}
	}
}

// Two runs of one folder share out the cells.
func TestTwoRuns(t *testing.T) {
	o := tinyOptions(t, tiny)
	var wg sync.WaitGroup
	reports := make([]Report, 2)
	for i := range reports {
		wg.Go(func() {
			var err error
			if reports[i], err = Run(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done := reports[0].Done + reports[1].Done; done != 5 || reports[0].Done == 0 || reports[1].Done == 0 {
		t.Errorf("%+v", reports)
	}
}

// A cell that cannot be done leaves the others alone.
func TestFailingCell(t *testing.T) {
	o := tinyOptions(t, strings.Replace(tiny, "classes: [0, 3]", "classes: [0, 77]", 1))
	rep, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "mnist miso 77 ae L8 seed 0") || rep.Done != 4 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// A record that is damaged is an error of what reads it, and done again by a run.
func TestDamagedRecord(t *testing.T) {
	o := tinyOptions(t, tiny)
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for f := range times(t, o.Dir) {
		if err := os.Truncate(f, 40); err != nil {
			t.Fatal(err)
		}
		break
	}
	if _, _, err := Load(o.Dir); err == nil || !strings.Contains(err.Error(), "to do the cell again") {
		t.Errorf("load: %v", err)
	}
	if rep, err := Run(t.Context(), o); err != nil || rep.Done != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// The estimate finds what is left, and is of the size of what it takes.
func TestPredict(t *testing.T) {
	o := tinyOptions(t, tiny)
	e, err := Predict(t.Context(), o, 1)
	if err != nil {
		t.Fatal(err)
	}
	if e.Cells != 5 || e.Left != 5 || !(e.Seconds > 0) || e.Bytes == 0 {
		t.Errorf("%+v", e)
	}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	records, _, err := Load(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var seconds float64
	for _, r := range records {
		for _, s := range r.Seconds {
			seconds += s
		}
	}
	t.Logf("%.2f s said, %.2f s taken", e.Seconds, seconds)
	if e, err = Predict(t.Context(), o, 1); err != nil || e.Left != 0 || e.Seconds != 0 {
		t.Errorf("when all is done: %+v, %v", e, err)
	}
}
