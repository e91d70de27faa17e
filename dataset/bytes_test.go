package dataset_test

import (
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/dataset/synth"
)

// The images of a set are the same as bytes, whatever the batches.
func TestByteBatches(t *testing.T) {
	o := synth.DefaultOptions()
	o.TrainPerClass, o.TestPerClass = 3, 0
	sp, err := synth.Generate(o)
	if err != nil {
		t.Fatal(err)
	}
	set := sp.Train
	for _, scale := range []dataset.Scale{"", dataset.ScaleMinMax, dataset.Scale255} {
		set.Scale = scale
		var want, got []float32
		for x := range set.Batches(100) {
			want = append(want, x.Pix...)
		}
		for x, err := range set.ByteBatches(7) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, x.Images(make([]float32, len(x.Pix))).Pix...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("scale %q: bytes give other values", scale)
		}
		for range set.ByteBatches(2) {
			break
		}
	}
}
