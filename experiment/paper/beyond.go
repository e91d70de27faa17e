package paper

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
)

// ownSettings are this program's and no paper's. Cells with one of them are in no table
// of the paper.
var ownSettings = []string{"local_neighbors", "local_power", "restore", "views", "whiten"}

// beyond says whether a cell has settings that the paper has not.
func beyond(c experiment.Cell) bool {
	return slices.ContainsFunc(ownSettings, func(name string) bool { return c.Settings[name] != "" })
}

// ownWords says what own settings a cell has.
func ownWords(c experiment.Cell) string {
	var words []string
	for _, name := range ownSettings {
		if v := c.Settings[name]; v != "" {
			words = append(words, name+" = "+v)
		}
	}
	return strings.Join(words, ", ")
}

// beyondScores are the columns of the table: none has an alpha.
func beyondScores(m model) []choice {
	of := func(score string, k int) choice { return choice{m.method, m.latent, score, k, 0} }
	errors := of(nln.ScoreError, fixedK)
	errors.alpha = 1
	return []choice{recon(m.method, m.latent), errors, of(nln.ScoreDistance, localK),
		of(nln.ScoreLocal, localK), of(nln.ScoreLocal, 2*localK), of(nln.ScoreProduct, localK)}
}

// beyondTable has a row for each model with settings of this program.
func beyondTable(ix *index, _ []experiment.Examples) (*part, error) {
	titles := []string{"data", "model", "settings", "recon."}
	for _, c := range beyondScores(model{})[1:] {
		titles = append(titles, fmt.Sprintf("%s, K = %d", c.score, c.k))
	}
	main := Table{Name: "beyond", Title: "Class-mean AUROC with settings that the paper has not", Labels: 3, Columns: columns("", titles...)}
	classes := Table{Name: "beyond-classes", Title: "The same by class", Labels: 4,
		Columns: columns("", slices.Insert(slices.Clone(titles), 3, "class")...)}
	sh := &sheet{}
	var setups []string
	groups := map[string][]experiment.Record{}
	for _, rec := range ix.own {
		t, _ := place(rec.Cell)
		key := fmt.Sprint(t, rec.Cell.Method, rec.Cell.Latent, setup(rec.Cell))
		groups[key] = append(groups[key], rec)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		group, c := &index{runs: map[model][]*run{}}, groups[key][0].Cell
		var records []*experiment.Record
		for i := range groups[key] {
			records = append(records, &groups[key][i])
		}
		group.add(records)
		for _, runs := range group.runs {
			slices.SortFunc(runs, func(a, b *run) int {
				return cmp.Or(compareClasses(a.class, b.class), cmp.Compare(a.cell.Seed, b.cell.Seed))
			})
		}
		t, _ := place(c)
		labels := []string{t.String(), fmt.Sprintf("%s, L = %d", methodName(c.Method), c.Latent), ownWords(c)}
		cells := slices.Clone(labels)
		byClass := map[string][]string{}
		for i, choice := range beyondScores(model{t, c.Method, c.Latent}) {
			s := group.series(t, nln.ProtocolHeldOut, choice)
			cells = append(cells, sh.mean(t, strings.Join(labels, ", "), titles[3+i], s, choice.String()))
			for _, v := range s {
				byClass[v.class] = append(byClass[v.class], rate(v.mean))
			}
		}
		main.add(cells...)
		setups = append(setups, fmt.Sprintf("%s with %s: %s.", t, ownWords(c), setupWords(c)))
		for _, class := range slices.SortedFunc(maps.Keys(byClass), compareClasses) {
			if values := byClass[class]; len(values) == len(titles)-3 {
				classes.add(append(append(slices.Clone(labels), class), values...)...)
			}
		}
	}
	if len(main.Rows) == 0 {
		return nil, nil
	}
	main.Notes = []string{
		"Held-out protocol. Local is the distance relative to that of the neighbours to their own, product the same times the plain error of reconstruction; " +
			"their power is " + strconv.FormatFloat(nln.DefaultLocal().Power, 'g', -1, 64) + " unless local_power is set. None has an alpha.",
		"All scores are shown and none was picked by these numbers. Which settings and which score go with which data has to be decided before.",
		coverageNote("10 classes (MVTec-AD: 15 categories)"),
	}
	main.Notes = append(main.Notes, setups...)
	return &part{tables: []Table{main, classes, sh.table("beyond-estimates", "The means above and how sure they are")}}, nil
}
