package synth

import (
	"bytes"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

func mustInspect(t testing.TB, o InspectionOptions) *dataset.Splits {
	t.Helper()
	sp, err := GenerateInspection(o)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

func TestInspectionLayout(t *testing.T) {
	o := DefaultInspection()
	o.Train, o.Good, o.Each, o.Novel, o.Size = 5, 3, 2, []int{9, 3}, 32
	sp := mustInspect(t, o)
	for _, s := range []*dataset.Set{sp.Train, sp.Test} {
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"good", "blot", "class-3", "class-9", "hole", "scratch", "smear", "stroke"}
	if !slices.Equal(sp.Test.Classes, want) || !slices.Equal(sp.Train.Classes, want) {
		t.Errorf("kinds %q and %q, want %q", sp.Train.Classes, sp.Test.Classes, want)
	}
	if sp.Train.Len() != 5 || sp.Test.Len() != 3+7*2 {
		t.Errorf("have %d and %d images, want 5 and 17", sp.Train.Len(), sp.Test.Len())
	}
	if got := sp.Test.ImageName(4); got != "test/blot/001.png" {
		t.Errorf("image 4 is named %s", got)
	}
	for i, mask := range sp.Test.Masks {
		kind := sp.Test.Classes[sp.Test.Labels[i]]
		if defective := slices.Contains(Defects(), kind); (mask != nil) != defective {
			t.Errorf("%s: mask is nil: %v", sp.Test.ImageName(i), mask == nil)
		}
	}
}

func TestDefectsAreSorted(t *testing.T) {
	if !slices.IsSorted(Defects()) || len(Defects()) != 5 {
		t.Errorf("Defects() = %q", Defects())
	}
}

// A mask marks exactly the pixels that differ visibly from the clean image,
// which is drawn again here, and neither too few nor too many.
func TestMasks(t *testing.T) {
	for _, o := range []InspectionOptions{
		{Inliers: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, Train: 1, Each: 60, Size: 28, Channels: 1, Seed: 5},
		{Inliers: []int{1, 8}, Train: 1, Each: 20, Size: 64, Channels: 3, Seed: 6},
	} {
		s := mustInspect(t, o).Test
		n := o.Size * o.Size
		for i := range s.Len() {
			index := i % o.Each
			kind := uint64(s.Labels[i])
			id := imageID{o.Seed, splitTest + 2*kind, uint64(o.Inliers[index%len(o.Inliers)]), uint64(index)}
			sc := newScene(id, o.Size, o.Channels)
			clean := sc.bytes(sc.paint(sc.cover))
			count := 0
			for p := range n {
				changed := false
				for c := range o.Channels {
					d := int(clean[c*n+p]) - int(s.Image(i)[c*n+p])
					changed = changed || max(d, -d) > maskThreshold
				}
				if changed != (s.Masks[i][p] != 0) {
					t.Fatalf("%s, pixel %d: changed is %v, mask is %d", s.ImageName(i), p, changed, s.Masks[i][p])
				}
				if changed {
					count++
				}
			}
			if part := float64(count) / float64(n); part < minMask || part > maxMask {
				t.Errorf("%s: the mask has %.4f of the pixels, want %.4f to %.4f", s.ImageName(i), part, minMask, maxMask)
			}
		}
	}
}

func TestInspectionImagesDoNotDependOnCounts(t *testing.T) {
	o := DefaultInspection()
	o.Train, o.Good, o.Each, o.Size = 4, 2, 2, 24
	a := mustInspect(t, o)
	o.Train, o.Good, o.Each, o.Novel = 9, 5, 4, []int{0}
	b := mustInspect(t, o)
	names := make(map[string][]uint8)
	for _, s := range []*dataset.Set{b.Train, b.Test} {
		for i := range s.Len() {
			names[s.ImageName(i)] = s.Image(i)
		}
	}
	for _, s := range []*dataset.Set{a.Train, a.Test} {
		for i := range s.Len() {
			if !bytes.Equal(s.Image(i), names[s.ImageName(i)]) {
				t.Errorf("%s changed with the number of images", s.ImageName(i))
			}
		}
	}
}

func TestInspectionRefuses(t *testing.T) {
	for name, change := range map[string]func(*InspectionOptions){
		"no inliers":     func(o *InspectionOptions) { o.Inliers = nil },
		"class 10":       func(o *InspectionOptions) { o.Inliers = []int{10} },
		"class twice":    func(o *InspectionOptions) { o.Novel = []int{6} },
		"no training":    func(o *InspectionOptions) { o.Train = 0 },
		"negative count": func(o *InspectionOptions) { o.Each = -1 },
		"two channels":   func(o *InspectionOptions) { o.Channels = 2 },
		"terabytes":      func(o *InspectionOptions) { o.Good = 1 << 40 },
	} {
		o := DefaultInspection()
		change(&o)
		if _, err := GenerateInspection(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := DefaultInspection().Check(); err != nil {
		t.Error(err)
	}
}
