package experiment

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/recipe"
)

// Options say what is run and where.
type Options struct {
	Plan    *Plan
	Budget  string
	Dir     string          // the folder of the run, made if need be
	Data    string          // the folder that has the data sets, by the names in the plan
	Reading dataset.Reading // of image files

	// Device is where autoencoders are trained and run, as torch.FindDevice takes it; "" is
	// the CPU. A cell is the same wherever it is done.
	Device string

	Backbone string // TorchScript file for MethodDKNN; "": its cells are left out
	Program  string // name and version, for the records
	Log      recipe.Log

	// Done, if set, is called after each cell: how many of all are done by then,
	// by this process or another.
	Done func(rec Record, done, all int)

	together int // how many cells are trained at once; 0: as suits the device
}

// A Report is how much of a plan is done.
type Report struct {
	Cells  int
	Done   int // by this run
	Before int // by earlier ones, and by other processes
}

// Run does those cells of a plan that are not done yet. It may be ended at any moment:
// what is done stays, and a training that has begun goes on from its last checkpoint.
// Several processes can run one folder: no cell is done by two. A cell that fails leaves
// the others alone; its error is returned in the end. A cell whose configuration or whose
// images changed is another cell.
func Run(ctx context.Context, o Options) (Report, error) {
	r, err := newRunner(o)
	if err != nil {
		return Report{}, fmt.Errorf("experiment: %w", err)
	}
	rep, err := r.run(ctx)
	if err != nil {
		return rep, fmt.Errorf("experiment: %w", err)
	}
	return rep, nil
}

// runner is a run in this process.
type runner struct {
	Options
	dev     torch.Device
	cells   []Cell
	jobs    []job             // of the cells, in their order
	sources map[string]source // by what of them is used
}

// source is what is known of the images of some cells.
type source struct {
	digest  string
	shape   dataset.Shape
	train   []int   // labels
	test    int     // images
	seconds float64 // that reading took
}

func newRunner(o Options) (*runner, error) {
	if o.Log == nil {
		o.Log = recipe.Quiet{}
	}
	dev, err := torch.FindDevice(cmp.Or(o.Device, torch.CPU.String()))
	if err != nil {
		return nil, err
	}
	if o.together == 0 {
		o.together = together(dev)
	}
	backbone := ""
	if o.Backbone != "" {
		sum, err := fileDigest(o.Backbone)
		if err != nil {
			return nil, err
		}
		backbone = filepath.Base(o.Backbone) + " " + sum
	}
	cells, err := o.Plan.Expand(o.Budget, o.Data, backbone)
	if err != nil {
		return nil, err
	}
	return &runner{Options: o, dev: dev, cells: cells, sources: map[string]source{}}, nil
}

func fileDigest(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:16], nil
}

// path returns where a data set is.
func (r *runner) path(data string) string { return filepath.Join(r.Data, filepath.FromSlash(data)) }

// retry is how long a run waits for cells that another process does.
const retry = time.Second

func (r *runner) run(ctx context.Context) (rep Report, err error) {
	rep.Cells = len(r.cells)
	if err := begin(r.Dir, r.Plan, r.Budget, r.Data); err != nil {
		return rep, err
	}
	if err := r.prepare(ctx); err != nil {
		return rep, err
	}
	left := r.jobs
	var failed []error
	for len(left) > 0 {
		var busy []job
		for _, group := range r.groups(left) {
			outcomes := r.take(ctx, group, &rep)
			if ctx.Err() != nil {
				return rep, ctx.Err()
			}
			for i, o := range outcomes {
				switch {
				case errors.Is(o.err, atomicfile.ErrLocked):
					busy = append(busy, group[i])
				case o.err != nil:
					failed = append(failed, fmt.Errorf("%v: %w", group[i].Cell, o.err))
				case !o.did:
					rep.Before++
				}
			}
		}
		if left = busy; len(left) > 0 {
			r.Log.Show("waiting for %d cells that other processes do", len(left))
			select {
			case <-ctx.Done():
				return rep, ctx.Err()
			case <-time.After(retry):
			}
		}
	}
	return rep, few(failed)
}

// few joins errors, and counts those that are too many to be read.
func few(errs []error) error {
	const most = 10
	if len(errs) > most {
		errs = append(errs[:most:most], fmt.Errorf("%d cells more were not done", len(errs)-most))
	}
	return errors.Join(errs...)
}

// prepare finds out what there is to do.
func (r *runner) prepare(ctx context.Context) error {
	for _, c := range r.cells {
		j, err := r.job(ctx, c)
		if err != nil {
			return err
		}
		r.jobs = append(r.jobs, j)
	}
	return nil
}

// laterSettings came after cells had been done: where they are not set such a cell is
// the same as before.
var laterSettings = []string{"views", "restore"}

// job finds out which folder a cell has: it depends on the images and on all settings.
func (r *runner) job(ctx context.Context, c Cell) (job, error) {
	key, err := json.Marshal([]any{c.Data, c.Size, c.TrainImages, c.TestImages})
	if err != nil {
		return job{}, err
	}
	src, known := r.sources[string(key)]
	if !known {
		start := time.Now()
		sp, err := r.read(ctx, c)
		if err != nil {
			return job{}, err
		}
		took := time.Since(start).Seconds()
		src = source{digestOf(sp), sp.Train.Shape(), sp.Train.Labels, sp.Test.Len(), took}
		r.sources[string(key)] = src
	}
	j := job{Cell: c, data: src.digest, source: src}
	if !Baseline(c.Method) {
		s, _, err := c.request().Resolve(src.shape)
		if err != nil {
			return job{}, fmt.Errorf("%v: %w", c, err)
		}
		j.settings = s.Values()
		for _, name := range laterSettings {
			if v := j.settings[name]; v == "" || v == "0" {
				delete(j.settings, name)
			}
		}
	}
	j.digest = c.Digest(j.data, j.settings)
	return j, nil
}

// digestOf returns a digest of images and labels.
func digestOf(sp *dataset.Splits) string {
	h := sha256.New()
	for _, s := range []*dataset.Set{sp.Train, sp.Test} {
		fmt.Fprintln(h, s.Size, s.Len(), s.Scale, s.Labels)
		h.Write(s.Pix)
		for _, m := range s.Masks {
			h.Write(m)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// isDone says whether a cell's folder has what it asks for.
func isDone(dir string, j job) bool {
	rec, err := readRecord(dir)
	return err == nil && rec.serves(j.Cell)
}

// countDone returns how many of the cells are done, whoever did them.
func (r *runner) countDone() (n int) {
	for _, j := range r.jobs {
		if _, err := os.Stat(filepath.Join(r.folder(j), recordFile)); err == nil {
			n++
		}
	}
	return n
}

// folder returns where a cell is kept.
func (r *runner) folder(j job) string { return filepath.Join(r.Dir, cellsDir, j.digest) }
