package results

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

//go:embed page.md.tmpl
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"cases": casesOf, "ways": waysOf, "peer": peerOf, "cells": cellsOf,
	"n": number, "rate": rate, "ratio": ratio, "target": target, "percent": percent, "met": met, "ms": func(s float64) string { return number(1000 * s) },
	"libraries": libraries, "power": func(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) },
	"limit": limit, "div": func(a, b float64) float64 { return a / b }, "mul": func(a, b float64) float64 { return a * b }, "growth": growthRows, "axes": axesOf,
}).Parse(pageText))

// Render returns the page of the results.
func (r Results) Render() ([]byte, error) {
	var out bytes.Buffer
	if err := page.Execute(&out, r); err != nil {
		return nil, fmt.Errorf("results: page: %w", err)
	}
	text := blank.ReplaceAll(out.Bytes(), []byte("\n\n")) // sections that are left out leave empty lines
	return append(bytes.TrimSpace(text), '\n'), nil
}

var blank = regexp.MustCompile(`\n{3,}`)

// casesOf returns the cases of a task.
func casesOf(c *Comparison, task string) (cases []Case) {
	for _, k := range c.Cases {
		if strings.HasPrefix(k.Name, task+"/") {
			cases = append(cases, k)
		}
	}
	return cases
}

// waysOf returns the peers of some cases, in the order in which they come.
func waysOf(cases []Case) (ways []string) {
	for _, k := range cases {
		for _, p := range k.Peers {
			if !slices.Contains(ways, p.Way) {
				ways = append(ways, p.Way)
			}
		}
	}
	return ways
}

// peerOf returns the peer of a case in some way, an empty one if it has none.
func peerOf(c Case, way string) Peer {
	for _, p := range c.Peers {
		if p.Way == way {
			return p
		}
	}
	return Peer{}
}

// cellsOf splits the name of a case, without its task, into the cells of a row.
func cellsOf(c Case) string {
	_, setting, _ := strings.Cut(c.Name, "/")
	return strings.NewReplacer("/threads", " | ", "/", " | ").Replace(setting)
}

// number prints x with three digits, and thousands apart.
func number(x float64) string {
	if x == 0 {
		return "0"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(x)))))
	s := strconv.FormatFloat(x, 'f', digits, 64)
	whole, rest, point := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		return whole + "." + rest
	}
	return whole
}

// rate prints how fast a peer was, and its recall if it is not exact.
func rate(p Peer) string {
	switch {
	case p.Rate == (Spread{}):
		return "-"
	case p.Recall > 0:
		return fmt.Sprintf("%s (%.4f)", number(p.Rate.Median), p.Recall)
	}
	return number(p.Rate.Median)
}

// ratio prints a ratio and how far the rounds spread.
func ratio(s Spread) string {
	if s == (Spread{}) {
		return "-"
	}
	return fmt.Sprintf("**%s** (%s-%s)", number(s.Median), number(s.Low), number(s.High))
}

// target prints a target and whether the ratio reaches it.
func target(p Peer) string {
	if p.Target == 0 || p.Ratio == (Spread{}) {
		return "-"
	}
	return fmt.Sprintf("%s %s", number(p.Target), met(p.Ratio.Median >= p.Target))
}

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "missed"
}

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

// libraries lists versions by name.
func libraries(s Stamp) string {
	var list []string
	for name, version := range s.Libraries {
		list = append(list, name+" "+version)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// limit describes how near a stage comes to what bounds it.
func limit(r Roof, s RoofStage) string {
	name, _, share := r.Limit(s)
	return fmt.Sprintf("%s | %s", name, percent(share))
}

// axesOf returns what was varied, in the order of the points.
func axesOf(g *Growth) (axes []string) {
	for _, p := range g.Points {
		if !slices.Contains(axes, p.Axis) {
			axes = append(axes, p.Axis)
		}
	}
	return axes
}

// growthRows returns the points of an axis.
func growthRows(g *Growth, axis string) (points []Point) {
	for _, p := range g.Points {
		if p.Axis == axis {
			points = append(points, p)
		}
	}
	return points
}
