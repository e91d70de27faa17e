package nln

import (
	"context"
	"fmt"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
)

// buffers is the memory of one batch.
type buffers struct {
	z, xhat []float32
	nb      Neighbors
}

// A want says which parts of the scores to compute.
type want struct {
	k      int     // neighbours to find
	errors int     // over how many of them to compute errors; the rest is left unset
	spaces []Space // in the order of Parts.Spaces
	own    bool    // whether to compute ErrorTerm.Own, or leave it unset
}

// allParts returns all that was kept, the policy's space first.
func (s *Scorer) allParts() want {
	w := want{k: s.cfg.MaxK, errors: s.cfg.MaxK, own: true}
	w.spaces = append(w.spaces, s.space(s.cfg.Space))
	for _, space := range s.spaces {
		if space.Name != s.cfg.Space {
			w.spaces = append(w.spaces, space)
		}
	}
	return w
}

// scoreParts returns what the policy needs.
func (s *Scorer) scoreParts() want {
	w := want{k: max(s.cfg.K, s.cfg.Local.K), errors: s.cfg.K, own: s.cfg.Radius > 0}
	w.spaces = append(w.spaces, s.space(s.cfg.Space))
	if s.cfg.Metric == MetricL1Mean && s.cfg.Space != SpaceLatent {
		w.spaces = append(w.spaces, s.space(SpaceLatent))
	}
	return w
}

// space returns a space that was kept.
func (s *Scorer) space(name string) Space { return s.spaces[slices.Index(s.cfg.Spaces, name)] }

// parts appends the parts of x, Config.Batch images at a time, or all at once where an
// engine computes them. first is the
// number of x's first image in errors.
func (s *Scorer) parts(ctx context.Context, first int, x dataset.Images, w want, dst Parts) (Parts, error) {
	if err := checkImages(s.model.Shape(), first, x); err != nil {
		return dst, err
	}
	if s.engine != nil {
		values := func(i int) dataset.Images { return x.Slice(i, i+1) }
		return s.engineParts(ctx, first, x.N, w, dst, values, func(wanted Wanted, p Parts) ([]int, error) {
			return s.engine.Parts(ctx, x, wanted, p)
		})
	}
	out, err := dst.shape(w.k, spaceNames(w.spaces))
	if err != nil {
		return dst, err
	}
	b := s.buffers.Get().(*buffers)
	defer s.buffers.Put(b)
	for lo := 0; lo < x.N; lo += s.cfg.Batch {
		hi := min(lo+s.cfg.Batch, x.N)
		out = out.grow(hi - lo)
		batch := out.Slice(out.Len()-(hi-lo), out.Len())
		if err := s.fill(ctx, first+lo, x.Slice(lo, hi), b, w, batch); err != nil {
			return dst, err
		}
	}
	return out, nil
}

// scoreImages is how many images a goroutine compares at a time.
const scoreImages = 8

// fill computes the parts of one batch into p, which has one row per image.
func (s *Scorer) fill(ctx context.Context, first int, x dataset.Images, b *buffers, w want, p Parts) (err error) {
	if err := s.encode(ctx, first, x, b); err != nil {
		return err
	}
	if b.nb, err = s.index.Search(ctx, b.z, w.k, b.nb); err != nil {
		return fmt.Errorf("search neighbours of images from %d on: %w", first, err)
	}
	if err := s.checkNeighbors(first, x.N, w.k, b.nb); err != nil {
		return err
	}
	if err := s.reconstruct(ctx, first, x, b); err != nil {
		return err
	}
	comparisons, err := s.comparisons(ctx, first, x, b, w, p)
	if err != nil {
		return err
	}
	copy(p.IDs, b.nb.IDs)
	copy(p.Dist, b.nb.Dist)
	return forBlocks(ctx, x.N, scoreImages, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			p.Recon[i] = meanAbs32(x.At(i), b.xhat[i*len(x.At(i)):])
			s.compareImage(i, w, comparisons, p)
		}
	})
}

// compareImage computes what of the parts of image i follows from its neighbours,
// which p has.
func (s *Scorer) compareImage(i int, w want, comparisons []comparison, p Parts) {
	row := i * w.k
	for j := range w.k {
		p.Distance[row+j] = meanDist(p.Dist[row : row+j+1])
	}
	s.spacing.around(p.IDs[row:row+w.k], p.Spacing[row:])
	for _, c := range comparisons {
		c.compare(i, p.IDs[row:row+w.errors], c.term.Mean[row:])
	}
}

// A comparison is a batch and the neighbours in one space.
type comparison struct {
	query []float32 // features of the batch, row-major
	own   []float32 // those it would have as neighbours; nil: not wanted
	table rowSource
	term  ErrorTerm // to be filled
}

// compare fills in the errors of image i: mean[k-1] over the first k of ids.
func (c comparison) compare(i int, ids []int64, mean []float64) {
	f := c.table.F
	row := c.query[i*f : (i+1)*f]
	if c.own != nil {
		c.term.Own[i] = meanAbs32(row, c.own[i*f:])
	}
	var e float64
	for j, id := range ids {
		e += c.table.MeanAbs(row, c.table.at(id))
		mean[j] = e / float64(j+1)
	}
}

