package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/resident"
	"github.com/nlnctl/nlnctl/nln"
	ucli "github.com/urfave/cli/v2"
)

func evalCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "eval",
		Usage:     "measure how well a bundle tells novel images from normal ones",
		UsageText: "nlnctl eval -m BUNDLE [--data DATA] [options]",
		Description: `Scores the test images of DATA, whose labels say which are novel, and prints the
area under the ROC curve (AUROC) of each score: recon, the plain reconstruction
error; error and distance, the two terms of Nearest Latent Neighbours; total,
both, where alpha is the weight of the error and 1-alpha that of the distance;
local, the distance relative to the neighbours' own; product, local times recon.
"error:code" is the error in the space "code" of a model that has several. Two protocols scale the terms
before they are added: "paper" by their values over the test images, as the
paper's authors did, which looks at the test set; "held-out" by those over the
calibration images, as scoring does.

   nlnctl eval -m two.nln --k 1,2,3 --alpha 0,0.5,1 --json`,
		Flags: append([]ucli.Flag{
			modelFlag(),
			&ucli.StringFlag{Name: "data", Usage: "the `DATA` to measure on (default: what the bundle was trained from)"},
			&ucli.StringFlag{Name: "protocol", Usage: "which images are normal: `miso|simo|defects` (default: the bundle's)"},
			&ucli.StringFlag{Name: "class", Usage: "the `CLASS` that the protocol is about (default: the bundle's)"},
			&ucli.StringFlag{Name: "k", Usage: "numbers of neighbours, `K,...` (default: the bundle's)"},
			&ucli.StringFlag{Name: "alpha", Usage: "weights of the error term, `X,...` (default: the bundle's)"},
			&ucli.StringFlag{Name: "html", Usage: "write a page with curves and examples to `FILE`"},
			&ucli.StringFlag{Name: "png", Usage: "write a picture of some examples to `FILE`"},
			threadsFlag(), quietFlag(), jsonFlag("the results"),
		}, append(deviceFlags(), limitFlags()...)...),
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			for _, name := range []string{"html", "png"} { // before the work, not after it
				if dir := filepath.Dir(c.String(name)); c.IsSet(name) {
					if _, err := os.Stat(dir); err != nil {
						return fmt.Errorf("--%s: %w", name, err)
					}
				}
			}
			b, err := openBundle(c)
			if err != nil {
				return err
			}
			defer b.Close()
			ks, alphas, err := sweep(c, b)
			if err != nil {
				return err
			}
			ev, err := evaluate(c.Context, c, b, newMeter(c, env.Stderr), ks, alphas)
			if err != nil {
				return err
			}
			if path := c.String("html"); path != "" {
				if err := ev.writePage(c.Context, path); err != nil {
					return err
				}
			}
			if path := c.String("png"); path != "" {
				if err := ev.writePicture(c.Context, path); err != nil {
					return err
				}
			}
			if c.Bool("json") {
				return printJSON(env.Stdout, ev.summary)
			}
			return ev.print(env.Stdout)
		},
	}
}

// sweep returns the numbers of neighbours and the weights to evaluate.
func sweep(c *ucli.Context, b *bundle.Bundle) (ks []int, alphas []float64, err error) {
	cfg := b.Scorer.Config()
	ks, alphas = []int{cfg.K}, []float64{cfg.Alpha}
	if c.IsSet("k") {
		if ks, err = ints(c.String("k")); err != nil {
			return nil, nil, badUsage(c, "--k: %w", err)
		}
	}
	if c.IsSet("alpha") {
		if alphas, err = floats(c.String("alpha")); err != nil {
			return nil, nil, badUsage(c, "--alpha: %w", err)
		}
	}
	for _, k := range ks {
		if k < 1 || k > cfg.MaxK {
			return nil, nil, badUsage(c, "--k: %d is not in 1..%d, what the bundle keeps", k, cfg.MaxK)
		}
	}
	for _, a := range alphas {
		if !(a >= 0 && a <= 1) {
			return nil, nil, badUsage(c, "--alpha: %v is not in 0..1", a)
		}
	}
	return ks, alphas, nil
}

