package nln_test

import (
	"math"
	"reflect"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// parts returns the parts of images with one neighbour and the given terms.
func parts(e, d []float64) nln.Parts {
	return nln.Parts{K: 1, Recon: make([]float64, len(e)), Error: e, Distance: d, IDs: make([]int64, len(e))}
}

func twoByTwo() nln.Parts {
	return nln.Parts{K: 2, Recon: []float64{1, 2}, Error: []float64{3, 4, 5, 6}, Distance: []float64{7, 8, 9, 10}, IDs: []int64{11, 12, 13, 14}}
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
		"short errors":    {func(p *nln.Parts) { p.Error = p.Error[:3] }, "3 errors"},
		"short distances": {func(p *nln.Parts) { p.Distance = nil }, "0 distances"},
		"short ids":       {func(p *nln.Parts) { p.IDs = p.IDs[:1] }, "1 ids"},
		"long recon":      {func(p *nln.Parts) { p.Recon = append(p.Recon, 1) }, "3 images"},
		"K 0":             {func(p *nln.Parts) { p.K = 0 }, "0 neighbours"},
		"NaN error":       {func(p *nln.Parts) { p.Error[3] = math.NaN() }, "image 1: error over 2 neighbours is NaN"},
		"infinite":        {func(p *nln.Parts) { p.Distance[2] = math.Inf(1) }, "image 1: distance over 1 neighbours is +Inf"},
		"negative":        {func(p *nln.Parts) { p.Recon[0] = -1 }, "image 0: reconstruction error is -1"},
		"negative id":     {func(p *nln.Parts) { p.IDs[1] = -1 }, "image 0: neighbour 2 has id -1"},
	} {
		p := twoByTwo()
		c.change(&p)
		wantError(t, name, p.Check(), c.want)
	}
}
