package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/nln"
	ucli "github.com/urfave/cli/v2"
)

func scoreCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "score",
		Usage:     "score images",
		UsageText: "nlnctl score -m BUNDLE DATA|FOLDER|FILE... [-o FILE] [options]",
		Description: `Writes one row for each image: its score, p-value and verdict, the parts of the
score, the local score and its p-value, and the nearest normal images as the
reason, with how many are within the radius where the bundle has one. Of DATA the test images are
scored. An image that cannot be read gets a row with its status and the reason,
and the exit status is 3.

Rows are JSON lines, or CSV if FILE ends in .csv. FILE appears when all is done.

   nlnctl score -m parts.nln new-parts/ -o scores.csv
   nlnctl score -m parts.nln a.png b.png --fpr 0.001`,
		Flags: []ucli.Flag{
			modelFlag(),
			&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "-", Usage: "write the rows to `FILE`; - is standard output"},
			&ucli.Float64Flag{Name: "fpr", Usage: "call at most this share of normal images novel, `X` in 0..1 (default: the bundle's)"},
			&ucli.Float64Flag{Name: "threshold", Usage: "call scores above `X` novel, instead of --fpr"},
			threadsFlag(), quietFlag(),
		},
		Action: func(c *ucli.Context) error {
			if !c.Args().Present() {
				return badUsage(c, "nothing to score")
			}
			if c.IsSet("fpr") && c.IsSet("threshold") {
				return badUsage(c, "--fpr and --threshold exclude each other")
			}
			b, err := openBundle(c)
			if err != nil {
				return err
			}
			defer b.Close()
			scorer, err := scorerFor(c, b)
			if err != nil {
				return err
			}
			r := run{scorer: scorer, bundle: b, meter: newMeter(c, env.Stderr)}
			for _, w := range scorer.Warnings() {
				r.meter.say("warning: %s", w)
			}
			return r.writeRows(c.Context, env.Stdout, c.String("output"), c.Args().Slice())
		},
	}
}

// scorerFor returns the bundle's scorer with the policy that the options ask for.
func scorerFor(c *ucli.Context, b *bundle.Bundle) (*nln.Scorer, error) {
	p := b.Scorer.Config().Policy
	switch {
	case c.IsSet("threshold"):
		t := c.Float64("threshold")
		p.Threshold = &t
	case c.IsSet("fpr"):
		p.FPR, p.Threshold = c.Float64("fpr"), nil
		if !(p.FPR > 0 && p.FPR < 1) {
			return nil, badUsage(c, "--fpr is %v, want more than 0 and less than 1", p.FPR)
		}
	default:
		return b.Scorer, nil
	}
	return b.Scorer.With(p)
}

// Statuses of a row.
const (
	statusOK          = "ok"
	statusUnreadable  = "unreadable"  // missing, damaged, or not to be opened
	statusUnsupported = "unsupported" // a format this program does not read
	statusTooLarge    = "too-large"
	statusWrongSize   = "wrong-size" // not of the size that the model takes
)

