package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/report"
	ucli "github.com/urfave/cli/v2"
)

func explainCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "explain",
		Usage:     "show why an image has its score",
		UsageText: "nlnctl explain -m BUNDLE IMAGE... -o PAGE.html",
		Description: `Writes a page that stands alone: the image, its reconstruction, where it is novel, the
nearest normal images, themselves where they are still at hand and as the model
decodes them, the share of each term in the score, and where the score lies among
those of normal images.

   nlnctl explain -m parts.nln new-parts/17.jpg -o 17.html`,
		Flags: append([]ucli.Flag{
			modelFlag(),
			&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "the page to write, `FILE`", Required: true},
			threadsFlag(), quietFlag(),
		}, append(deviceFlags(), limitFlags()...)...),
		Action: func(c *ucli.Context) error {
			if !c.Args().Present() {
				return badUsage(c, "nothing to explain")
			}
			b, reading, err := openReading(c)
			if err != nil {
				return err
			}
			defer b.Close()
			e := newExplainer(b, reading)
			if err := e.write(c.Context, c.String("output"), c.Args().Slice()); err != nil {
				return err
			}
			for _, note := range e.notes {
				newMeter(c, env.Stderr).say("note: %s", note)
			}
			_, err = fmt.Fprintln(env.Stdout, c.String("output"))
			return err
		},
	}
}

// An explainer makes pages about single images.
type explainer struct {
	bundle  *bundle.Bundle
	scorer  *nln.Scorer // of the bundle, perhaps under another policy
	reading dataset.Reading
	train   *dataset.Set // the data that was trained on, once it has been needed as a whole
	notes   []string     // what could not be shown
}

func newExplainer(b *bundle.Bundle, r dataset.Reading) *explainer {
	return &explainer{bundle: b, scorer: b.Scorer, reading: r}
}

// write writes a page about image files.
func (e *explainer) write(ctx context.Context, page string, paths []string) error {
	p := report.New("Why: "+strings.Join(baseNames(paths), ", "), e.scorer)
	p.Large = true
	g := report.Group{Title: "Beside normal ones", Note: e.note()}
	for _, path := range paths {
		ex, err := e.example(ctx, path)
		if err != nil {
			return err
		}
		p.Scores = append(p.Scores, ex.Score)
		ex.More = e.shares(ex.Score)
		g.Examples = append(g.Examples, ex)
	}
	p.Groups = []report.Group{g}
	return atomicfile.Write(page, p.WriteHTML)
}

func baseNames(paths []string) []string {
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	return names
}

func (e *explainer) note() string {
	if e.bundle.Manifest.Patched == nil {
		return "normal 1 to 3 are the nearest normal images, neighbour 1 to 3 what the model decodes from their latents."
	}
	return "The model looks at patches. neighbour 1 to 3 have in the place of each patch the decoding of its nearest normal patches; normal 1 to 3 are the images from which come the nearest of the patch that is farthest from all, which is named below."
}

// shares says how much of the score each term makes, scaled by its range over
// normal images and weighed.
func (e *explainer) shares(s nln.Score) []report.Fact {
	cal, alpha := e.scorer.Calibration(), e.scorer.Config().Alpha
	switch cal.Policy().Rank {
	case nln.ScoreLocal:
		return []report.Fact{{Name: "score", Value: "is local"}}
	case nln.ScoreProduct:
		return []report.Fact{{Name: "score", Value: "is recon times local"}}
	}
	return []report.Fact{
		{Name: "error's share", Value: fmt.Sprintf("%.3g", alpha*cal.ErrorRange().Scale(s.Error))},
		{Name: "distance's share", Value: fmt.Sprintf("%.3g", (1-alpha)*cal.DistanceRange().Scale(s.Distance))},
	}
}

