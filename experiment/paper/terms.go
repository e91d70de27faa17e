package paper

import (
	"slices"

	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
)

// Spaces of AE-con's error beside that of equation 8, as package models names them.
const (
	spaceCode = "code" // as the authors' program has it
	spaceText = "text" // as the paper's section 3.3 has it
)

// A term is a column of table 6.
type term struct {
	title string
	c     choice
}

// terms returns the columns, the paper's four first.
func terms() []term {
	at := func(score string, k int, alpha float64) choice {
		return choice{aeCon, table6Latent, score, k, alpha}
	}
	return []term{
		{"L_recon", recon(aeCon, table6Latent)},
		{"L_NLN", at(nln.InSpace(nln.ScoreError, nln.SpaceImage), table6K, 1)},
		{"L_con", at(nln.ScoreError, table6K, 1)},
		{"L_total", at(nln.ScoreTotal, table6K, table6Alpha)},
		{"L_total, alpha flipped", at(nln.ScoreTotal, table6K, table6Alpha).flipped()},
		{"distance", at(nln.ScoreDistance, table6K, 0)},
		{"L_con as in the authors' program", at(nln.InSpace(nln.ScoreError, spaceCode), table6K, 1)},
		{"L_con as in the paper's text", at(nln.InSpace(nln.ScoreError, spaceText), table6K, 1)},
	}
}

// termTable makes table 6.
func termTable(ix *index, _ []experiment.Examples) (*part, error) {
	all := terms()
	titles := []string{"data", "row"}
	for _, v := range all {
		titles = append(titles, v.title)
	}
	main := Table{Name: "table6", Title: "Class-mean AUROC of the terms of AE-con's score", Labels: 2, Columns: columns("", titles...)}
	classes := Table{
		Name: "table6-classes", Title: "The same by class", Labels: 3,
		Columns: columns("", append([]string{"data", "class", "terms scaled"}, titles[2:]...)...),
		Notes:   []string{"A class is the novel one. Each value is the mean over its seeds, ± their standard deviation. Only L_total depends on how terms are scaled."},
	}
	sh := &sheet{}
	any := false
	for _, set := range smallSets {
		t := task{set, protocolOf(6)}
		published := []string{setNames[set], "published"}
		for i := range all {
			if i < 4 {
				published = append(published, rate(table6[set][i]))
			} else {
				published = append(published, missing)
			}
		}
		main.add(published...)
		for _, protocol := range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
			label := protocolWords[protocol]
			cells, verdicts := []string{setNames[set], label}, []string{setNames[set], "less the published"}
			var columns []series
			for i, v := range all {
				s := ix.series(t, protocol, v.c)
				columns = append(columns, s)
				cells = append(cells, sh.mean(t, label, v.title, s, v.title+", "+v.c.String()))
				if i < 4 {
					verdicts = append(verdicts, verdict(t, s, table6[set][i]))
				} else {
					verdicts = append(verdicts, missing)
				}
			}
			if main.empty(cells) {
				continue
			}
			any = true
			main.add(cells...)
			if protocol == nln.ProtocolPaper {
				main.add(verdicts...)
			}
			ix.addClasses(&classes, t, label, columns)
		}
	}
	if !any {
		return nil, nil
	}
	main.Notes = termNotes()
	for _, set := range smallSets {
		main.Notes = append(main.Notes, ix.provenance(task{set, protocolOf(6)}, aeCon)...)
	}
	return &part{tables: []Table{main, classes, sh.table("table6-estimates", "The means above and how sure they are")}}, nil
}

// protocolWords say how the terms of a protocol are scaled.
var protocolWords = map[string]string{
	nln.ProtocolPaper:   "over the test images",
	nln.ProtocolHeldOut: "by held-out images",
}

// addClasses adds a row for each class of the columns.
func (ix *index) addClasses(table *Table, t task, label string, columns []series) {
	var names []string
	for _, s := range columns {
		names = append(names, s.classes()...)
	}
	slices.SortFunc(names, compareClasses)
	for _, name := range slices.Compact(names) {
		cells := []string{setNames[t.set], ix.className(t, name), label}
		for _, s := range columns {
			if v, ok := s.get(name); ok {
				cells = append(cells, withCoverage(rate(v.mean), rate(series{v}.sd()), 1, 1))
			} else {
				cells = append(cells, missing)
			}
		}
		table.add(cells...)
	}
}

func termNotes() []string {
	return []string{
		"Published: table 6 of the paper, quoted: AE-con, K = 2, L = 32, alpha = 0.9, which the paper chose on the test images. Run here: the same, without any choice of ours.",
		"L_recon: reconstruction error of images (equation 3). L_NLN: error to the neighbours' reconstructions, of images (the first half of equation 4). L_con: error in the space of the second encoder " +
			"(the first half of equation 8). L_total: equation 8, terms scaled as the row says. Distance: the second half alone. The last two columns are other readings of L_con: the authors' program compares the second " +
			"encoding of the image's own reconstruction with the neighbours, the paper's section 3.3 that of the image.",
		"“Less the published”: within 0.02 over all ten classes counts as reproduced.",
		alphaNote,
		coverageNote("10"),
	}
}
