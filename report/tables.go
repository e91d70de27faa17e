package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

// protocols returns the protocols of the results: the honest one first, the
// others in their order.
func (p *Page) protocols() []string {
	var names []string
	for _, r := range p.Results {
		if !slices.Contains(names, r.Protocol) {
			names = append(names, r.Protocol)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		rank := func(s string) int {
			if s == nln.ProtocolHeldOut {
				return 0
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
	return names
}

func protocolName(protocol string) string { return shortName(protocol) + " protocol" }

// result returns the first result of a score that has no alpha of its own.
func (p *Page) result(protocol, score string, k int) (nln.Result, bool) {
	i := slices.IndexFunc(p.Results, func(r nln.Result) bool {
		return r.Protocol == protocol && r.Score == score && r.K == k
	})
	if i < 0 {
		return nln.Result{}, false
	}
	return p.Results[i], true
}

// chosen returns the result of a combined score with the page's alpha.
func (p *Page) chosen(protocol, score string, k int) (nln.Result, bool) {
	for _, r := range p.Results {
		if r.Protocol == protocol && r.Score == score && r.K == k && r.Alpha == p.Policy.Alpha {
			return r, true
		}
	}
	return nln.Result{}, false
}

// best returns the combined score with the highest AUROC; of equals the one
// with the alpha nearest to the page's own.
func (p *Page) best(protocol string, k int) (nln.Result, bool) {
	var best nln.Result
	found := false
	for _, r := range p.Results {
		if r.Protocol != protocol || r.Score != nln.ScoreTotal || r.K != k {
			continue
		}
		nearer := math.Abs(r.Alpha-p.Policy.Alpha) < math.Abs(best.Alpha-p.Policy.Alpha)
		if !found || r.AUROC > best.AUROC || r.AUROC == best.AUROC && nearer {
			best, found = r, true
		}
	}
	return best, found
}

// An aurocRow is a line of the table of results, with a cell per protocol.
type aurocRow struct {
	K      int // of the group that begins here; 0 within a group
	Span   int // rows of that group
	Label  string
	Note   string
	Cells  []aurocCell
	Chosen bool // the score that the verdicts come from
}

// An aurocCell is empty where a score was not evaluated.
type aurocCell struct{ AUROC, Interval, Note string }

func newCell(r nln.Result, ok bool) aurocCell {
	if !ok {
		return aurocCell{}
	}
	return aurocCell{AUROC: rate(r.AUROC), Interval: rate(r.Lo) + "–" + rate(r.Hi)}
}

// aurocTable returns the rows: the baselines, then for each K the terms, the
// local score and the product, the combined score with the page's alpha, and with the best one.
func (p *Page) aurocTable() []aurocRow {
	rows := p.baselineRows()
	if len(rows) > 0 {
		rows[0].Span = len(rows)
	}
	for _, k := range p.ks() {
		first := len(rows)
		for _, score := range p.scores(1, nln.ScoreError, nln.ScoreDistance, nln.ScoreLocal, nln.ScoreProduct) {
			rows = p.addRow(rows, aurocRow{Label: p.scoreLabel(score), Chosen: score == p.Policy.Rank && k == p.Policy.Local.K},
				func(protocol string) aurocCell { return newCell(p.result(protocol, score, k)) })
		}
		for _, score := range p.scores(1, nln.ScoreTotal) {
			rows = p.addRow(rows, aurocRow{
				Label:  p.scoreLabel(score) + ", " + weights(p.Policy.Alpha),
				Chosen: score == nln.ScoreTotal && k == p.Policy.K && cmp.Or(p.Policy.Rank, nln.ScoreTotal) == nln.ScoreTotal,
			}, func(protocol string) aurocCell { return newCell(p.chosen(protocol, score, k)) })
		}
		if p.alphas(k) > 1 {
			rows = p.addRow(rows, aurocRow{Label: p.scoreLabel(nln.ScoreTotal) + ", best alpha", Note: "chosen on the test set"}, func(protocol string) aurocCell {
				best, ok := p.best(protocol, k)
				c := newCell(best, ok)
				if ok {
					c.Note = weights(best.Alpha)
				}
				return c
			})
		}
		if len(rows) > first {
			rows[first].K, rows[first].Span = k, len(rows)-first
		}
	}
	return rows
}

// baselineRows returns the rows of the plain reconstruction error and of the
// same in other spaces, which no number of neighbours changes.
func (p *Page) baselineRows() (rows []aurocRow) {
	for _, score := range p.scores(0, nln.ScoreRecon) {
		r := aurocRow{Label: p.scoreLabel(score)}
		if score == nln.ScoreRecon {
			r.Note = "baseline"
		}
		rows = p.addRow(rows, r, func(protocol string) aurocCell { return newCell(p.result(protocol, score, 0)) })
	}
	return rows
}

// addRow returns rows with r after them, its cells made for each protocol, or
// without it if these are all empty.
func (p *Page) addRow(rows []aurocRow, r aurocRow, cell func(protocol string) aurocCell) []aurocRow {
	some := false
	for _, protocol := range p.protocols() {
		c := cell(protocol)
		r.Cells = append(r.Cells, c)
		some = some || c.AUROC != ""
	}
	if !some {
		return rows
	}
	if r.Chosen {
		r.Note = "this model"
	}
	return append(rows, r)
}

// scores returns the plain names of scores and behind them what there are of the
// same in other spaces, such as "error:image", of results with a K of at least
// least.
func (p *Page) scores(least int, plain ...string) []string {
	scores := slices.Clone(plain)
	for _, r := range p.Results {
		score, _, other := strings.Cut(r.Score, ":")
		if other && r.K >= least && slices.Contains(plain, score) && !slices.Contains(scores, r.Score) {
			scores = append(scores, r.Score)
		}
	}
	return scores
}

// scoreLabel says what a score is. Where there are several spaces it names the
// one of the error.
func (p *Page) scoreLabel(score string) string {
	plain, space, other := strings.Cut(score, ":")
	label := scoreNames[plain]
	if label == "" {
		return shortName(score)
	}
	several := slices.ContainsFunc(p.Results, func(r nln.Result) bool { return strings.Contains(r.Score, ":") })
	if several && p.Policy.Space != "" && (plain == nln.ScoreError || plain == nln.ScoreTotal) && !other {
		space, other = p.Policy.Space, true
	}
	if other {
		label += " in space " + shortName(space)
	}
	return label
}

// weights names both weights, since texts differ in which of them is alpha.
func weights(alpha float64) string {
	return "alpha " + weight(alpha) + ", 1−alpha " + weight(1-alpha)
}

// ks returns the numbers of neighbours evaluated, ascending.
func (p *Page) ks() []int {
	var ks []int
	for _, r := range p.Results {
		if r.K > 0 && !slices.Contains(ks, r.K) {
			ks = append(ks, r.K)
		}
	}
	slices.Sort(ks)
	return ks
}

// alphas returns how many weights were evaluated for k neighbours.
func (p *Page) alphas(k int) int {
	seen := map[float64]bool{}
	for _, r := range p.Results {
		if r.Score == nln.ScoreTotal && r.K == k {
			seen[r.Alpha] = true
		}
	}
	return len(seen)
}

// verdicts counts images by truth and verdict.
type verdicts struct{ novel, normal, found, alarms int }

// verdicts counts those of the page; the truth must be known.
func (p *Page) verdicts() verdicts {
	var v verdicts
	for i, s := range p.Scores {
		switch {
		case p.Novel[i] && s.Novel:
			v.novel++
			v.found++
		case p.Novel[i]:
			v.novel++
		case s.Novel:
			v.normal++
			v.alarms++
		default:
			v.normal++
		}
	}
	return v
}

func (v verdicts) trueRate() float64  { return share(v.found, v.novel) }
func (v verdicts) falseRate() float64 { return share(v.alarms, v.normal) }

func share(n, total int) float64 { return float64(n) / float64(max(1, total)) }

// flagged counts the images called novel.
func (p *Page) flagged() int {
	n := 0
	for _, s := range p.Scores {
		if s.Novel {
			n++
		}
	}
	return n
}

// summary says the result in a sentence or two, empty without any.
func (p *Page) summary() (string, error) {
	if len(p.Scores) == 0 {
		return p.summaryOfResults(), nil
	}
	if p.Novel == nil {
		if math.IsInf(p.Threshold, 1) {
			if len(p.Scores) == 1 {
				return "One image is scored; the threshold is infinite, so it is not flagged.", nil
			}
			return fmt.Sprintf("%s images are scored; the threshold is infinite, so none is flagged.", count(len(p.Scores))), nil
		}
		if len(p.Scores) == 1 {
			return map[int]string{0: "The image is not flagged as novel.", 1: "The image is flagged as novel."}[p.flagged()], nil
		}
		return fmt.Sprintf("%s of %s images (%s) are flagged as novel.",
			count(p.flagged()), count(len(p.Scores)), percent(p.flagged(), len(p.Scores))), nil
	}
	v := p.verdicts()
	var text string
	if v.novel > 0 && v.normal > 0 {
		auroc, lo, hi, err := metrics.DeLong(p.values(func(s nln.Score) float64 { return s.Score }), p.Novel, nln.ConfidenceLevel)
		if err != nil {
			return "", err
		}
		base, err := metrics.AUROC(p.values(func(s nln.Score) float64 { return s.Recon }), p.Novel)
		if err != nil {
			return "", err
		}
		text = fmt.Sprintf("Novel images are told from normal ones with an AUROC of %s (95 %% confidence interval %s to %s); the plain reconstruction error reaches %s.",
			rate(auroc), rate(lo), rate(hi), rate(base))
	}
	if math.IsInf(p.Threshold, 1) {
		return text + " The threshold is infinite, so no image is flagged.", nil
	}
	if v.novel > 0 {
		text += fmt.Sprintf(" Flagged: %s of the novel images", percent(v.found, v.novel))
		if v.normal > 0 {
			text += fmt.Sprintf(" and %s of the normal ones", percent(v.alarms, v.normal))
		}
		return text + ".", nil
	}
	return fmt.Sprintf("%s of %s normal images (%s) are flagged.", count(v.alarms), count(v.normal), percent(v.alarms, v.normal)), nil
}

func (p *Page) summaryOfResults() string {
	for _, protocol := range p.protocols() {
		if r, ok := p.chosen(protocol, nln.ScoreTotal, p.Policy.K); ok {
			return fmt.Sprintf("Novel images are told from normal ones with an AUROC of %s (95 %% confidence interval %s to %s, %s, K = %d, %s).",
				rate(r.AUROC), rate(r.Lo), rate(r.Hi), protocolName(protocol), r.K, weights(r.Alpha))
		}
	}
	return ""
}

// A verdictRow is a line of the table of verdicts: some images that belong
// together, how many of them are flagged, and their scores.
type verdictRow struct {
	Label, Truth                     string
	Images, Flagged, Percent, Median string
}

// verdictTable returns the images by truth, and below by class where there are
// several.
func (p *Page) verdictTable() (rows, classes []verdictRow) {
	if len(p.Scores) == 0 {
		return nil, nil
	}
	type key struct {
		class string
		novel bool
	}
	groups := map[key][]nln.Score{}
	names := map[string]bool{}
	var normal, novel []nln.Score
	for i, s := range p.Scores {
		k := key{}
		if p.Classes != nil {
			k.class = p.Classes[i]
			names[k.class] = true
		}
		if p.Novel != nil && p.Novel[i] {
			k.novel = true
			novel = append(novel, s)
		} else {
			normal = append(normal, s)
		}
		groups[k] = append(groups[k], s)
	}
	truth := func(novel bool) string {
		switch {
		case p.Novel == nil:
			return ""
		case novel:
			return "novel"
		}
		return "normal"
	}
	if p.Novel == nil {
		rows = append(rows, newVerdictRow("all", "", normal))
	} else {
		if len(normal) > 0 {
			rows = append(rows, newVerdictRow("all", truth(false), normal))
		}
		if len(novel) > 0 {
			rows = append(rows, newVerdictRow("all", truth(true), novel))
		}
	}
	if len(names) < 2 {
		return rows, nil
	}
	keys := make([]key, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.novel != b.novel {
			if b.novel {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.class, b.class)
	})
	for _, k := range keys {
		classes = append(classes, newVerdictRow(shortName(k.class), truth(k.novel), groups[k]))
	}
	return rows, classes
}

func newVerdictRow(label, truth string, scores []nln.Score) verdictRow {
	flagged := 0
	values := make([]float64, len(scores))
	for i, s := range scores {
		values[i] = s.Score
		if s.Novel {
			flagged++
		}
	}
	return verdictRow{label, truth, count(len(scores)), count(flagged), percent(flagged, len(scores)), number(median(values))}
}
