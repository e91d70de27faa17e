package paper

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

// sizeFigure makes figure 5: the class-mean AUROC of AE by L and K, a panel for each
// data set.
func sizeFigure(ix *index, _ []experiment.Examples) (*part, error) {
	tasks := []task{{mnist, dataset.SIMO}, {cifar, dataset.SIMO}, {fashion, dataset.SIMO}, defects}
	f := &figure{name: "figure5", across: 2}
	var said, notes []string
	for _, t := range tasks {
		sizes := ix.latents(t, ae)
		if len(sizes) < 2 {
			continue
		}
		var choices []choice
		for _, c := range ix.candidates(t, nln.ProtocolPaper, nln.ScoreTotal, ae) {
			if millionths(c.alpha) == millionths(figure5Alpha) {
				choices = append(choices, c)
			}
		}
		sel := ix.selectFrom(t, nln.ProtocolPaper, choices)
		if len(sel.choices) == 0 {
			continue
		}
		ch := chart{
			title: fmt.Sprintf("%s (%d of %d classes)", setNames[t.set], len(sel.series[0]), classesOf(t.set)),
			x:     "L, size of the latent space", y: "AUROC of images, mean over classes",
			xMin: math.Log2(float64(sizes[0])) - .15, xMax: math.Log2(float64(sizes[len(sizes)-1])) + .15,
			lines: linesByK(sel),
		}
		for _, l := range sizes {
			ch.xTicks = append(ch.xTicks, plot.Tick{Value: math.Log2(float64(l)), Label: strconv.Itoa(l)})
		}
		f.panels = append(f.panels, ch.panel())
		best, s, _ := sel.best()
		said = append(said, fmt.Sprintf("%s: highest %s at L = %d, K = %d", setNames[t.set], rate(s.mean()), best.latent, best.k))
		notes = append(notes, fmt.Sprintf("%s: classes %s, seeds per class at least %d", setNames[t.set], strings.Join(s.classes(), ", "), s.seeds()))
	}
	if len(f.panels) == 0 {
		return nil, nil
	}
	f.alt = "AUROC over the latent size, a line for each K. " + strings.Join(said, "; ") + "."
	f.caption = fmt.Sprintf("AUROC of AE by L and K at alpha = %s of the error (%s of the distance), SIMO and MVTec-AD, terms scaled over the test images as in the paper. "+
		"In the paper: MNIST and F-MNIST are best at L = 128 and K > 3, CIFAR-10 at L = 256 and K = 1. Here: %s. %s. The axis is logarithmic; no axis begins at 0.",
		weight(figure5Alpha), weight(1-figure5Alpha), strings.Join(said, "; "), strings.Join(notes, "; "))
	return &part{figures: []*figure{f}}, nil
}

// linesByK returns a line for each K over log2 L.
func linesByK(sel selection) []line {
	var ks []int
	for _, c := range sel.choices {
		ks = append(ks, c.k)
	}
	slices.Sort(ks)
	var lines []line
	for _, k := range slices.Compact(ks) {
		l := line{label: fmt.Sprintf("K = %d", k)}
		for i, c := range sel.choices {
			if c.k == k {
				l.points = append(l.points, plotter.XY{X: math.Log2(float64(c.latent)), Y: sel.series[i].mean()})
			}
		}
		lines = append(lines, l)
	}
	return lines
}

// A metric is a panel of figure 6.
type metric struct {
	title, axis string
	series      func(m model, k, alpha int) series // alpha in millionths
	keys        func(r *run) []key                 // of which there are values
}

