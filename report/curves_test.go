package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// Scores that alpha does not weigh, and those of other spaces, must not take
// the place of a point of the curve over alpha.
func TestAlphaLinesHoldTheirOwnScores(t *testing.T) {
	const protocol = nln.ProtocolHeldOut
	p := &Page{Results: []nln.Result{
		{Protocol: protocol, Score: nln.ScoreRecon, Alpha: 1, AUROC: .1},
		{Protocol: protocol, Score: nln.ScoreError, K: 3, Alpha: 1, AUROC: .8},
		{Protocol: protocol, Score: nln.ScoreDistance, K: 3, Alpha: 0, AUROC: .9},
		{Protocol: protocol, Score: nln.ScoreTotal, K: 3, Alpha: .5, AUROC: .85},
		{Protocol: protocol, Score: nln.InSpace(nln.ScoreTotal, "image"), K: 3, Alpha: .5, AUROC: .2},
		{Protocol: protocol, Score: nln.InSpace(nln.ScoreError, "image"), K: 3, Alpha: 1, AUROC: .3},
		{Protocol: protocol, Score: nln.ScoreLocal, K: 3, AUROC: .4},
		{Protocol: protocol, Score: nln.ScoreProduct, K: 3, AUROC: .45},
	}}
	lines := p.alphaLines(protocol)
	if len(lines) != 1 || len(lines[0].points) != 3 {
		t.Fatalf("lines %v", lines)
	}
	for i, want := range []float64{.9, .85, .8} {
		if lines[0].points[i].Y != want {
			t.Errorf("point %d at %v, want %v", i, lines[0].points[i], want)
		}
	}
	var labels []string
	for _, r := range p.aurocTable() {
		labels = append(labels, r.Label)
	}
	for _, want := range []string{"local", "product", "error term in space image"} {
		found := false
		for _, l := range labels {
			found = found || l == want
		}
		if !found {
			t.Errorf("the table has no row %q: %q", want, labels)
		}
	}
}

// A model with several spaces has a row for each score in each of them, under
// the name of its space, and its own row is in its own space.
func TestTableNamesSpaces(t *testing.T) {
	p := &Page{Policy: nln.Policy{K: 3, Alpha: .8, Space: "eq8", Rank: nln.ScoreLocal, Local: nln.Local{K: 3}}}
	add := func(score string, k int, alpha float64) {
		p.Results = append(p.Results, nln.Result{Protocol: nln.ProtocolPaper, Score: score, K: k, Alpha: alpha, AUROC: .5, Lo: .4, Hi: .6})
	}
	add(nln.ScoreRecon, 0, 1)
	add(nln.InSpace(nln.ScoreRecon, "eq8"), 0, 1)
	for _, score := range []string{nln.ScoreError, nln.ScoreDistance, nln.ScoreTotal, nln.InSpace(nln.ScoreError, "code"), nln.InSpace(nln.ScoreTotal, "code"), nln.ScoreLocal} {
		add(score, 3, .8)
	}
	var rows []string
	for _, r := range p.aurocTable() {
		rows = append(rows, fmt.Sprintf("%d %s/%s", r.Span, r.Label, r.Note))
	}
	want := []string{
		"2 reconstruction error/baseline", "0 reconstruction error in space eq8/",
		"6 error term in space eq8/", "0 distance term/", "0 local/this model", "0 error term in space code/",
		"0 total in space eq8, alpha 0.8, 1−alpha 0.2/", "0 total in space code, alpha 0.8, 1−alpha 0.2/",
	}
	if !slices.Equal(rows, want) {
		t.Errorf("rows\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
}

// Where verdicts go by the local score there is no total to draw, and the score
// of an image is not called one.
func TestCurvesOfLocalRank(t *testing.T) {
	s := nln.Score{Recon: 1, Distance: 2, Error: 3, Local: 4, Score: 5}
	for rank, want := range map[string][]float64{"": {1, 2, 3, 4, 5}, nln.ScoreTotal: {1, 2, 3, 4, 5}, nln.ScoreLocal: {1, 2, 3, 4}, nln.ScoreProduct: {1, 2, 3, 4, 5}} {
		p := &Page{Policy: nln.Policy{Rank: rank}}
		var got []float64
		for _, c := range p.curves() {
			got = append(got, c.value(s))
			if scoreNames[c.score] == "" || scoreStrokes[c.score].width == 0 {
				t.Errorf("score %q has no name or no line", c.score)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("rank %q: curves of %v, want %v", rank, got, want)
		}
	}
}
