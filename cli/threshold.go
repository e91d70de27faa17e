package cli

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/nln"
	ucli "github.com/urfave/cli/v2"
)

func thresholdCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:        "threshold",
		Usage:       "show or set the score above which an image is novel",
		UsageText:   "nlnctl threshold show|set -m BUNDLE [options]",
		Subcommands: []*ucli.Command{thresholdShowCommand(env), thresholdSetCommand(env)},
		Action:      subcommandHelp,
	}
}

func thresholdShowCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "show",
		Usage:     "say what the threshold is and what others would be",
		UsageText: "nlnctl threshold show -m BUNDLE [--json]",
		Description: `Prints the threshold of BUNDLE, where it comes from, and what other false-positive
rates would make it. The normal images that training held out show no rate below
one in their number and one. It needs neither libtorch nor FAISS.`,
		Flags: []ucli.Flag{modelFlag(), jsonFlag("all that")},
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			return showThreshold(env, c.String("model"), c.Bool("json"))
		},
	}
}

func thresholdSetCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "set",
		Usage:     "change the threshold, without training",
		UsageText: "nlnctl threshold set -m BUNDLE --fpr X | --value T | --reset",
		Description: `Changes above which score "score" calls an image novel from now on. Of BUNDLE only
the manifest changes, at once, and with it the digest that score rows carry.
--reset goes back to what training set, and to the digest of that time.

   nlnctl threshold set -m parts.nln --fpr 0.001`,
		Flags: []ucli.Flag{
			modelFlag(),
			&ucli.Float64Flag{Name: "fpr", Usage: "call at most this share of normal images novel, `X` in 0..1"},
			&ucli.Float64Flag{Name: "value", Usage: "call scores above `T` novel"},
			&ucli.BoolFlag{Name: "reset", Usage: "go back to what training set"},
			jsonFlag("what \"threshold show\" does then,"),
		},
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			cut, err := cutOf(c)
			if err != nil {
				return err
			}
			path, err := filepath.EvalSymlinks(c.String("model")) // what is changed is not the link
			if err != nil {
				return fmt.Errorf("%w: %w", bundle.ErrNotABundle, err)
			}
			if _, _, _, err := bundle.ReadCalibration(path); err != nil {
				return err
			}
			if cut != nil && cut.FPR == 0 { // by hand: the rate stays what it was
				m, _, err := bundle.ReadManifest(path)
				if err != nil {
					return err
				}
				cut.FPR = m.Policy.FPR
			}
			if err := bundle.SetCut(path, cut); err != nil {
				return err
			}
			return showThreshold(env, c.String("model"), c.Bool("json"))
		},
	}
}

// cutOf returns the threshold that the options ask for, nil for that of the
// training. A rate of 0 stands for the one that there is.
func cutOf(c *ucli.Context) (*bundle.Cut, error) {
	given := 0
	for _, name := range []string{"fpr", "value", "reset"} {
		if c.IsSet(name) {
			given++
		}
	}
	if given != 1 {
		return nil, badUsage(c, "have %d of --fpr, --value and --reset, want one", given)
	}
	switch x := c.Float64("fpr"); {
	case c.IsSet("fpr") && !(x > 0 && x < 1):
		return nil, badUsage(c, "--fpr is %v, want more than 0 and less than 1", x)
	case c.IsSet("fpr"):
		return &bundle.Cut{FPR: x}, nil
	case c.IsSet("value"):
		t := c.Float64("value")
		if t-t != 0 {
			return nil, badUsage(c, "--value is %v, want a number", t)
		}
		return &bundle.Cut{Threshold: &t}, nil
	}
	return nil, nil
}

// shownRates are those of the table of thresholds.
var shownRates = []float64{.0001, .001, .002, .005, .01, .02, .05, .1, .2}

