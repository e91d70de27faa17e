package report

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

// Lines of the scores.
var scoreStrokes = map[string]stroke{
	nln.ScoreTotal:    {color: blue, width: 2.4},
	nln.ScoreError:    {color: vermilion, width: 1.6, dashes: []float64{7, 3}},
	nln.ScoreDistance: {color: green, width: 1.6, dashes: []float64{7, 3, 1.5, 3}},
	nln.ScoreLocal:    {color: orange, width: 1.6, dashes: []float64{9, 3, 2, 3, 2, 3}},
	nln.ScoreProduct:  {color: blue, width: 2.4},
	nln.ScoreRecon:    {color: purple, width: 1.6, dashes: []float64{2, 2.5}},
}

// scoreNames say what the scores are, for a reader who has not read the paper.
var scoreNames = map[string]string{
	nln.ScoreTotal:    "total",
	nln.ScoreError:    "error term",
	nln.ScoreDistance: "distance term",
	nln.ScoreRecon:    "reconstruction error",
	nln.ScoreLocal:    "local",
	nln.ScoreProduct:  "product",
}

// A curve is a score that each image of a page has.
type curve struct {
	score string
	value func(nln.Score) float64
}

// curves returns the scores to draw, the one that verdicts go by last. A page
// has a total where they go by that alone, and likewise the product.
func (p *Page) curves() []curve {
	all := []curve{
		{nln.ScoreRecon, func(s nln.Score) float64 { return s.Recon }},
		{nln.ScoreDistance, func(s nln.Score) float64 { return s.Distance }},
		{nln.ScoreError, func(s nln.Score) float64 { return s.Error }},
		{nln.ScoreLocal, func(s nln.Score) float64 { return s.Local }},
	}
	if p.Policy.Rank == nln.ScoreLocal {
		return all
	}
	return append(all, curve{cmp.Or(p.Policy.Rank, nln.ScoreTotal), func(s nln.Score) float64 { return s.Score }})
}

// rocPlot draws the curves of the scores, nil where the truth is unknown or one
// class is missing.
func (p *Page) rocPlot() (*figure, error) {
	unit := span{0, 1}
	pl := newPlot("false-positive rate", "true-positive rate", unit, unit)
	if err := addLine(pl, plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}}, stroke{color: ink, width: .6, dashes: []float64{1, 3}}); err != nil {
		return nil, err
	}
	fig := &figure{Title: "Receiver operating characteristic"}
	var said []string
	for _, c := range p.curves() {
		values := p.values(c.value)
		points, err := metrics.ROC(values, p.Novel)
		if errors.Is(err, metrics.ErrOneClass) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		auroc, err := metrics.AUROC(values, p.Novel)
		if err != nil {
			return nil, err
		}
		if err := addLine(pl, thin(points), scoreStrokes[c.score]); err != nil {
			return nil, err
		}
		label := scoreNames[c.score] + " " + rate(auroc)
		fig.Legend = append(fig.Legend, item(label, scoreStrokes[c.score]))
		said = append(said, label)
	}
	slices.Reverse(fig.Legend)
	slices.Reverse(said)
	fig.Caption = fmt.Sprintf("Areas under the curves in the legend; K = %d", p.Policy.K)
	if cmp.Or(p.Policy.Rank, nln.ScoreTotal) == nln.ScoreTotal {
		fig.Caption += ", " + weights(p.Policy.Alpha)
	}
	if k := p.Policy.Local.K; k > 0 && k != p.Policy.K {
		name := scoreNames[nln.ScoreLocal]
		if p.Policy.Rank == nln.ScoreProduct {
			name += " and product"
		}
		fig.Caption += fmt.Sprintf("; %s: K = %d", name, k)
	}
	fig.Caption += "."
	if !math.IsInf(p.Threshold, 0) {
		v := p.verdicts()
		pl.Add(ring{v.falseRate(), v.trueRate()})
		fig.Caption += " The ring is where the threshold lies."
	}
	var err error
	fig.SVG, err = render(pl, "Receiver operating characteristic. Areas: "+strings.Join(said, ", ")+".")
	return fig, err
}

func (p *Page) values(value func(nln.Score) float64) []float64 {
	v := make([]float64, len(p.Scores))
	for i, s := range p.Scores {
		v[i] = value(s)
	}
	return v
}

// thin returns the points of a curve that can be told apart on the page, in
// which corners stay corners.
func thin(curve []metrics.Point) plotter.XYs {
	const apart = 1. / 800
	var xy plotter.XYs
	for i, pt := range curve {
		if i > 0 && i < len(curve)-1 {
			last, next := xy[len(xy)-1], curve[i+1]
			straight := last.X == pt.FPR && pt.FPR == next.FPR || last.Y == pt.TPR && pt.TPR == next.TPR
			if straight || math.Hypot(next.FPR-last.X, next.TPR-last.Y) < apart {
				continue
			}
		}
		xy = append(xy, plotter.XY{X: pt.FPR, Y: pt.TPR})
	}
	return xy
}

