// Package paper makes the tables and figures of the method's paper (Mesarcik et al.,
// https://arxiv.org/abs/2111.06150) out of finished cells of package experiment, beside
// the numbers that the paper has. [Make] does the arithmetic and draws, and
// [Report.Write] puts all into a folder as Markdown, HTML, LaTeX, CSV, SVG and PNG.
//
// Every number that was chosen by looking at the test set says so, and stands beside
// two that were not: one with fixed L, K and alpha, and one for which they are chosen
// on the other classes' tasks. Alpha is the weight of the error term everywhere
// (equation 4 of the paper); where the paper's own alphas may be weights of the
// distance instead, both readings are shown.
package paper

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/experiment"
)

// Artefacts are the names of all that can be made, in the order of a report.
// Figure 2 of the paper is a sketch.
func Artefacts() []string {
	var names []string
	for _, a := range artefacts {
		names = append(names, a.name)
	}
	return names
}

// Options say what a report holds.
type Options struct {
	Title     string   // empty: a title by its content
	Budget    string   // what the cells cost and why no more were run, for the heading
	Artefacts []string // of [Artefacts]; empty: all for which there are records
}

// A Report is tables and figures ready to be written.
type Report struct {
	title  string
	budget string
	parts  []part
	absent []string // what is not there, and what it needs
	facts  []string // about all records
	files  []file   // CSV files that are no table
}

// A part is one artefact of the paper.
type part struct {
	name    string
	title   string
	tables  []Table // the first is the artefact, the others go with it
	figures []*figure
}

// An artefact can be made from records.
type artefact struct {
	name  string
	title string
	needs string                                                         // the records that it is made of
	make  func(ix *index, examples []experiment.Examples) (*part, error) // nil: there are none
}

var artefacts = []artefact{
	{"table1", "Increase of the AUROC through NLN, MISO", "cells with the protocol miso",
		increaseTable(1)},
	{"table2", "Increase of the AUROC through NLN, SIMO", "cells with the protocol simo",
		increaseTable(2)},
	{"table3", "AUROC of NLN and of other methods, MISO", "cells with the protocol miso",
		bestTable(3)},
	{"table4", "AUROC of NLN and of other methods, SIMO and MVTec-AD", "cells with the protocol simo, or of MVTec-AD",
		bestTable(4)},
	{"table5", "AUROC of the pixels of MVTec-AD", "cells of MVTec-AD, method ae, L = 128, with pixels measured",
		pixelTable},
	{"table6", "Terms of the score of AE-con, MISO", "cells with the protocol miso, method ae-con, L = 32",
		termTable},
	{"figure1", "Reconstructions of nearest neighbours", "pictures of MNIST under miso or of MVTec-AD, method ae",
		neighbourFigure},
	{"figure3", "How an image is scored", "pictures of MNIST under miso, method ae",
		scoringFigure},
	{"figure4", "Where defects are", "pictures of MVTec-AD with masks, method ae",
		defectFigure},
	{"figure5", "AUROC by latent size and number of neighbours", "cells with the protocol simo or of MVTec-AD, method ae, of several L",
		sizeFigure},
	{"figure6", "Pixels, images and overlap by alpha", "cells of MVTec-AD, L = 128, methods ae, ae-res and ae-con, with pixels measured",
		alphaFigure},
	{"beyond", "AUROC with settings that the paper has not", "cells with the settings " + strings.Join(ownSettings, ", "),
		beyondTable},
}

// Make makes the artefacts that o names. Records of one cell that were done twice are
// taken together. Where the cells of one method on one task differ in their preset,
// settings or numbers of images, the tables are made of the larger group alone, and
// say so; results.csv has all. It fails on names that are none and on pictures whose
// parts do not fit together; an artefact without records is not an error, and the
// report says what it needs.
func Make(records []experiment.Record, examples []experiment.Examples, o Options) (*Report, error) {
	for _, name := range o.Artefacts {
		if !slices.Contains(Artefacts(), name) {
			return nil, fmt.Errorf("paper: no artefact %q, want one of %s", name, strings.Join(Artefacts(), ", "))
		}
	}
	for i := range examples {
		if err := checkExamples(&examples[i]); err != nil {
			return nil, fmt.Errorf("paper: pictures of %s: %w", examples[i].Cell, err)
		}
	}
	ix := newIndex(records)
	r := &Report{title: o.Title, budget: o.Budget, facts: ix.facts()}
	if r.title == "" {
		r.title = "Nearest latent neighbours: the paper's experiments, run again"
	}
	for _, a := range artefacts {
		if len(o.Artefacts) > 0 && !slices.Contains(o.Artefacts, a.name) {
			continue
		}
		p, err := a.make(ix, examples)
		if err != nil {
			return nil, fmt.Errorf("paper: %s: %w", a.name, err)
		}
		if p == nil {
			r.absent = append(r.absent, fmt.Sprintf("%s, %s: needs %s.", display(a.name), lowerFirst(a.title), a.needs))
			continue
		}
		p.name, p.title = a.name, display(a.name)+". "+a.title
		r.parts = append(r.parts, *p)
	}
	r.files = append(r.files, resultsFile(records))
	if f, ok := pixelsFile(records); ok {
		r.files = append(r.files, f)
	}
	return r, nil
}

// display writes the name of an artefact for readers: "table1" is "Table 1".
func display(name string) string {
	i := strings.IndexAny(name, "0123456789")
	if i < 0 {
		return strings.ToUpper(name[:1]) + name[1:]
	}
	return strings.ToUpper(name[:1]) + name[1:i] + " " + name[i:]
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s // an abbreviation
}
