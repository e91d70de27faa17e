package paper

import (
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
	return strings.Join(settingWords(c, func(name string) bool { return slices.Contains(ownSettings, name) }), ", ")
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
	classes := Table{Name: "beyond-classes", Title: "The same by class", Labels: 3,
		Columns: columns("", append([]string{"data", "class", "model and settings"}, titles[3:]...)...)}
	sh := &sheet{}
	var setups []string
	groups := map[string][]experiment.Record{}
	for _, rec := range ix.own {
		t, _ := place(rec.Cell)
		key := fmt.Sprint(t, rec.Cell.Method, rec.Cell.Latent, setup(rec.Cell))
		groups[key] = append(groups[key], rec)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		group, c := &index{runs: map[model][]*run{}, records: groups[key]}, groups[key][0].Cell
		var records []*experiment.Record
		for i := range groups[key] {
			records = append(records, &groups[key][i])
		}
		group.add(records)
		group.sort()
		t, _ := place(c)
		labels := []string{t.String(), fmt.Sprintf("%s, L = %d", methodName(c.Method), c.Latent), ownWords(c)}
		cells, label := slices.Clone(labels), strings.Join(labels, ", ")
		var all []series
		for i, choice := range beyondScores(model{t, c.Method, c.Latent}) {
			s := group.series(t, nln.ProtocolHeldOut, choice)
			cells = append(cells, sh.mean(t, label, titles[3+i], s, choice.String()))
			all = append(all, s)
		}
		main.add(cells...)
		setups = append(setups, fmt.Sprintf("%s with %s: %s.", t, ownWords(c), setupWords(c)))
		group.addClasses(&classes, t, label, all)
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