// alphaDashes tell lines apart by more than their colour.
var alphaDashes = [][]float64{nil, {7, 3}, {2, 2.5}, {9, 3, 2, 3}}

var alphaColors = []stroke{{color: blue}, {color: vermilion}, {color: green}, {color: purple}, {color: orange}, {color: sky}, {color: ink}}

// alphaPlots draws the AUROC over alpha, a line for each K and a plot for each
// protocol, both to one scale. There are none where fewer than three weights
// were evaluated.
func (p *Page) alphaPlots() ([]*figure, error) {
	var figures []*figure
	y := p.aurocSpan()
	for _, protocol := range p.protocols() {
		lines := p.alphaLines(protocol)
		if !slices.ContainsFunc(lines, func(l alphaLine) bool { return len(l.points) > 2 }) {
			continue
		}
		pl := newPlot("alpha, the weight of the error term (1−alpha: of the distance)", "AUROC", span{0, 1}, y)
		fig := &figure{Title: "AUROC by alpha, " + protocolName(protocol)}
		alt := []string{fig.Title}
		if r, ok := p.result(protocol, nln.ScoreRecon, 0); ok {
			s := scoreStrokes[nln.ScoreRecon]
			s.color = ink
			if err := addLine(pl, plotter.XYs{{X: 0, Y: r.AUROC}, {X: 1, Y: r.AUROC}}, s); err != nil {
				return nil, err
			}
			fig.Legend = append(fig.Legend, item(scoreNames[nln.ScoreRecon], s))
		}
		for i, l := range lines {
			s := stroke{color: alphaColors[i%len(alphaColors)].color, width: 1.8, dashes: alphaDashes[i%len(alphaDashes)]}
			if err := addLine(pl, l.points, s); err != nil {
				return nil, err
			}
			fig.Legend = append(fig.Legend, item(fmt.Sprintf("K = %d", l.k), s))
			best := slices.MaxFunc(l.points, func(a, b plotter.XY) int { return cmp.Compare(a.Y, b.Y) })
			alt = append(alt, fmt.Sprintf("K = %d: highest %s at %s", l.k, rate(best.Y), weight(best.X)))
			p.markChosen(pl, fig, l)
		}
		var err error
		if fig.SVG, err = render(pl, strings.Join(alt, "; ")+"."); err != nil {
			return nil, err
		}
		figures = append(figures, fig)
	}
	return figures, nil
}

// markChosen marks the point of the page's own K and alpha.
func (p *Page) markChosen(pl *plot.Plot, fig *figure, l alphaLine) {
	if l.k != p.Policy.K {
		return
	}
	for _, pt := range l.points {
		if pt.X == p.Policy.Alpha {
			fig.Caption = fmt.Sprintf("The ring is this model's K = %d and %s.", l.k, weights(pt.X))
			pl.Add(ring{pt.X, pt.Y})
		}
	}
}

// An alphaLine is the AUROC of one K by alpha, ascending.
type alphaLine struct {
	k      int
	points plotter.XYs
}

// alphaLines returns the lines of a protocol by K, ascending. The terms alone
// are the ends of a line; scores that alpha does not weigh, and those of other
// spaces, have no place on it.
func (p *Page) alphaLines(protocol string) []alphaLine {
	byK := map[int]map[float64]float64{}
	for _, r := range p.Results {
		if r.Protocol != protocol || (r.Score != nln.ScoreTotal && r.Score != nln.ScoreError && r.Score != nln.ScoreDistance) {
			continue
		}
		if byK[r.K] == nil {
			byK[r.K] = map[float64]float64{}
		}
		byK[r.K][r.Alpha] = r.AUROC
	}
	var lines []alphaLine
	for k, points := range byK {
		l := alphaLine{k: k}
		for alpha, auroc := range points {
			l.points = append(l.points, plotter.XY{X: alpha, Y: auroc})
		}
		slices.SortFunc(l.points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b alphaLine) int { return cmp.Compare(a.k, b.k) })
	return lines
}

// aurocSpan returns a range that holds every AUROC, with some room.
func (p *Page) aurocSpan() span {
	lo, hi := 1., 0.
	for _, r := range p.Results {
		lo, hi = min(lo, r.AUROC), max(hi, r.AUROC)
	}
	room := max(.01, .06*(hi-lo))
	return span{max(0, lo-room), min(1, hi+room)}
}