// comparisons computes the features that are wanted of a batch, each once.
func (s *Scorer) comparisons(ctx context.Context, first int, x dataset.Images, b *buffers, w want, p Parts) ([]comparison, error) {
	computed := map[Feature][]float32{}
	feature := func(f Feature, dim int) (v []float32, err error) {
		if computed[f] == nil {
			computed[f], err = s.feature(ctx, first, x, b, f, dim)
		}
		return computed[f], err
	}
	var all []comparison
	for i, space := range w.spaces {
		c, table := comparison{term: p.Spaces[i]}, s.table(space.Neighbor)
		if table == nil {
			return nil, fmt.Errorf("the index no longer gives its vectors, by which space %q compares", space.Name)
		}
		var err error
		if c.table, err = s.rowsOf(ctx, table, b.nb.IDs); err != nil {
			return nil, err
		}
		if c.query, err = feature(space.Query, space.Dim); err != nil {
			return nil, err
		}
		if w.own {
			if c.own, err = feature(space.Neighbor, space.Dim); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// table returns the rows of the indexed images' feature f, or nil.
func (s *Scorer) table(f Feature) *Table {
	if t := s.tables[f]; t != nil || f != (Feature{Of: OfLatent}) {
		return t
	}
	if v := s.vectors(); v != nil {
		return &Table{Feature: f, Kind: CacheFloat32, F: s.model.LatentDim(), F32: v}
	}
	return nil
}

// vectors returns the latent vectors that were indexed if the index has them,
// or nil. They are asked for anew for each use, since an Add may move them.
func (s *Scorer) vectors() []float32 {
	if idx, ok := s.index.(VectorIndex); ok {
		if v, n := idx.Vectors(), s.indexed*s.model.LatentDim(); len(v) >= n {
			return v[:n]
		}
	}
	return nil
}

// feature returns a feature of dim values of the batch x, whose latents and
// reconstructions are in b, row-major.
func (s *Scorer) feature(ctx context.Context, first int, x dataset.Images, b *buffers, f Feature, dim int) ([]float32, error) {
	images := x
	switch {
	case f == Feature{Of: OfLatent}:
		return b.z, nil
	case f.Of == OfReconstruction:
		images.Pix = b.xhat
	}
	if f.Network == "" {
		return images.Pix, nil
	}
	v := make([]float32, x.N*dim)
	if err := s.model.(FeatureModel).Features(ctx, f.Network, images, v); err != nil {
		return nil, fmt.Errorf("compute %v of images from %d on: %w", f, first, err)
	}
	if i := notFinite(v); i >= 0 {
		return nil, fmt.Errorf("image %d: value %d of %v is %v: the model has diverged", first+i/dim, i%dim, f, v[i])
	}
	return v, nil
}

// encode fills b.z with the latent vectors of x.
func (s *Scorer) encode(ctx context.Context, first int, x dataset.Images, b *buffers) error {
	l := s.model.LatentDim()
	b.z = resize(b.z, x.N*l)
	if err := s.model.Encode(ctx, x, b.z); err != nil {
		return fmt.Errorf("encode images from %d on: %w", first, err)
	}
	if i := notFinite(b.z); i >= 0 {
		return fmt.Errorf("image %d: latent value %d is %v: the model has diverged", first+i/l, i%l, b.z[i])
	}
	return nil
}

// reconstruct fills b.xhat with the reconstructions of x, whose latents are b.z.
func (s *Scorer) reconstruct(ctx context.Context, first int, x dataset.Images, b *buffers) error {
	n := x.Shape.Len()
	b.xhat = resize(b.xhat, x.N*n)
	if err := reconstruct(ctx, s.model, x, b.z, b.xhat); err != nil {
		return fmt.Errorf("images from %d on: %w", first, err)
	}
	if i := notFinite(b.xhat); i >= 0 {
		return fmt.Errorf("image %d: reconstructed value %d is %v: the model has diverged", first+i/n, i%n, b.xhat[i])
	}
	return nil
}

// checkNeighbors makes sure that the index kept its contract: an id outside the
// tables would read another image's row or none.
func (s *Scorer) checkNeighbors(first, n, k int, nb Neighbors) error {
	if nb.K != k || len(nb.IDs) != n*k || len(nb.Dist) != n*k {
		return fmt.Errorf("index gave %d neighbours, %d ids and %d distances for %d images, want %d neighbours each",
			nb.K, len(nb.IDs), len(nb.Dist), n, k)
	}
	for i, id := range nb.IDs {
		if id < 0 || id >= int64(s.indexed) {
			return fmt.Errorf("image %d: index gave id %d, have %d indexed images", first+i/k, id, s.indexed)
		}
		if d := nb.Dist[i]; !(d >= 0) || d-d != 0 || i%k > 0 && d < nb.Dist[i-1] {
			return fmt.Errorf("image %d: index gave distance %v to id %d as neighbour %d", first+i/k, d, id, i%k+1)
		}
	}
	return nil
}

// checkImages makes sure that x has the wanted shape and is finite.
func checkImages(want dataset.Shape, first int, x dataset.Images) error {
	if x.Shape != want {
		return fmt.Errorf("images are %v, want %v", x.Shape, want)
	}
	if n := want.Len(); len(x.Pix) != x.N*n {
		return fmt.Errorf("%d images of %v hold %d values, want %d", x.N, want, len(x.Pix), x.N*n)
	}
	if i := notFinite(x.Pix); i >= 0 {
		return fmt.Errorf("image %d: value %d is %v", first+i/want.Len(), i%want.Len(), x.Pix[i])
	}
	return nil
}
