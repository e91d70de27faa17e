package metrics

import (
	"math"
	"testing"
)

// Counts of 32 bits and products of 64 must not overflow.
func TestPixelsTooMany(t *testing.T) {
	p := NewPixels()
	p.count.Normal = math.MaxUint32 - 3
	const want = "metrics: pixels: image 0: 4 pixels after 4294967292, " +
		"at most 4294967295 can be measured together: take fewer images or smaller maps"
	if err := p.Add(make([]float32, 4), nil, 2, 2); err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if err := p.Add(make([]float32, 3), nil, 3, 1); err != nil {
		t.Error(err)
	}

	const half = math.MaxUint32 / 2
	d := descent{func(yield func(tie) bool) {
		_ = yield(tie{score: 2, novel: half}) && yield(tie{score: 1, norm: half + 1})
	}, half, half + 1}
	if got := d.auroc(); got != 1 {
		t.Errorf("AUROC of 2^32-1 pixels, all novel ones above: %v, want 1", got)
	}
	if got, want := d.youden(), (Cut{Threshold: 2, TPR: 1, IoU: 1}); got != want {
		t.Errorf("Youden of these: %+v, want %+v", got, want)
	}
	if got := d.f1max(); got.F1() != 1 {
		t.Errorf("F1Max of these: %+v, want an F1 of 1", got)
	}
}

// Keys order as scores do, and go back to them.
func TestKeys(t *testing.T) {
	inf := float32(math.Inf(1))
	scores := []float32{-inf, -math.MaxFloat32, -1.5, -1, -1e-45, 0, 1e-45, 1, 1.5, math.MaxFloat32, inf}
	for i, s := range scores {
		if got := scoreOf(key(s)); got != s {
			t.Errorf("score of the key of %v: %v", s, got)
		}
		if i > 0 && key(scores[i-1]) >= key(s) {
			t.Errorf("key of %v is not below that of %v", scores[i-1], s)
		}
	}
	if key(float32(math.Copysign(0, -1))) != key(0) {
		t.Error("the two zeros have two keys")
	}
}
