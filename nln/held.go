package nln

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
)

// Held is what has to be kept of M calibration images, beside their [Parts], to
// compare them anew when other images are indexed ([Scorer.Change]): what a search
// and the error terms start from. Neither depends on what is indexed. Of a model that
// takes patches there is a row for each patch, image by image.
type Held struct {
	Latents []float32 // len M*L, row-major

	// Tables has a row per image of each feature that a kept space has as its
	// Query, but of no latents. Where a byte a value loses nothing they are
	// CacheUint8, else CacheFloat32.
	Tables []*Table

	Digests []Digest // of each image
}

// A Digest tells images apart: of equal values it is equal.
type Digest [sha256.Size]byte

// DigestOf returns the digest of the values of an image: SHA-256 of them as
// little-endian float32.
func DigestOf(values []float32) Digest {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return sha256.Sum256(b)
}

// Hold returns what is to be kept of calib, the images that the scorer was
// calibrated with, in their order.
func (s *Scorer) Hold(ctx context.Context, calib dataset.Source) (*Held, error) {
	h, err := s.hold(ctx, calib)
	if err != nil {
		return nil, fmt.Errorf("nln: hold calibration images: %w", err)
	}
	return h, nil
}

func (s *Scorer) hold(ctx context.Context, calib dataset.Source) (*Held, error) {
	if calib.Len() != s.calib.Len() {
		return nil, fmt.Errorf("have %d images, the scorer was calibrated with %d", calib.Len(), s.calib.Len())
	}
	h, rebuilt := &Held{}, false
	for _, space := range s.spaces {
		if f := space.Query; f != (Feature{Of: OfLatent}) && h.table(f) == nil {
			h.Tables = append(h.Tables, &Table{Feature: f, Kind: CacheUint8, F: space.Dim})
			rebuilt = rebuilt || f.Of == OfReconstruction
		}
	}
	err := s.eachBatch(ctx, calib, s.BatchImages(), "", func(first int, x dataset.Images) error {
		if err := checkImages(s.Shape(), first, x); err != nil {
			return err
		}
		for i := range x.N {
			h.Digests = append(h.Digests, DigestOf(x.At(i)))
		}
		rows := s.cfg.Patched.cut(x)
		for lo := 0; lo < rows.N; lo += s.cfg.Batch {
			if err := s.holdRows(ctx, first, rows.Slice(lo, min(lo+s.cfg.Batch, rows.N)), h, rebuilt); err != nil {
				return err
			}
		}
		return nil
	})
	return h, err
}

// holdRows adds what is kept of images or patches, as the model takes them, of the
// images from first on.
func (s *Scorer) holdRows(ctx context.Context, first int, x dataset.Images, h *Held, rebuilt bool) error {
	b := s.buffers.Get().(*buffers)
	defer s.buffers.Put(b)
	if err := s.encode(ctx, first, x, b); err != nil {
		return err
	}
	h.Latents = append(h.Latents, b.z...)
	if rebuilt {
		if err := s.reconstruct(ctx, first, x, b); err != nil {
			return err
		}
	}
	for _, t := range h.Tables {
		rows, err := s.feature(ctx, first, x, b, t.Feature, t.F)
		if err != nil {
			return err
		}
		t.addExactly(rows)
	}
	return nil
}

// table returns the table of a feature, or nil.
func (h *Held) table(f Feature) *Table {
	if i := slices.IndexFunc(h.Tables, func(t *Table) bool { return t.Feature == f }); i >= 0 {
		return h.Tables[i]
	}
	return nil
}

// Contains returns whether an image of the digest is among those held out.
func (h *Held) Contains(d Digest) bool { return slices.Contains(h.Digests, d) }

// addExactly adds rows, as bytes as long as these give back every value.
func (t *Table) addExactly(rows []float32) {
	if t.Kind == CacheUint8 {
		bytes := t.U8
		for _, v := range rows {
			b := uint8(min(max(float64(v), 0), 1)*255 + .5)
			if float32(b)/255 != v {
				t.unpack()
				break
			}
			bytes = append(bytes, b)
		}
		if t.Kind == CacheUint8 {
			t.U8 = bytes
			return
		}
	}
	t.F32 = append(t.F32, rows...)
}

// unpack makes a table of bytes one of float32.
func (t *Table) unpack() {
	all := make([]float32, len(t.U8))
	for i, b := range t.U8 {
		all[i] = float32(b) / 255
	}
	t.Kind, t.U8, t.F32 = CacheFloat32, nil, all
}

// slice returns the values of rows lo up to, not including, hi.
func (t *Table) slice(lo, hi int) []float32 {
	if t.Kind == CacheFloat32 {
		return t.F32[lo*t.F : hi*t.F]
	}
	rows := make([]float32, (hi-lo)*t.F)
	for i := lo; i < hi; i++ {
		t.Row(i, rows[(i-lo)*t.F:])
	}
	return rows
}

