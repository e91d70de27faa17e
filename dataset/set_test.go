package dataset

import (
	"fmt"
	"image/color"
	"slices"
	"strings"
	"testing"
)

// Spec of the scaling: {10, 20, 30} becomes {0, .5, 1}, a constant channel 0,
// each channel on its own.
func TestScales(t *testing.T) {
	s := &Set{Size: Shape{3, 1, 3}, Pix: []uint8{10, 20, 30, 7, 7, 7, 255, 0, 51}}
	dst := make([]float32, 9)
	for scale, want := range map[Scale][]float32{
		"":          {0, .5, 1, 0, 0, 0, 1, 0, .2},
		ScaleMinMax: {0, .5, 1, 0, 0, 0, 1, 0, .2},
		Scale255:    {10. / 255, 20. / 255, 30. / 255, 7. / 255, 7. / 255, 7. / 255, 1, 0, .2},
	} {
		s.Scale = scale
		if x := s.Gather([]int{0}, dst); !slices.Equal(x.Pix, want) {
			t.Errorf("scale %q: %v, want %v", scale, x.Pix, want)
		}
	}
}

// The table must give what the formula gives, for every range of values.
func TestMinMaxMatchesFormula(t *testing.T) {
	dst := make([]float32, 3)
	for lo := range 256 {
		for hi := lo + 1; hi < 256; hi++ {
			v := (lo + hi) / 2
			minMax([]uint8{uint8(hi), uint8(lo), uint8(v)}, dst)
			if want := float32(v-lo) / float32(hi-lo); dst[0] != 1 || dst[1] != 0 || dst[2] != want {
				t.Fatalf("%d in %d to %d: %v, want %g", v, lo, hi, dst, want)
			}
		}
	}
}

// Every batch size yields the same images, and those that Gather gives.
func TestBatchesMatchGather(t *testing.T) {
	s := &Set{Size: Shape{2, 2, 3}, Pix: ramp(7 * 12)}
	want := s.Gather([]int{0, 1, 2, 3, 4, 5, 6}, make([]float32, 7*12)).Pix
	for size := 1; size <= 9; size++ {
		var got []float32
		for x, err := range s.Batches(size) {
			if err != nil {
				t.Fatal(err)
			}
			if x.N > size || x.Shape != s.Size || len(x.Pix) != x.N*12 {
				t.Fatalf("batch of %d images of %v, %d values", x.N, x.Shape, len(x.Pix))
			}
			got = append(got, x.Pix...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("batches of %d differ from Gather", size)
		}
	}
	for range s.Batches(2) {
		break // must not go on after the loop is left
	}
	for range (&Set{Size: Shape{1, 2, 2}}).Batches(3) {
		t.Error("an empty set yielded a batch")
	}
}

func TestBatchesPanicsOnSize(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	(&Set{}).Batches(0)
}

func TestSubset(t *testing.T) {
	s := &Set{
		Name: "s", Size: Shape{1, 1, 2}, Pix: ramp(8), Labels: []int{0, 1, 0, 1}, Classes: []string{"a", "b"},
		Masks: [][]byte{nil, {1, 0}, nil, nil}, Scale: Scale255, Notes: []string{"n"},
	}
	sub := s.Subset([]int{3, 1})
	if err := sub.Check(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sub.Pix, []uint8{6, 7, 2, 3}) || !slices.Equal(sub.Labels, []int{1, 1}) || !slices.Equal(sub.Names, []string{"s/3", "s/1"}) {
		t.Errorf("%+v", sub)
	}
	if sub.Masks[0] != nil || sub.Masks[1] == nil || sub.Scale != Scale255 || len(sub.Notes) != 1 {
		t.Errorf("masks %v, scale %s, notes %q", sub.Masks, sub.Scale, sub.Notes)
	}
	if empty := s.Subset(nil); empty.Len() != 0 || empty.Check() != nil {
		t.Errorf("empty subset: %d images, %v", empty.Len(), empty.Check())
	}
}

func TestCheck(t *testing.T) {
	sound := func() *Set {
		return &Set{
			Name: "s", Size: Shape{1, 2, 2}, Pix: ramp(8), Labels: []int{0, 1}, Classes: []string{"a", "b"},
			Names: []string{"x", "y"}, Masks: [][]byte{nil, {0, 0, 1, 0}},
		}
	}
	if err := sound().Check(); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Set){
		"size 2x0x1":              func(s *Set) { s.Size.W = 0 },
		"size -2x2x1":             func(s *Set) { s.Size.H = -2 },
		"whole number":            func(s *Set) { s.Pix = s.Pix[:7] },
		"3 labels for 2":          func(s *Set) { s.Labels = []int{0, 0, 0} },
		"label 2 of image 1":      func(s *Set) { s.Labels[1] = 2 },
		"label -1 of image 0":     func(s *Set) { s.Labels[0] = -1 },
		"one of 0 classes":        func(s *Set) { s.Classes = nil },
		"1 names for 2":           func(s *Set) { s.Names = s.Names[:1] },
		"1 masks for 2":           func(s *Set) { s.Masks = s.Masks[:1] },
		"mask of image 1 has 3":   func(s *Set) { s.Masks[1] = s.Masks[1][:3] },
		"unknown scale":           func(s *Set) { s.Scale = "z-score" },
		"size 16777217x2x1, want": func(s *Set) { s.Size.H = 1<<24 + 1 },
	} {
		s := sound()
		change(s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one with %q", err, says)
		}
	}
}

