package nln

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Change says which images count as normal from now on, beside or instead of
// those that are indexed.
type Change struct {
	Remove []int64        // ids of indexed images that no longer do, in any order
	Add    dataset.Source // further normal images, or patches where the model takes these; nil: none

	// Sources says which source image each of Add comes from where
	// [Config].Sources says so of those indexed, numbered as there.
	Sources []int64

	Held *Held // of the calibration images; may be nil where there are none

	Progress func(stage string, done, total int) // as in Config
}

// Change returns a scorer that is as if it had been fitted with other images: those
// indexed without c.Remove, in their order, and then those of c.Add. Ids are places
// in that order, so that they change behind a removed image. Over an [Exact] index
// and a model that is independent of the batch it is what [Fit] makes of the same
// images, to the bit; but where Fit lowered MaxK to the number of images that there
// were, it stays as low.
//
// idx is empty, gets the latent vectors, and must be a [VectorIndex], as that of s
// is. The calibration images are compared anew by what is kept of them. The model
// and the trained weights stay. s is as it was, and may be used.
//
// Ids that are not those of indexed images, or twice the same, no images left, and
// all that is an error of Fit, are errors; then idx may hold some vectors.
func (s *Scorer) Change(ctx context.Context, idx Index, c Change) (*Scorer, error) {
	t, err := s.change(ctx, idx, c)
	if err != nil {
		return nil, fmt.Errorf("nln: change what is indexed: %w", err)
	}
	return t, nil
}

func (s *Scorer) change(ctx context.Context, idx Index, c Change) (*Scorer, error) {
	keep, err := remaining(s.indexed, c.Remove)
	if err != nil {
		return nil, err
	}
	n := len(keep)
	if c.Add != nil {
		n += c.Add.Len()
	}
	_, gives := idx.(VectorIndex)
	vectors := s.vectors()
	switch {
	case n == 0:
		return nil, fmt.Errorf("no images would be left")
	case vectors == nil || !gives:
		return nil, fmt.Errorf("an index does not give its vectors back")
	case idx.Len() != 0:
		return nil, fmt.Errorf("index holds %d vectors, want an empty one", idx.Len())
	}
	if err := checkPair(s.model, idx); err != nil {
		return nil, err
	}
	t := &Scorer{model: s.model, index: idx, spaces: s.spaces, tables: map[Feature]*Table{}, cfg: s.cfg, calib: s.calib,
		buffers: &sync.Pool{New: func() any { return new(buffers) }}}
	t.cfg.Progress = c.Progress
	if t.cfg.Sources, err = s.changeSources(keep, c, n-len(keep)); err != nil {
		return nil, err
	}
	if len(keep) > 0 {
		if err := idx.Add(ctx, pickRows(vectors, s.model.LatentDim(), keep)); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
	}
	for f, table := range s.tables {
		t.tables[f] = table.pick(keep, n)
	}
	if t.indexed = len(keep); c.Add != nil {
		if err := t.indexImages(ctx, c.Add); err != nil {
			return nil, fmt.Errorf("images to add: %w", err)
		}
	}
	t.limitK()
	if err := t.changeSpacing(ctx, s, keep, vectors); err != nil {
		return nil, fmt.Errorf("compare indexed images: %w", err)
	}
	if s.calib.Len() > 0 {
		if t.calib, err = t.compareHeld(ctx, c.Held); err != nil {
			return nil, err
		}
	}
	if err := t.setPolicy(t.cfg.Policy); err != nil || s.pixels == nil || c.Held == nil {
		return t, err
	}
	if images := c.Held.table(Feature{Of: OfImage}); images != nil {
		if err := t.calibratePixels(ctx, heldImages{images, t}); err != nil {
			return nil, fmt.Errorf("calibrate maps: %w", err)
		}
	}
	return t, nil
}

// remaining returns the ids of n indexed images but for those removed, ascending.
func remaining(n int, remove []int64) ([]int, error) {
	gone := make([]bool, n)
	for _, id := range remove {
		if id < 0 || id >= int64(n) {
			return nil, fmt.Errorf("no indexed image has the id %d: want 0 to %d", id, n-1)
		}
		if gone[id] {
			return nil, fmt.Errorf("id %d is to be removed twice", id)
		}
		gone[id] = true
	}
	keep := make([]int, 0, n-len(remove))
	for id := range n {
		if !gone[id] {
			keep = append(keep, id)
		}
	}
	return keep, nil
}

