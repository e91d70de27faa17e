package experiment

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/safetensors"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/recipe"
)

// rangeImages is how many test images the ranges of the maps in figures are over.
const rangeImages = 2000

// pictures keeps test images with what a model makes of them: two thirds novel, evenly
// spaced.
func pictures(ctx context.Context, s *nln.Scorer, test *dataset.Set, novel []bool, c Cell) (*Examples, error) {
	x := &Examples{Cell: c, ReconRange: nln.NoRange(), ErrorRange: nln.NoRange(), ScoreRange: nln.NoRange()}
	over := test.Subset(recipe.Spaced(test.Len(), rangeImages))
	err := s.EachMap(ctx, over, true, func(_ int, m nln.Map) error {
		for _, p := range []struct {
			of *nln.Range
			in []float32
		}{{&x.ReconRange, m.Recon}, {&x.ErrorRange, m.Error}, {&x.ScoreRange, m.Score}} {
			for _, v := range p.in {
				p.of.Widen(float64(v), float64(v))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.Pixels() == nil { // then maps have no score
		x.ScoreRange = nln.Range{}
	}
	chosen := choose(novel, test.Masks, c.Pictures)
	images := test.Subset(chosen)
	for i, id := range chosen {
		e, err := example(ctx, s, images, i)
		if err != nil {
			return nil, err
		}
		e.Class, e.Novel = test.ClassName(id), novel[id]
		x.Images = append(x.Images, e)
	}
	return x, nil
}

// choose returns the places of so many images, the novel ones first: of these, where
// some have masks, such ones.
func choose(novel []bool, masks [][]byte, n int) (ids []int) {
	marked := func(i int) bool { return masks != nil && masks[i] != nil }
	var of [3][]int // normal, novel, marked
	for i, v := range novel {
		switch {
		case !v:
			of[0] = append(of[0], i)
		case marked(i):
			of[2] = append(of[2], i)
		default:
			of[1] = append(of[1], i)
		}
	}
	if len(of[2]) > 0 {
		of[1] = of[2]
	}
	for _, at := range recipe.Spaced(len(of[1]), n-n/3) {
		ids = append(ids, of[1][at])
	}
	for _, at := range recipe.Spaced(len(of[0]), n-len(ids)) {
		ids = append(ids, of[0][at])
	}
	return ids
}

// example returns image i of a set with what the model makes of it.
func example(ctx context.Context, s *nln.Scorer, set *dataset.Set, i int) (Example, error) {
	x := set.Gather([]int{i}, make([]float32, set.Size.Len()))
	scores, maps, err := s.ScoreMaps(ctx, x, true, nil)
	if err != nil {
		return Example{}, err
	}
	pics, err := s.Pictures(ctx, x)
	if err != nil {
		return Example{}, err
	}
	score, m, cfg := scores[0], maps[0], s.Config()
	e := Example{Name: set.ImageName(i), Shape: x.Shape, Input: x.Pix, Recon: pics[0].Recon, Neighbors: pics[0].Neighbors,
		ReconMap: m.Recon, ErrorMap: m.Error, ScoreMap: m.Score,
		ReconScore: score.Recon, Error: score.Error, Distance: score.Distance, Total: score.Score, K: cfg.K, Alpha: cfg.Alpha}
	if s.Pixels() == nil {
		e.ScoreMap = nil
	}
	if set.Masks != nil {
		e.Mask = set.Masks[i]
	}
	return e, nil
}

// facts are what an Example has beside its pixels.
type facts struct {
	Name, Class                        string
	Novel                              bool
	Shape                              dataset.Shape
	Neighbors                          int
	ReconScore, Error, Distance, Total float64
	K                                  int
	Alpha                              float64
}

// ranges are those of Examples.
type ranges struct{ Recon, Error, Score nln.Range }

// write writes the examples as tensors named by the number of the image, such as
// "0/input" and "0/neighbor/1", and the rest as metadata.
func (x *Examples) write(w io.Writer) error {
	var f safetensors.File
	var all []facts
	for i, e := range x.Images {
		add := func(name string, pix []float32, shape ...int) {
			if len(pix) > 0 {
				f.Tensors = append(f.Tensors, safetensors.Tensor{Name: fmt.Sprintf("%d/%s", i, name), DType: safetensors.F32, Shape: shape, Data: safetensors.Bytes(pix)})
			}
		}
		c, h, w := e.Shape.C, e.Shape.H, e.Shape.W
		add("input", e.Input, c, h, w)
		add("reconstruction", e.Recon, c, h, w)
		for k, n := range e.Neighbors {
			add(fmt.Sprintf("neighbor/%d", k), n, c, h, w)
		}
		add("reconstruction_error", e.ReconMap, h, w)
		add("error", e.ErrorMap, h, w)
		add("score", e.ScoreMap, h, w)
		if e.Mask != nil {
			f.Tensors = append(f.Tensors, safetensors.Tensor{Name: fmt.Sprintf("%d/mask", i), DType: safetensors.U8, Shape: []int{h, w}, Data: e.Mask})
		}
		all = append(all, facts{e.Name, e.Class, e.Novel, e.Shape, len(e.Neighbors), e.ReconScore, e.Error, e.Distance, e.Total, e.K, e.Alpha})
	}
	f.Metadata = map[string]string{}
	for name, v := range map[string]any{"images": all, "ranges": ranges{x.ReconRange, x.ErrorRange, x.ScoreRange}} {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		f.Metadata[name] = string(text)
	}
	return f.Write(w)
}

// readExamples reads what write has written.
func readExamples(path string) (x Examples, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return x, err
	}
	f, err := safetensors.Parse(text)
	if err != nil {
		return x, fmt.Errorf("%s: %w", path, err)
	}
	var all []facts
	var r ranges
	for name, v := range map[string]any{"images": &all, "ranges": &r} {
		if err := json.Unmarshal([]byte(f.Metadata[name]), v); err != nil {
			return x, fmt.Errorf("%s: %s: %w", path, name, err)
		}
	}
	x.ReconRange, x.ErrorRange, x.ScoreRange = r.Recon, r.Error, r.Score
	for i, v := range all {
		e := Example{Name: v.Name, Class: v.Class, Novel: v.Novel, Shape: v.Shape,
			ReconScore: v.ReconScore, Error: v.Error, Distance: v.Distance, Total: v.Total, K: v.K, Alpha: v.Alpha}
		get := func(name string, size int) []float32 {
			t, e := f.Get(fmt.Sprintf("%d/%s", i, name), safetensors.F32)
			if e != nil {
				return nil // it may not have been kept
			}
			pix := slices.Clone(t.Floats32())
			if len(pix) != size {
				err = fmt.Errorf("%s: image %d: %s has %d values, want %d", path, i, name, len(pix), size)
			}
			return pix
		}
		pixels := v.Shape.H * v.Shape.W
		e.Input, e.Recon = get("input", v.Shape.Len()), get("reconstruction", v.Shape.Len())
		for k := range v.Neighbors {
			e.Neighbors = append(e.Neighbors, get(fmt.Sprintf("neighbor/%d", k), v.Shape.Len()))
		}
		e.ReconMap, e.ErrorMap, e.ScoreMap = get("reconstruction_error", pixels), get("error", pixels), get("score", pixels)
		if t, missing := f.Get(fmt.Sprintf("%d/mask", i), safetensors.U8); missing == nil && len(t.Data) == pixels {
			e.Mask = t.Data
		}
		x.Images = append(x.Images, e)
	}
	return x, err
}
