package paper

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Table is text in rows and columns, which can be written in several forms. A cell
// that has no number is "-".
type Table struct {
	Name    string // of its file, such as "table1" or "table1-tests"
	Title   string
	Columns []Column
	Labels  int // columns from the left that name a row; the others hold numbers
	Rows    []Row
	Notes   []string // below the table

	// Long tables are read by programs: a page folds them, and Markdown and LaTeX
	// leave them to the CSV file.
	Long bool
}

// A Column has a title, and a group that it shares with its neighbours or none.
type Column struct{ Group, Title string }

// name returns the title in one piece.
func (c Column) name() string {
	if c.Group == "" {
		return c.Title
	}
	return c.Group + ": " + c.Title
}

// A Row has a cell for each column, or is the heading of those below it.
type Row struct {
	Section string
	Cells   []string
}

// missing stands where there is no number.
const missing = "-"

// add adds a row.
func (t *Table) add(cells ...string) { t.Rows = append(t.Rows, Row{Cells: cells}) }

// section adds a heading.
func (t *Table) section(title string) { t.Rows = append(t.Rows, Row{Section: title}) }

// check makes sure that all rows are as wide as the table.
func (t *Table) check() error {
	for i, r := range t.Rows {
		if r.Section == "" && len(r.Cells) != len(t.Columns) {
			return fmt.Errorf("%s: row %d has %d cells, want %d", t.Name, i, len(r.Cells), len(t.Columns))
		}
	}
	return nil
}

// empty says whether there is no number in a row beyond its labels.
func (t *Table) empty(cells []string) bool {
	for _, c := range cells[t.Labels:] {
		if c != missing {
			return false
		}
	}
	return true
}

// columns makes columns of one group.
func columns(group string, titles ...string) []Column {
	var c []Column
	for _, t := range titles {
		c = append(c, Column{group, t})
	}
	return c
}

// rate writes an AUROC or a share to three decimals, and nothing of NaN.
func rate(v float64) string { return fixedPoint(v, 3) }

// percent writes a percentage to two decimals, as the paper does.
func percent(v float64) string { return fixedPoint(v, 2) }

func fixedPoint(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return missing
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Trim(s, "-0.") == "" {
		s = strings.TrimPrefix(s, "-")
	}
	return minus(s)
}

// difference writes a number with its sign.
func difference(v float64) string {
	s := rate(v)
	if v > 0 && s != missing {
		return "+" + s
	}
	return s
}

// minus puts a minus sign for a hyphen in front of a number.
func minus(s string) string {
	if strings.HasPrefix(s, "-") && s != missing {
		return "−" + s[1:]
	}
	return s
}

// weight writes an alpha as short as it is: 1-0.9 is 0.1.
func weight(v float64) string {
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'g', -1, 64)
}

// probability writes a p-value to two digits.
func probability(v float64) string {
	switch {
	case math.IsNaN(v):
		return missing
	case v < 1e-4:
		return "< 0.0001"
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// interval writes two bounds.
func interval(lo, hi float64) string {
	if math.IsNaN(lo) || math.IsNaN(hi) {
		return missing
	}
	return difference(lo) + " to " + difference(hi)
}

// A sheet gathers what the numbers of an artefact are made of.
type sheet struct{ estimates []estimate }

// An estimate is a mean over classes and how sure it is.
type estimate struct {
	task        task
	row, column string
	values      series
	how         string // what it is the AUROC of
}

// mean writes the mean of s over its classes for a cell of a table: with the standard
// deviation over seeds, if there are two or more, and how many classes it is over, if
// these are not all. It keeps s for the table of estimates.
func (sh *sheet) mean(t task, row, column string, s series, how string) string {
	if len(s) == 0 {
		return missing
	}
	sh.estimates = append(sh.estimates, estimate{t, row, column, s, how})
	return withCoverage(rate(s.mean()), rate(s.sd()), len(s), classesOf(t.set))
}

// withCoverage adds to a number what a reader must know of it.
func withCoverage(number, deviation string, classes, of int) string {
	if deviation != missing {
		number += " ± " + deviation
	}
	if classes < of {
		number += fmt.Sprintf(" (%d of %d)", classes, of)
	}
	return number
}

// table returns the estimates, one a row.
func (sh *sheet) table(name, title string) Table {
	t := Table{
		Name: name, Title: title, Labels: 4, Long: true,
		Columns: []Column{
			{"", "task"}, {"", "row"}, {"", "column"}, {"", "score"}, {"", "mean"}, {"", "classes"}, {"", "of"}, {"", "seeds"},
			{"", "sd over seeds"}, {"over classes", "low"}, {"over classes", "high"}, {"over test images", "half-width"}, {"", "which classes"},
		},
		Notes: []string{intervalNote},
	}
	for _, e := range sh.estimates {
		var means []float64
		var half float64
		for _, v := range e.values {
			means = append(means, v.mean)
			half += v.half / float64(len(e.values))
		}
		lo, hi := bootstrap(means)
		if half == 0 {
			half = math.NaN() // of pixels, for which there is no interval
		}
		t.add(e.task.String(), e.row, e.column, e.how, fixedPoint(e.values.mean(), 5), strconv.Itoa(len(e.values)),
			strconv.Itoa(classesOf(e.task.set)), strconv.Itoa(e.values.seeds()), fixedPoint(e.values.sd(), 5),
			fixedPoint(lo, 5), fixedPoint(hi, 5), fixedPoint(half, 5), strings.Join(e.values.classes(), " "))
	}
	return t
}

const intervalNote = "Three things are uncertain, and no one interval covers all. " +
	"Over test images: the mean of the half-widths of DeLong's 95 % intervals of the classes. The classes share their test images, " +
	"so their errors are not independent, and the variance of their mean is not the mean variance over n; but the standard deviation of a " +
	"mean is at most the mean of the standard deviations, whatever the dependence, so this half-width is a bound and not an estimate. " +
	"Over classes: the 95 % percentile interval when classes are drawn again with replacement (10,000 times, fixed seed, " +
	"none below 5 classes): how much the mean hangs on which classes there are. The ten classes are no sample of a larger population, " +
	"so it is of use mostly where few of them ran. " +
	"Over seeds: the standard deviation of the class mean, of the seeds that all its classes have; what another training would change."

// alphaNote says how alphas are to be read.
const alphaNote = "Alpha is the weight of the error term, as in equation 4 of the paper; 1 − alpha is that of the distance. The authors' " +
	"program for MVTec-AD and perhaps some alphas of the paper's tables have it the other way round, so both readings are given: “flipped” is 1 − alpha."

// coverageNote explains the cells.
func coverageNote(of string) string {
	return "Unweighted means over classes. “(4 of 10)”: only four of the ten ran, and a mean over these is no estimate of the mean over ten; " +
		"the published numbers are over all " + of + ". ± is the standard deviation over seeds. “-”: no such cell ran."
}