// check makes sure that h is of the scorer's calibration images.
func (s *Scorer) checkHeld(h *Held) error {
	n := s.calib.Len()
	if h == nil {
		return fmt.Errorf("nothing is kept of the %d calibration images to compare them anew by", n)
	}
	rows := n * s.cfg.Patched.perImage()
	if len(h.Latents) != rows*s.model.LatentDim() || len(h.Digests) != n {
		return fmt.Errorf("latents of %d values and %d digests are kept of %d calibration images, want %d and %d",
			len(h.Latents), len(h.Digests), n, rows*s.model.LatentDim(), n)
	}
	if i := notFinite(h.Latents); i >= 0 {
		return fmt.Errorf("calibration image %d: latent value is %v", i/s.model.LatentDim(), h.Latents[i])
	}
	for _, space := range s.spaces {
		if space.Query == (Feature{Of: OfLatent}) {
			continue
		}
		t := h.table(space.Query)
		if t == nil {
			return fmt.Errorf("of the calibration images no %v is kept, by which space %q compares", space.Query, space.Name)
		}
		if err := t.check(); err != nil {
			return err
		}
		if t.F != space.Dim || t.Len() != rows {
			return fmt.Errorf("of the calibration images %d rows of %d values of %v are kept, want %d of %d", t.Len(), t.F, t.Feature, rows, space.Dim)
		}
		if i := notFinite(t.F32); i >= 0 {
			return fmt.Errorf("calibration image %d: value %d of %v is %v", i/t.F, i%t.F, t.Feature, t.F32[i])
		}
	}
	return nil
}

// Compare returns the parts of the calibration images, of which held is kept, over
// what is indexed: what [Scorer.PartsAll] returns for the images themselves, to
// the bit.
func (s *Scorer) Compare(ctx context.Context, held *Held) (Parts, error) {
	p, err := s.compareHeld(ctx, held)
	if err != nil {
		return Parts{}, fmt.Errorf("nln: compare calibration images: %w", err)
	}
	return p, nil
}

func (s *Scorer) compareHeld(ctx context.Context, h *Held) (Parts, error) {
	if err := s.checkHeld(h); err != nil {
		return Parts{}, err
	}
	per := s.cfg.Patched.perImage()
	w, n, l := s.allParts(), s.calib.Len()*per, s.model.LatentDim()
	p, err := Parts{}.shape(w.k, spaceNames(w.spaces))
	if err != nil {
		return p, err
	}
	p = p.grow(n)
	var nb Neighbors
	for lo := 0; lo < n; lo += s.cfg.Batch {
		hi := min(lo+s.cfg.Batch, n)
		z, batch := h.Latents[lo*l:hi*l], p.Slice(lo, hi)
		if nb, err = s.index.Search(ctx, z, w.k, nb); err != nil {
			return p, err
		}
		if err := s.checkNeighbors(lo, hi-lo, w.k, nb); err != nil {
			return p, err
		}
		copy(batch.IDs, nb.IDs)
		copy(batch.Dist, nb.Dist)
		var all []comparison
		for i, space := range w.spaces {
			c := comparison{query: z, term: batch.Spaces[i]}
			if c.table, err = s.rowsOf(ctx, s.table(space.Neighbor), nb.IDs); err != nil {
				return p, err
			}
			if space.Query != (Feature{Of: OfLatent}) {
				c.query = h.table(space.Query).slice(lo, hi)
			}
			all = append(all, c)
		}
		err := forBlocks(ctx, hi-lo, scoreImages, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				s.compareImage(i, w, all, batch)
			}
		})
		if err != nil {
			return p, err
		}
		if s.cfg.Progress != nil {
			s.cfg.Progress("calibrate", hi, n)
		}
	}
	if per > 1 {
		if p, err = pool(p, per, s.localPower(), Parts{}); err != nil {
			return p, err
		}
	}
	// What an image's own reconstruction says does not depend on what is indexed.
	copy(p.Recon, s.calib.Recon)
	for i, space := range w.spaces {
		copy(p.Spaces[i].Own, s.calib.mustHave(space.Name).Own)
	}
	return p, nil
}

// heldImages are the calibration images out of the table of their pixels, or of those
// of their patches: pixels that no patch covers are 0.
type heldImages struct {
	*Table
	s *Scorer
}

func (h heldImages) Shape() dataset.Shape { return h.s.Shape() }

func (h heldImages) Len() int { return h.Table.Len() / h.s.cfg.Patched.perImage() }

func (h heldImages) Batches(size int) iter.Seq2[dataset.Images, error] {
	return func(yield func(dataset.Images, error) bool) {
		shape := h.Shape()
		pix := make([]float32, min(size, h.Len())*shape.Len())
		for lo := 0; lo < h.Len(); lo += size {
			n := min(size, h.Len()-lo)
			for i := range n {
				h.image(lo+i, pix[i*shape.Len():(i+1)*shape.Len()])
			}
			if !yield(dataset.Images{Shape: shape, N: n, Pix: pix[:n*shape.Len()]}, nil) {
				return
			}
		}
	}
}

// image puts image i together in dst.
func (h heldImages) image(i int, dst []float32) {
	p := h.s.cfg.Patched
	if !p.on() {
		h.Row(i, dst)
		return
	}
	clear(dst)
	row := make([]float32, h.F)
	for j, o := range p.Grid.Origins(p.Image) {
		h.Row(i*p.perImage()+j, row)
		p.Grid.Paste(row, o, p.Image, dst)
	}
}
