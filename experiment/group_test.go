package experiment

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// Cells that differ in class or seed are trained at once, and others are not.
func TestGroups(t *testing.T) {
	o := tinyOptions(t, strings.Replace(tiny, "seeds: [0]", "seeds: [0, 1]", 1))
	o.together = 3
	r, err := newRunner(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, g := range r.groups(r.jobs) {
		sizes = append(sizes, len(g))
		for _, j := range g {
			if j.family() != g[0].family() {
				t.Errorf("%v is with %v", j.Cell, g[0].Cell)
			}
		}
	}
	// Four cells of mnist's ae, in threes; the two of mvtec; baselines, which have no seed.
	want := map[int]int{3: 1, 2: 1, 1: len(r.jobs) - 5}
	got := map[int]int{}
	for _, n := range sizes {
		got[n]++
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("groups of %v cells of %d", sizes, len(r.jobs))
	}
	r.together = 1
	if g := r.groups(r.jobs); len(g) != len(r.jobs) {
		t.Errorf("%d groups of one of %d cells", len(g), len(r.jobs))
	}
}

// A cell is what it is alone when it is done with others, interrupted, and beside one
// that cannot be done.
func TestTogether(t *testing.T) {
	alone := tinyOptions(t, tiny)
	if _, err := Run(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	o := alone
	o.Dir += "2"
	o.together = 4
	ctx, cancel := context.WithCancel(t.Context())
	o.Done = func(Record, int, int) { cancel() } // while a group is evaluated
	if rep, err := Run(ctx, o); !errors.Is(err, context.Canceled) || rep.Done != 1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	o.Done = nil
	if rep, err := Run(t.Context(), o); err != nil || rep != (Report{Cells: 5, Done: 4, Before: 1}) {
		t.Fatalf("%+v, %v", rep, err)
	}
	want, got := results(t, alone.Dir), results(t, o.Dir)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("results %v, alone %v", got, want)
	}

	bad := tinyOptions(t, strings.Replace(tiny, "classes: [0, 3]", "classes: [77, 0]", 1))
	bad.together = 4
	if rep, err := Run(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "mnist miso 77 ae L8 seed 0") || rep.Done != 4 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// results returns what was measured of the cells of a run, by the cells' digests.
func results(t *testing.T, run string) map[string][]nln.Result {
	t.Helper()
	records, _, err := Load(run)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]nln.Result{}
	for _, r := range records {
		if !Baseline(r.Cell.Method) && (r.Device != "cpu" || r.Precision != "f32") {
			t.Errorf("%v: device %q, precision %q", r.Cell, r.Device, r.Precision)
		}
		all[r.Digest] = r.Results
	}
	return all
}
