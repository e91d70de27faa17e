package paper

import (
	"fmt"
	"math"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
)

// defects is the task of MVTec-AD.
var defects = task{mvtec, dataset.Defects}

// pixelAt returns the pixels' result of a choice; the reconstruction error has no K
// and no alpha, whatever a record has there.
func (r *run) pixelAt(protocol, score string, k int, alpha float64) (experiment.PixelResult, bool) {
	v, ok := r.pixels[key{protocol, score, k, millionths(alpha)}]
	if ok || score != nln.ScoreRecon {
		return v, ok
	}
	for _, p := range r.pixels {
		if p.Score == nln.ScoreRecon && p.Protocol == protocol {
			return p, true
		}
	}
	return v, false
}

// pixelSeries returns the pixels' AUROC of each category, or their overlap.
func (ix *index) pixelSeries(m model, protocol, score string, k int, alpha float64, overlap bool) series {
	return ix.collect(m, func(r *run) (float64, float64, bool) {
		v, ok := r.pixelAt(protocol, score, k, alpha)
		if overlap {
			return v.IoU, 0, ok
		}
		return v.AUROC, 0, ok
	})
}

// A pixelColumn is one of our columns of table 5.
type pixelColumn struct {
	title  string
	values series
}

// quote writes a number with the two decimals that table 5 has.
func quote(v float64) string { return fixedPoint(v, 2) }

// pixelTable makes table 5.
func pixelTable(ix *index, _ []experiment.Examples) (*part, error) {
	m := model{defects, ae, table5Latent}
	of := func(title, protocol, score string, k int, alpha float64, overlap bool) pixelColumn {
		return pixelColumn{title, ix.pixelSeries(m, protocol, score, k, alpha, overlap)}
	}
	k, alpha := table5K, table5Alpha
	ours := []pixelColumn{
		of("NLN", nln.ProtocolPaper, nln.ScoreTotal, k, alpha, false),
		of("NLN, alpha flipped", nln.ProtocolPaper, nln.ScoreTotal, k, 1-alpha, false),
		of("NLN, held out", nln.ProtocolHeldOut, nln.ScoreTotal, k, alpha, false),
		of("error alone", nln.ProtocolPaper, nln.ScoreTotal, k, 1, false),
		of("recon.", nln.ProtocolPaper, nln.ScoreRecon, 0, 1, false),
		of("IoU of NLN", nln.ProtocolPaper, nln.ScoreTotal, k, alpha, true),
		of("IoU of recon.", nln.ProtocolPaper, nln.ScoreRecon, 0, 1, true),
	}
	if !slices.ContainsFunc(ours, func(c pixelColumn) bool { return len(c.values) > 0 }) {
		return nil, nil
	}
	table := Table{Name: "table5", Title: "AUROC of the pixels of MVTec-AD, by category", Labels: 1}
	table.Columns = append(columns("", "category"), columns("quoted from the paper", table5Columns...)...)
	for i, c := range ours {
		table.Columns = append(table.Columns, Column{"run here", c.title})
		if i == 0 {
			table.Columns = append(table.Columns, Column{"run here", "less the published"})
		}
	}
	sh := &sheet{}
	groups := []struct {
		title string
		in    func(c category) bool
	}{
		{"textures", func(c category) bool { return c.texture }},
		{"objects", func(c category) bool { return !c.texture }},
		{"all", func(category) bool { return true }},
	}
	for i, g := range groups {
		if i < 2 {
			table.section(g.title)
			for _, c := range categories {
				if g.in(c) {
					table.add(pixelRow(c, ours)...)
				}
			}
		} else {
			table.section("means")
		}
		addPixelMeans(&table, sh, g.title, g.in, ours)
	}
	table.Notes = pixelNotes()
	table.Notes = append(table.Notes, ix.provenance(defects, ae)...)
	return &part{tables: []Table{table, sh.table("table5-estimates", "The means above and how sure they are")}}, nil
}

func pixelRow(c category, ours []pixelColumn) []string {
	cells := []string{c.name}
	for _, v := range c.auroc {
		cells = append(cells, quote(v))
	}
	for i, column := range ours {
		v, ok := column.values.get(c.name)
		number, less := missing, missing
		if ok {
			number = withCoverage(rate(v.mean), rate(series{v}.sd()), 1, 1)
			less = pixelVerdict(v.mean-c.auroc[len(c.auroc)-1], true)
		}
		cells = append(cells, number)
		if i == 0 {
			cells = append(cells, less)
		}
	}
	return cells
}

// pixelVerdict says what a difference from the published number means; of fewer than
// all categories it says nothing.
func pixelVerdict(d float64, all bool) string {
	switch {
	case !all:
		return difference(d) + ", categories missing"
	case math.Abs(d) <= tolerance(mvtec):
		return difference(d) + ", reproduced"
	}
	return difference(d) + ", not reproduced"
}

// addPixelMeans adds the means of a group: the published ones of all its categories,
// and both of the categories that ran.
func addPixelMeans(table *Table, sh *sheet, title string, in func(category) bool, ours []pixelColumn) {
	published := func(keep func(name string) bool) (means [5]float64, n int) {
		for _, c := range categories {
			if in(c) && keep(c.name) {
				n++
				for i, v := range c.auroc {
					means[i] += v
				}
			}
		}
		for i := range means {
			means[i] /= float64(n)
		}
		return means, n
	}
	quoted := func(label string, means [5]float64) []string {
		cells := []string{label}
		for _, v := range means {
			cells = append(cells, quote(v))
		}
		return cells
	}
	all, total := published(func(string) bool { return true })
	means, n := published(func(name string) bool { _, ok := ours[0].values.get(name); return ok })
	cells := quoted("mean of "+title, all)
	if n < total {
		for range len(ours) + 1 {
			cells = append(cells, missing)
		}
		table.add(cells...)
		if n == 0 {
			return
		}
		cells = quoted(fmt.Sprintf("mean of %s that ran (%d of %d)", title, n, total), means)
	}
	for i, column := range ours {
		s := column.values.only(func(class string) bool {
			return slices.ContainsFunc(categories, func(c category) bool { return c.name == class && in(c) })
		})
		number := missing
		if len(s) > 0 {
			sh.estimates = append(sh.estimates, estimate{defects, "mean of " + title, column.title, s, "pixels"})
			number = withCoverage(rate(s.mean()), rate(s.sd()), len(s), total)
		}
		cells = append(cells, number)
		if i == 0 {
			cells = append(cells, pixelVerdict(s.mean()-means[len(means)-1], n == total))
		}
	}
	table.add(cells...)
}

func pixelNotes() []string {
	return []string{
		"Quoted: table 5 of the paper with its references; means are computed from its rows. “Ours” is NLN there: " +
			fmt.Sprintf("AE, L = %d, K = %d, alpha = %s, chosen on the test masks.", table5Latent, table5K, weight(table5Alpha)),
		fmt.Sprintf("Run here: the same model, L, K and alpha (%s of the error, %s of the distance; flipped: the reverse), without any choice of ours. Terms are scaled over the pixels of the test images; "+
			"held out: by normal images held out from the training images. AUROC over all pixels of all test images of a category.", weight(table5Alpha), weight(1-table5Alpha)),
		"IoU: intersection over union at the threshold with the largest TPR − FPR on the test masks, as the paper has it; a threshold that is chosen with the answer in hand.",
		"Within 0.03 of the published value counts as reproduced, for a category as for the means over all.",
		alphaNote,
		"Means are over the categories that ran and say how many; the published means beside them are over the same. ± is the standard deviation over seeds. “-”: no such cell ran.",
	}
}
