package experiment

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// An Estimate is what a run will take.
type Estimate struct {
	Cells, Left int
	Seconds     float64
	Bytes       int64 // of disk
}

// Predict finds out what is left of a run and estimates what it takes so many processes,
// from short trials: each kind of cell is done once on few images and for few steps, and
// every stage is scaled by what it grows with. Cells that a device trains at once count
// as if they came one after the other, and so it takes less than is said.
func Predict(ctx context.Context, o Options, processes int) (e Estimate, err error) {
	r, err := newRunner(o)
	if err == nil {
		e, err = r.predict(ctx, make([]float64, max(processes, 1)))
	}
	if err != nil {
		return e, fmt.Errorf("experiment: estimate: %w", err)
	}
	return e, nil
}

// predict has busy, until when each process is busy.
func (r *runner) predict(ctx context.Context, busy []float64) (e Estimate, err error) {
	if err := r.prepare(ctx); err != nil {
		return e, err
	}
	e.Cells = len(r.jobs)
	var checkpoint int64 // there for a time
	trials := map[string]*trial{}
	for i, j := range r.jobs {
		if isDone(r.folder(j), j) {
			continue
		}
		e.Left++
		key := j.kind()
		t := trials[key]
		if t == nil {
			r.Log.Show("estimating: %d of %d cells", i, len(r.jobs))
			if t, err = r.try(ctx, j); err != nil {
				return e, fmt.Errorf("%v: %w", j.Cell, err)
			}
			trials[key] = t
		}
		// A cell falls to the process that is free first.
		next := &busy[slices.Index(busy, slices.Min(busy))]
		*next += t.seconds(j)
		e.Seconds = max(e.Seconds, *next)
		e.Bytes += t.bytes()
		checkpoint = max(checkpoint, t.weights)
	}
	r.Log.Clear()
	e.Bytes += checkpoint
	return e, nil
}

