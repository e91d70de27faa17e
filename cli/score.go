package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/resident"
	"github.com/nlnctl/nlnctl/nln"
	ucli "github.com/urfave/cli/v2"
)

func scoreCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "score",
		Usage:     "score images",
		UsageText: "nlnctl score -m BUNDLE DATA|FILE... [-o FILE] [options]",
		Description: `Writes one row for each image: its score, p-value and verdict, the parts of the
score, the local score and its p-value, and the nearest normal images as the
reason, with how many are within the radius where the bundle has one. Of DATA the test images are
scored. An image that cannot be read gets a row with its status and the reason.
Archives and object stores are gone through once, from beginning to end, and may be
larger than memory.

Rows are JSON lines, CSV if FILE ends in .csv, or Parquet if it ends in .parquet.
FILE appears when all is done. Until then rows stand in FILE.partial, from which
the same command with --resume goes on after whatever ended it; FILE is then what
it would have been.

Exit status: 0 all images scored; 1 failed; 3 some images could not be scored;
with --fail-on-novel 4 where an image is above the threshold, whether or not
others could not be scored.

   nlnctl score -m parts.nln new-parts/ -o scores.csv
   nlnctl score -m parts.nln a.png b.png --fpr 0.001 --fail-on-novel
   nlnctl score -m parts.nln s3://bucket/2026-11/ --exclude '**/raw/**'`,
		Flags: append([]ucli.Flag{
			modelFlag(),
			&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "-", Usage: "write the rows to `FILE`, .jsonl, .csv or .parquet; - is standard output"},
			&ucli.BoolFlag{Name: "resume", Usage: "go on from FILE.partial"},
			&ucli.BoolFlag{Name: "fail-on-novel", Usage: "exit with status 4 where an image is novel"},
			&ucli.Float64Flag{Name: "fpr", Usage: "call at most this share of normal images novel, `X` in 0..1 (default: the bundle's)"},
			&ucli.Float64Flag{Name: "threshold", Usage: "call scores above `X` novel, instead of --fpr"},
			&ucli.StringFlag{Name: "heatmaps", Usage: "write where images are novel to `DIR`, and the regions into the rows"},
			&ucli.StringFlag{Name: "heatmap-files", Value: heatOverlay + "," + heatPNG16, Usage: "what --heatmaps writes, some of `overlay,png16,npy,mask,error,distance`"},
			&ucli.StringFlag{Name: "explain", Usage: "write a page about each of the first 100 novel images to `DIR`"},
			&ucli.Float64Flag{Name: "pixel-fpr", Value: nln.DefaultPixelFPR, Usage: "a region has pixels that at most this share of normal ones exceed, `X` in 0..1"},
			threadsFlag(), quietFlag(),
		}, append(deviceFlags(), limitFlags()...)...),
		Action: func(c *ucli.Context) error {
			if !c.Args().Present() {
				return badUsage(c, "nothing to score")
			}
			if c.IsSet("fpr") && c.IsSet("threshold") {
				return badUsage(c, "--fpr and --threshold exclude each other")
			}
			if c.Bool("resume") && c.String("output") == "-" {
				return badUsage(c, "--resume needs --output FILE, whose rows so far are in FILE.partial")
			}
			b, reading, err := openReading(c)
			if err != nil {
				return err
			}
			defer b.Close()
			scorer, err := scorerFor(c, b)
			if err != nil {
				return err
			}
			var heat *heatmaps
			if c.IsSet("heatmaps") {
				if heat, err = newHeatmaps(c.String("heatmaps"), c.String("heatmap-files"), c.Float64("pixel-fpr"), scorer, b.Digest); err != nil {
					return err
				}
				if reading.Rows > 0 {
					heat.reading = &reading
				}
			}
			r := run{scorer: scorer, heat: heat, explain: c.String("explain"), bundle: b, reading: reading, meter: newMeter(c, env.Stderr), readers: runtime.GOMAXPROCS(0), device: computedOn(c, b),
				resume: c.Bool("resume"), failOnNovel: c.Bool("fail-on-novel")}
			noteHost(b, r.meter)
			for _, w := range scorer.Warnings() {
				fmt.Fprintf(env.Stderr, "warning: %s\n", w) // quiet or not: verdicts depend on it
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

// A run scores images and writes their rows.
type run struct {
	scorer  *nln.Scorer
	bundle  *bundle.Bundle
	reading dataset.Reading
	heat    *heatmaps // nil: none are wanted
	explain string    // folder of pages about novel images; "": none are wanted
	reasons []string  // the novel images that get one
	meter   *meter
	readers int    // goroutines that read images
	device  string // as computedOn says

	threshold   *float64
	rows        rowWriter
	out         *bufio.Writer
	row         row      // of the image that is written
	resume      bool     // go on from the rows of an earlier run
	failOnNovel bool     // make novel images an error
	partial     *partial // nil where rows go nowhere to be found again
	tally
}

// writeRows scores what args name and writes the rows to path, which appears
// whole or not at all, or to stdout for "-".
func (r *run) writeRows(ctx context.Context, stdout io.Writer, path string, args []string) error {
	if t, err := r.scorer.Calibration().Threshold(); err == nil && !math.IsInf(t, 0) {
		r.threshold = &t
	}
	err := r.output(ctx, stdout, path, args)
	r.meter.clear()
	if err != nil {
		return err
	}
	if err := r.writeReasons(ctx); err != nil {
		return err
	}
	r.meter.say("scored %d images, %d novel; peak memory %s", r.total-r.bad, r.novel, megabytes(resident.Peak()))
	var errs []error
	if r.failOnNovel && r.novel > 0 {
		errs = append(errs, &novelError{r.novel, r.total - r.bad})
	}
	if r.bad > 0 {
		errs = append(errs, &incompleteError{r.bad, r.total})
	}
	return errors.Join(errs...)
}

func (r *run) flush() error {
	if err := r.rows.flush(); err != nil {
		return err
	}
	return r.out.Flush()
}

// A group is arguments that are scored together: image files, or one other.
type group struct {
	files bool
	args  []string
}

// groups splits arguments into groups, in order.
func groups(args []string) []group {
	var all []group
	for _, arg := range args {
		files := isImageFile(arg)
		if n := len(all); files && n > 0 && all[n-1].files {
			all[n-1].args = append(all[n-1].args, arg)
		} else {
			all = append(all, group{files, []string{arg}})
		}
	}
	return all
}

// isImageFile says whether arg names an image file, be it there or not.
func isImageFile(arg string) bool {
	if !dataset.IsImageName(arg) || strings.Contains(arg, "://") {
		return false
	}
	st, err := os.Stat(arg)
	return err != nil || st.Mode().IsRegular()
}

// A listing finds the image files of a group, in the folder dir, "" for where they are.
type listing func() (dir string, names []string, err error)

// listing returns how the image files of a group are listed; nil where they are to be
// streamed, are no files, or cannot be told.
func (r *run) listing(g group) listing {
	if g.files {
		return func() (string, []string, error) { return "", g.args, nil }
	}
	switch kind, location, err := dataset.Resolve(g.args[0]); {
	case err == nil && kind == "folder":
		return func() (string, []string, error) {
			names, err := r.reading.ImageFiles(location)
			if err == nil && len(names) == 0 {
				err = fmt.Errorf("%s holds no image files%s", location, r.chosen())
			}
			return location, names, err
		}
	case err == nil && kind == "list":
		return func() (string, []string, error) {
			paths, err := r.reading.ListFiles(location)
			return "", paths, err
		}
	}
	return nil
}

// score scores the images of an archive or object store, or the test images of a set.
func (r *run) score(ctx context.Context, arg string) error {
	kind, _, err := dataset.Resolve(arg)
	if err != nil {
		return err
	}
	if dataset.IsStream(kind) {
		return r.scoreStream(ctx, arg)
	}
	sp, err := r.reading.OpenContext(ctx, arg)
	if err != nil {
		return err
	}
	if sp.Test == nil {
		return fmt.Errorf("%s has no test images", arg)
	}
	return r.scoreSet(ctx, sp.Test)
}

// scoreFiles scores the files of listings. The next one is listed and read while the
// last images of one are scored; no batch has images of two.
func (r *run) scoreFiles(ctx context.Context, lists []listing) error {
	return r.through(ctx, func(yield func(imageSource, error) bool) {
		for _, list := range lists {
			dir, names, err := list()
			if err != nil {
				yield(imageSource{}, err)
				return
			}
			if !yield(fileSource(dir, names, r.scorer.Shape(), r.reading), nil) {
				return
			}
		}
	})
}

// fileSource reads image files of a shape. Their paths are put together when
// they are wanted, as there may be millions.
func fileSource(dir string, names []string, shape dataset.Shape, reading dataset.Reading) imageSource {
	path := func(i int) string { return filepath.Join(dir, names[i]) }
	if dir == "" {
		path = func(i int) string { return names[i] }
	}
	reader := func() func(i int, dst []uint8) error {
		r := dataset.ImageReader{Reading: reading}
		return func(i int, dst []uint8) error { return r.Read(dst, path(i), shape) }
	}
	return imageSource{n: len(names), name: path, reader: reader}
}

func (r *run) scoreSet(ctx context.Context, set *dataset.Set) error {
	if set.Shape() != r.scorer.Shape() {
		return fmt.Errorf("%s has images of %v, the bundle takes %v", set.Name, set.Shape(), r.scorer.Shape())
	}
	reader := func() func(i int, dst []uint8) error {
		return func(i int, dst []uint8) error {
			copy(dst, set.Image(i))
			return nil
		}
	}
	return r.through(ctx, only(imageSource{n: set.Len(), name: set.ImageName, reader: reader}))
}

// pipeline returns what takes images to their rows, as pixels where that is cheaper.
func (r *run) pipeline() pipeline {
	p := pipeline{shape: r.scorer.Shape(), scale: r.bundle.Manifest.Data.Scale, size: batchOf(r.bundle), readers: r.readers, score: r.scorer.Score, write: r.write}
	if r.scorer.TakesBytes() {
		p.scoreBytes = r.scorer.ScoreBytes
	}
	if r.heat != nil {
		p.score, p.scoreBytes, p.size = r.heat.score, nil, min(p.size, mapImages)
	}
	return p
}

// batchOf returns how many images of a bundle's make a batch of a pipeline.
func batchOf(b *bundle.Bundle) int {
	if b.Engine != nil {
		return b.Scorer.BatchImages()
	}
	return batchSize(b.Scorer.Shape())
}

// through takes images from sources to their rows.
func (r *run) through(ctx context.Context, sources iter.Seq2[imageSource, error]) error {
	p := r.pipeline()
	p.sources = func(yield func(imageSource, error) bool) {
		for images, err := range sources {
			if err == nil {
				images, err = r.without(images, p.size)
			}
			if !yield(images, err) {
				return
			}
		}
	}
	var current *imageSource
	var start, last time.Time
	p.wrote = func(of *imageSource, done int) error {
		if of != current {
			current, start = of, of.begun
			if last.After(start) { // it was read before its turn
				start = last
			}
		}
		last = time.Now()
		r.meter.show("%s", progress(of.before, done, of.before+of.n, last.Sub(start)))
		return r.flush()
	}
	return p.run(ctx)
}

// without announces images, and returns those that have no rows from an earlier run.
func (r *run) without(images imageSource, size int) (imageSource, error) {
	r.meter.say("scoring %d images of %v: about %s of memory", images.n, r.scorer.Shape(), megabytes(scorePeak(r.bundle, images.n)))
	if r.partial != nil {
		// Rows are left to compare only as long as there was nothing to write.
		before, err := r.partial.skip(images.names(), size, &r.tally)
		if err != nil {
			return images, err
		}
		if images = images.from(before); before > 0 {
			r.meter.say("%d of them have their rows already", before)
		}
	}
	images.begun = time.Now()
	return images, nil
}

// progress says how far scoring is: done images of total took as long as that, beside
// some whose rows were there before.
func progress(before, done, total int, took time.Duration) string {
	return fmt.Sprintf("scored %d of %d images, %.0f images/s, %v left", before+done, total,
		float64(done)/took.Seconds(), remaining(took, done, total-before))
}

// write writes the row of an image: of its score, or of why it has none.
func (r *run) write(name string, s *nln.Score, failed error) error {
	n := r.row.numbers
	r.row = row{Image: name, Status: statusOK, Model: r.bundle.Digest}
	r.total++
	if errors.Is(failed, dataset.ErrNoDecoder) {
		return failed // which no image is to blame for
	}
	if failed != nil {
		r.bad++
		r.row.Status, r.row.Reason = statusOf(failed), failed.Error()
		return r.rows.put(&r.row)
	}
	if s.Novel {
		r.novel++
		if r.explain != "" && len(r.reasons) < mostPages {
			r.reasons = append(r.reasons, name)
		}
	}
	if n == nil {
		n = &numbers{NeighborImages: []string{}}
	}
	*n = numbers{Recon: s.Recon, Error: s.Error, Distance: s.Distance, Local: s.Local, LocalP: s.LocalP, Score: s.Score, P: s.P, Novel: s.Novel,
		Threshold: r.threshold, Neighbors: s.Neighbors, NeighborImages: n.NeighborImages[:0]}
	if r.scorer.Config().Radius > 0 {
		n.Within = &s.WithinRadius
	}
	if r.heat != nil {
		var err error
		if n.Regions, err = r.heat.write(name); err != nil {
			return err
		}
	}
	for _, id := range s.Neighbors {
		n.NeighborImages = append(n.NeighborImages, r.bundle.Train[id].Name)
	}
	r.row.numbers = n
	return r.rows.put(&r.row)
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
