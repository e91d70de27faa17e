// Command growth measures how speed and memory change with the number of
// vectors, the latent size, neighbours, image size, batch and threads, fits
// exponents, and writes curves and tables for docs/benchmarks.md.
//
//	growth          all of it: about fifteen minutes, and some 5 GB of memory
//	growth -quick   up to 10^5 vectors
//
// Each point is measured in a process of its own, so that its memory is its own.
// It needs a folder that bench/compare prepared.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/faissindex"
)

func main() {
	quick := flag.Bool("quick", false, "a part: up to 10^5 vectors")
	work := flag.String("work", "build/bench", "`FOLDER` in which bench/compare prepares")
	only := flag.String("only", "", "measure only curves over axes that match `REGEXP`, and put them in the place of those that are kept")
	out := flag.String("out", "", "write to this `FOLDER` (default: the repository, or build/bench/part for a part)")
	one := flag.String("point", "", "measure this one, as JSON, and print it")
	dir := flag.String("dir", "", "the prepared `FOLDER` of -point")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *quick, *only, *work, *out, *one, *dir)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, quick bool, only, work, out, one, dir string) error {
	if one != "" {
		return printPoint(ctx, one, dir)
	}
	dir, err := prepared(work)
	if err != nil {
		return err
	}
	if out == "" {
		out = "."
		if quick {
			out = filepath.Join(work, "part")
		}
	}
	axes, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("growth: -only: %w", err)
	}
	start := time.Now()
	g := &results.Growth{Stamp: results.NewStamp(strings.Join(append([]string{"growth"}, os.Args[1:]...), " "))}
	if g.Points, err = curves(ctx, quick, dir, axes); err != nil {
		return err
	}
	if only != "" {
		if g.Points, err = beside(out, g.Points, axes); err != nil {
			return err
		}
	}
	g.Fits, g.Crossings = fits(g.Points), crossings(g.Points)
	g.Minutes = time.Since(start).Minutes()
	return save(g, out)
}