// alphaFigure makes figure 6: pixels, images and overlap by alpha.
func alphaFigure(ix *index, _ []experiment.Examples) (*part, error) {
	shown := []string{ae, aeRes, aeCon}
	f := &figure{name: "figure6", across: 3}
	var said []string
	for _, v := range alphaMetrics(ix) {
		ch := chart{title: v.title, x: "weight of the error\nand, below, of the distance", y: v.axis, xMin: 0, xMax: 1}
		for i := range 6 {
			a := float64(i) / 5
			ch.xTicks = append(ch.xTicks, plot.Tick{Value: a, Label: weight(a) + "\n" + weight(1-a)})
		}
		for _, method := range shown {
			l, text := bestLine(ix, v, model{defects, method, figure6Latent})
			if l.points == nil {
				continue
			}
			ch.lines = append(ch.lines, l)
			said = append(said, v.title+", "+text)
		}
		if ch.lines != nil {
			f.panels = append(f.panels, ch.panel())
		}
	}
	if len(f.panels) == 0 {
		return nil, nil
	}
	f.alt = "Three measures over alpha, a line for each model. " + strings.Join(said, "; ") + "."
	f.caption = fmt.Sprintf("MVTec-AD, L = %d, terms scaled over the test images: means over the categories that ran, by alpha. The axes have both readings: the upper number is the weight of the error "+
		"(alpha of equation 4), the lower that of the distance (alpha of the authors' program for this figure). For each model and measure K is that of the highest mean over alpha, chosen on the test images. "+
		"In the paper: pixels are best for alpha from 0.25 to 0.8, images above 0.6, IoU at 0.8. Here: %s. No axis begins at 0.", figure6Latent, strings.Join(said, "; "))
	p := &part{figures: []*figure{f}}
	return p, nil
}

func alphaMetrics(ix *index) []metric {
	pixelKeys := func(r *run) []key {
		var keys []key
		for k := range r.pixels {
			keys = append(keys, k)
		}
		return keys
	}
	imageKeys := func(r *run) []key {
		var keys []key
		for k := range r.images {
			keys = append(keys, k)
		}
		return keys
	}
	pixels := func(overlap bool) func(m model, k, alpha int) series {
		return func(m model, k, alpha int) series {
			return ix.pixelSeries(m, nln.ProtocolPaper, nln.ScoreTotal, k, float64(alpha)/1e6, overlap)
		}
	}
	return []metric{
		{"AUROC of pixels", "AUROC of pixels", pixels(false), pixelKeys},
		{"AUROC of images", "AUROC of images", func(m model, k, alpha int) series {
			return ix.series(m.task, nln.ProtocolPaper, choice{m.method, m.latent, nln.ScoreTotal, k, float64(alpha) / 1e6})
		}, imageKeys},
		{"IoU of pixels", "IoU, threshold chosen on test", pixels(true), pixelKeys},
	}
}

// bestLine returns the line of the K with the highest mean over the alphas of figure 6,
// of those K that have all of these alphas for the most categories, and says where
// it is highest.
func bestLine(ix *index, v metric, m model) (line, string) {
	var ks []int
	for _, r := range ix.runs[m] {
		for _, k := range v.keys(r) {
			if k.protocol == nln.ProtocolPaper && k.score == nln.ScoreTotal && !slices.Contains(ks, k.k) {
				ks = append(ks, k.k)
			}
		}
	}
	slices.Sort(ks)
	var best line
	var text string
	most, top := 0, math.Inf(-1)
	for _, k := range ks {
		l := line{label: fmt.Sprintf("%s, K = %d", modelNames[m.method], k)}
		var sum float64
		categories := math.MaxInt
		for i := range 6 {
			s := v.series(m, k, 200_000*i)
			categories = min(categories, len(s))
			l.points = append(l.points, plotter.XY{X: float64(i) / 5, Y: s.mean()})
			sum += s.mean()
		}
		if categories == 0 || categories < most || categories == most && sum <= top {
			continue
		}
		most, top, best = categories, sum, l
		peak := slices.MaxFunc(l.points, func(a, b plotter.XY) int { return cmp.Compare(a.Y, b.Y) })
		text = fmt.Sprintf("%s: highest %s at %s (%d of %d categories)", l.label, rate(peak.Y), weight(peak.X), categories, classesOf(mvtec))
	}
	return best, text
}
