package metrics_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"testing"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

// A scored image is what Add takes.
type scored struct {
	scores []float32
	mask   []byte
	h, w   int
}

func newPixels(t testing.TB, images []scored) *metrics.Pixels {
	t.Helper()
	p := metrics.NewPixels()
	for _, im := range images {
		if err := p.Add(im.scores, im.mask, im.h, im.w); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// flat returns the pixels of all images as a set of images would be.
func flat(images []scored) (scores []float64, novel []bool) {
	for _, im := range images {
		for i, s := range im.scores {
			scores = append(scores, float64(s))
			novel = append(novel, im.mask != nil && im.mask[i] != 0)
		}
	}
	return scores, novel
}

// measured is all that a Pixels measures.
type measured struct {
	auroc, ap     float64
	youden, f1max metrics.Cut
	aupro         [4]float64 // at limits
	counts        metrics.PixelCounts
}

var limits = [4]float64{.05, .3, .5, 1}

func measure(t *testing.T, p *metrics.Pixels) (m measured) {
	t.Helper()
	var errs [8]error
	m.auroc, errs[0] = p.AUROC()
	m.ap, errs[1] = p.AveragePrecision()
	m.youden, errs[2] = p.Youden()
	m.f1max, errs[3] = p.F1Max()
	for i, limit := range limits {
		m.aupro[i], errs[4+i] = p.AUPRO(limit)
	}
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	m.counts = p.Counts()
	return m
}

type pixelImage struct {
	H, W    int
	Scores  []float32
	Mask    []int
	Regions []struct{ X0, X1, Y0, Y1, Area int }
}

// mask returns the mask in bytes, as in MVTec's files.
func (im pixelImage) mask() []byte {
	b := make([]byte, len(im.Mask))
	for i, v := range im.Mask {
		b[i] = byte(255 * v)
	}
	return b
}

type pixelCut struct{ Threshold, FPR, TPR, IoU, F1 float64 }

func (c pixelCut) near(got metrics.Cut) bool {
	return got.Threshold == c.Threshold && near(got.FPR, c.FPR, tol) && near(got.TPR, c.TPR, tol) &&
		near(got.IoU, c.IoU, tol) && near(got.F1(), c.F1, tol)
}

type pixelCase struct {
	Name          string
	Images        []pixelImage
	AUROC, AP     float64
	Youden, F1Max pixelCut
	AUPRO         []struct{ Limit, Value float64 }
	Normal        []struct{ Share, Threshold float64 }
}

func pixelCases(t *testing.T) (cases []pixelCase) {
	t.Helper()
	data, err := os.ReadFile("testdata/pixels.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no cases in testdata/pixels.json")
	}
	return cases
}

// Numbers and the script that made them: testdata/pixels.py.
func TestPixelsAgainstSklearn(t *testing.T) {
	for _, c := range pixelCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			var images []scored
			for _, im := range c.Images {
				images = append(images, scored{im.Scores, im.mask(), im.H, im.W})
			}
			p := newPixels(t, images)
			got := measure(t, p)
			if !near(got.auroc, c.AUROC, tol) {
				t.Errorf("AUROC = %v, want %v", got.auroc, c.AUROC)
			}
			if !near(got.ap, c.AP, tol) {
				t.Errorf("AveragePrecision = %v, want %v", got.ap, c.AP)
			}
			if !c.Youden.near(got.youden) {
				t.Errorf("Youden = %+v, want %+v", got.youden, c.Youden)
			}
			if !c.F1Max.near(got.f1max) {
				t.Errorf("F1Max = %+v, F1 %v, want %+v", got.f1max, got.f1max.F1(), c.F1Max)
			}
			if cut, err := p.At(c.F1Max.Threshold); err != nil || cut != got.f1max {
				t.Errorf("At(%v) = %+v, %v, want that of F1Max, %+v", c.F1Max.Threshold, cut, err, got.f1max)
			}
			for _, a := range c.AUPRO {
				if got, err := p.AUPRO(a.Limit); err != nil || !near(got, a.Value, tol) {
					t.Errorf("AUPRO(%v) = %v, %v, want %v", a.Limit, got, err, a.Value)
				}
			}
			for _, n := range c.Normal {
				if got, err := p.NormalThreshold(n.Share); err != nil || got != n.Threshold {
					t.Errorf("NormalThreshold(%v) = %v, %v, want %v", n.Share, got, err, n.Threshold)
				}
			}
			scores, novel := flat(images)
			if got, err := metrics.F1Max(scores, novel); err != nil || !c.F1Max.near(got) {
				t.Errorf("F1Max of the pixels as images = %+v, %v, want %+v", got, err, c.F1Max)
			}
		})
	}
}

func TestAUPROKnown(t *testing.T) {
	mask, h, w := draw("##....", "......", ".....#")
	perfect, constant := make([]float32, h*w), make([]float32, h*w)
	for i, m := range mask {
		perfect[i] = float32(m) / 255
	}
	for _, limit := range limits {
		if got, err := newPixels(t, []scored{{perfect, mask, h, w}}).AUPRO(limit); err != nil || !near(got, 1, tol) || got > 1 {
			t.Errorf("AUPRO(%v) of a perfect map = %v, %v, want 1", limit, got, err)
		}
		if got, err := newPixels(t, []scored{{constant, mask, h, w}}).AUPRO(limit); err != nil || !near(got, limit/2, tol) {
			t.Errorf("AUPRO(%v) of a constant map = %v, %v, want %v", limit, got, err, limit/2)
		}
	}
	// Regions count alike, whatever their size: half of the larger and none of
	// the smaller before the first of 15 normal pixels, all after the 15.
	scores := make([]float32, h*w)
	scores[0] = 2
	scores[5] = 1
	got, err := newPixels(t, []scored{{scores, mask, h, w}}).AUPRO(1. / 15)
	if want := .25; err != nil || !near(got, want, tol) {
		t.Errorf("AUPRO up to the first false positive = %v, %v, want %v", got, err, want)
	}
}

