package nln_test

import (
	"math"
	"reflect"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// parts returns the parts of images with one neighbour and the given terms.
func parts(e, d []float64) nln.Parts {
	p := nln.Parts{K: 1, Recon: make([]float64, len(e)), Spaces: inImage(e, len(e)), Distance: d, IDs: make([]int64, len(e))}
	for _, v := range d {
		p.Spacing, p.Dist = append(p.Spacing, 1), append(p.Dist, float32(v))
	}
	return p
}

// inImage returns the error term of n images in image space.
func inImage(mean []float64, n int) []nln.ErrorTerm {
	return []nln.ErrorTerm{{Space: nln.SpaceImage, Mean: mean, Own: make([]float64, n)}}
}

func twoByTwo() nln.Parts {
	return nln.Parts{K: 2, Recon: []float64{1, 2}, Distance: []float64{7, 8, 9, 10}, IDs: []int64{11, 12, 13, 14},
		Spacing: []float64{4, 16, 25, 36}, Dist: []float32{7, 9, 9, 11}, Spaces: []nln.ErrorTerm{
			{Space: "a", Mean: []float64{3, 4, 5, 6}, Own: []float64{15, 16}},
			{Space: "b", Mean: []float64{17, 18, 19, 20}, Own: []float64{21, 22}},
		}}
}

func TestPartsColumns(t *testing.T) {
	p := twoByTwo()
	if p.E(1, 1) != 5 || p.E(1, 2) != 6 || p.D(0, 1) != 7 || p.D(0, 2) != 8 {
		t.Errorf("E(1,1), E(1,2), D(0,1), D(0,2) = %v, %v, %v, %v, want 5, 6, 7, 8", p.E(1, 1), p.E(1, 2), p.D(0, 1), p.D(0, 2))
	}
	if got := p.Errors(2); !reflect.DeepEqual(got, []float64{4, 6}) {
		t.Errorf("Errors(2) = %v, want [4 6]", got)
	}
	if got := p.Distances(1); !reflect.DeepEqual(got, []float64{7, 9}) {
		t.Errorf("Distances(1) = %v, want [7 9]", got)
	}
	if got := p.Local(1, 2, .5); got != 10./6 {
		t.Errorf("Local(1, 2, .5) = %v, want 10/6", got)
	}
	if got := p.Locals(1, 1); !reflect.DeepEqual(got, []float64{7. / 4, 9. / 25}) {
		t.Errorf("Locals(1, 1) = %v, want 7/4 and 9/25", got)
	}
	if got := p.Neighbors(1, 1); !reflect.DeepEqual(got, []int64{13}) {
		t.Errorf("Neighbors(1, 1) = %v, want [13]", got)
	}
	_ = append(p.Neighbors(0, 1), 99) // must not overwrite the next one
	if p.IDs[1] != 12 {
		t.Error("append to Neighbors changed the parts")
	}
	for _, k := range []int{0, 3} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("E(0, %d) did not panic", k)
				}
			}()
			p.E(0, k)
		}()
	}
}

func TestPartsIn(t *testing.T) {
	p := twoByTwo()
	b, err := p.In("b")
	if err != nil || b.E(1, 2) != 20 || b.D(1, 2) != 10 || !reflect.DeepEqual(b.SpaceNames(), []string{"b", "a"}) {
		t.Errorf("In b = %+v, %v", b, err)
	}
	if a, err := b.In("a"); err != nil || !reflect.DeepEqual(a, p) {
		t.Errorf("In b, then in a = %+v, %v, want as before", a, err)
	}
	if !reflect.DeepEqual(p, twoByTwo()) {
		t.Error("In changed the parts it was called on")
	}
	_, err = p.In("c")
	wantError(t, "no such space", err, `["a" "b"]`, `"c"`)
	_, err = b.Append(p)
	wantError(t, "other order", err, `["a" "b"] to parts in ["b" "a"]`)
}