// example explains one image file.
func (e *explainer) example(ctx context.Context, path string) (ex report.Example, err error) {
	x, err := e.read(path)
	if err != nil {
		return ex, err
	}
	all, err := report.Explain(ctx, e.scorer, x, func(id int64) string { return e.bundle.Train[id].Name })
	if err != nil {
		return ex, err
	}
	ex = all[0]
	ex.Name = path
	for i := range ex.Neighbors[:min(3, len(ex.Neighbors))] {
		nb := &ex.Neighbors[i]
		if nb.Original, err = e.original(nb.Name); err != nil && len(e.notes) == 0 {
			e.notes = append(e.notes, fmt.Sprintf("the nearest normal images themselves are not shown: %v", err))
		}
	}
	h, err := newHeatmaps("", heatOverlay, nln.DefaultPixelFPR, e.scorer, e.bundle.Digest)
	if err != nil {
		return ex, nil // an older bundle, which has no scale for heat
	}
	if ex.Map.Score != nil {
		ex.Heat, ex.HeatLow, ex.HeatTop = h.smooth(ex.Map), h.scale.Low, h.scale.Top
	}
	return ex, nil
}

// read reads an image file as the bundle's images were read.
func (e *explainer) read(path string) (dataset.Images, error) {
	shape := e.scorer.Shape()
	r := dataset.ImageReader{Reading: e.reading}
	one := &dataset.Set{Size: shape, Pix: make([]uint8, shape.Len()), Scale: e.bundle.Manifest.Data.Scale}
	if err := r.Read(one.Pix, path, shape); err != nil {
		return dataset.Images{}, err
	}
	return one.Gather([]int{0}, make([]float32, shape.Len())), nil
}

// original returns the normal image that an indexed one, or patch, is of: from its own
// file where the data is a folder, else from the whole data, which is read once.
func (e *explainer) original(name string) ([]float32, error) {
	if e.bundle.Manifest.Patched != nil {
		name = name[:strings.LastIndexByte(name, '@')]
	}
	kind, location, err := dataset.Resolve(e.bundle.Manifest.Data.Source)
	if err != nil {
		return nil, err
	}
	if kind == "folder" || kind == "mvtec" {
		for _, dir := range []string{"", "train"} {
			path := filepath.Join(location, dir, filepath.FromSlash(name))
			if _, err := os.Stat(path); err == nil {
				x, err := e.read(path)
				return x.Pix, err
			}
		}
		return nil, fmt.Errorf("%s is no longer in %s", name, location)
	}
	if e.train == nil {
		sp, err := e.reading.Open(e.bundle.Manifest.Data.Source)
		if err != nil {
			return nil, err
		}
		e.train = sp.Train
		e.train.Scale = e.bundle.Manifest.Data.Scale
	}
	i, err := e.find(name)
	if err != nil {
		return nil, err
	}
	return e.train.Gather([]int{i}, make([]float32, e.train.Size.Len())).Pix, nil
}

// find returns the place of an image of the whole data: most names end in it.
func (e *explainer) find(name string) (int, error) {
	if i, err := strconv.Atoi(name[strings.LastIndexByte(name, '/')+1:]); err == nil && i >= 0 && i < e.train.Len() && e.train.ImageName(i) == name {
		return i, nil
	}
	for i := range e.train.Len() {
		if e.train.ImageName(i) == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s is no longer in %s", name, e.bundle.Manifest.Data.Source)
}

// mostPages is how many novel images of a run get a page.
const mostPages = 100

// writeReasons writes a page about each of the novel images that get one. Those that
// are not files, such as the images of MNIST, get none.
func (r *run) writeReasons(ctx context.Context) error {
	e := &explainer{bundle: r.bundle, scorer: r.scorer, reading: r.reading}
	for i, name := range r.reasons {
		if _, err := os.Stat(name); err != nil {
			continue
		}
		page := filepath.Join(r.explain, filepath.FromSlash(fileName(name))+".html")
		if err := os.MkdirAll(filepath.Dir(page), 0o777); err != nil {
			return err
		}
		if err := e.write(ctx, page, []string{name}); err != nil {
			return err
		}
		r.meter.show("explained %d of %d images", i+1, len(r.reasons))
	}
	r.meter.clear()
	for _, note := range e.notes {
		r.meter.say("note: %s", note)
	}
	return nil
}
