package report

import (
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
	for _, want := range []string{"local", "error:image"} {
		found := false
		for _, l := range labels {
			found = found || l == want
		}
		if !found {
			t.Errorf("the table has no row %q: %q", want, labels)
		}
	}
}
