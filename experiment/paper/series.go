package paper

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/nln"
)

// A classValue is a number of one class: the mean over its seeds.
type classValue struct {
	class string
	mean  float64
	half  float64 // half the width of DeLong's interval, the mean over the seeds
	seeds map[uint64]float64
}

// A series is a number of each class that was run, by class.
type series []classValue

// get returns the value of a class.
func (s series) get(class string) (classValue, bool) {
	i := slices.IndexFunc(s, func(v classValue) bool { return v.class == class })
	if i < 0 {
		return classValue{}, false
	}
	return s[i], true
}

// classes returns the names of the classes.
func (s series) classes() []string {
	var names []string
	for _, v := range s {
		names = append(names, v.class)
	}
	return names
}

// only returns the part of s that keep says.
func (s series) only(keep func(class string) bool) series {
	return slices.DeleteFunc(slices.Clone(s), func(v classValue) bool { return !keep(v.class) })
}

// mean returns the unweighted mean over the classes, NaN if there are none.
func (s series) mean() float64 {
	var sum float64
	for _, v := range s {
		sum += v.mean
	}
	return sum / float64(len(s))
}

// bySeed returns the seeds that all classes have, ascending, and the means over the
// classes of each.
func (s series) bySeed() (seeds []uint64, means []float64) {
	if len(s) == 0 {
		return nil, nil
	}
	for _, seed := range slices.Sorted(maps.Keys(s[0].seeds)) {
		sum, all := 0., true
		for _, v := range s {
			x, ok := v.seeds[seed]
			sum, all = sum+x, all && ok
		}
		if all {
			seeds, means = append(seeds, seed), append(means, sum/float64(len(s)))
		}
	}
	return seeds, means
}

// sd returns the standard deviation of the mean over the classes between seeds.
func (s series) sd() float64 {
	_, means := s.bySeed()
	return sd(means)
}

// seeds returns the smallest number of seeds of a class.
func (s series) seeds() int {
	n := 0
	for i, v := range s {
		if i == 0 || len(v.seeds) < n {
			n = len(v.seeds)
		}
	}
	return n
}

// sd returns the sample standard deviation, NaN of fewer than two values.
func sd(values []float64) float64 {
	n := float64(len(values))
	if n < 2 {
		return math.NaN()
	}
	m := average(values)
	var sum float64
	for _, v := range values {
		sum += (v - m) * (v - m)
	}
	return math.Sqrt(sum / (n - 1))
}

