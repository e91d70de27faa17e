package cli

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	ucli "github.com/urfave/cli/v2"
)

func inspectCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "inspect",
		Usage:     "check a bundle and say what is in it",
		UsageText: "nlnctl inspect BUNDLE [--json]",
		Description: `Compares every file of BUNDLE with the digest in its manifest and prints the
manifest. It needs neither libtorch nor FAISS.`,
		Flags: []ucli.Flag{jsonFlag("the manifest")},
		Action: func(c *ucli.Context) error {
			if c.NArg() != 1 {
				return badUsage(c, "have %d bundles, want 1", c.NArg())
			}
			m, digest, err := bundle.ReadManifest(c.Args().First())
			if err != nil {
				return err
			}
			if c.Bool("json") {
				text, err := os.ReadFile(filepath.Join(c.Args().First(), "manifest.json"))
				if err != nil {
					return err
				}
				_, err = env.Stdout.Write(text)
				return err
			}
			return printManifest(env.Stdout, c.Args().First(), m, digest)
		},
	}
}

func printManifest(out io.Writer, path string, m bundle.Manifest, digest string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("bundle", "%s", path)
	row("digest", "%s", digest)
	row("written", "%s by %s", m.Created.Format("2006-01-02 15:04:05 MST"), m.Program)
	latents := strconv.Itoa(m.Model.Latent)
	if v := m.Model.Views; v > 1 {
		latents = fmt.Sprintf("%d views of %s", v, latents)
	}
	row("model", "%s for images of %v, latent vectors of %s, %d parameters", m.Model.Arch, m.Model.Shape, latents, m.Parameters)
	network := fmt.Sprintf("filters %s, norm %s", m.Model.Filters, m.Model.Norm)
	if m.Model.Whiten {
		network += ", latents whitened"
	}
	if m.Model.Restore != "" {
		network += ", restores " + m.Model.Restore
	}
	row("network", "%s", network)
	row("training", "%d steps of %d images, loss %s, learning rate %g, seed %d; %.1f s, last loss %.5f",
		m.Training.Steps, m.Model.Batch, m.Model.Loss, m.Model.LR, m.Model.Seed, m.Training.Seconds, m.Training.LastLoss)
	if m.Training.Device != "" {
		row("trained by", "%s, factors %s", m.Training.Device, m.Training.Precision)
	}
	task := "all training images normal"
	if m.Data.Protocol != "" {
		task = "protocol " + string(m.Data.Protocol)
	}
	if m.Data.Class != "" {
		task += ", class " + m.Data.Class
	}
	row("data", "%s, %s, pixels scaled by %s", m.Data.Source, task, cmp.Or(m.Data.Scale, dataset.ScaleMinMax))
	if d := m.Data; len(d.Include)+len(d.Exclude) > 0 {
		row("chosen", "by --include %q --exclude %q", d.Include, d.Exclude)
	}
	row("images", "%d indexed, %d held out for calibration", m.Data.Indexed, m.Data.Calibration)
	row("search", "%v", m.Index)
	row("scoring", "K %d (up to %d), alpha %g on the error, %g on the distance; %s",
		m.Policy.K, m.Policy.MaxK, m.Policy.Alpha, rest(m.Policy.Alpha), thresholdRule(m.Policy))
	row("terms", "error in space %s, distance %s, normalised by %s", m.Policy.Space, metricName(m.Policy), cmp.Or(m.Policy.Normalise, nln.NormaliseMinMax))
	row("local", "K %d, power %g", m.Policy.Local.K, m.Policy.Local.Power)
	var names []string
	for name := range m.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		row("file", "%s, %s, sound", name, megabytes1(m.Files[name].Bytes))
	}
	return w.Flush()
}

func megabytes1(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func thresholdRule(p bundle.Policy) string {
	by := cmp.Or(p.Rank, nln.ScoreTotal)
	if p.Threshold != nil {
		return fmt.Sprintf("novel above a %s score of %g", by, *p.Threshold)
	}
	return fmt.Sprintf("novel by the %s score at a false-positive rate of %g", by, p.FPR)
}

// metricName names the metric and the radius, if there is one.
func metricName(p bundle.Policy) string {
	name := cmp.Or(p.Metric, nln.MetricL2)
	if p.Radius > 0 {
		name += fmt.Sprintf(", within %g", p.Radius)
	}
	return name
}

// rest returns 1-alpha, the weight of the distance, without the digits that
// rounding adds: 0.2 for 0.8.
func rest(alpha float64) float64 { return math.Round(1e12*(1-alpha)) / 1e12 }
