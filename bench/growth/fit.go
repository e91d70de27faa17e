package main

import (
	"encoding/csv"
	"math"
	"os"
	"strconv"

	"github.com/nlnctl/nlnctl/bench/results"
	"gonum.org/v1/gonum/stat"
)

// A series is the points of one curve.
type series struct {
	axis, kind string
	points     []results.Point
}

// seriesOf sorts points by curve, in the order in which they come.
func seriesOf(points []results.Point) (all []series) {
next:
	for _, p := range points {
		for i := range all {
			if all[i].axis == p.Axis && all[i].kind == p.Kind {
				all[i].points = append(all[i].points, p)
				continue next
			}
		}
		all = append(all, series{p.Axis, p.Kind, []results.Point{p}})
	}
	return all
}

// fits returns the slope of log rate over log x for the upper half of each
// curve's range, where fixed costs no longer count.
func fits(points []results.Point) (found []results.Fit) {
	for _, s := range seriesOf(points) {
		middle := math.Sqrt(s.points[0].X * s.points[len(s.points)-1].X)
		var x, y []float64
		for _, p := range s.points {
			if p.X >= .99*middle {
				x, y = append(x, math.Log(p.X)), append(y, math.Log(p.Rate))
			}
		}
		if len(s.points) == 2 {
			x, y = []float64{math.Log(s.points[0].X), x[0]}, []float64{math.Log(s.points[0].Rate), y[0]}
		}
		if len(x) < 2 {
			continue
		}
		_, slope := stat.LinearRegression(x, y, nil, false)
		found = append(found, results.Fit{Axis: s.axis, Kind: s.kind, Exponent: slope, From: math.Exp(x[0])})
	}
	return found
}

// crossings returns from where on other indexes are faster than the exact
// search, at all points beyond.
func crossings(points []results.Point) (found []results.Crossing) {
	exact := map[float64]float64{}
	for _, p := range points {
		if p.Axis == axisN && p.Kind == exactKind {
			exact[p.X] = p.Rate
		}
	}
	for _, s := range seriesOf(points) {
		if s.axis != axisN || s.kind == exactKind {
			continue
		}
		c := results.Crossing{Kind: s.kind}
		i := len(s.points) // of the first point from which on it is faster
		for i > 0 && s.points[i-1].Rate > exact[s.points[i-1].X] {
			i--
		}
		if i < len(s.points) {
			c.N, c.Recall = s.points[i].X, s.points[i].Recall
		}
		if i > 0 && c.N > 0 { // between two points, on straight lines of the logarithms
			p, q := s.points[i-1], s.points[i]
			a, b := math.Log(p.Rate/exact[p.X]), math.Log(q.Rate/exact[q.X])
			c.N = p.X * math.Pow(q.X/p.X, a/(a-b))
		}
		found = append(found, c)
	}
	return found
}

// writeCSV writes a row for each point.
func writeCSV(path string, points []results.Point) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	w.Write([]string{"axis", "kind", "x", "per_second", "mb_added", "recall", "build_s"})
	for _, p := range points {
		row := []string{p.Axis, p.Kind}
		for _, v := range []float64{p.X, p.Rate, p.MB, p.Recall, p.Build} {
			row = append(row, strconv.FormatFloat(v, 'g', 6, 64))
		}
		w.Write(row)
	}
	w.Flush()
	if err := w.Error(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
