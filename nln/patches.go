package nln

import (
	"context"
	"fmt"
	"math"

	"github.com/nlnctl/nlnctl/dataset"
)

// Patched says that a model takes patches of images that are larger. The parts of an
// image are then pooled over its patches,
//
//	Recon, errors   mean over the patches
//	distance        max over the patches of each mean over k neighbours
//	local score     max over the patches; of the product, times the mean Recon
//
// as the authors' code does, which has no local score; an anomaly in one patch
// moves a maximum more than a mean over all. Neighbours are those of the farthest
// patch. The zero value is for models that take whole images.
type Patched struct {
	Grid  dataset.Grid  `json:"grid"`
	Image dataset.Shape `json:"image"` // of the images that are scored; its C is the model's
}

func (p Patched) on() bool { return p.Grid.Patch > 0 }

// perImage returns how many rows of parts there are of each image.
func (p Patched) perImage() int {
	if !p.on() {
		return 1
	}
	return len(p.Grid.Origins(p.Image))
}

// check makes sure that patches of a grid are what the model takes.
func (p Patched) check(m Model) error {
	if !p.on() {
		return nil
	}
	if err := p.Grid.Check(p.Image); err != nil {
		return err
	}
	if want := (dataset.Shape{C: p.Image.C, H: p.Grid.Patch, W: p.Grid.Patch}); m.Shape() != want {
		return fmt.Errorf("patches are %v, the model takes %v", want, m.Shape())
	}
	return nil
}

// cut returns what the model takes of the images x: x itself, or its patches.
func (p Patched) cut(x dataset.Images) dataset.Images {
	if !p.on() {
		return x
	}
	return p.Grid.Cut(x, make([]float32, x.N*p.perImage()*x.C*p.Grid.Patch*p.Grid.Patch))
}

// Shape returns the shape of the images that are scored: the model's, or of the
// images whose patches the model takes.
func (s *Scorer) Shape() dataset.Shape {
	if s.cfg.Patched.on() {
		return s.cfg.Patched.Image
	}
	return s.model.Shape()
}

// pool appends to dst the parts of images out of those of their patches, n of each.
// The spacing is such that the local score with the given power is the largest of
// the patches'.
func pool(patches Parts, n int, power float64, dst Parts) (Parts, error) {
	if n == 1 {
		return dst.Append(patches)
	}
	images := patches.Len() / n
	out, err := dst.shape(patches.K, patches.SpaceNames())
	if err != nil {
		return dst, err
	}
	out = out.grow(images)
	to := out.Slice(out.Len()-images, out.Len())
	for i := range images {
		rows := patches.Slice(i*n, (i+1)*n)
		to.Recon[i] = mean(rows.Recon)
		for j, s := range rows.Spaces {
			to.Spaces[j].Own[i] = mean(s.Own)
		}
		farthest := 0
		for p := range n {
			if rows.D(p, rows.K) > rows.D(farthest, rows.K) {
				farthest = p
			}
		}
		copy(to.IDs[i*rows.K:], rows.Neighbors(farthest, rows.K))
		copy(to.Dist[i*rows.K:], rows.Dist[farthest*rows.K:(farthest+1)*rows.K])
		for k := 1; k <= rows.K; k++ {
			at := to.cell(i, k)
			for j := range rows.Spaces {
				to.Spaces[j].Mean[at] = 0
				for p := range n {
					to.Spaces[j].Mean[at] += rows.Spaces[j].Mean[rows.cell(p, k)] / float64(n)
				}
			}
			var d, local float64
			for p := range n {
				d, local = max(d, rows.D(p, k)), max(local, rows.Local(p, k, power))
			}
			to.Distance[at] = d
			// Local divides the mean of Dist, of the farthest patch, by a power of this.
			to.Spacing[at] = 1
			if own := meanDist(to.Dist[i*rows.K : at+1]); local > 0 && own > 0 {
				to.Spacing[at] = math.Pow(own/local, 1/power)
			}
		}
	}
	return out, nil
}

func mean(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// pooledParts appends the parts of the images x.
func (s *Scorer) pooledParts(ctx context.Context, first int, x dataset.Images, w want, dst Parts) (Parts, error) {
	if !s.cfg.Patched.on() {
		return s.parts(ctx, first, x, w, dst)
	}
	if err := checkImages(s.Shape(), first, x); err != nil {
		return dst, err
	}
	n := s.cfg.Patched.perImage()
	rows, err := s.parts(ctx, 0, s.cfg.Patched.cut(x), w, Parts{})
	if err != nil {
		return dst, fmt.Errorf("patches of images from %d on: %w", first, err)
	}
	if w.errors < w.k { // what scoring leaves out would be pooled as it is
		clearFrom(rows, w.errors)
	}
	return pool(rows, n, s.localPower(), dst)
}

// clearFrom sets the errors over more than k neighbours to 0.
func clearFrom(p Parts, k int) {
	for _, s := range p.Spaces {
		for i := range p.Len() {
			clear(s.Mean[i*p.K+k : (i+1)*p.K])
		}
	}
}

// localPower returns the power of the policy's local score.
func (s *Scorer) localPower() float64 {
	if p := s.cfg.Local.Power; p > 0 {
		return p
	}
	return DefaultLocal().Power
}

// BatchImages returns how many images it takes at a time to keep what computes busy:
// as many as Config.Batch or an engine says, of the model's.
func (s *Scorer) BatchImages() int {
	n := s.cfg.Batch
	if s.engine != nil {
		n = s.engine.Images()
	}
	return max(1, n/s.cfg.Patched.perImage())
}
