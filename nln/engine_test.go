package nln_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A stand-in is an engine that asks a scorer without one, and leaves some images out.
type standIn struct {
	*nln.Scorer
	unfit  []int
	images int // that it was asked for, in all
	err    error
}

func (e *standIn) Images() int { return 7 }

func (e *standIn) Parts(ctx context.Context, x dataset.Images, w nln.Wanted, p nln.Parts) ([]int, error) {
	e.images += x.N
	q, err := e.Scorer.Parts(ctx, x, nln.Parts{})
	if err != nil || e.err != nil {
		return nil, errors.Join(err, e.err)
	}
	for i := range x.N {
		if slices.Contains(e.unfit, i) {
			continue
		}
		p.Recon[i] = q.Recon[i]
		copy(p.IDs[i*w.K:(i+1)*w.K], q.IDs[i*q.K:])
		copy(p.Dist[i*w.K:(i+1)*w.K], q.Dist[i*q.K:])
		for s := range w.Spaces {
			copy(p.Spaces[s].Mean[i*w.K:i*w.K+w.Errors], q.Spaces[s].Mean[i*q.K:])
			if w.Own {
				p.Spaces[s].Own[i] = q.Spaces[s].Own[i]
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(e.unfit), func(i int) bool { return i >= x.N }), nil
}

func (e *standIn) PartsBytes(ctx context.Context, x dataset.Bytes, w nln.Wanted, p nln.Parts) ([]int, error) {
	return e.Parts(ctx, x.Images(make([]float32, len(x.Pix))), w, p)
}

// bytesOf returns a set of n random images.
func bytesOf(n int) *dataset.Set {
	set := &dataset.Set{Size: testShape, Pix: make([]uint8, n*testShape.Len())}
	for x := range noise(9, testShape, n, .5).Batches(n) {
		for i, v := range x.Pix {
			set.Pix[i] = uint8(255 * v)
		}
	}
	return set
}

// Over parts of an engine scores are what they are without, to the bit.
func TestEngine(t *testing.T) {
	s := fit(t, nil)
	set := bytesOf(20)
	want, err := s.PartsAll(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	x := dataset.Bytes{Shape: testShape, N: 20, Pix: set.Pix, Scale: set.Scale}
	scores, err := s.ScoreBytes(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, unfit := range [][]int{nil, {0, 5}, {6}} {
		e := &standIn{Scorer: s, unfit: unfit}
		with := s.WithEngine(e)
		got, err1 := with.PartsAll(t.Context(), set)
		again, err2 := with.ScoreBytes(t.Context(), x, nil)
		var each []nln.Score
		for score, err := range with.ScoreAll(t.Context(), set) {
			if err != nil {
				t.Fatal(err)
			}
			each = append(each, score)
		}
		if err := errors.Join(err1, err2, got.Check()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Recon, want.Recon) || !slices.Equal(got.Spacing, want.Spacing) || !slices.Equal(got.Spaces[0].Mean, want.Spaces[0].Mean) || !slices.Equal(got.Spaces[0].Own, want.Spaces[0].Own) {
			t.Errorf("without %v: other parts", unfit)
		}
		for i := range scores {
			if again[i].Score != scores[i].Score || each[i].Score != scores[i].Score || again[i].P != scores[i].P {
				t.Errorf("without %v: image %d: score %v, want %v", unfit, i, again[i].Score, scores[i].Score)
			}
		}
		if e.images != 60 || with.BatchImages() != 7 || !with.TakesBytes() || s.TakesBytes() {
			t.Errorf("the engine was asked for %d images", e.images)
		}
	}
}

func TestEngineRefuses(t *testing.T) {
	s := fit(t, nil)
	e := &standIn{Scorer: s}
	with, err := s.WithEngine(e).With(s.Config().Policy)
	if err != nil {
		t.Fatal(err)
	}
	set := bytesOf(3)
	other := testShape
	other.H++
	for name, x := range map[string]dataset.Bytes{"short": {Shape: testShape, N: 4, Pix: set.Pix}, "of another shape": {Shape: other, N: 0}} {
		if _, err := with.ScoreBytes(t.Context(), x, nil); err == nil {
			t.Errorf("pixels %s: no error", name)
		}
	}
	for x := range set.Batches(3) {
		x.Pix[testShape.Len()] = float32(math.NaN())
		if _, err := with.Parts(t.Context(), x, nln.Parts{}); err == nil || !strings.Contains(err.Error(), "image 1: value 0 is NaN") {
			t.Errorf("NaN: error %v", err)
		}
	}
	e.err = errors.New("it broke")
	if p, err := with.PartsAll(t.Context(), set); !errors.Is(err, e.err) || !strings.Contains(err.Error(), "images from 0 on") || p.Len() > 0 {
		t.Errorf("error %v", err)
	}
}
