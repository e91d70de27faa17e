package paper

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/experiment"
)

// provenance says what the cells of a task were, for the notes below a table.
func (ix *index) provenance(t task, methods ...string) []string {
	var runs []*run
	for m, r := range ix.runs {
		if m.task == t && slices.Contains(methods, m.method) {
			runs = append(runs, r...)
		}
	}
	if len(runs) == 0 {
		return nil
	}
	var names, classes, latents, seeds, programs []string
	setups := map[string][]string{} // the methods that have them
	var ks []int
	var alphas []float64
	var steps, train, test []int
	for _, r := range runs {
		c := r.cell
		names = append(names, methodName(c.Method))
		classes = append(classes, r.class)
		seeds = append(seeds, strconv.FormatUint(c.Seed, 10))
		words := setupWords(c)
		setups[words] = append(setups[words], methodName(c.Method))
		if c.Latent > 0 {
			latents = append(latents, strconv.Itoa(c.Latent))
		}
		for _, rec := range r.records {
			ks, alphas = append(ks, rec.Cell.K...), append(alphas, rec.Cell.Alpha...)
			train, test = append(train, rec.Train), append(test, rec.Test)
			programs = append(programs, rec.Program)
			if rec.Steps > 0 {
				steps = append(steps, rec.Steps)
			}
		}
	}
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	say("%s: %s of %s", t, plural(len(runs), "run"), listed(names))
	say("classes %s", listed(classes))
	say("seeds %s", listed(seeds))
	if len(latents) > 0 {
		say("L %s", listed(latents))
	}
	say("K %s", listed(texts(ks, strconv.Itoa)))
	if len(alphas) > 0 {
		say("alpha %s", listed(texts(alphas, weight)))
	}
	if len(steps) > 0 {
		say("%s steps of training", between(steps))
	}
	say("%s images or patches learnt from", between(train))
	say("%s test images", between(test))
	say("made by %s", listed(programs))
	var settings []string
	for _, words := range slices.Sorted(maps.Keys(setups)) {
		settings = append(settings, listed(setups[words])+": "+words)
	}
	notes := []string{strings.Join(words, "; ") + ".", t.String() + ", settings: " + strings.Join(settings, "; ") + "."}
	return append(notes, ix.left[t]...)
}

// facts are about all records, for the heading.
func (ix *index) facts() []string {
	if len(ix.records) == 0 {
		return nil
	}
	var programs, libraries []string
	var seconds, training float64
	for _, r := range ix.records {
		programs = append(programs, r.Program)
		for _, name := range slices.Sorted(maps.Keys(r.Libraries)) {
			libraries = append(libraries, name+" "+r.Libraries[name])
		}
		for _, s := range r.Seconds {
			seconds += s
		}
		training += r.Seconds["train"]
	}
	facts := []string{
		fmt.Sprintf("%s, which took %.1f hours, %.1f of them training.", plural(len(ix.records), "cell"), seconds/3600, training/3600),
		"Made by " + listed(programs) + ".",
	}
	if len(libraries) > 0 {
		facts = append(facts, "With "+listed(libraries)+".")
	}
	return facts
}

// listed writes the distinct values: numbers by value, then names by the alphabet.
func listed(values []string) string {
	return strings.Join(distinct(values), ", ")
}

func distinct(values []string) []string {
	all := slices.Clone(values)
	slices.SortFunc(all, func(a, b string) int {
		x, errX := strconv.ParseFloat(a, 64)
		y, errY := strconv.ParseFloat(b, 64)
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(all)
}

func texts[T any](values []T, text func(T) string) []string {
	var s []string
	for _, v := range values {
		s = append(s, text(v))
	}
	return s
}

// between writes the range of numbers.
func between(values []int) string {
	lo, hi := slices.Min(values), slices.Max(values)
	if lo == hi {
		return thousands(lo)
	}
	return thousands(lo) + " to " + thousands(hi)
}

// thousands writes a number with its digits in threes.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// className returns what a class is called beside its number, or its name alone.
func (ix *index) className(t task, class string) string {
	for _, r := range ix.records {
		if at, c := place(r.Cell); at == t && c == class {
			if r.ClassName != "" && r.ClassName != class {
				return class + " " + r.ClassName
			}
			break
		}
	}
	return class
}

var baselines = []string{experiment.MethodPixels, experiment.MethodPCA, experiment.MethodDKNN}
