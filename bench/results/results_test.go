package results

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/bench/workload"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1, 2}, Spread{2, 1, 9}},
		{[]float64{4, 1, 2, 8}, Spread{3, 1, 8}},
	} {
		if got := Of(c.v); got != c.want {
			t.Errorf("Of(%v) = %v, want %v", c.v, got, c.want)
		}
	}
	// Round by round: 2/1, 6/2, and no third of the shorter one.
	if got := Over([]float64{2, 6, 100}, []float64{1, 2}); got != (Spread{2.5, 2, 3}) {
		t.Errorf("Over = %v", got)
	}
}

// comparison returns one with a case of each task.
func comparison(ratio float64) *Comparison {
	return &Comparison{
		Stamp: Stamp{Date: "2026-01-02", Command: "compare", Libraries: map[string]string{"faiss": "1.7.3"}},
		Data:  []Data{{Name: "paper/28x28x1/L32", Source: "mnist", Entries: 60000, Trained: 51200}},
		Cases: []Case{
			{Name: "train/paper/28x28x1/L32/threads1", Ours: Spread{2000, 1900, 2100},
				Peers: []Peer{{Way: "eager", Rate: Spread{1000, 990, 1010}, Ratio: Spread{ratio, ratio - .1, ratio + .1}, Target: 2}}},
			{Name: "search/paper/28x28x1/L32/threads1/single/K3", Ours: Spread{2000, 1900, 2100},
				Peers: []Peer{{Way: "flat", Ratio: Spread{3, 2, 4}, Target: 2}, {Way: "hnsw", Rate: Spread{4000, 4000, 4000}, Ratio: Spread{.5, .4, .6}, Recall: .998}}},
			{Name: "score/paper/28x28x1/L32/threads1/K3", Ours: Spread{2000, 1900, 2100},
				Peers: []Peer{{Way: "cached", Ratio: Spread{1.1, 1, 1.2}, Target: 1.3}}},
		},
		Checks: []Check{{Name: "train/paper/28x28x1/L32/threads1", Way: "eager", Result: "losses differ by a relative 0.0e+00"}},
		Peaks:  []Peak{{Name: "train/paper/28x28x1/L32/threads1", Ours: 300, Ways: map[string]float64{"eager": 400, "tuned": 350}}},
		Starts: []Start{{Name: "start", Entries: 60000, Ours: Launch{Spread{.5, .4, .6}, 260, 180}, Peer: Launch{Spread{3, 3, 4}, 500, 300}, Ratio: 6}},
		Files: []Files{
			{Name: "PNG of 28x28x1", Count: 60000, Threads: 2, Stages: []workload.Stage{{Name: "decode", Seconds: 1, CPU: 2}, {Name: "encode", Seconds: 4, CPU: 7}},
				Whole: workload.Stage{Name: "all", Seconds: 5, CPU: 9}, Ratio: Spread{1.25, 1.2, 1.3}},
		},
		Streams: []Stream{{Images: 1000000, Minutes: 3, Early: 300, Late: 310, Peak: 320}},
		Roofs:   []Roof{{Threads: 1, GEMM: 100, Copy: 10, Stages: []RoofStage{{Name: "dense", FLOP: 1e9, Bytes: 1e6, Seconds: .02}}}},
	}
}