// A thresholdInfo is what threshold show prints as JSON.
type thresholdInfo struct {
	Model       string   `json:"model"` // digest of the bundle
	Rank        string   `json:"rank"`  // the score that the threshold is of
	Threshold   *float64 `json:"threshold"`
	ByHand      bool     `json:"by_hand"` // else it follows from FPR
	FPR         float64  `json:"fpr"`
	Trained     *float64 `json:"trained_fpr,omitempty"` // of the training, where the threshold was changed since
	Above       int      `json:"above"`                 // calibration images that are called novel
	Calibration int      `json:"calibration"`
	Smallest    float64  `json:"smallest_fpr"`
	Rates       []rate   `json:"rates"`

	warnings []string
}

// A rate is a false-positive rate and the threshold that it would set.
type rate struct {
	FPR       float64  `json:"fpr"`
	Threshold *float64 `json:"threshold"` // null where there are too few calibration images
	Above     int      `json:"above"`     // calibration images above it
	Need      int      `json:"need"`      // calibration images at least
}

func showThreshold(env Env, path string, asJSON bool) error {
	m, digest, parts, err := bundle.ReadCalibration(path)
	if err != nil {
		return err
	}
	info, err := describeThreshold(m, parts)
	if err != nil {
		return err
	}
	info.Model = digest
	for _, w := range info.warnings {
		fmt.Fprintf(env.Stderr, "warning: %s\n", w)
	}
	if asJSON {
		return printJSON(env.Stdout, info)
	}
	return info.print(env.Stdout)
}

func describeThreshold(m bundle.Manifest, parts nln.Parts) (*thresholdInfo, error) {
	policy := m.Policy.Scoring()
	c, err := nln.Calibrate(parts, policy)
	if err != nil {
		return nil, err
	}
	info := &thresholdInfo{Rank: cmp.Or(policy.Rank, nln.ScoreTotal), ByHand: policy.Threshold != nil, FPR: policy.FPR,
		Calibration: parts.Len(), Smallest: 1 / float64(parts.Len()+1), warnings: c.Warnings()}
	info.Threshold, info.Above = finiteThreshold(c), above(c, parts)
	if m.Policy.Trained != nil {
		info.Trained = &m.Policy.Trained.FPR
	}
	rates := shownRates
	if !slices.Contains(rates, policy.FPR) {
		rates = append(slices.Clone(rates), policy.FPR)
		slices.Sort(rates)
	}
	for _, fpr := range rates {
		policy.FPR, policy.Threshold = fpr, nil
		if c, err = nln.Calibrate(parts, policy); err != nil {
			return nil, err
		}
		info.Rates = append(info.Rates, rate{FPR: fpr, Threshold: finiteThreshold(c), Above: above(c, parts), Need: nln.ImagesNeeded(fpr)})
	}
	return info, nil
}

// finiteThreshold returns the threshold, nil where no score can be above it.
func finiteThreshold(c *nln.Calibration) *float64 {
	if t, err := c.Threshold(); err == nil && !math.IsInf(t, 0) {
		return &t
	}
	return nil
}

// above returns how many of the images are novel.
func above(c *nln.Calibration, parts nln.Parts) int {
	n := 0
	for i := range parts.Len() {
		if c.Score(parts, i).Novel {
			n++
		}
	}
	return n
}

func (info *thresholdInfo) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("threshold", "%s, of the %s score", thresholdText(info.Threshold), info.Rank)
	from := fmt.Sprintf("a false-positive rate of %g", info.FPR)
	if info.ByHand {
		from = "set by hand"
	}
	if info.Trained != nil {
		from += fmt.Sprintf("; training set a rate of %g", *info.Trained)
	}
	row("from", "%s", from)
	row("calibration", "%d normal images held out, %d of them above the threshold", info.Calibration, info.Above)
	row("smallest rate", "%.2g, one image in %d", info.Smallest, info.Calibration+1)
	row("digest", "%s", info.Model)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "rate\tthreshold\tof %d above\tneeds\t\n", info.Calibration)
	for _, r := range info.Rates {
		fmt.Fprintf(w, "%g\t%s\t%d\t%d\t\n", r.FPR, thresholdText(r.Threshold), r.Above, r.Need)
	}
	return w.Flush()
}

func thresholdText(t *float64) string {
	if t == nil {
		return "none"
	}
	return fmt.Sprintf("%.6g", *t)
}
