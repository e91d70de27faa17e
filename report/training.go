package report

import (
	"errors"
	"fmt"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// A LossCurve is one loss of a training.
type LossCurve struct {
	Name   string
	Values []float64 // as many as there are steps
}

// WriteLosses writes a PNG of a training's losses over its steps, one plot below
// the other, since losses have scales of their own. Values that are not finite
// are left out. No curves, and curves of another length than steps, are errors.
func WriteLosses(w io.Writer, steps []int, curves []LossCurve) error {
	if len(curves) == 0 || len(steps) == 0 {
		return errors.New("report: write losses: nothing to plot")
	}
	rows := make([][]*plot.Plot, len(curves))
	for i, c := range curves {
		if len(c.Values) != len(steps) {
			return fmt.Errorf("report: write losses: %s has %d values for %d steps", c.Name, len(c.Values), len(steps))
		}
		p, err := lossPlot(steps, c)
		if err != nil {
			return fmt.Errorf("report: write losses: %w", err)
		}
		rows[i] = []*plot.Plot{p}
	}
	img := vgimg.New(16*vg.Centimeter, vg.Length(len(rows))*7*vg.Centimeter)
	tiles := draw.Tiles{Rows: len(rows), Cols: 1, PadX: vg.Millimeter, PadY: 3 * vg.Millimeter,
		PadTop: 2 * vg.Millimeter, PadBottom: 2 * vg.Millimeter, PadLeft: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter}
	for i, row := range plot.Align(rows, tiles, draw.New(img)) {
		rows[i][0].Draw(row[0])
	}
	_, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(w)
	return err
}

func lossPlot(steps []int, c LossCurve) (*plot.Plot, error) {
	var pts plotter.XYs
	for i, v := range c.Values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			pts = append(pts, plotter.XY{X: float64(steps[i]), Y: v})
		}
	}
	if len(pts) == 0 {
		return nil, fmt.Errorf("%s has no finite value", c.Name)
	}
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "step", c.Name+" loss"
	line, err := plotter.NewLine(pts)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width = blue, vg.Points(1.2)
	p.Add(plotter.NewGrid(), line)
	return p, nil
}