// changeSources returns the sources of the images kept and those added, nil where
// none are known.
func (s *Scorer) changeSources(keep []int, c Change, added int) ([]int64, error) {
	if s.cfg.Sources == nil && c.Sources == nil {
		return nil, nil
	}
	if err := checkSources(s.cfg.Sources, s.indexed); err != nil || s.cfg.Sources == nil || len(c.Sources) != added {
		return nil, fmt.Errorf("sources are known of %d of %d indexed images and of %d of %d to add, want all or none",
			len(s.cfg.Sources), s.indexed, len(c.Sources), added)
	}
	var sources []int64
	for _, id := range keep {
		sources = append(sources, s.cfg.Sources[id])
	}
	return append(sources, c.Sources...), nil
}

// pickRows returns rows of f values.
func pickRows[T any](rows []T, f int, ids []int) []T {
	return appendRows(make([]T, 0, len(ids)*f), rows, f, ids)
}

func appendRows[T any](dst, rows []T, f int, ids []int) []T {
	for _, id := range ids {
		dst = append(dst, rows[id*f:(id+1)*f]...)
	}
	return dst
}

// pick returns a table of some rows with memory for n.
func (t *Table) pick(ids []int, n int) *Table {
	p := &Table{Feature: t.Feature, Kind: t.Kind, F: t.F}
	switch t.Kind {
	case CacheUint8:
		p.U8 = appendRows(make([]uint8, 0, n*t.F), t.U8, t.F, ids)
	case CacheFloat32:
		p.F32 = appendRows(make([]float32, 0, n*t.F), t.F32, t.F, ids)
	}
	return p
}

// fewChanged is how many times as many images are indexed as change where it pays
// to look which of them are concerned.
const fewChanged = 8

// changeSpacing finds the nearest others of each indexed image, of which those of
// keep were indexed by s, whose vectors are given. Those with no vector that came
// or went among their nearest keep what they have.
func (t *Scorer) changeSpacing(ctx context.Context, s *Scorer, keep []int, vectors []float32) error {
	n, k, l, latents := t.indexed, t.cfg.MaxK, t.model.LatentDim(), t.vectors()
	changed := slices.Clone(latents[len(keep)*l:])
	for id, next := 0, 0; id < s.indexed; id++ {
		if next < len(keep) && keep[next] == id {
			next++
			continue
		}
		changed = append(changed, vectors[id*l:(id+1)*l]...)
	}
	all := t.cfg.Sources != nil || k != s.cfg.MaxK || min(n, s.indexed) <= k || len(changed)/l*fewChanged > n
	if all {
		return t.findSpacing(ctx, latents)
	}
	mean := append(pickRows(s.spacing.mean, k, keep), make([]float32, (n-len(keep))*k)...)
	concerned := make([]bool, n)
	err := forBlocks(ctx, len(keep), spacingQueries, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			concerned[i] = within(latents[i*l:(i+1)*l], changed, reach(mean[i*k:(i+1)*k]))
		}
	})
	if err != nil {
		return err
	}
	var ids []int64
	for i := range n {
		if concerned[i] || i >= len(keep) {
			ids = append(ids, int64(i))
		}
	}
	var nb Neighbors
	var queries []float32
	for lo := 0; lo < len(ids); lo += spacingQueries {
		some := ids[lo:min(lo+spacingQueries, len(ids))]
		queries = queries[:0]
		for _, id := range some {
			queries = append(queries, latents[int(id)*l:int(id+1)*l]...)
		}
		if nb, err = SearchOthers(ctx, t.index, queries, some, k, nb); err != nil {
			return err
		}
		for i, id := range some {
			for j := range k {
				mean[int(id)*k+j] = float32(meanDist(nb.Dist[i*k:][:j+1]))
			}
		}
		if t.cfg.Progress != nil {
			t.cfg.Progress("local", lo+len(some), len(ids))
		}
	}
	t.spacing = newSpacing(mean, k)
	return t.spacing.check(n)
}

// reach returns no less than the distance to the last of the k nearest, of the mean
// distances to the nearest 1 to k. These are rounded to float32, by a 2^-24th at
// most, which counts k times; the margin is several times that.
func reach(mean []float32) float64 {
	k := len(mean)
	last := float64(k) * float64(mean[k-1])
	margin := 1e-6 * last
	if k > 1 {
		last -= float64(k-1) * float64(mean[k-2])
	}
	return last + margin
}

// within returns whether any of the vectors is no farther from q than reach.
func within(q, vectors []float32, reach float64) bool {
	for ; len(vectors) > 0; vectors = vectors[len(q):] {
		if float64(Distance(q, vectors[:len(q)])) <= reach {
			return true
		}
	}
	return false
}