// kind is the same for cells of which one trial is enough.
func (j job) kind() string {
	c := j.Cell
	c.Data, c.Class, c.Seed, c.TrainImages, c.TestImages, c.Protocol = "", "", 0, 0, 0, ""
	if j.Protocol == dataset.Defects {
		c.Data = j.Data
	}
	text, err := json.Marshal([]any{c, j.source.shape, j.Protocol == dataset.Defects})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// A trial is a cell done in small.
type trial struct {
	record  Record
	step    float64 // seconds of a training step
	query   float64 // seconds of a query of one indexed vector
	dim     int     // values of a latent vector, that of all views
	size    int64   // bytes of the record
	picture int64   // bytes of an example
	weights int64   // bytes of a checkpoint
	total   func(images int) (steps int)
}

// Sizes of a trial: images of small sets, and of sets that are cut into patches or have
// large images.
const (
	trialTrain, trialTest     = 3000, 1000
	trialDefects, trialTested = 24, 8
	trialSteps                = 12
	trialWarm                 = 3  // steps that are not counted
	deviceWarm                = 20 // the same on a CUDA device
	trialTime                 = time.Second
)

// try does a cell of the kind of j in small.
func (r *runner) try(ctx context.Context, j job) (*trial, error) {
	small := j
	small.TrainImages, small.TestImages = trialTrain, trialTest
	if j.Protocol == dataset.Defects {
		small.TrainImages, small.TestImages = trialDefects, trialTested
	}
	if j.TrainImages > 0 {
		small.TrainImages = min(small.TrainImages, j.TrainImages)
	}
	if j.TestImages > 0 {
		small.TestImages = min(small.TestImages, j.TestImages)
	}
	t := &trial{}
	if !Baseline(j.Method) {
		if err := t.train(ctx, r, small); err != nil {
			return nil, err
		}
		small.Settings = cloneWith(j.Settings, "steps", "1")
	}
	rec, x, err := r.do(ctx, small, "")
	if err != nil {
		return nil, err
	}
	t.record = rec
	text, err := json.MarshalIndent(rec, "", " ")
	if err != nil {
		return nil, err
	}
	t.size = int64(len(text))
	if x != nil {
		for _, e := range x.Images {
			t.picture += int64(4*(len(e.Input)+len(e.Recon)+len(e.ReconMap)+len(e.ErrorMap)+len(e.ScoreMap)) + len(e.Mask) + 4*len(e.Neighbors)*len(e.Input))
		}
	}
	return t, t.search(ctx, j)
}

func cloneWith(m map[string]string, name, value string) map[string]string {
	c := map[string]string{name: value}
	for k, v := range m {
		if k != name && !(name == "steps" && k == "epochs") {
			c[k] = v
		}
	}
	return c
}

// train measures a training step.
func (t *trial) train(ctx context.Context, r *runner, j job) error {
	sp, err := r.read(ctx, j.Cell)
	if err != nil {
		return err
	}
	n, err := j.learn(sp)
	if err != nil {
		return err
	}
	cfg := n.Settings.Model
	t.total = func(images int) int { return cfg.TotalSteps(images) }
	m, err := models.New(cfg, r.dev)
	if err != nil {
		return err
	}
	defer m.Close()
	t.dim = m.LatentDim()
	t.weights = 4 * 3 * int64(m.Parameters())
	short, stop := context.WithCancel(ctx)
	defer stop()
	var warm time.Duration
	first, last, most := trialWarm, trialSteps, trialTime
	if r.dev != torch.CPU { // which is set up and records in the first steps, and is fast then
		first, last = deviceWarm, math.MaxInt
	}
	_, err = models.Train(short, m, n.Train, models.Options{Progress: func(p models.Progress) {
		switch {
		case p.Step == first && p.Steps > first:
			if warm = p.Elapsed; r.dev != torch.CPU {
				most += warm
			}
		case p.Step > first:
			t.step = (p.Elapsed - warm).Seconds() / float64(p.Step-first)
		case p.Steps <= first:
			t.step = p.Elapsed.Seconds() / float64(p.Step)
		}
		if p.Step >= last || p.Step > first && p.Elapsed > most {
			stop()
		}
	}})
	if err != nil && ctx.Err() == nil && short.Err() != nil {
		err = nil // as it was told
	}
	return err
}

// search measures a query, per indexed vector: which vectors they are does not matter to
// an exact search.
func (t *trial) search(ctx context.Context, j job) error {
	if Baseline(j.Method) {
		return nil
	}
	const queries, most = 256, 20000
	n := min(most, max(queries, len(j.source.train)))
	x, err := faissindex.New(t.dim)
	if err != nil {
		return err
	}
	defer x.Close()
	v := make([]float32, n*t.dim)
	for i := range v {
		v[i] = float32(math.Sin(float64(i) * 12.9898)) // any that differ
	}
	if err := x.Add(ctx, v); err != nil {
		return err
	}
	var nb nln.Neighbors
	for range 2 { // the first makes ready
		start := time.Now()
		if nb, err = x.Search(ctx, v[:queries*t.dim], min(n, slices.Max(j.K)+1), nb); err != nil {
			return err
		}
		t.query = time.Since(start).Seconds() / queries / float64(n)
	}
	return nil
}

// seconds estimates what a cell of the kind takes.
func (t *trial) seconds(j job) float64 {
	rec := t.record
	grow := float64(len(j.inliers())) / float64(max(rec.Inliers, 1))
	tests := float64(j.source.test) / float64(max(rec.Test, 1))
	s := j.source.seconds
	if Baseline(j.Method) {
		return s + rec.Seconds["score"]*grow*tests + rec.Seconds["evaluate"]*tests
	}
	// Images, or patches of them in proportion. Each that is indexed is searched for too:
	// how far it is from others is kept.
	train, indexed := float64(rec.Train)*grow, float64(rec.Indexed)*grow
	searched := indexed + (float64(rec.Calibration)*grow+float64(j.source.test))*float64(rec.Indexed)/float64(max(rec.Inliers-rec.Calibration, 1))
	s += max(rec.Seconds["train"]-t.step, 0) // to make ready: the trial has one step
	s += t.step*float64(t.total(int(train))) + t.query*indexed*searched
	s += rec.Seconds["fit"]*grow + rec.Seconds["score"]*tests
	s += rec.Seconds["evaluate"] * tests * math.Log(max(float64(j.source.test), 2)) / math.Log(max(float64(rec.Test), 2))
	return s + rec.Seconds["maps"]*tests + rec.Seconds["pictures"]*min(tests, rangeImages/float64(max(rec.Test, 1)))
}

// inliers returns the places of the normal images.
func (j job) inliers() []int {
	class, err := strconv.Atoi(j.Class)
	if err != nil {
		class = -1
	}
	return j.Protocol.Inliers(j.source.train, class)
}

// bytes estimates what a cell of the kind leaves on disk.
func (t *trial) bytes() int64 { return t.size + t.picture }
