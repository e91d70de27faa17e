// Package report makes one HTML page of an evaluation or a scoring run: how
// well novel images are told from normal ones, how the scores lie, and what the
// detector saw in single images. The page is one file without scripts that
// loads nothing, so it can be kept beside a model, mailed and printed.
//
// [New] starts a page with what a scorer knows about itself. Fill in what else
// is known, [Page.Illustrate] adds pictures of the telling images, and
// [Page.WriteHTML] writes it; what is left empty has no section. [Explain] makes
// the pictures for single images and [WritePNG] one picture of them.
//
// The pictures follow figures 1 and 3 of the paper (Mesarcik et al.,
// https://arxiv.org/abs/2111.06150): an image, its own reconstruction, the
// reconstructions of its nearest normal images, and where it differs from both.
package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/nln"
)

// A Page is what a report shows. Every field may be empty but Title.
type Page struct {
	Title string
	Facts []Fact // how the numbers came about: model, data, protocol, seeds, seconds, ...

	Warnings []string // what makes the numbers less useful than they could be

	Results []nln.Result // as nln.Evaluate gives them; for the table and the curves over alpha

	Policy      nln.Policy // K, alpha and false-positive rate that Scores were made with
	Threshold   float64    // a score above it is called novel; may be infinite
	Calibration []float64  // scores of the calibration images, any order

	Scores  []nln.Score // of the images scored; for the curves, the histogram and the verdicts
	Novel   []bool      // which of them are novel in truth; nil where that is unknown
	Classes []string    // the class of each, or the kind of defect; nil where unknown

	Groups []Group // pictures, in the order shown
	Large  bool    // pictures are shown first and larger, where they are few
}

// A Fact is a line of the list that says how the numbers came about.
type Fact struct{ Name, Value string }

// A Group is some pictures under one heading.
type Group struct {
	Title    string
	Note     string // what the examples have in common
	Examples []Example
}

// New returns a page with what s knows: its policy, threshold, warnings, the
// scores of its calibration images, and the facts about the model and the index.
func New(title string, s *nln.Scorer) *Page {
	cfg, cal := s.Config(), s.Calibration()
	p := &Page{Title: title, Policy: cfg.Policy, Warnings: s.Warnings()}
	p.Threshold, _ = cal.Threshold() // the reason for an infinite one is among the warnings
	parts := s.CalibrationParts()
	for i := range parts.Len() {
		p.Calibration = append(p.Calibration, cal.Score(parts, i).Score)
	}
	p.Facts = []Fact{
		{"Image size", s.Shape().String()},
		{"Latent size L", strconv.Itoa(s.Model().LatentDim())},
		{"Neighbours K", strconv.Itoa(cfg.K)},
		{"Alpha, the weight of the error", weight(cfg.Alpha)},
		{"1−alpha, of the distance", weight(1 - cfg.Alpha)},
		{"Space of the error", cfg.Space},
		{"Terms normalised by", cfg.Normalise},
		{"Local score", fmt.Sprintf("K %d, power %s", cfg.Local.K, weight(cfg.Local.Power))},
		{"Indexed images", count(s.Index().Len())},
		{"Calibration images", count(parts.Len())},
	}
	if r := cal.Rho(); !math.IsNaN(r) {
		p.Facts = append(p.Facts, Fact{"Rho (images rank by E + rho D)", number(r)})
	}
	return p
}

// check makes sure that the parts of the page belong together.
func (p *Page) check() error {
	n := len(p.Scores)
	switch {
	case p.Title == "":
		return fmt.Errorf("no title")
	case math.IsNaN(p.Threshold):
		return fmt.Errorf("threshold is NaN")
	case p.Novel != nil && len(p.Novel) != n:
		return fmt.Errorf("%d scores, %d labels", n, len(p.Novel))
	case p.Classes != nil && len(p.Classes) != n:
		return fmt.Errorf("%d scores, %d classes", n, len(p.Classes))
	case n > 0 && p.Policy.K < 1:
		return fmt.Errorf("scores over K = %d neighbours, want at least 1", p.Policy.K)
	}
	for i, s := range p.Scores {
		if err := checkScore(s); err != nil {
			return fmt.Errorf("score %d: %w", i, err)
		}
		if s.Novel != (s.Score > p.Threshold) {
			return fmt.Errorf("score %d: %v with the verdict novel %v does not fit the threshold %v", i, s.Score, s.Novel, p.Threshold)
		}
	}
	if i := slices.IndexFunc(p.Calibration, math.IsNaN); i >= 0 {
		return fmt.Errorf("calibration score %d is NaN", i)
	}
	for i, r := range p.Results {
		for _, v := range []float64{r.Alpha, r.AUROC, r.Lo, r.Hi} {
			if !(v >= 0 && v <= 1) {
				return fmt.Errorf("result %d: alpha %v, auroc %v, interval %v to %v: want values from 0 to 1", i, r.Alpha, r.AUROC, r.Lo, r.Hi)
			}
		}
	}
	for _, g := range p.Groups {
		for i, e := range g.Examples {
			if err := e.check(); err != nil {
				return fmt.Errorf("group %q: example %d: %w", g.Title, i, err)
			}
		}
	}
	return nil
}

// checkScore makes sure that no term is NaN, which has no place in an order.
func checkScore(s nln.Score) error {
	for _, v := range []float64{s.Recon, s.Error, s.Distance, s.Local, s.LocalP, s.Score, s.P} {
		if math.IsNaN(v) {
			return fmt.Errorf("a term is NaN: recon %v, error %v, distance %v, local %v (p %v), score %v (p %v)",
				s.Recon, s.Error, s.Distance, s.Local, s.LocalP, s.Score, s.P)
		}
	}
	return nil
}

// signed puts a minus sign for a hyphen in front of a number.
func signed(s string) string {
	if strings.HasPrefix(s, "-") {
		return "−" + s[1:]
	}
	return s
}

// number writes v to three digits, or as many as its whole part has.
func number(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsInf(v, 1):
		return "∞"
	case math.IsInf(v, -1):
		return "−∞"
	case v == 0:
		return "0"
	case abs < 1e-4, abs >= 1e7:
		return signed(strconv.FormatFloat(v, 'g', 3, 64))
	default:
		digits := max(0, 2-int(math.Floor(math.Log10(abs))))
		return signed(strconv.FormatFloat(v, 'f', digits, 64))
	}
}

// rate writes an area under a curve or a share to three decimals.
func rate(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

// weight writes an alpha as short as it is.
func weight(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// percent writes the share of n in total.
func percent(n, total int) string {
	if total == 0 {
		return "–"
	}
	return strconv.FormatFloat(100*float64(n)/float64(total), 'f', 1, 64) + " %"
}

// count writes a number of things, its digits in threes.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
