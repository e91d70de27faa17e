package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/nlnctl/nlnctl/nln"
	"gonum.org/v1/plot/plotter"
)

// A population is scores that belong together in a histogram.
type population struct {
	name   string
	scores []float64
	stroke stroke
}

// populations returns those of the page that have images.
func (p *Page) populations() []population {
	normal := population{name: "normal", stroke: stroke{color: sky, width: 1.6, fill: true}}
	novel := population{name: "novel", stroke: stroke{color: orange, width: 1.6, fill: true}}
	calibration := population{name: "calibration normals", scores: p.Calibration,
		stroke: stroke{color: ink, width: 1.2, dashes: []float64{3, 2}}}
	scores := p.values(func(s nln.Score) float64 { return s.Score })
	if p.Novel == nil {
		normal.name, normal.scores = "scored images", scores
	} else {
		for i, s := range scores {
			if p.Novel[i] {
				novel.scores = append(novel.scores, s)
			} else {
				normal.scores = append(normal.scores, s)
			}
		}
	}
	return slices.DeleteFunc([]population{normal, novel, calibration},
		func(g population) bool { return len(g.scores) == 0 })
}

// scorePlot draws the histogram of the scores, nil without any.
func (p *Page) scorePlot() (*figure, error) {
	groups := p.populations()
	x, cut, ok := p.scoreSpan(groups)
	if !ok || len(p.Scores) == 0 {
		return nil, nil
	}
	bars := bars(groups)
	var highest float64
	shares := make([][]float64, len(groups))
	for i, g := range groups {
		shares[i] = histogram(x, bars, g.scores)
		highest = max(highest, slices.Max(shares[i]))
	}
	pl := newPlot("score", "share of images, %", x, span{0, 105 * highest})
	fig := &figure{Title: "Scores"}
	alt := "Histogram of the scores."
	for i, g := range groups {
		if err := addLine(pl, outline(x, shares[i]), g.stroke); err != nil {
			return nil, err
		}
		fig.Legend = append(fig.Legend, item(fmt.Sprintf("%s (%s)", g.name, count(len(g.scores))), g.stroke))
		alt += fmt.Sprintf(" Median of %s: %s.", g.name, number(median(g.scores)))
	}
	fig.Caption = "Each population adds up to 100 %."
	if cut > 0 {
		fig.Caption += fmt.Sprintf(" Scores above %s (%s of %s images) are counted in the last bar.", number(x.hi), count(cut), count(len(p.Scores)))
	}
	if !plottable(p.Threshold) {
		fig.Caption += fmt.Sprintf(" The threshold, %s, is not shown.", number(p.Threshold))
	} else {
		pl.Add(marker{x: p.Threshold, label: "threshold " + number(p.Threshold)})
		alt += " Threshold: " + number(p.Threshold) + "."
	}
	var err error
	fig.SVG, err = render(pl, alt)
	return fig, err
}

// bars returns how many bars show the groups without holes in the smallest.
func bars(groups []population) int {
	smallest := slices.MinFunc(groups, func(a, b population) int { return cmp.Compare(len(a.scores), len(b.scores)) })
	return min(max(int(2*math.Sqrt(float64(len(smallest.scores)))), 10), 40)
}

// scoreSpan returns the range of scores to show and how many of the page's
// scores lie above it. Very novel images may score a hundred times as high as
// normal ones, all of which would fall into one bar; so the range ends at a
// multiple of that of the normal ones. It fails if no score can be plotted.
func (p *Page) scoreSpan(groups []population) (x span, cut int, ok bool) {
	const multiple = 5
	var all, normal []float64
	for _, g := range groups {
		for _, s := range g.scores {
			if !plottable(s) {
				continue
			}
			all = append(all, s)
			if g.name != "novel" {
				normal = append(normal, s)
			}
		}
	}
	if len(all) == 0 {
		return span{}, 0, false
	}
	if p.Novel == nil && len(p.Calibration) > 0 {
		normal = slices.DeleteFunc(slices.Clone(p.Calibration), func(v float64) bool { return !plottable(v) })
	}
	if len(normal) == 0 {
		normal = all
	}
	slices.Sort(normal)
	x = span{slices.Min(all), slices.Max(all)}
	most := normal[int(.99*float64(len(normal)-1))]
	if limit := x.lo + multiple*(most-x.lo); limit > x.lo && limit < x.hi {
		x.hi = limit
	}
	if plottable(p.Threshold) {
		width := x.hi - x.lo
		x = span{min(x.lo, p.Threshold-.05*width), max(x.hi, p.Threshold+.05*width)}
	}
	if !(x.hi-x.lo > 1e-9*max(math.Abs(x.lo), math.Abs(x.hi), 1e-9)) { // all scores are equal
		room := max(math.Abs(x.lo)/10, .1)
		x = span{x.lo - room, x.hi + room}
	}
	for _, s := range p.Scores {
		if s.Score > x.hi {
			cut++
		}
	}
	return x, cut, true
}

// plottable reports whether an axis can hold v without overflow.
func plottable(v float64) bool { return math.Abs(v) < 1e100 }

// histogram returns the share of the scores in each of n equal bars; what lies
// outside counts for the first or the last.
func histogram(x span, n int, scores []float64) []float64 {
	shares := make([]float64, n)
	for _, s := range scores {
		at := (s - x.lo) / (x.hi - x.lo) * float64(n)
		shares[int(min(max(at, 0), float64(n-1)))]++
	}
	for i := range shares {
		shares[i] /= float64(len(scores))
	}
	return shares
}

// outline returns the upper edge of bars, in percent.
func outline(x span, shares []float64) plotter.XYs {
	width := (x.hi - x.lo) / float64(len(shares))
	xy := plotter.XYs{{X: x.lo, Y: 0}}
	for i, share := range shares {
		left, right := x.lo+float64(i)*width, x.lo+float64(i+1)*width
		if i == len(shares)-1 {
			right = x.hi
		}
		xy = append(xy, plotter.XY{X: left, Y: 100 * share}, plotter.XY{X: right, Y: 100 * share})
	}
	return append(xy, plotter.XY{X: x.hi, Y: 0})
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
