package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/bench/workload"
)

func TestSameLosses(t *testing.T) {
	if _, err := sameLosses([]float64{1, .5}, []float64{1.0009, .5}); err != nil {
		t.Error(err)
	}
	for _, b := range [][]float64{{1, .501}, {1}, nil} {
		if _, err := sameLosses([]float64{1, .5}, b); err == nil {
			t.Errorf("%v agrees", b)
		}
	}
}

// Vectors 0 and 1 lie as far from the query as float32 can tell, 2 farther.
func TestSameNeighbours(t *testing.T) {
	s := space{dim: 2, vectors: []float32{10, 1, 10, -1.0000001, 10, 1.01}, queries: []float32{10, 0}}
	for _, c := range []struct {
		a, b []int64
		ok   bool
	}{
		{[]int64{0, 1}, []int64{0, 1}, true},
		{[]int64{0, 1}, []int64{1, 0}, true},
		{[]int64{0, 1}, []int64{0, 2}, false},
		{[]int64{0, 1}, []int64{0}, false},
		{[]int64{0, 1}, []int64{0, -1}, false},
		{[]int64{0, 1}, []int64{0, 3}, false},
	} {
		if text, err := sameNeighbours([][]int64{c.a}, [][]int64{c.b}, s); (err == nil) != c.ok {
			t.Errorf("%v and %v: %q, %v", c.a, c.b, text, err)
		}
	}
	if _, err := sameNeighbours(nil, nil, s); err == nil {
		t.Error("no answers agree")
	}
}

func TestRecall(t *testing.T) {
	r, err := recallOf([][]int64{{1, 2}, {3, 4}}, [][]int64{{2, 1}, {4, 9}})
	if err != nil || r != .75 {
		t.Errorf("recall %v, %v", r, err)
	}
}

func TestSameTerms(t *testing.T) {
	terms := func(recon, err, dist float64) map[string]workload.Terms {
		var x workload.Terms
		for range 200 {
			x.Recon, x.Error, x.Distance = append(x.Recon, .1), append(x.Error, .2), append(x.Distance, 1)
		}
		x.Recon[7], x.Error[7], x.Distance[7] = recon, err, dist
		return map[string]workload.Terms{"3": x}
	}
	mine := terms(.1, .2, 1)
	if _, err := sameTerms(mine, terms(.100001, .25, 1.01)); err != nil { // a tie in one image of 200
		t.Error(err)
	}
	for name, b := range map[string]map[string]workload.Terms{
		"plain error": terms(.101, .2, 1), "distance": terms(.1, .2, 1.1), "nothing": {}, "other K": {"1": mine["3"]},
	} {
		if _, err := sameTerms(mine, b); err == nil {
			t.Errorf("%s: agrees", name)
		}
	}
	far := terms(.1, .2, 1)
	for i := range 10 {
		far["3"].Error[i] = .3
	}
	if _, err := sameTerms(mine, far); err == nil {
		t.Error("error term: agrees")
	}
}

func TestPlan(t *testing.T) {
	names := func(quick bool, wanted func(string) bool) (all []string) {
		for _, g := range newPlan(quick, wanted).groups {
			for _, c := range g.cells {
				all = append(all, c.name)
			}
		}
		return all
	}
	any := func(string) bool { return true }
	whole := names(false, any)
	for _, want := range []string{"train/paper/28x28x1/L32/threads1", "train/code/32x32x3/L128/threads1",
		"search/paper/28x28x1/L32/threads1/single/K5", "score/paper/32x32x3/L128/threads1/K1"} {
		if !slices.Contains(whole, want) {
			t.Errorf("plan lacks %s", want)
		}
	}
	quick := names(true, any)
	if len(quick) < 4 {
		t.Errorf("quick plan: %v", quick)
	}
	for _, name := range quick { // or make bench-check would find nothing to compare with
		if !slices.Contains(whole, name) {
			t.Errorf("%s is in the quick plan alone", name)
		}
	}
	if only := names(false, func(s string) bool { return strings.HasSuffix(s, "threads1/K3") }); len(only) != 4 {
		t.Errorf("score at K=3: %v", only)
	}
	if (folder{shape: "32x32x3"}).channels() != "3" {
		t.Error("channels")
	}
}

func TestMiddle(t *testing.T) {
	turn := func(a, whole float64) results.Files {
		return results.Files{Name: "x", Stages: []workload.Stage{{Name: "decode", Seconds: a, CPU: 2 * a}}, Whole: workload.Stage{Name: "all", Seconds: whole}}
	}
	f := middle([]results.Files{turn(1, 9), turn(5, 7), turn(2, 8)})
	if f.Stages[0].Seconds != 2 || f.Stages[0].CPU != 4 || f.Whole.Seconds != 8 || f.Whole.Name != "all" {
		t.Errorf("%+v", f)
	}
}

func TestVmRSS(t *testing.T) {
	if mb := vmRSS("Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t    1000 kB\n"); mb != 1.024 {
		t.Errorf("%v MB", mb)
	}
	if mb := vmRSS("Name:\tx\n"); mb != 0 {
		t.Errorf("%v MB without a line", mb)
	}
}

func TestVersions(t *testing.T) {
	v := map[string]string{}
	for side, text := range map[string]string{"ours": `{"go":"go1","native":{"libtorch":"1.13.0","faiss":"1.7.3"}}`, "peers": `{"torch":"1.13.0a0"}`} {
		if err := addVersions(v, side, []byte(text)); err != nil {
			t.Error(err)
		}
	}
	if v["libtorch"] != "1.13.0" || v["torch of Python"] != "1.13.0a0" {
		t.Errorf("%v", v)
	}
	if addVersions(v, "peers", []byte("oops")) == nil {
		t.Error("no JSON: no error")
	}
}

// A worker that ends early is reported with what it said.
func TestWorkerFails(t *testing.T) {
	_, err := startWorker(t.Context(), way{name: "odd"}, 1, filepath.Join(t.TempDir(), "a"), "/bin/sh", "-c", "echo out of cheese >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "out of cheese") || !strings.Contains(err.Error(), "odd") {
		t.Errorf("%v", err)
	}
	if _, _, err := launch(context.Background(), 1, "/bin/sh", "-c", "echo no >&2; exit 1"); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("%v", err)
	}
	if _, err := pinned(context.Background(), 1<<20, "true"); err == nil {
		t.Error("a million processors: no error")
	}
}

// turns asks workers in turn, slow ones less often.
func TestTurns(t *testing.T) {
	// Answers each request with a unit a second.
	script := `echo '{}' > "$2"; echo '{"units":0,"seconds":0}'; while read -r line; do echo '{"units":3,"seconds":1.5}'; done`
	var workers []*worker
	for _, w := range []way{{name: ours}, {name: "slow", rounds: 1, batches: true}} {
		p, err := startWorker(t.Context(), w, 1, filepath.Join(t.TempDir(), "a"), "/bin/sh", "-c", script, "sh")
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		workers = append(workers, p)
	}
	rates, err := turns(workload.Request{Mode: "batch"}, 3, workers)
	if err != nil || !slices.Equal(rates[ours], []float64{2, 2, 2}) || !slices.Equal(rates["slow"], []float64{2}) {
		t.Errorf("%v, %v", rates, err)
	}
	if rates, err = turns(workload.Request{Mode: "single"}, 1, workers); err != nil || rates["slow"] != nil {
		t.Errorf("%v, %v", rates, err)
	}
}