// A row is what is written for an image. One whose status is not ok has no
// numbers.
type row struct {
	Image  string `json:"image"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	*numbers
	Model string `json:"model"` // digest of the bundle
}

type numbers struct {
	Recon          float64  `json:"recon"`
	Error          float64  `json:"error"`
	Distance       float64  `json:"distance"`
	Local          float64  `json:"local"`
	LocalP         float64  `json:"local_p"` // p-value of Local
	Score          float64  `json:"score"`
	P              float64  `json:"p"` // of Score
	Novel          bool     `json:"novel"`
	Threshold      *float64 `json:"threshold"` // null where no score can be novel
	Neighbors      []int64  `json:"neighbors"`
	NeighborImages []string `json:"neighbor_images"`
	Within         *int     `json:"within,omitempty"` // how many of them are within the radius; nil where there is none
}

// A run scores images and writes their rows.
type run struct {
	scorer *nln.Scorer
	bundle *bundle.Bundle
	meter  *meter

	threshold  *float64
	put        func(row) error
	total, bad int
	novel      int
}

// writeRows scores what args name and writes the rows to path, which appears
// whole or not at all, or to stdout for "-".
func (r *run) writeRows(ctx context.Context, stdout io.Writer, path string, args []string) error {
	if t, err := r.scorer.Calibration().Threshold(); err == nil && !math.IsInf(t, 0) {
		r.threshold = &t
	}
	write := func(w io.Writer) error {
		flush := func() error { return nil }
		if strings.EqualFold(filepath.Ext(path), ".csv") {
			c := csv.NewWriter(w)
			r.put = func(row row) error { return c.Write(row.fields()) }
			c.Write(csvHeader)
			flush = func() error { c.Flush(); return c.Error() }
		} else {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			r.put = func(row row) error { return e.Encode(row) }
		}
		for _, arg := range args {
			if err := r.score(ctx, arg); err != nil {
				return err
			}
		}
		return flush()
	}
	var err error
	if path == "-" {
		err = write(stdout)
	} else {
		err = atomicfile.Write(path, write)
	}
	r.meter.clear()
	if err != nil {
		return err
	}
	r.meter.say("scored %d images, %d novel", r.total-r.bad, r.novel)
	if r.bad > 0 {
		return &incompleteError{r.bad, r.total}
	}
	return nil
}

// score scores a file, the image files of a folder, or the test images of a set.
func (r *run) score(ctx context.Context, arg string) error {
	if st, err := os.Stat(arg); isImage(arg) && (err != nil || st.Mode().IsRegular()) {
		return r.scoreFiles(ctx, []string{arg})
	}
	kind, location, err := dataset.Resolve(arg)
	if err != nil {
		return err
	}
	if kind == "folder" {
		names, err := dataset.ImageFiles(location)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return fmt.Errorf("%s holds no PNG or JPEG files", location)
		}
		for i := range names {
			names[i] = filepath.Join(location, names[i])
		}
		return r.scoreFiles(ctx, names)
	}
	sp, err := dataset.Open(arg)
	if err != nil {
		return err
	}
	if sp.Test == nil {
		return fmt.Errorf("%s has no test images", arg)
	}
	return r.scoreSet(ctx, sp.Test)
}

func isImage(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".png", ".jpg", ".jpeg":
		return true
	}
	return false
}

// fileBatch is how many files are read before they are scored together.
const fileBatch = 256

func (r *run) scoreFiles(ctx context.Context, paths []string) error {
	size := r.scorer.Model().Shape()
	for lo := 0; lo < len(paths); lo += fileBatch {
		part := paths[lo:min(lo+fileBatch, len(paths))]
		images, errs := readImages(part, size)
		good := &dataset.Set{Name: "files", Size: size, Scale: r.bundle.Manifest.Data.Scale}
		for i := range part {
			if errs[i] == nil {
				good.Pix = append(good.Pix, images[i]...)
			}
		}
		scores, err := r.scoreBatch(ctx, good, 0, good.Len())
		if err != nil {
			return err
		}
		next := 0
		for i, path := range part {
			if errs[i] != nil {
				err = r.write(path, nil, errs[i])
			} else {
				err = r.write(path, &scores[next], nil)
				next++
			}
			if err != nil {
				return err
			}
		}
		r.meter.show("scored %d of %d images", lo+len(part), len(paths))
	}
	return nil
}

// readImages reads image files in parallel, each with an error of its own.
func readImages(paths []string, size dataset.Shape) ([][]uint8, []error) {
	images, errs := make([][]uint8, len(paths)), make([]error, len(paths))
	parallel(len(paths), func(i int) { images[i], errs[i] = dataset.ReadImage(paths[i], size) })
	return images, errs
}

func (r *run) scoreSet(ctx context.Context, set *dataset.Set) error {
	if set.Shape() != r.scorer.Model().Shape() {
		return fmt.Errorf("%s has images of %v, the bundle takes %v", set.Name, set.Shape(), r.scorer.Model().Shape())
	}
	set.Scale = r.bundle.Manifest.Data.Scale
	for lo := 0; lo < set.Len(); lo += fileBatch {
		hi := min(lo+fileBatch, set.Len())
		scores, err := r.scoreBatch(ctx, set, lo, hi)
		if err != nil {
			return err
		}
		for i := range scores {
			if err := r.write(set.ImageName(lo+i), &scores[i], nil); err != nil {
				return err
			}
		}
		r.meter.show("scored %d of %d images", hi, set.Len())
	}
	return nil
}

func (r *run) scoreBatch(ctx context.Context, set *dataset.Set, lo, hi int) ([]nln.Score, error) {
	if lo == hi {
		return nil, nil
	}
	ids := make([]int, hi-lo)
	for i := range ids {
		ids[i] = lo + i
	}
	x := set.Gather(ids, make([]float32, len(ids)*set.Size.Len()))
	return r.scorer.Score(ctx, x, nil)
}

func (r *run) write(name string, s *nln.Score, failed error) error {
	out := row{Image: name, Status: statusOK, Model: r.bundle.Digest}
	r.total++
	if failed != nil {
		r.bad++
		out.Status, out.Reason = statusOf(failed), failed.Error()
		return r.put(out)
	}
	if s.Novel {
		r.novel++
	}
	n := &numbers{Recon: s.Recon, Error: s.Error, Distance: s.Distance, Local: s.Local, LocalP: s.LocalP, Score: s.Score, P: s.P, Novel: s.Novel,
		Threshold: r.threshold, Neighbors: s.Neighbors, NeighborImages: []string{}}
	if r.scorer.Config().Radius > 0 {
		n.Within = &s.WithinRadius
	}
	for _, id := range s.Neighbors {
		n.NeighborImages = append(n.NeighborImages, r.bundle.Train[id].Name)
	}
	out.numbers = n
	return r.put(out)
}

func statusOf(err error) string {
	var unsupported *dataset.UnsupportedError
	var large *dataset.TooLargeError
	var size *dataset.SizeError
	switch {
	case errors.As(err, &unsupported):
		return statusUnsupported
	case errors.As(err, &large):
		return statusTooLarge
	case errors.As(err, &size):
		return statusWrongSize
	}
	return statusUnreadable
}

var csvHeader = []string{"image", "status", "reason", "recon", "error", "distance", "local", "local_p", "score", "p", "novel", "threshold", "neighbors", "neighbor_images", "within", "model"}

// fields returns the row in the order of csvHeader; lists are separated by spaces
// (ids) and vertical bars (names).
func (r row) fields() []string {
	f := append(make([]string, 0, len(csvHeader)), r.Image, r.Status, r.Reason)
	if n := r.numbers; n != nil {
		for _, v := range []float64{n.Recon, n.Error, n.Distance, n.Local, n.LocalP, n.Score, n.P} {
			f = append(f, strconv.FormatFloat(v, 'g', -1, 64))
		}
		f = append(f, strconv.FormatBool(n.Novel), "")
		if n.Threshold != nil {
			f[len(f)-1] = strconv.FormatFloat(*n.Threshold, 'g', -1, 64)
		}
		ids := make([]string, len(n.Neighbors))
		for i, id := range n.Neighbors {
			ids[i] = strconv.FormatInt(id, 10)
		}
		f = append(f, strings.Join(ids, " "), strings.Join(n.NeighborImages, "|"), "")
		if n.Within != nil {
			f[len(f)-1] = strconv.Itoa(*n.Within)
		}
	}
	for len(f) < len(csvHeader)-1 { // no numbers
		f = append(f, "")
	}
	return append(f, r.Model)
}