// A summary is what eval prints as JSON.
type summary struct {
	Model    string             `json:"model"` // digest of the bundle
	Data     string             `json:"data"`
	Protocol dataset.Protocol   `json:"split"` // which images are novel
	Class    string             `json:"class,omitempty"`
	Images   int                `json:"images"`
	Novel    int                `json:"novel"`
	Indexed  int                `json:"indexed"`
	K        int                `json:"k"`     // of the bundle, as what follows
	Alpha    float64            `json:"alpha"` // weight of the error term
	Space    string             `json:"space"` // of the scores that name none
	Scaling  string             `json:"normalise"`
	Index    bundle.Index       `json:"index"`
	Flagged  flagged            `json:"flagged"`
	Alone    int                `json:"alone"` // images without a neighbour within the bundle's radius
	Results  []nln.Result       `json:"results"`
	Pixels   []segmentation     `json:"pixels,omitempty"` // where the data has masks
	Seconds  map[string]float64 `json:"seconds"`
	Memory   int64              `json:"peak_bytes"`
	Device   string             `json:"device"` // as "cpu" or "cuda:0 bf16"
}

// flagged counts the verdicts of the bundle's own threshold.
type flagged struct {
	FPR    float64 `json:"target_fpr"`
	Normal int     `json:"normal"` // normal images called novel
	Novel  int     `json:"novel"`  // novel images called novel
}

// An evaluation is a summary and what it was made from.
type evaluation struct {
	summary
	bundle *bundle.Bundle
	test   *dataset.Set
	truth  []bool
	parts  nln.Parts
}

func evaluate(ctx context.Context, c *ucli.Context, b *bundle.Bundle, m *meter, ks []int, alphas []float64) (*evaluation, error) {
	data := b.Manifest.Data
	for name, dst := range map[string]*string{"data": &data.Source, "protocol": (*string)(&data.Protocol), "class": &data.Class} {
		if c.IsSet(name) {
			*dst = c.String(name)
		}
	}
	start := time.Now()
	limits, err := limits(c)
	if err != nil {
		return nil, err
	}
	reading := readingOf(b, limits)
	if !c.IsSet("data") && !c.IsSet("include") && !c.IsSet("exclude") {
		reading.Include, reading.Exclude = data.Include, data.Exclude
	}
	sp, err := reading.OpenContext(ctx, data.Source)
	if err != nil {
		return nil, err
	}
	for _, note := range sp.Notes() {
		m.say("note: %s", note)
	}
	if sp.Test == nil {
		return nil, fmt.Errorf("%s has no test images", data.Source)
	}
	if sp.Single() {
		m.say("warning: %s has no test images of its own: these are the ones to train on", data.Source)
	}
	task, err := sp.Task(data.Protocol, data.Class)
	if err != nil {
		return nil, err
	}
	if task.Novel == nil {
		return nil, &hintedError{errors.New("no way to know which test images are novel"), "pass --protocol and --class, or use data in the layout of MVTec AD"}
	}
	ev := &evaluation{bundle: b, test: sp.Test, truth: task.Novel}
	ev.test.Scale = b.Manifest.Data.Scale
	read := time.Since(start)
	noteHost(b, m)
	start = time.Now()
	if ev.parts, err = b.Scorer.PartsAll(ctx, ev.test); err != nil {
		return nil, err
	}
	scored := time.Since(start)
	start = time.Now()
	results, err := ev.measure(ks, alphas)
	if err != nil {
		return nil, err
	}
	masks, err := segment(ctx, b, ev.test, m)
	if err != nil {
		return nil, err
	}
	cfg := b.Scorer.Config()
	ev.summary = summary{Pixels: masks, Model: b.Digest, Data: data.Source, Protocol: task.Protocol, Class: data.Class,
		Images: ev.test.Len(), Indexed: b.Index.Len(), K: cfg.K, Alpha: cfg.Alpha, Space: cfg.Space, Scaling: cfg.Normalise, Index: b.Manifest.Index, Results: results,
		Seconds: map[string]float64{"read": read.Seconds(), "score": scored.Seconds(), "evaluate": time.Since(start).Seconds()},
		Memory:  resident.Peak(), Device: computedOn(c, b)}
	ev.Flagged.FPR = cfg.FPR
	for i, novel := range ev.truth {
		s := b.Scorer.Calibration().Score(ev.parts, i)
		if s.WithinRadius == 0 {
			ev.Alone++
		}
		switch {
		case novel:
			ev.Novel++
			if s.Novel {
				ev.Flagged.Novel++
			}
		case s.Novel:
			ev.Flagged.Normal++
		}
	}
	return ev, nil
}