func TestPartsSliceAndAppend(t *testing.T) {
	p := twoByTwo()
	var q nln.Parts
	for i := range p.Len() {
		var err error
		if q, err = q.Append(p.Slice(i, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(q, p) {
		t.Errorf("appended one by one: %v, want %v", q, p)
	}
	// A slice must not overwrite what follows it.
	if _, err := p.Slice(0, 1).Append(p.Slice(0, 1)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p, twoByTwo()) {
		t.Errorf("append to a slice changed its source to %v", p)
	}
	if q, err := p.Append(nln.Parts{}); err != nil || !reflect.DeepEqual(q, p) {
		t.Errorf("append of nothing: %v, %v", q, err)
	}
	_, err := p.Append(parts([]float64{1}, []float64{2}))
	if !reflect.DeepEqual(p, twoByTwo()) {
		t.Errorf("a failed append changed the parts to %v", p)
	}
	wantError(t, "other K", err, "1 neighbours to parts of 2")
	if q, err := p.Reset().Append(parts([]float64{1}, []float64{2})); err != nil || q.K != 1 || q.Len() != 1 {
		t.Errorf("append after Reset: %v, %v", q, err)
	}
}

func TestPartsCheck(t *testing.T) {
	if err := twoByTwo().Check(); err != nil {
		t.Errorf("good parts: %v", err)
	}
	if err := (nln.Parts{}).Check(); err != nil {
		t.Errorf("no parts: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*nln.Parts)
		want   string
	}{
		"short errors":    {func(p *nln.Parts) { p.Spaces[1].Mean = p.Spaces[1].Mean[:3] }, `3 errors in space "b"`},
		"short own":       {func(p *nln.Parts) { p.Spaces[0].Own = nil }, `space "a" and 0 of their own`},
		"short means":     {func(p *nln.Parts) { p.Distance = nil }, "0 mean distances"},
		"short distances": {func(p *nln.Parts) { p.Dist = p.Dist[:2] }, "2 distances"},
		"short spacings":  {func(p *nln.Parts) { p.Spacing = p.Spacing[:1] }, "1 spacings"},
		"short ids":       {func(p *nln.Parts) { p.IDs = p.IDs[:1] }, "1 ids"},
		"long recon":      {func(p *nln.Parts) { p.Recon = append(p.Recon, 1) }, "3 images"},
		"K 0":             {func(p *nln.Parts) { p.K = 0 }, "0 neighbours"},
		"K overflows":     {func(p *nln.Parts) { *p = nln.Parts{K: math.MaxInt/2 + 1, Recon: p.Recon, Spaces: inImage(nil, 2)} }, "0 ids"},
		"no space":        {func(p *nln.Parts) { p.Spaces = nil }, "0 spaces"},
		"no name":         {func(p *nln.Parts) { p.Spaces[1].Space = "" }, `space 1 has the name ""`},
		"one name":        {func(p *nln.Parts) { p.Spaces[1].Space = "a" }, `space 1 has the name "a"`},
		"NaN error":       {func(p *nln.Parts) { p.Spaces[1].Mean[3] = math.NaN() }, `image 1: error over 2 neighbours in space "b" is NaN`},
		"NaN own":         {func(p *nln.Parts) { p.Spaces[0].Own[1] = math.NaN() }, `image 1: error of its own reconstruction in space "a" is NaN`},
		"infinite":        {func(p *nln.Parts) { p.Distance[2] = math.Inf(1) }, "image 1: distance over 1 neighbours is +Inf"},
		"negative":        {func(p *nln.Parts) { p.Recon[0] = -1 }, "image 0: reconstruction error is -1"},
		"no spacing":      {func(p *nln.Parts) { p.Spacing[2] = 0 }, "image 1: spacing over 1 neighbours is 0"},
		"NaN spacing":     {func(p *nln.Parts) { p.Spacing[0] = math.NaN() }, "image 0: spacing over 1 neighbours is NaN"},
		"NaN distance":    {func(p *nln.Parts) { p.Dist[0] = float32(math.NaN()) }, "image 0: neighbour 1 is at distance NaN"},
		"descending":      {func(p *nln.Parts) { p.Dist[3] = 8 }, "image 1: neighbour 2 is at distance 8"},
		"negative id":     {func(p *nln.Parts) { p.IDs[1] = -1 }, "image 0: neighbour 2 has id -1"},
	} {
		p := twoByTwo()
		c.change(&p)
		wantError(t, name, p.Check(), c.want)
	}
}