// average returns the mean, NaN of none.
func average(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// A choice is all that a score depends on.
type choice struct {
	method string
	latent int
	score  string // of package nln
	k      int    // 0 for the reconstruction error
	alpha  float64
}

// String writes the choice with both readings of alpha.
func (c choice) String() string {
	s := []string{methodName(c.method)}
	if c.latent > 0 {
		s = append(s, "L = "+strconv.Itoa(c.latent))
	}
	if c.k > 0 {
		s = append(s, "K = "+strconv.Itoa(c.k))
	}
	if base, _, _ := strings.Cut(c.score, ":"); base == nln.ScoreTotal {
		s = append(s, fmt.Sprintf("alpha %s of the error, %s of the distance", weight(c.alpha), weight(1-c.alpha)))
	}
	return strings.Join(s, ", ")
}

// flipped returns c with the other reading of alpha.
func (c choice) flipped() choice {
	c.alpha = 1 - c.alpha
	return c
}

// at returns the result of a choice. The ends of a total are the terms alone, which
// are there even where these alphas were not evaluated.
func (r *run) at(protocol string, c choice) (nln.Result, bool) {
	v, ok := r.images[key{protocol, c.score, c.k, millionths(c.alpha)}]
	base, space, spaced := strings.Cut(c.score, ":")
	if ok || base != nln.ScoreTotal {
		return v, ok
	}
	switch millionths(c.alpha) {
	case 0:
		v, ok = r.images[key{protocol, nln.ScoreDistance, c.k, 0}]
	case millionths(1):
		name := nln.ScoreError
		if spaced {
			name = nln.InSpace(nln.ScoreError, space)
		}
		v, ok = r.images[key{protocol, name, c.k, millionths(1)}]
	}
	return v, ok
}

// series returns what a choice is worth for each class of a task.
func (ix *index) series(t task, protocol string, c choice) series {
	return ix.collect(model{t, c.method, c.latent}, func(r *run) (v, half float64, ok bool) {
		x, ok := r.at(protocol, c)
		return x.AUROC, (x.Hi - x.Lo) / 2, ok
	})
}

// collect returns what measure says of each run of a model, by class.
func (ix *index) collect(m model, measure func(r *run) (v, half float64, ok bool)) series {
	var s series
	for _, r := range ix.runs[m] {
		v, half, ok := measure(r)
		if !ok {
			continue
		}
		if len(s) == 0 || s[len(s)-1].class != r.class {
			s = append(s, classValue{class: r.class, seeds: map[uint64]float64{}})
		}
		last := &s[len(s)-1]
		n := float64(len(last.seeds))
		last.mean = (n*last.mean + v) / (n + 1)
		last.half = (n*last.half + half) / (n + 1)
		last.seeds[r.cell.Seed] = v
	}
	return s
}

// candidates returns all choices of a score that some run of the methods has, in the
// order of the methods, then by L, K and alpha.
func (ix *index) candidates(t task, protocol, score string, methods ...string) []choice {
	var all []choice
	for _, method := range methods {
		for _, latent := range ix.latents(t, method) {
			seen := map[key]bool{}
			for _, r := range ix.runs[model{t, method, latent}] {
				for k := range r.images {
					if k.protocol == protocol && k.score == score {
						seen[k] = true
					}
				}
			}
			keys := slices.SortedFunc(maps.Keys(seen), func(a, b key) int {
				return slices.Compare([]int{a.k, a.alpha}, []int{b.k, b.alpha})
			})
			for _, k := range keys {
				all = append(all, choice{method, latent, score, k.k, float64(k.alpha) / 1e6})
			}
		}
	}
	return all
}

// A selection is choices compared with each other, on the same classes.
type selection struct {
	choices []choice
	series  []series // of each choice, over the same classes
}

// selectFrom gathers the choices that have the most classes: means over different
// classes cannot be compared. Of different sets of equal size the first counts.
func (ix *index) selectFrom(t task, protocol string, choices []choice) selection {
	all := make([]series, len(choices))
	var most []string
	for i, c := range choices {
		all[i] = ix.series(t, protocol, c)
		if len(all[i]) > len(most) {
			most = all[i].classes()
		}
	}
	var sel selection
	for i, s := range all {
		if len(most) > 0 && slices.Equal(s.classes(), most) {
			sel.choices = append(sel.choices, choices[i])
			sel.series = append(sel.series, s)
		}
	}
	return sel
}

// best returns the choice with the highest mean and its values: the paper's way, which
// looks at the numbers that it then reports. The first of equals wins.
func (s selection) best() (choice, series, bool) {
	i := s.argmax("")
	if i < 0 {
		return choice{}, nil, false
	}
	return s.choices[i], s.series[i], true
}

// leaveOneOut returns, for each class, its value under the choice that is best for
// the mean of all other classes, and these choices; there are none of fewer than two
// classes.
func (s selection) leaveOneOut() (series, []choice) {
	if len(s.series) == 0 || len(s.series[0]) < 2 {
		return nil, nil
	}
	var values series
	var chosen []choice
	for j, v := range s.series[0] {
		i := s.argmax(v.class)
		values = append(values, s.series[i][j])
		chosen = append(chosen, s.choices[i])
	}
	return values, chosen
}

// argmax returns the choice with the highest mean over all classes but one, -1 if
// there is none.
func (s selection) argmax(without string) int {
	best, top := -1, math.Inf(-1)
	for i, values := range s.series {
		if m := values.only(func(class string) bool { return class != without }).mean(); m > top {
			best, top = i, m
		}
	}
	return best
}

// commonest returns the choice that most classes have and how many do.
func commonest(chosen []choice) (best choice, n int) {
	count := map[choice]int{}
	for _, c := range chosen {
		if count[c]++; count[c] > n {
			best, n = c, count[c]
		}
	}
	return best, n
}

// Choices that were fixed before any number here was seen.
const (
	fixedK     = 3
	fixedAlpha = .8
	localK     = 5 // of the scores that have no alpha, and of the baselines
)

func fixedLatent(set string) int {
	if set == mvtec {
		return 128
	}
	return 32
}

// fixed returns the choice of a model's total that was fixed in advance.
func fixed(set, method string) choice {
	k := fixedK
	if set == mvtec {
		k = 1
	}
	return choice{method, fixedLatent(set), nln.ScoreTotal, k, fixedAlpha}
}

// recon returns the choice of the plain reconstruction error.
func recon(method string, latent int) choice {
	return choice{method, latent, nln.ScoreRecon, 0, 1}
}
