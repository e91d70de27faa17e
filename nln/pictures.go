package nln

import (
	"context"
	"fmt"

	"github.com/nlnctl/nlnctl/dataset"
)

// Pictures show what an image is compared with, in its own shape. Of a model that
// takes patches they are put together from those: picture k of the neighbours has in
// the place of each patch its k-th nearest, so that it shows how the image might look
// if it were normal.
type Pictures struct {
	Recon     []float32   // g(f(x)), C*H*W
	Neighbors [][]float32 // g(z^k), k up to the policy's K, each C*H*W; nil without a table of reconstructions
}

// Pictures returns the pictures of the images x.
func (s *Scorer) Pictures(ctx context.Context, x dataset.Images) ([]Pictures, error) {
	all, err := s.pictures(ctx, x)
	if err != nil {
		return nil, fmt.Errorf("nln: pictures: %w", err)
	}
	return all, nil
}

func (s *Scorer) pictures(ctx context.Context, x dataset.Images) ([]Pictures, error) {
	if err := checkImages(s.Shape(), 0, x); err != nil {
		return nil, err
	}
	cut := s.cfg.Patched.cut(x)
	b := s.buffers.Get().(*buffers)
	defer s.buffers.Put(b)
	k, n := s.cfg.K, cut.Shape.Len()
	ids, recon := make([]int64, 0, cut.N*k), make([]float32, 0, len(cut.Pix))
	for lo := 0; lo < cut.N; lo += s.cfg.Batch {
		part := cut.Slice(lo, min(lo+s.cfg.Batch, cut.N))
		if err := s.encode(ctx, lo, part, b); err != nil {
			return nil, err
		}
		var err error
		if b.nb, err = s.index.Search(ctx, b.z, k, b.nb); err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		if err := s.checkNeighbors(lo, part.N, k, b.nb); err != nil {
			return nil, err
		}
		if err := s.reconstruct(ctx, lo, part, b); err != nil {
			return nil, err
		}
		ids, recon = append(ids, b.nb.IDs...), append(recon, b.xhat...)
	}
	table, per := s.table(Feature{Of: OfReconstruction}), s.cfg.Patched.perImage()
	var rows rowSource
	if table != nil {
		var err error
		if rows, err = s.rowsOf(ctx, table, ids); err != nil {
			return nil, err
		}
	}
	all := make([]Pictures, x.N)
	near := make([]float32, per*n)
	for i := range all {
		all[i].Recon = s.stitchPlanes(recon[i*per*n : (i+1)*per*n])
		if table == nil {
			continue
		}
		for j := range k {
			for p := range per {
				rows.Row(rows.at(ids[(i*per+p)*k+j]), near[p*n:(p+1)*n])
			}
			all[i].Neighbors = append(all[i].Neighbors, s.stitchPlanes(near))
		}
	}
	return all, nil
}

// stitchPlanes puts the patches of an image together, plane by plane.
func (s *Scorer) stitchPlanes(patches []float32) []float32 {
	channels := s.model.Shape().C
	plane := s.model.Shape().H * s.model.Shape().W
	per := s.cfg.Patched.perImage()
	out, one := make([]float32, 0, s.Shape().Len()), make([]float32, per*plane)
	for c := range channels {
		for p := range per {
			copy(one[p*plane:(p+1)*plane], patches[(p*channels+c)*plane:])
		}
		out = append(out, s.stitch(one)...)
	}
	return out
}