// measure evaluates the scores for numbers of neighbours and weights, under the
// bundle's radius, metric, scaling and power.
func (ev *evaluation) measure(ks []int, alphas []float64) ([]nln.Result, error) {
	scorer := ev.bundle.Scorer
	return scorer.Calibration().Policy().Evaluate(ev.parts, ev.truth, scorer.CalibrationParts(), ks, alphas)
}

// print writes the table: a line for each score, with both protocols.
func (ev *evaluation) print(out io.Writer) error {
	task := string(ev.Protocol)
	if ev.Class != "" {
		task += ", class " + ev.Class
	}
	fmt.Fprintf(out, "%s: %d images, %d novel (%s); %d indexed\n", ev.Data, ev.Images, ev.Novel, task, ev.Indexed)
	cfg := ev.bundle.Scorer.Config()
	fmt.Fprintf(out, "error in space %s, distance %s, normalised by %s; local score with power %g\n%v\n\n",
		cfg.Space, cfg.Metric, cfg.Normalise, cfg.Local.Power, ev.Index)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "score\tK\talpha (error)\t1-alpha (distance)\tAUROC paper\tAUROC held-out\t95 %% interval\t\n")
	type key struct {
		score string
		k     int
		alpha float64
	}
	rows := map[key]map[string]nln.Result{}
	var order []key
	for _, r := range ev.Results {
		if r.Score == nln.ScoreSum3 {
			continue // of interest to those who compare with the authors' code: --json has it
		}
		k := key{r.Score, r.K, r.Alpha}
		if rows[k] == nil {
			rows[k] = map[string]nln.Result{}
			order = append(order, k)
		}
		rows[k][r.Protocol] = r
	}
	for _, k := range order {
		paper, ours := rows[k][nln.ProtocolPaper], rows[k][nln.ProtocolHeldOut]
		kText, alphaText, restText := fmt.Sprint(k.k), "", ""
		if k.k == 0 {
			kText = ""
		}
		if strings.HasPrefix(k.score, nln.ScoreTotal) {
			alphaText, restText = fmt.Sprint(k.alpha), fmt.Sprint(rest(k.alpha))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.4f\t%.4f\t%.4f..%.4f\t\n", k.score, kText, alphaText, restText, paper.AUROC, ours.AUROC, ours.Lo, ours.Hi)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := printSegmentation(out, ev.Pixels); err != nil {
		return err
	}
	if ev.Alone > 0 {
		fmt.Fprintf(out, "\n%d images have no neighbour within the radius and are compared with their own reconstruction\n", ev.Alone)
	}
	_, err := fmt.Fprintf(out, "\nat a false-positive rate of %g set on held-out normal images: %d of %d normal images called novel (%.2f %%), %d of %d novel ones (%.1f %%)\n",
		ev.Flagged.FPR, ev.Flagged.Normal, ev.Images-ev.Novel, percent(ev.Flagged.Normal, ev.Images-ev.Novel),
		ev.Flagged.Novel, ev.Novel, percent(ev.Flagged.Novel, ev.Novel))
	return err
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(max(whole, 1)) }
