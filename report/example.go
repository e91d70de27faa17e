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
	More  []Fact    // shown below the parts of the score

	Shape          dataset.Shape // of every image here
	Input          []float32     // len Shape.Len(), order C, H, W, values in [0, 1]
	Reconstruction []float32     // the same, of Input itself; nil: not shown
	Neighbors      []Neighbor    // nearest first

	// ErrorMap is where Input differs from its neighbours: for each pixel the
	// mean over the neighbours and channels of the absolute difference, len
	// H*W, row-major. Its mean is Score.Error. Nil: not shown.
	ErrorMap []float64

	// Map is what ErrorMap is of, with the distance and the score of each pixel; empty:
	// not known. It is not shown.
	Map nln.Map

	// Heat is the score of each pixel, len H*W, drawn over the input from HeatLow to
	// HeatTop, see [Heat]. Nil: not shown.
	Heat             []float32
	HeatLow, HeatTop float64

	Mask []byte // marked defect, len H*W, non-zero = defect; nil: none is known
}

// A Neighbor is an indexed normal image near an example's image.
type Neighbor struct {
	Name     string    // of patches: that of the one farthest from its neighbours
	Distance float64   // between the latent vectors, Euclidean
	Image    []float32 // its reconstruction, as Example.Input, see nln.Pictures; nil: not shown
	Original []float32 // the normal image itself, as Example.Input; nil: not shown
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
	parts, err := s.Parts(ctx, x, nln.Parts{}) // which also checks x
	if err != nil {
		return nil, err
	}
	pictures, err := s.Pictures(ctx, x)
	if err != nil {
		return nil, err
	}
	var maps []nln.Map
	if s.Recon().F > 0 { // else the tables hold features alone, which are no pictures
		if _, maps, err = s.ScoreMaps(ctx, x, false, nil); err != nil {
			return nil, err
		}
	}
	examples := make([]Example, x.N)
	for i := range examples {
		e := Example{
			Score:          s.Calibration().Score(parts, i),
			Shape:          x.Shape,
			Input:          append([]float32(nil), x.At(i)...),
			Reconstruction: pictures[i].Recon,
		}
		for j, id := range parts.Neighbors(i, s.Config().K) {
			neighbor := Neighbor{Name: fmt.Sprintf("#%d", id), Distance: float64(parts.Dist[i*parts.K+j])}
			if indexed != nil {
				neighbor.Name = indexed(id)
			}
			if pictures[i].Neighbors != nil {
				neighbor.Image = pictures[i].Neighbors[j]
			}
			e.Neighbors = append(e.Neighbors, neighbor)
		}
		if maps != nil {
			e.Map = maps[i]
			e.ErrorMap = make([]float64, len(maps[i].Error))
			for j, v := range maps[i].Error {
				e.ErrorMap[j] = float64(v)
			}
		}
		examples[i] = e
	}
	return examples, nil
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
		for what, pix := range map[string][]float32{"neighbour": nb.Image, "original": nb.Original} {
			if pix == nil {
				continue
			}
			if err := e.checkImage(fmt.Sprintf("%s %d", what, i+1), pix); err != nil {
				return err
			}
		}
	}
	pixels := e.Shape.H * e.Shape.W
	if e.Heat != nil && (len(e.Heat) != pixels || !(e.HeatTop > e.HeatLow)) {
		return fmt.Errorf("%q: heat has %d values from %v to %v, want %d", e.Name, len(e.Heat), e.HeatLow, e.HeatTop, pixels)
	}
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
