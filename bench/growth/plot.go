package main

import (
	"fmt"
	"image/color"
	"math"
	"os"

	"github.com/nlnctl/nlnctl/bench/results"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// A panel is a diagram of the picture, both axes logarithmic.
type panel struct {
	axis, title, y string
	value          func(results.Point) float64
}

func perSecond(p results.Point) float64 { return p.Rate }

// panels in rows of three.
var panels = [][]panel{
	{
		{axisN, "Search, L=32, K=3", "queries a second", perSecond},
		{axisN, "Memory of the index", "MB", func(p results.Point) float64 { return p.MB }},
		{axisL, "Search, N=60,000", "queries a second", perSecond},
	}, {
		{axisK, "Search, N=60,000", "queries a second", perSecond},
		{axisSide, "Networks", "images a second", perSecond},
		{axisBatch, "Batches, N=60,000", "a second", perSecond},
	},
}

// colors tell curves apart also without colour vision (Okabe and Ito).
var colors = []color.Color{color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255}}

// drawTo draws the curves into a PNG file.
func drawTo(path string, points []results.Point) error {
	const width, height = 13 * vg.Inch, 8 * vg.Inch
	plots := make([][]*plot.Plot, len(panels))
	for i, row := range panels {
		for _, p := range row {
			d, err := p.plot(points)
			if err != nil {
				return fmt.Errorf("growth: plot: %w", err)
			}
			plots[i] = append(plots[i], d)
		}
	}
	img := vgimg.New(width, height)
	tiles := draw.Tiles{Rows: len(panels), Cols: len(panels[0]), PadX: 18, PadY: 18, PadTop: 8, PadBottom: 8, PadLeft: 8, PadRight: 12}
	for i, row := range plot.Align(plots, tiles, draw.New(img)) {
		for j, canvas := range row {
			plots[i][j].Draw(canvas)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("growth: plot: %w", err)
	}
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(f); err != nil {
		f.Close()
		return fmt.Errorf("growth: plot: %w", err)
	}
	return f.Close()
}

// plot draws the curves of a panel.
func (n panel) plot(points []results.Point) (*plot.Plot, error) {
	d := plot.New()
	d.Title.Text, d.X.Label.Text, d.Y.Label.Text = n.title, n.axis, n.y
	d.X.Scale, d.Y.Scale = plot.LogScale{}, plot.LogScale{}
	d.X.Tick.Marker, d.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	d.Legend.Top, d.Legend.XOffs, d.Legend.YOffs = true, -10, -4
	d.Add(plotter.NewGrid())
	i := 0
	for _, s := range seriesOf(points) {
		if s.axis != n.axis {
			continue
		}
		var xys plotter.XYs
		for _, p := range s.points {
			if v := n.value(p); v > 0 { // or there is no logarithm
				xys = append(xys, plotter.XY{X: p.X, Y: v})
			}
		}
		if len(xys) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(xys)
		if err != nil {
			return nil, err
		}
		line.Color, dots.Color = colors[i%len(colors)], colors[i%len(colors)]
		line.Width, dots.Shape, dots.Radius = 1.5, draw.CircleGlyph{}, 2.5
		d.Add(line, dots)
		d.Legend.Add(s.kind, line, dots)
		i++
	}
	// Whole powers of ten around the curves, with room for the legend above.
	d.X.Min, d.X.Max = powers(d.X.Min, d.X.Max)
	d.Y.Min, d.Y.Max = powers(d.Y.Min, 2*d.Y.Max)
	return d, nil
}

// powers returns the powers of ten that enclose a range.
func powers(lo, hi float64) (float64, float64) {
	if !(lo > 0 && hi >= lo && !math.IsInf(hi, 0)) {
		return 1, 10 // nothing was drawn
	}
	lo = math.Pow(10, math.Floor(math.Log10(lo)+1e-9))
	return lo, max(10*lo, math.Pow(10, math.Ceil(math.Log10(hi)-1e-9)))
}
