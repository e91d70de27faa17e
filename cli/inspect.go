package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/nlnctl/nlnctl/bundle"
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
	row("model", "%s for images of %v, latent vectors of %d, %d parameters", m.Model.Arch, m.Model.Shape, m.Model.Latent, m.Parameters)
	row("network", "filters %s, norm %s", m.Model.Filters, m.Model.Norm)
	row("training", "%d steps of %d images, loss %s, learning rate %g, seed %d; %.1f s, last loss %.5f",
		m.Training.Steps, m.Model.Batch, m.Model.Loss, m.Model.LR, m.Model.Seed, m.Training.Seconds, m.Training.LastLoss)
	task := "all training images normal"
	if m.Data.Protocol != "" {
		task = "protocol " + string(m.Data.Protocol)
	}
	if m.Data.Class != "" {
		task += ", class " + m.Data.Class
	}
	row("data", "%s, %s, pixels scaled by %s", m.Data.Source, task, m.Data.Scale)
	row("images", "%d indexed, %d held out for calibration", m.Data.Indexed, m.Data.Calibration)
	row("scoring", "K %d (up to %d), alpha %g, %s", m.Policy.K, m.Policy.MaxK, m.Policy.Alpha, thresholdRule(m.Policy))
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
	if p.Threshold != nil {
		return fmt.Sprintf("novel above a score of %g", *p.Threshold)
	}
	return fmt.Sprintf("novel at a false-positive rate of %g", p.FPR)
}
