package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/nlnctl/nlnctl/bundle"
	ucli "github.com/urfave/cli/v2"
)

func indexRollbackCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "rollback",
		Usage:     "go back to the bundle before the last change of its images",
		UsageText: "nlnctl index rollback -m BUNDLE [--to DIGEST]",
		Description: `Puts the version before the last "index add" or "index remove" in the place of
BUNDLE, whole as it was, its threshold too, and prints its digest. Versions are
kept in BUNDLE.versions, each a bundle itself. The version that is left stays
there until the next change; --to goes to any of them.`,
		Flags: []ucli.Flag{modelFlag(), &ucli.StringFlag{Name: "to", Usage: "go to the version whose digest begins with `DIGEST`"}},
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			path, err := filepath.EvalSymlinks(c.String("model"))
			if err != nil {
				return fmt.Errorf("%w: %w", bundle.ErrNotABundle, err)
			}
			digest, err := bundle.Rollback(path, c.String("to"))
			if errors.Is(err, bundle.ErrNoVersion) {
				return &hintedError{err, "\"nlnctl index info\" lists the versions that are kept"}
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, digest)
			return err
		},
	}
}

func indexInfoCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "info",
		Usage:     "say what is indexed, how it was changed and which versions are kept",
		UsageText: "nlnctl index info -m BUNDLE [--json]",
		Description: `Prints how many images are indexed, how they were changed since the training, and
to which versions "index rollback" can go. It needs neither libtorch nor FAISS.`,
		Flags: []ucli.Flag{modelFlag(), jsonFlag("all that")},
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			info, err := describeIndex(c.String("model"))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(env.Stdout, info)
			}
			return info.print(env.Stdout)
		},
	}
}

// An indexInfo is what index info prints as JSON.
type indexInfo struct {
	Model       string        `json:"model"` // digest of the bundle
	Indexed     int           `json:"indexed"`
	Calibration int           `json:"calibration"`
	Changeable  bool          `json:"changeable"` // what a change needs is kept
	Index       bundle.Index  `json:"index"`
	Edits       []bundle.Edit `json:"edits"`
	Versions    []version     `json:"versions"`
}

// A version is an earlier state of the bundle that is kept.
type version struct {
	Model   string `json:"model"`
	Indexed int    `json:"indexed"`
	Path    string `json:"path"`
}

func describeIndex(model string) (*indexInfo, error) {
	path, err := filepath.EvalSymlinks(model)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", bundle.ErrNotABundle, err)
	}
	m, digest, err := bundle.ReadManifest(path)
	if err != nil {
		return nil, err
	}
	info := &indexInfo{Model: digest, Indexed: m.Data.Indexed, Calibration: m.Data.Calibration, Changeable: m.KeepsHeld(), Index: m.Index,
		Edits: append([]bundle.Edit{}, m.Edits...), Versions: []version{}}
	versions, err := bundle.Versions(path)
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		info.Versions = append(info.Versions, version{v.Digest, v.Manifest.Data.Indexed, v.Path})
	}
	return info, nil
}

func (info *indexInfo) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("digest", "%s", info.Model)
	row("images", "%d indexed, %d held out for calibration", info.Indexed, info.Calibration)
	row("search", "%v", info.Index)
	if !info.Changeable {
		row("changes", "none possible: %v", bundle.ErrNotHeld)
	}
	for _, e := range info.Edits {
		row("changed", "%s by %s: %d added, %d removed, before %.16s", e.Time.Format("2006-01-02 15:04:05 MST"), e.Program, e.Added, e.Removed, e.Previous)
	}
	for _, v := range info.Versions {
		row("version", "%.16s, %d indexed, in %s", v.Model, v.Indexed, v.Path)
	}
	return w.Flush()
}