func TestRender(t *testing.T) {
	r := Results{Comparison: comparison(1.9), Growth: &Growth{
		Points:    []Point{{Axis: "N", Kind: "exact search", X: 1e7, Rate: 123, MB: 1280}},
		Fits:      []Fit{{Axis: "N", Kind: "exact search", Exponent: -.987, From: 1e5}},
		Crossings: []Crossing{{Kind: "HNSW16", N: 123456, Recall: .98}, {Kind: "IVF"}},
	}}
	out, err := r.Render()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| paper | 28x28x1 | L32 | 1 | 2,000 | 1,000 | **1.90** (1.80-2.00) | 2.00 missed |",
		"| paper | 28x28x1 | L32 | 1 | single | K3 | 2,000 | - | **3.00** (2.00-4.00) | 2.00 met | 4,000 (0.9980) | **0.500** (0.400-0.600) | - |",
		"| train/paper/28x28x1/L32/threads1 | 300 | 400 | 350 | met |",
		"| start | 60000 | 0.500 (0.400-0.600) | 80.0 of 260 | met, met |",
		"| 60000 PNG of 28x28x1 | 2 | 12,000 | **1.25** (1.20-1.30) | 1.15 missed | 1.11 |",
		"| 1000000 | 3.00 | 300 | 310 | 320 | met |",
		"| dense | 20.0 | 50.0 | 0.0500 | arithmetic | 50 % |",
		"| N | exact search | -0.99 | 100,000 |",
		"HNSW16: from about 123,456 vectors, with recall 0.980 there",
		"IVF: nowhere",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("page lacks %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
	if strings.Contains(string(out), "\n\n\n") || strings.Contains(string(out), "<no value>") {
		t.Error("page has holes")
	}
}

func TestRenderNothing(t *testing.T) {
	if _, err := (Results{}).Render(); err != nil {
		t.Error(err)
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0", .012345: "0.0123", 1.005: "1.00", 12.345: "12.3", 999: "999", 1234.5: "1,234", 1e7: "10,000,000", -1234: "-1,234"} {
		if got := number(x); got != want {
			t.Errorf("number(%v) = %s, want %s", x, got, want)
		}
	}
}

func TestRegressions(t *testing.T) {
	before := comparison(2)
	now := comparison(1.71) // 14.5 % less
	if lost, n := Regressions(before, now); len(lost) != 0 || n != 4 {
		t.Errorf("%v lost of %d, want none of 4", lost, n)
	}
	now = comparison(1.69)
	now.Cases = append(now.Cases, Case{Name: "search/new", Peers: []Peer{{Way: "flat"}}})
	lost, n := Regressions(before, now)
	if len(lost) != 1 || n != 4 || !strings.Contains(lost[0].String(), "1.69 times eager, was 2.00") {
		t.Errorf("%v lost of %d", lost, n)
	}
	now.Better(comparison(1.2)) // still worse
	if lost, _ := Regressions(before, now); len(lost) != 1 {
		t.Errorf("%v lost after a worse repetition", lost)
	}
	now.Better(comparison(1.9))
	if lost, _ := Regressions(before, now); len(lost) != 0 {
		t.Errorf("%v lost after a better repetition", lost)
	}
}

func TestSaveRead(t *testing.T) {
	dir := t.TempDir()
	if r, err := Read(dir); err != nil || r.Comparison != nil {
		t.Fatalf("nothing there: %v, %v", r, err)
	}
	if err := (Results{Comparison: comparison(2)}).Save(dir); err != nil {
		t.Fatal(err)
	}
	r, err := Read(dir)
	if err != nil || r.Growth != nil || r.Comparison.Ratios()["train/paper/28x28x1/L32/threads1 eager"] != 2 {
		t.Fatalf("read back: %+v, %v", r.Comparison, err)
	}
	os.WriteFile(filepath.Join(dir, File), []byte("{"), 0o644)
	if _, err := Read(dir); err == nil {
		t.Error("damaged file: no error")
	}
}

// The page that is kept is that of the numbers that are kept.
func TestPageIsOfTheRatios(t *testing.T) {
	const root = "../.."
	r, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if r.Comparison == nil && r.Growth == nil {
		t.Skip("no " + File)
	}
	want, err := r.Render()
	if err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile(filepath.Join(root, Page)); err != nil || string(have) != string(want) {
		t.Errorf("%s is not what %s renders to (%v): change the template, then run compare -render", Page, File, err)
	}
}

func TestProcessor(t *testing.T) {
	name, vectors := processor("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 avx2 avx512f\n\nprocessor\t: 1\n")
	if name != "AMD EPYC (AuthenticAMD, family 25, model 1)" || vectors != "avx512f" {
		t.Errorf("%q, %q", name, vectors)
	}
}

func TestUpdate(t *testing.T) {
	c := &Comparison{Cases: []Case{{Name: "a", Unit: "1"}, {Name: "b"}}, Files: []Files{{Name: "png", Threads: 1}, {Name: "png", Threads: 2}}}
	c.Update(&Comparison{Stamp: Stamp{Commit: "new"}, Cases: []Case{{Name: "c"}, {Name: "a", Unit: "2"}}, Files: []Files{{Name: "png", Threads: 2, Count: 7}}})
	if len(c.Cases) != 3 || c.Cases[0].Unit != "2" || c.Cases[2].Name != "c" || len(c.Files) != 2 || c.Files[1].Count != 7 || c.Again[0].Commit != "new" {
		t.Errorf("%+v", c)
	}
}