// prepared returns the folder of the smaller images, trained on real data if
// there is one.
func prepared(work string) (string, error) {
	for _, kind := range []string{"mnist", "synth"} {
		dir := filepath.Join(work, kind, "paper-28x28x1-L32")
		if _, err := os.Stat(filepath.Join(dir, "meta.json")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("growth: nothing prepared in %s; prepare it with: make bench-peers BENCH='-quick -only start'", work)
}

// A measurement is a point before it is measured.
type measurement struct {
	Axis    string
	Kind    string
	X       float64
	N       int // vectors
	L       int // values of each
	K       int // neighbours
	Side    int // of the images
	Batch   int
	Threads int
	Build   bool // the index of an approximate kind, for the measurement that follows
}

// usual are the settings of which each curve varies one.
var usual = measurement{N: 60000, L: 32, K: 3, Side: 28, Batch: 1024, Threads: 1}

// A curve is a list of values of one setting for some kinds of work.
type curve struct {
	axis   string
	kinds  []string
	values []float64
	set    func(m *measurement, x float64)
}

// axes of what is varied.
const (
	axisN       = "vectors N"
	axisL       = "latent size L"
	axisK       = "neighbours K"
	axisSide    = "image side"
	axisBatch   = "batch"
	axisThreads = "threads"
)

// all returns the curves; the quick ones end early.
func all(quick bool) []curve {
	n := []float64{1e3, 3162, 1e4, 31623, 1e5, 316228, 1e6, 3162278, 1e7}
	sides, batches := []float64{28, 56, 112, 224}, []float64{1, 4, 16, 64, 256, 1024, 4096}
	latents, ks := []float64{8, 16, 32, 64, 128, 256}, []float64{1, 3, 10, 30, 100}
	if quick {
		n, sides, batches, latents, ks = n[:5], sides[:2], batches[:6], latents[1:5], ks[:3]
	}
	return []curve{
		{axisN, []string{exactKind, string(faissindex.HNSW), string(faissindex.IVF)}, n, func(m *measurement, x float64) { m.N = int(x) }},
		{axisL, []string{exactKind}, latents, func(m *measurement, x float64) { m.L = int(x) }},
		{axisK, []string{exactKind}, ks, func(m *measurement, x float64) { m.K = int(x) }},
		{axisSide, []string{encodeKind, trainKind}, sides, func(m *measurement, x float64) { m.Side = int(x) }},
		{axisBatch, []string{exactKind, scoreKind}, batches, func(m *measurement, x float64) { m.Batch = int(x) }},
		{axisThreads, []string{exactKind, scoreKind, trainKind}, []float64{1, 2}, func(m *measurement, x float64) { m.Threads = int(x) }},
	}
}

// patience is how long an index may take to build; a curve ends before its next
// point would take longer.
const patience = 150.

// beside returns the points that are kept in a folder, but for those over some axes,
// and the new ones.
func beside(out string, points []results.Point, axes *regexp.Regexp) ([]results.Point, error) {
	kept, err := results.Read(out)
	if err != nil || kept.Growth == nil {
		return points, err
	}
	old := slices.DeleteFunc(kept.Growth.Points, func(p results.Point) bool { return axes.MatchString(p.Axis) })
	return append(old, points...), nil
}

// curves measures the points of all curves over axes that match.
func curves(ctx context.Context, quick bool, dir string, axes *regexp.Regexp) (points []results.Point, err error) {
	for _, c := range all(quick) {
		if !axes.MatchString(c.axis) {
			continue
		}
		for _, kind := range c.kinds {
			var last results.Point
			for _, x := range c.values {
				m := usual
				m.Axis, m.Kind, m.X = c.axis, kind, x
				c.set(&m, x)
				if !sensible(m) {
					continue
				}
				if last.X > 0 && last.Build*x/last.X > patience {
					break
				}
				if _, err := measureAlone(ctx, measurement{Kind: latentsKind, L: m.L, Threads: 1}, dir); err != nil {
					return nil, err
				}
				if last, err = measurePoint(ctx, m, dir); err != nil {
					return nil, err
				}
				fmt.Fprintf(os.Stderr, "growth: %s %g, %s: %.0f a second, %.0f MB, recall %.3f, %.1f s to build\n", c.axis, x, kind, last.Rate, last.MB, last.Recall, last.Build)
				points = append(points, last)
			}
		}
	}
	return points, nil
}

// sensible says whether a point can be measured and means something.
func sensible(m measurement) bool {
	switch {
	case m.Kind == trainKind:
		return m.Side <= 112 // beyond, a batch takes gigabytes
	case m.Kind == exactKind:
		return m.K <= m.N
	}
	return true
}

// measurePoint measures a point, for which an index of an approximate kind is built
// by a process before.
func measurePoint(ctx context.Context, m measurement, dir string) (results.Point, error) {
	if k := faissindex.Kind(m.Kind); k != faissindex.HNSW && k != faissindex.IVF {
		return measureAlone(ctx, m, dir)
	}
	defer os.Remove(filepath.Join(dir, indexFile))
	build := m
	build.Build = true
	built, err := measureAlone(ctx, build, dir)
	if err != nil {
		return built, err
	}
	p, err := measureAlone(ctx, m, dir)
	p.Build, p.Recall = built.Build, built.Recall
	return p, err
}

// measureAlone has a point measured by another process.
func measureAlone(ctx context.Context, m measurement, dir string) (p results.Point, err error) {
	text, err := json.Marshal(m)
	if err != nil {
		return p, err
	}
	self, err := os.Executable()
	if err != nil {
		return p, fmt.Errorf("growth: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "-point", string(text), "-dir", dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &p)
	}
	if err != nil {
		return p, fmt.Errorf("growth: %s %g, %s: %w\n%s", m.Axis, m.X, m.Kind, err, said.Bytes())
	}
	return p, nil
}

// printPoint measures a point and prints it.
func printPoint(ctx context.Context, text, dir string) error {
	var m measurement
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return fmt.Errorf("growth: -point: %w", err)
	}
	p, err := m.measure(ctx, dir)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}

// save puts the growth into the results of a folder, and draws the curves there.
func save(g *results.Growth, out string) error {
	r, err := results.Read(out)
	if err != nil {
		return err
	}
	r.Growth = g
	images := filepath.Join(out, "docs", "images")
	if err := os.MkdirAll(images, 0o755); err != nil {
		return fmt.Errorf("growth: %w", err)
	}
	return errors.Join(r.Save(out), writeCSV(filepath.Join(images, "growth.csv"), g.Points), drawTo(filepath.Join(images, "growth.png"), g.Points))
}
