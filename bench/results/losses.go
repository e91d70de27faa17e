package results

import (
	"fmt"
	"slices"
)

// Loss is the share of a ratio that may be missing before it counts: more than
// the noise of medians measured in turn.
const Loss = 0.15

// A Regression is a ratio that has fallen.
type Regression struct {
	Name    string // of the case
	Way     string
	Was, Is float64
}

func (r Regression) String() string {
	return fmt.Sprintf("%s: %.2f times %s, was %.2f: %.0f %% less", r.Name, r.Is, r.Way, r.Was, 100*(1-r.Is/r.Was))
}

// Regressions returns the ratios of now that are more than Loss below those of
// before, in order of name. What only one of both has is left out; compared is
// how many both have.
func Regressions(before, now *Comparison) (lost []Regression, compared int) {
	old := before.Ratios()
	for _, c := range now.Cases {
		for _, p := range c.Peers {
			was, ok := old[c.Name+" "+p.Way]
			if !ok {
				continue
			}
			compared++
			if p.Ratio.Median < (1-Loss)*was {
				lost = append(lost, Regression{Name: c.Name, Way: p.Way, Was: was, Is: p.Ratio.Median})
			}
		}
	}
	slices.SortFunc(lost, func(a, b Regression) int {
		return slices.Compare([]string{a.Name, a.Way}, []string{b.Name, b.Way})
	})
	return lost, compared
}

// Better takes over from a repetition the ratios that are better there: a case
// is lost only if it is lost each time, since noise makes ratios worse and
// better alike but a real loss stays.
func (c *Comparison) Better(again *Comparison) {
	for _, k := range again.Cases {
		mine := c.Case(k.Name)
		if mine == nil {
			continue
		}
		for i, p := range mine.Peers {
			for _, q := range k.Peers {
				if q.Way == p.Way && q.Ratio.Median > p.Ratio.Median {
					mine.Peers[i] = q
				}
			}
		}
	}
}