func TestMontage(t *testing.T) {
	s := labelled("s", 3, 0, 2, 0, 0)
	s.Pix = []uint8{10, 20, 30, 40}
	s.Masks = [][]byte{nil, {1}, nil, nil}
	m := Montage(s, 2)
	if want := (2 * (montageSide + 2)); m.Rect.Dx() != want || m.Rect.Dy() != want/2*3 {
		t.Fatalf("montage is %v", m.Rect)
	}
	white, red := color.RGBA{255, 255, 255, 255}, color.RGBA{255, 0, 0, 255}
	cell := montageSide + 2
	for _, c := range []struct {
		x, y int
		want color.RGBA
	}{
		{5, 5, color.RGBA{10, 10, 10, 255}}, {cell + 5, 5, color.RGBA{30, 30, 30, 255}}, // label 0
		{5, cell + 5, white},                              // label 1 has no image
		{5, 2*cell + 5, color.RGBA{20, 20, 20, 255}},      // label 2
		{0, 2 * cell, red}, {cell + 5, 2*cell + 5, white}, // its mask, no second image
	} {
		if got := m.RGBAAt(c.x, c.y); got != c.want {
			t.Errorf("pixel %d, %d is %v, want %v", c.x, c.y, got, c.want)
		}
	}
	s.Labels = nil
	if m := Montage(s, 3); m.Rect.Dx() != 3*cell || m.Rect.Dy() != 2*cell {
		t.Errorf("without labels the montage is %v", m.Rect)
	}
	if m := Montage(&Set{Size: Shape{1, 1, 1}}, 3); !m.Rect.Empty() {
		t.Errorf("of an empty set it is %v", m.Rect)
	}
}

// Keep makes of a set what Subset returns, in the set's own memory.
func TestKeepIsSubset(t *testing.T) {
	make5 := func(full bool) *Set {
		s := &Set{Name: "x", Size: Shape{1, 1, 2}, Pix: []uint8{0, 1, 10, 11, 20, 21, 30, 31, 40, 41}}
		if full {
			s.Labels, s.Classes = []int{0, 1, 0, 1, 2}, []string{"a", "b", "c"}
			s.Masks = [][]byte{nil, {1, 0}, nil, nil, {0, 1}}
		}
		return s
	}
	for _, full := range []bool{false, true} {
		for _, ids := range [][]int{{}, {0}, {4}, {1, 3}, {0, 2, 4}, {0, 1, 2, 3, 4}} {
			s := make5(full)
			first := &s.Pix[0]
			s.Keep(ids)
			want := make5(full).Subset(ids)
			if !slices.Equal(s.Pix, want.Pix) || !slices.Equal(s.Names, want.Names) || !slices.Equal(s.Labels, want.Labels) || fmt.Sprint(s.Masks) != fmt.Sprint(want.Masks) {
				t.Errorf("Keep(%v) left %v, want %v", ids, s, want)
			}
			if len(s.Pix) > 0 && &s.Pix[0] != first {
				t.Errorf("Keep(%v) made a copy", ids)
			}
		}
	}
}
