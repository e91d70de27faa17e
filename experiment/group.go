package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/models"
)

const (
	// deviceCells is how many cells are trained at once on a CUDA device: the
	// classes of a data set, each of which keeps a part of it busy.
	deviceCells = 10
	// groupBytes is the most that the training images of a group take in memory.
	groupBytes = 8 << 30
)

// together returns how many cells are trained at once on a device.
func together(dev torch.Device) int {
	if dev == torch.CPU {
		return 1
	}
	return deviceCells
}

// groups parts jobs, in order of the first of each part, in those that are trained at
// once: they differ in class or seed alone.
func (r *runner) groups(jobs []job) (all [][]job) {
	open := map[string]int{} // the last group of a family
	for _, j := range jobs {
		alone := r.together == 1 || Baseline(j.Method) || isDone(r.folder(j), j)
		family := j.family()
		i, ok := open[family]
		if most := groupBytes / max(len(j.source.train)*j.source.shape.Len(), 1); alone || !ok || len(all[i]) >= min(r.together, most) {
			if i = len(all); !alone {
				open[family] = i
			}
			all = append(all, nil)
		}
		all[i] = append(all[i], j)
	}
	return all
}

// family is the same for cells that differ in class or seed alone.
func (c Cell) family() string {
	c.Class, c.Seed = "", 0
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // a cell holds nothing that JSON cannot
	}
	return string(text)
}

// An outcome is what came of a cell: whether it was done, and was not before. The error
// wraps atomicfile.ErrLocked while another process does it.
type outcome struct {
	did bool
	err error
}

// take does those cells of a group that are not done.
func (r *runner) take(ctx context.Context, group []job, rep *Report) []outcome {
	outcomes := make([]outcome, len(group))
	begun := make([]*work, len(group)) // nil: not to be done
	defer func() {
		for _, w := range begun { // also when a callback panics
			if w != nil {
				w.close()
			}
		}
	}()
	var trainings []*models.Training
	for i, j := range group {
		if begun[i], outcomes[i].err = r.claim(ctx, j); begun[i] != nil && begun[i].training != nil {
			trainings = append(trainings, begun[i].training)
		}
	}
	models.TrainAll(ctx, trainings)
	for i, w := range begun {
		if w == nil {
			continue
		}
		err := errors.Join(r.complete(ctx, w, rep), w.close())
		outcomes[i] = outcome{err == nil, err}
	}
	return outcomes
}

// claim locks a cell and makes it ready to be trained, nil if it is done.
func (r *runner) claim(ctx context.Context, j job) (*work, error) {
	dir := r.folder(j)
	if isDone(dir, j) {
		return nil, nil
	}
	unlock, err := atomicfile.Lock(dir)
	if err != nil {
		return nil, err
	}
	if isDone(dir, j) { // meanwhile
		return nil, unlock()
	}
	for _, path := range []string{dir, dir + checkpointSuffix} {
		if err := atomicfile.Sweep(path); err != nil {
			return nil, errors.Join(err, unlock())
		}
	}
	w, err := r.start(ctx, j, dir+checkpointSuffix)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	w.unlock = unlock
	return w, nil
}

// complete evaluates a cell that was trained, and keeps it.
func (r *runner) complete(ctx context.Context, w *work, rep *Report) error {
	x, err := r.finish(ctx, w)
	if err != nil {
		return err
	}
	dir := r.folder(w.job)
	if err := save(dir, w.rec, x); err != nil {
		return err
	}
	if err := os.Remove(dir + checkpointSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	rep.Done++
	r.Log.Clear()
	if r.Done != nil {
		r.Done(w.rec, r.countDone(), len(r.cells))
	}
	return nil
}
