package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/report"
)

// examples is how many pictures of each kind a page shows.
const examples = 8

// writePage writes the evaluation as an HTML page.
func (ev *evaluation) writePage(ctx context.Context, path string) error {
	p, err := ev.page(ctx)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, p.WriteHTML)
}

func (ev *evaluation) page(ctx context.Context) (*report.Page, error) {
	p := report.New("Nearest Latent Neighbours on "+baseName(ev.Data), ev.bundle.Scorer)
	var err error
	if p.Results, err = ev.curves(); err != nil {
		return nil, err
	}
	p.Novel = ev.truth
	for i := range ev.truth {
		p.Scores = append(p.Scores, ev.bundle.Scorer.Calibration().Score(ev.parts, i))
		if ev.test.Labels != nil {
			p.Classes = append(p.Classes, ev.test.ClassName(i))
		}
	}
	m := ev.bundle.Manifest
	task := string(ev.Protocol)
	if ev.Class != "" {
		task += ", class " + ev.Class
	}
	fact := func(name, format string, args ...any) {
		p.Facts = append(p.Facts, report.Fact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	fact("Data", "%s (%s): %d images, %d novel", ev.Data, task, ev.Images, ev.Novel)
	fact("Training", "%s, %d steps of %d images, loss %s, learning rate %g, seed %d, %.0f s",
		m.Model.Arch, m.Training.Steps, m.Model.Batch, m.Model.Loss, m.Model.LR, m.Model.Seed, m.Training.Seconds)
	fact("Scoring", "%.0f images/s", float64(ev.Images)/ev.Seconds["score"])
	fact("Peak memory", "%s", megabytes(ev.Memory))
	fact("Bundle", "%s", ev.bundle.Digest[:16])
	return p, p.Illustrate(ctx, ev.bundle.Scorer, ev.test, func(id int64) string { return ev.bundle.Train[id].Name }, examples)
}

// curves evaluates more numbers of neighbours and weights than were asked for,
// as many as make a curve.
func (ev *evaluation) curves() ([]nln.Result, error) {
	cfg := ev.bundle.Scorer.Config()
	ks, alphas := []int{cfg.K}, []float64{cfg.Alpha}
	for _, k := range []int{1, 2, 3, 5, 10} {
		if k <= cfg.MaxK {
			ks = append(ks, k)
		}
	}
	for i := range 11 {
		alphas = append(alphas, float64(i)/10)
	}
	slices.Sort(ks)
	slices.Sort(alphas)
	return ev.measure(slices.Compact(ks), slices.Compact(alphas))
}

// writePicture writes an example of each kind as one PNG.
func (ev *evaluation) writePicture(ctx context.Context, path string) error {
	p, err := ev.page(ctx)
	if err != nil {
		return err
	}
	var some []report.Example
	for _, g := range p.Groups {
		some = append(some, g.Examples[:min(1, len(g.Examples))]...)
	}
	return atomicfile.Write(path, func(w io.Writer) error { return report.WritePNG(w, some) })
}

// baseName returns the last element of a data spec's location.
func baseName(spec string) string {
	if _, location, ok := strings.Cut(spec, ":"); ok {
		spec = location
	}
	return filepath.Base(spec)
}
