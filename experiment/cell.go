package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/resident"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/recipe"
)

// A job is a cell with what it is done on.
type job struct {
	Cell
	digest   string
	data     string // digest of the images
	source   source
	settings map[string]string // all of them; nil for a baseline
}

// className returns what a class is called in a data set.
func className(sp *dataset.Splits, class string) string {
	if i, err := strconv.Atoi(class); err == nil && i >= 0 && i < len(sp.Test.Classes) {
		return sp.Test.Classes[i]
	}
	return class
}

// request returns what settings the cell asks for.
func (c Cell) request() recipe.Request {
	r := recipe.Request{Preset: c.Preset, Arch: c.Method, Values: map[string]string{}}
	for name, value := range c.Settings {
		r.Values[name] = value
	}
	r.Values["latent"], r.Values["seed"] = strconv.Itoa(c.Latent), strconv.FormatUint(c.Seed, 10)
	if c.Settings["max_neighbors"] == "" {
		most := nln.DefaultLocal().K
		for _, k := range c.K {
			most = max(most, k)
		}
		r.Values["max_neighbors"] = strconv.Itoa(most)
	}
	return r
}

// do trains and evaluates a cell.
func (r *runner) do(ctx context.Context, j job, checkpoint string) (rec Record, x *Examples, err error) {
	rec = Record{Format: Format, Cell: j.Cell, Digest: j.digest, DataDigest: j.data, Seconds: map[string]float64{},
		Threads: runtime.GOMAXPROCS(0), Program: r.Program}
	if rec.Libraries, err = libraries(); err != nil {
		return rec, nil, err
	}
	watch := stopwatch{rec.Seconds, time.Now()}
	sp, err := r.read(ctx, j.Cell)
	if err != nil {
		return rec, nil, err
	}
	rec.ClassName = className(sp, j.Class)
	watch.stop("read")
	if Baseline(j.Method) {
		err = r.baseline(ctx, j, sp, &rec, &watch)
	} else {
		x, err = r.model(ctx, j, sp, &rec, &watch, checkpoint)
	}
	rec.PeakBytes = resident.Peak()
	return rec, x, err
}

// A stopwatch notes how long stages take.
type stopwatch struct {
	seconds map[string]float64
	since   time.Time
}

func (w *stopwatch) stop(stage string) {
	now := time.Now()
	w.seconds[stage] += now.Sub(w.since).Seconds()
	w.since = now
}

// learn parts the images of a task as the cell's settings, or for a baseline those of a
// preset, have it.
func (c Cell) learn(sp *dataset.Splits) (*recipe.Normals, error) {
	req := c.request()
	if Baseline(c.Method) {
		req = recipe.Request{Preset: "paper", Arch: models.ArchAE}
	}
	s, _, err := req.Resolve(sp.Train.Shape())
	if err != nil {
		return nil, err
	}
	n, err := recipe.Learn(sp, c.Protocol, c.Class, s)
	if err == nil {
		sp.Test.Scale = n.Images.Scale
	}
	return n, err
}

// model does a cell that trains an autoencoder.
func (r *runner) model(ctx context.Context, j job, sp *dataset.Splits, rec *Record, watch *stopwatch, checkpoint string) (*Examples, error) {
	n, err := j.learn(sp)
	if err != nil {
		return nil, err
	}
	m, err := models.New(n.Settings.Model, torch.CPU)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	res, err := models.Train(ctx, m, n.Train, models.Options{Checkpoint: checkpoint, Progress: func(p models.Progress) {
		r.Log.Show("%v: step %d of %d, %.0f images/s", j.Cell, p.Step, p.Steps, float64(p.Images)/p.Elapsed.Seconds())
	}})
	if err != nil {
		return nil, err
	}
	watch.stop("train")
	rec.Steps, rec.Parameters = res.Steps, m.Parameters()
	if rec.Config, err = json.Marshal(m.Config()); err != nil {
		return nil, err
	}
	f, err := recipe.Fit(ctx, m, n, recipe.Quiet{})
	if err != nil {
		return nil, err
	}
	defer f.Index.Close()
	watch.stop("fit")
	rec.Inliers = len(n.Task.Inliers)
	rec.Train, rec.Calibration, rec.Indexed = n.Train.Len(), n.Calib.Len(), f.Index.Len()
	rec.count(n.Task.Novel)
	parts, err := f.Scorer.PartsAll(ctx, sp.Test)
	if err != nil {
		return nil, err
	}
	watch.stop("score")
	policy := f.Scorer.Calibration().Policy()
	if rec.Results, err = policy.Evaluate(parts, n.Task.Novel, f.Scorer.CalibrationParts(), j.neighbors(f.Scorer), j.Alpha); err != nil {
		return nil, err
	}
	watch.stop("evaluate")
	if j.Pixels && sp.Test.Masks != nil {
		if rec.Pixels, err = measurePixels(ctx, f.Scorer, sp.Test, j.Cell); err != nil {
			return nil, err
		}
		watch.stop("maps")
	}
	if j.Pictures == 0 {
		return nil, nil
	}
	x, err := pictures(ctx, f.Scorer, sp.Test, n.Task.Novel, j.Cell)
	watch.stop("pictures")
	return x, err
}

// neighbors returns the numbers of neighbours that can be evaluated: there may be fewer
// images.
func (c Cell) neighbors(s *nln.Scorer) (ks []int) {
	for _, k := range c.K {
		if k <= s.Config().MaxK {
			ks = append(ks, k)
		}
	}
	return ks
}

// count notes how many test images there are and how many are novel.
func (rec *Record) count(novel []bool) {
	rec.Test, rec.Novel = len(novel), 0
	for _, n := range novel {
		if n {
			rec.Novel++
		}
	}
}

// read opens the data of a cell, as much of it as the cell uses.
func (r *runner) read(ctx context.Context, c Cell) (*dataset.Splits, error) {
	reading := r.Reading
	reading.Rows, reading.Columns = c.Size, c.Size
	sp, err := reading.OpenContext(ctx, r.path(c.Data))
	if err != nil {
		return nil, err
	}
	if sp.Train == nil || sp.Test == nil || sp.Single() {
		return nil, fmt.Errorf("%s has no training or no test images of its own", r.path(c.Data))
	}
	sp.Train, sp.Test = draw(sp.Train, c.TrainImages), draw(sp.Test, c.TestImages)
	return sp, nil
}

// draw returns a set of at most so many images of another, all if most is 0: the same at
// every call, at random, since classes may take turns or follow each other.
func draw(set *dataset.Set, most int) *dataset.Set {
	if most == 0 || most >= set.Len() {
		return set
	}
	ids := rand.New(rand.NewPCG(0, 0)).Perm(set.Len())[:most]
	slices.Sort(ids)
	return set.Subset(ids)
}

// libraries returns what the native core says of itself.
func libraries() (map[string]string, error) {
	text, err := torch.Info()
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := json.Unmarshal(text, &values); err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, name := range []string{"libtorch", "onednn", "faiss"} {
		if v, ok := values[name].(string); ok {
			found[name] = v
		}
	}
	return found, nil
}

var errNoBackbone = errors.New("no network is given to take features with: pass --backbone")
