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

// A work is a cell under way.
type work struct {
	job
	rec      Record
	watch    stopwatch
	sp       *dataset.Splits
	normals  *recipe.Normals  // nil for a baseline
	training *models.Training // the same
	unlock   func() error     // nil: the cell is not locked
}

// close frees the model and unlocks the cell. It may be called again.
func (w *work) close() error {
	if w.training != nil {
		w.training.Model.Close()
	}
	if w.unlock == nil {
		return nil
	}
	unlock := w.unlock
	w.unlock = nil
	return unlock()
}

// do trains and evaluates a cell.
func (r *runner) do(ctx context.Context, j job, checkpoint string) (Record, *Examples, error) {
	w, err := r.start(ctx, j, checkpoint)
	if err != nil {
		return Record{}, nil, err
	}
	defer w.close()
	if w.training != nil {
		models.TrainAll(ctx, []*models.Training{w.training})
	}
	x, err := r.finish(ctx, w)
	return w.rec, x, err
}

// start reads the images of a cell and makes what is to be trained.
func (r *runner) start(ctx context.Context, j job, checkpoint string) (*work, error) {
	w := &work{job: j, rec: Record{Format: Format, Cell: j.Cell, Digest: j.digest, DataDigest: j.data, Seconds: map[string]float64{},
		Threads: runtime.GOMAXPROCS(0), Program: r.Program}}
	var err error
	if w.rec.Libraries, err = libraries(); err != nil {
		return nil, err
	}
	w.watch = stopwatch{w.rec.Seconds, time.Now()}
	if w.sp, err = r.read(ctx, j.Cell); err != nil {
		return nil, err
	}
	w.rec.ClassName = className(w.sp, j.Class)
	w.watch.stop("read")
	if Baseline(j.Method) {
		return w, nil
	}
	if w.normals, err = j.learn(w.sp); err != nil {
		return nil, err
	}
	m, err := models.New(w.normals.Settings.Model, r.dev)
	if err != nil {
		return nil, err
	}
	w.training = &models.Training{Model: m, Images: w.normals.Train, Options: models.Options{Checkpoint: checkpoint, Progress: func(p models.Progress) {
		r.Log.Show("%v: step %d of %d, %.0f images/s", j.Cell, p.Step, p.Steps, float64(p.Images)/p.Elapsed.Seconds())
	}}}
	w.watch.stop("train")
	return w, nil
}

// finish evaluates a cell whose model, if it has one, has been trained.
func (r *runner) finish(ctx context.Context, w *work) (x *Examples, err error) {
	w.watch.since = time.Now()
	if w.training == nil {
		err = r.baseline(ctx, w.job, w.sp, &w.rec, &w.watch)
	} else {
		x, err = w.measure(ctx)
	}
	w.rec.PeakBytes = resident.Peak()
	return x, err
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

// measure evaluates a model.
func (w *work) measure(ctx context.Context) (*Examples, error) {
	m, n, res := w.training.Model, w.normals, w.training.Result
	if err := w.training.Err; err != nil {
		return nil, err
	}
	rec, watch := &w.rec, &w.watch
	rec.Seconds["train"] += res.Seconds
	rec.Steps, rec.Parameters = res.Steps, m.Parameters()
	rec.Device, rec.Precision, rec.Together = res.Device, string(res.Precision), res.Together
	var err error
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
	parts, err := f.Scorer.PartsAll(ctx, w.sp.Test)
	if err != nil {
		return nil, err
	}
	watch.stop("score")
	policy := f.Scorer.Calibration().Policy()
	if rec.Results, err = policy.Evaluate(parts, n.Task.Novel, f.Scorer.CalibrationParts(), w.neighbors(f.Scorer), w.Alpha); err != nil {
		return nil, err
	}
	watch.stop("evaluate")
	if w.Pixels && w.sp.Test.Masks != nil {
		if rec.Pixels, err = measurePixels(ctx, f.Scorer, w.sp.Test, w.Cell); err != nil {
			return nil, err
		}
		watch.stop("maps")
	}
	if w.Pictures == 0 {
		return nil, nil
	}
	x, err := pictures(ctx, f.Scorer, w.sp.Test, n.Task.Novel, w.Cell)
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
