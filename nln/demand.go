package nln

import (
	"context"
	"fmt"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
)

// Rows of neighbours that are not kept: with [CacheNone] the decoder makes those of a
// batch when they are asked for, each once, from the latents that the index holds.

// A rowSource gives rows of a table by the ids of indexed images.
type rowSource struct {
	*Table
	place map[int64]int // of ids; nil: rows are in order of id
}

func (r rowSource) at(id int64) int {
	if r.place == nil {
		return int(id)
	}
	return r.place[id]
}

// rowsOf returns what gives the rows of a table for some ids.
func (s *Scorer) rowsOf(ctx context.Context, t *Table, ids []int64) (rowSource, error) {
	if t.Kind != CacheNone {
		return rowSource{Table: t}, nil
	}
	vectors := s.vectors()
	if vectors == nil {
		return rowSource{}, fmt.Errorf("the index no longer gives its vectors, from which neighbours are decoded")
	}
	unique := slices.Clone(ids)
	slices.Sort(unique)
	unique = slices.Compact(unique)
	r := rowSource{Table: &Table{Feature: t.Feature, Kind: CacheFloat32, F: t.F, F32: make([]float32, 0, len(unique)*t.F)}, place: make(map[int64]int, len(unique))}
	l, n := s.model.LatentDim(), s.model.Shape().Len()
	z, xhat := make([]float32, 0, s.cfg.Batch*l), make([]float32, s.cfg.Batch*n)
	for lo := 0; lo < len(unique); lo += s.cfg.Batch {
		part := unique[lo:min(lo+s.cfg.Batch, len(unique))]
		z = z[:0]
		for i, id := range part {
			z = append(z, vectors[int(id)*l:int(id+1)*l]...)
			r.place[id] = lo + i
		}
		pix := xhat[:len(part)*n]
		if err := s.model.Decode(ctx, z, pix); err != nil {
			return r, fmt.Errorf("decode neighbours: %w", err)
		}
		if i := notFinite(pix); i >= 0 {
			return r, fmt.Errorf("indexed image %d: decoded value %d is %v: the model has diverged", part[i/n], i%n, pix[i])
		}
		if t.Feature.Network == "" {
			r.F32 = append(r.F32, pix...)
			continue
		}
		v := make([]float32, len(part)*t.F)
		if err := s.model.(FeatureModel).Features(ctx, t.Feature.Network, dataset.Images{Shape: s.model.Shape(), N: len(part), Pix: pix}, v); err != nil {
			return r, fmt.Errorf("compute %v of neighbours: %w", t.Feature, err)
		}
		r.F32 = append(r.F32, v...)
	}
	return r, nil
}

// demanded says whether the neighbours' features need not be kept: what is decoded
// from a latent can be decoded again, if the index has it.
func (s *Scorer) demanded(f Feature) bool {
	if s.cfg.Cache != CacheNone || f.Of != OfReconstruction {
		return false
	}
	_, ok := s.index.(VectorIndex)
	return ok
}

// checkCache makes sure that what is not to be kept can be made again.
func (s *Scorer) checkCache() error {
	if s.cfg.Cache != CacheNone {
		return nil
	}
	if _, ok := s.index.(VectorIndex); !ok {
		return fmt.Errorf("cache is %q, which needs an index that gives its vectors back", CacheNone)
	}
	if r, ok := s.model.(Reconstructor); ok && r.Reconstructs() {
		return fmt.Errorf("cache is %q, but the model's reconstructions are not decoded from latents", CacheNone)
	}
	return nil
}