func TestNormalThreshold(t *testing.T) {
	next := func(x float32) float64 { return float64(math.Nextafter32(x, float32(math.Inf(1)))) }
	scores := []float32{4, 1, 3, 2, 3, -1, 0, 3, 9, 2}
	mask := []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0} // normal: -1 0 1 2 2 3 3 3 4
	p := newPixels(t, []scored{{scores, mask, 2, 5}})
	for _, c := range []struct{ share, want float64 }{
		{0, next(4)}, {.11, next(4)}, {1. / 9, next(3)}, {.44, next(3)}, {4. / 9, next(2)},
		{.7, next(1)}, {8. / 9, next(-1)}, {.999, next(-1)},
	} {
		if got, err := p.NormalThreshold(c.share); err != nil || got != c.want {
			t.Errorf("NormalThreshold(%v) = %v, %v, want %v", c.share, got, err, c.want)
		}
	}
	if got, err := newPixels(t, []scored{{scores, nil, 2, 5}}).NormalThreshold(0); err != nil || got != next(9) {
		t.Errorf("NormalThreshold(0) without masks = %v, %v, want %v", got, err, next(9))
	}
	inf := newPixels(t, []scored{{[]float32{float32(math.Inf(1)), 1}, nil, 1, 2}})
	if _, err := inf.NormalThreshold(.4); err == nil ||
		err.Error() != "metrics: pixel threshold: 1 of 2 normal pixels score +Inf, more than a share of 0.4" {
		t.Errorf("half of the pixels infinite: error %v", err)
	}
	if got, err := inf.NormalThreshold(.5); err != nil || got != next(1) {
		t.Errorf("NormalThreshold(.5) = %v, %v, want %v", got, err, next(1))
	}
	for _, share := range []float64{-.1, 1, math.NaN()} {
		if _, err := p.NormalThreshold(share); err == nil {
			t.Errorf("share %v: no error", share)
		}
	}
	full := newPixels(t, []scored{{[]float32{1, 2}, []byte{1, 1}, 1, 2}})
	if _, err := full.NormalThreshold(.1); err == nil ||
		err.Error() != "metrics: pixel threshold: no normal pixels in 1 images: add maps of normal images" {
		t.Errorf("no normal pixels: error %v", err)
	}
}

func TestPixelsErrors(t *testing.T) {
	nan := float32(math.NaN())
	p := newPixels(t, []scored{{[]float32{1, 2, 3, 4}, []byte{0, 1, 0, 1}, 2, 2}})
	want := measure(t, p)
	for _, c := range []struct {
		im   scored
		want string
	}{
		{scored{[]float32{1, 2, 3, 4, 5, nan}, make([]byte, 6), 2, 3}, "metrics: pixels: image 1: score at row 1, column 2 is NaN"},
		{scored{[]float32{1, 2, 3}, nil, 2, 2}, "metrics: pixels: image 1: scores has len 3, want 2 rows of 2 pixels"},
		{scored{[]float32{1, 2, 3, 4}, []byte{}, 2, 2}, "metrics: pixels: image 1: mask has len 0, want 2 rows of 2 pixels"},
		{scored{nil, nil, 0, 2}, "metrics: pixels: image 1: 0 rows of 2 pixels, want at least 1 of 1"},
	} {
		if err := p.Add(c.im.scores, c.im.mask, c.im.h, c.im.w); err == nil || err.Error() != c.want {
			t.Errorf("error %v, want %q", err, c.want)
		}
		if got := measure(t, p); got != want {
			t.Errorf("after an error %+v, want %+v", got, want)
		}
	}
	if _, err := p.At(math.NaN()); err == nil {
		t.Error("threshold NaN: no error")
	}
	for _, limit := range []float64{0, -1, 1.01, math.NaN()} {
		if _, err := p.AUPRO(limit); err == nil {
			t.Errorf("limit %v: no error", limit)
		}
	}
	for name, f := range map[string]func(p *metrics.Pixels) error{
		"auroc":             func(p *metrics.Pixels) error { _, err := p.AUROC(); return err },
		"average precision": func(p *metrics.Pixels) error { _, err := p.AveragePrecision(); return err },
		"youden":            func(p *metrics.Pixels) error { _, err := p.Youden(); return err },
		"f1max":             func(p *metrics.Pixels) error { _, err := p.F1Max(); return err },
		"cut":               func(p *metrics.Pixels) error { _, err := p.At(1); return err },
		"aupro":             func(p *metrics.Pixels) error { _, err := p.AUPRO(.3); return err },
	} {
		for _, c := range []struct {
			images []scored
			want   string
		}{
			{nil, "0 novel of 0 pixels in 0 images"},
			{[]scored{{[]float32{1, 2}, nil, 1, 2}, {[]float32{1}, []byte{0}, 1, 1}}, "0 novel of 3 pixels in 2 images"},
			{[]scored{{[]float32{1, 2}, []byte{1, 1}, 1, 2}}, "2 novel of 2 pixels in 1 images"},
		} {
			want := "metrics: pixel " + name + ": " + c.want + ": need both normal and novel images"
			if err := f(newPixels(t, c.images)); !errors.Is(err, metrics.ErrOneClass) || err.Error() != want {
				t.Errorf("error %v, want %q", err, want)
			}
		}
	}
}
