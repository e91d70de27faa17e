package report

import (
	"bytes"
	"image/png"
	"io"
	"math"
	"testing"
)

func TestWriteLosses(t *testing.T) {
	steps := []int{1, 10, 20}
	var b bytes.Buffer
	curves := []LossCurve{{"recon", []float64{3, 2, 1}}, {"discriminator", []float64{1, math.NaN(), 2}}}
	if err := WriteLosses(&b, steps, curves); err != nil {
		t.Fatal(err)
	}
	one, two := heightOf(t, steps, curves[:1]), heightOf(t, steps, curves)
	if two < 2*one-2 || two > 2*one+2 {
		t.Errorf("two plots are %d pixels high, one %d", two, one)
	}
	for name, c := range map[string][]LossCurve{
		"none": nil, "short": {{"x", []float64{1}}}, "no number": {{"x", []float64{math.NaN(), math.Inf(1), math.NaN()}}},
	} {
		if err := WriteLosses(io.Discard, steps, c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func heightOf(t *testing.T, steps []int, curves []LossCurve) int {
	t.Helper()
	var b bytes.Buffer
	if err := WriteLosses(&b, steps, curves); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	return img.Bounds().Dy()
}
