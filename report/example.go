package report

import (
	"context"
	"fmt"
	"math"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// An Example is one image with what its score came from.
type Example struct {
	Name  string
	Class string    // or the kind of defect; empty: unknown
	Novel *bool     // the truth; nil: unknown
	Score nln.Score // with the verdict

	Shape          dataset.Shape // of every image here
	Input          []float32     // len Shape.Len(), order C, H, W, values in [0, 1]
	Reconstruction []float32     // the same, of Input itself; nil: not shown
	Neighbors      []Neighbor    // nearest first

	// ErrorMap is where Input differs from its neighbours: for each pixel the
	// mean over the neighbours and channels of the absolute difference, len
	// H*W, row-major. Its mean is Score.Error. Nil: not shown.
	ErrorMap []float64

	Mask []byte // marked defect, len H*W, non-zero = defect; nil: none is known
}

// A Neighbor is an indexed normal image near an example's image.
type Neighbor struct {
	Name     string
	Distance float64   // between the latent vectors, Euclidean
	Image    []float32 // its reconstruction, as Example.Input; nil: not shown
}

// Explain returns an example of each image of x: its scores by s, its
// reconstruction, its K neighbours and the error map. The caller adds name,
// class, truth and mask. indexed gives the name of an indexed image by its id;
// nil means names such as "#12". The inputs are copies, so that x may be reused.
func Explain(ctx context.Context, s *nln.Scorer, x dataset.Images, indexed func(id int64) string) ([]Example, error) {
	examples := make([]Example, 0, x.N)
	for lo, size := 0, s.Config().Batch; lo < x.N; lo += size {
		batch, err := explain(ctx, s, x.Slice(lo, min(lo+size, x.N)), indexed)
		if err != nil {
			return nil, fmt.Errorf("report: explain images from %d on: %w", lo, err)
		}
		examples = append(examples, batch...)
	}
	return examples, nil
}

func explain(ctx context.Context, s *nln.Scorer, x dataset.Images, indexed func(id int64) string) ([]Example, error) {
	scores, err := s.Score(ctx, x, nil) // which also checks x
	if err != nil {
		return nil, err
	}
	z := make([]float32, x.N*s.Model().LatentDim())
	if err := s.Model().Encode(ctx, x, z); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	xhat := make([]float32, len(x.Pix))
	if err := nln.Reconstruct(ctx, s.Model(), x, z, xhat); err != nil {
		return nil, err
	}
	// The scores hold the mean distance alone.
	nb, err := s.Index().Search(ctx, z, s.Config().K, nln.Neighbors{})
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	// The cache may hold features of the reconstructions, which are no pictures.
	pictures := s.Recon().F == x.Shape.Len()
	n := x.Shape.Len()
	examples := make([]Example, x.N)
	for i := range examples {
		e := Example{
			Score:          scores[i],
			Shape:          x.Shape,
			Input:          append([]float32(nil), x.At(i)...),
			Reconstruction: xhat[i*n : (i+1)*n : (i+1)*n],
		}
		for j := i * nb.K; j < (i+1)*nb.K; j++ {
			neighbor := Neighbor{Name: fmt.Sprintf("#%d", nb.IDs[j]), Distance: float64(nb.Dist[j])}
			if indexed != nil {
				neighbor.Name = indexed(nb.IDs[j])
			}
			if pictures {
				neighbor.Image = s.Recon().Row(int(nb.IDs[j]), make([]float32, n))
			}
			e.Neighbors = append(e.Neighbors, neighbor)
		}
		if pictures {
			e.ErrorMap = e.neighborError()
		}
		examples[i] = e
	}
	return examples, nil
}

// neighborError returns the mean over the neighbours of differenceMap.
func (e *Example) neighborError() []float64 {
	m := make([]float64, e.Shape.H*e.Shape.W)
	for _, nb := range e.Neighbors {
		for i, v := range differenceMap(e.Shape, e.Input, nb.Image) {
			m[i] += v
		}
	}
	for i := range m {
		m[i] /= float64(max(1, len(e.Neighbors)))
	}
	return m
}

// differenceMap returns for each pixel the mean over the channels of |x - y|.
func differenceMap(s dataset.Shape, x, y []float32) []float64 {
	n := s.H * s.W
	m := make([]float64, n)
	for i := range s.C * n {
		m[i%n] += math.Abs(float64(x[i]) - float64(y[i]))
	}
	for i := range m {
		m[i] /= float64(s.C)
	}
	return m
}

// verdict returns the truth, empty if unknown, the verdict in the light of it,
// and its kind: loud for novel, quiet for normal, wrong where truth and verdict
// differ.
func (e *Example) verdict() (truth, verdict, kind string) {
	switch {
	case e.Novel == nil && e.Score.Novel:
		return "", "flagged", "loud"
	case e.Novel == nil:
		return "", "not flagged", "quiet"
	case *e.Novel && e.Score.Novel:
		return "novel", "found", "loud"
	case *e.Novel:
		return "novel", "missed", "wrong"
	case e.Score.Novel:
		return "normal", "false alarm", "wrong"
	}
	return "normal", "passed", "quiet"
}

// check makes sure that the pictures have the size that Shape says.
func (e *Example) check() error {
	if e.Shape.C < 1 || e.Shape.H < 1 || e.Shape.W < 1 {
		return fmt.Errorf("%q: images are %v", e.Name, e.Shape)
	}
	if err := checkScore(e.Score); err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	if err := e.checkImage("input", e.Input); err != nil {
		return err
	}
	if e.Reconstruction != nil {
		if err := e.checkImage("reconstruction", e.Reconstruction); err != nil {
			return err
		}
	}
	for i, nb := range e.Neighbors {
		if math.IsNaN(nb.Distance) {
			return fmt.Errorf("%q: distance to neighbour %d is NaN", e.Name, i+1)
		}
		if nb.Image == nil {
			continue
		}
		if err := e.checkImage(fmt.Sprintf("neighbour %d", i+1), nb.Image); err != nil {
			return err
		}
	}
	pixels := e.Shape.H * e.Shape.W
	if e.ErrorMap != nil && len(e.ErrorMap) != pixels {
		return fmt.Errorf("%q: error map has %d values, want %d", e.Name, len(e.ErrorMap), pixels)
	}
	for i, v := range e.ErrorMap {
		if !(v >= 0) || math.IsInf(v, 1) {
			return fmt.Errorf("%q: error map: value %d is %v", e.Name, i, v)
		}
	}
	if e.Mask != nil && len(e.Mask) != pixels {
		return fmt.Errorf("%q: mask has %d values, want %d", e.Name, len(e.Mask), pixels)
	}
	return nil
}

func (e *Example) checkImage(what string, pix []float32) error {
	if len(pix) != e.Shape.Len() {
		return fmt.Errorf("%q: %s has %d values, want %d for %v", e.Name, what, len(pix), e.Shape.Len(), e.Shape)
	}
	for i, v := range pix {
		if v-v != 0 {
			return fmt.Errorf("%q: %s: value %d is %v", e.Name, what, i, v)
		}
	}
	return nil
}
