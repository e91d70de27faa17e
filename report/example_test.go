package report_test

import (
	"bytes"
	"image/png"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/report"
)

// What an example shows is what its score was made of.
func TestExplain(t *testing.T) {
	// Sums in another order, float32 distances and reconstructions kept in
	// bytes, which both sides read as float32.
	const tol = 1e-6
	for name, sc := range map[string]scene{"glyphs": glyphs(), "parts": parts()} {
		ids := []int{3, 0, 17, 3}
		x := sc.test.Gather(ids, make([]float32, len(ids)*sc.test.Size.Len()))
		indexed := func(id int64) string { return sc.train.ImageName(int(id)) }
		examples, err := report.Explain(t.Context(), sc.scorer, x, indexed)
		if err != nil {
			t.Fatal(err)
		}
		scores, err := sc.scorer.Score(t.Context(), x, nil)
		if err != nil {
			t.Fatal(err)
		}
		k := sc.scorer.Config().K
		for i, e := range examples {
			if !slices.Equal(e.Input, x.At(i)) {
				t.Errorf("%s: example %d shows another image", name, i)
			}
			if e.Score.Score != scores[i].Score || e.Score.P != scores[i].P {
				t.Errorf("%s: example %d has score %v, want %v", name, i, e.Score, scores[i])
			}
			if len(e.Neighbors) != k {
				t.Fatalf("%s: example %d has %d neighbours, want %d", name, i, len(e.Neighbors), k)
			}
			var distance, whole float64
			for j, nb := range e.Neighbors {
				distance += nb.Distance / float64(k)
				if want := indexed(e.Score.Neighbors[j]); nb.Name != want {
					t.Errorf("%s: example %d: neighbour %d is %q, want %q", name, i, j, nb.Name, want)
				}
			}
			for _, v := range e.ErrorMap {
				whole += v / float64(len(e.ErrorMap))
			}
			if math.Abs(distance-e.Score.Distance) > tol*distance {
				t.Errorf("%s: example %d: mean distance %v, want %v", name, i, distance, e.Score.Distance)
			}
			if math.Abs(whole-e.Score.Error) > tol {
				t.Errorf("%s: example %d: mean of the error map is %v, want %v", name, i, whole, e.Score.Error)
			}
			if got := meanDifference(e.Input, e.Reconstruction); math.Abs(got-e.Score.Recon) > tol {
				t.Errorf("%s: example %d: reconstruction differs by %v, want %v", name, i, got, e.Score.Recon)
			}
		}
		// The same image twice, and the caller's memory is its own again.
		clear(x.Pix)
		if !slices.Equal(examples[0].Input, examples[3].Input) || !slices.Equal(examples[0].ErrorMap, examples[3].ErrorMap) {
			t.Errorf("%s: the same image was explained twice in different ways", name)
		}
	}
}

func meanDifference(x, y []float32) float64 {
	var sum float64
	for i := range x {
		sum += math.Abs(float64(x[i]) - float64(y[i]))
	}
	return sum / float64(len(x))
}

func TestExplainErrors(t *testing.T) {
	sc := glyphs()
	wrong := dataset.Images{Shape: dataset.Shape{C: 3, H: 28, W: 28}, N: 1, Pix: make([]float32, 3*28*28)}
	if _, err := report.Explain(t.Context(), sc.scorer, wrong, nil); err == nil || !strings.Contains(err.Error(), "28x28x3") {
		t.Errorf("images of another shape: error %v", err)
	}
	examples, err := report.Explain(t.Context(), sc.scorer, dataset.Images{Shape: sc.test.Size}, nil)
	if err != nil || len(examples) != 0 {
		t.Errorf("no images: %d examples, %v", len(examples), err)
	}
	x := sc.test.Gather([]int{0}, make([]float32, 28*28))
	if examples, err = report.Explain(t.Context(), sc.scorer, x, nil); err != nil {
		t.Fatal(err)
	}
	if name := examples[0].Neighbors[0].Name; !strings.HasPrefix(name, "#") {
		t.Errorf("without names a neighbour is %q", name)
	}
	p := &report.Page{Title: "t", Scores: make([]nln.Score, 3)}
	if err := p.Illustrate(t.Context(), sc.scorer, sc.test, nil, 1); err == nil || !strings.Contains(err.Error(), "240 images, 3 scores") {
		t.Errorf("another number of scores: error %v", err)
	}
}

// picks returns a page of random scores, some equal, under a threshold.
func picks(rng *rand.Rand, n int, threshold float64) *report.Page {
	p := &report.Page{Title: "t", Threshold: threshold}
	for range n {
		s := nln.Score{Score: float64(rng.IntN(20)) / 10}
		s.Novel = s.Score > threshold
		p.Scores = append(p.Scores, s)
		p.Novel = append(p.Novel, rng.IntN(3) == 0)
	}
	return p
}

// Every image picked belongs where it is, none better was left out, and none is
// picked twice.
func TestPick(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 200 {
		threshold := []float64{.5, 1.5, 5, math.Inf(1)}[rng.IntN(4)]
		p := picks(rng, rng.IntN(40), threshold)
		n := 1 + rng.IntN(8)
		if rng.IntN(3) == 0 {
			p.Novel = nil
		}
		seen := map[int]string{}
		for _, pick := range p.Pick(n) {
			if len(pick.Images) > n {
				t.Fatalf("%s: %d images, at most %d are wanted", pick.Title, len(pick.Images), n)
			}
			if pick.Note == "" {
				t.Errorf("%s has no note", pick.Title)
			}
			for _, i := range pick.Images {
				if seen[i] != "" {
					t.Fatalf("image %d is in %s and in %s", i, seen[i], pick.Title)
				}
				seen[i] = pick.Title
			}
			checkPick(t, p, pick, n)
		}
	}
}

// checkPick compares a pick with all images that could be in it.
func checkPick(t *testing.T, p *report.Page, pick report.Pick, n int) {
	t.Helper()
	belongs := map[string]func(i int) bool{
		"Found":          func(i int) bool { return p.Novel[i] && p.Scores[i].Novel },
		"False alarms":   func(i int) bool { return !p.Novel[i] && p.Scores[i].Novel },
		"Missed":         func(i int) bool { return p.Novel[i] && !p.Scores[i].Novel },
		"Most novel":     func(i int) bool { return p.Novel[i] },
		"Highest scores": func(i int) bool { return true },
	}[pick.Title]
	if belongs == nil {
		return // ordinary ones, and those that are left where nothing is flagged
	}
	var all []float64
	for i, s := range p.Scores {
		if belongs(i) {
			all = append(all, s.Score)
		}
	}
	slices.Sort(all)
	if pick.Title != "Missed" { // of which the lowest come first
		slices.Reverse(all)
	}
	if want := min(n, len(all)); len(pick.Images) != want {
		t.Fatalf("%s: %d images, want %d", pick.Title, len(pick.Images), want)
	}
	for k, i := range pick.Images {
		if !belongs(i) || p.Scores[i].Score != all[k] {
			t.Fatalf("%s: image %d with score %v is at place %d, want score %v", pick.Title, i, p.Scores[i].Score, k, all[k])
		}
	}
}

func TestPickNotes(t *testing.T) {
	p := &report.Page{Threshold: 1, Novel: []bool{true, false, true, true},
		Scores: []nln.Score{{Score: 3, Novel: true}, {Score: .5}, {Score: 2, Novel: true}, {Score: 4, Novel: true}}}
	want := []report.Pick{
		{Title: "Found", Note: "Novel images above the threshold, highest score first: 3 of 3, of which 2 are shown.", Images: []int{3, 0}},
		{Title: "False alarms", Note: "Normal images above the threshold, highest score first: none of the 1 normal images."},
		{Title: "Missed", Note: "Novel images below the threshold, lowest score first: none of the 3 novel images."},
		{Title: "Ordinary images", Note: "Normal images below the threshold, scores around their median, for comparison.", Images: []int{1}},
	}
	got := p.Pick(2)
	if !slices.EqualFunc(got, want, func(a, b report.Pick) bool {
		return a.Title == b.Title && a.Note == b.Note && slices.Equal(a.Images, b.Images)
	}) {
		t.Errorf("picks are\n%v\nwant\n%v", got, want)
	}
	if got := p.Pick(0); got != nil {
		t.Errorf("no images of each give %v", got)
	}
}

func TestWritePNG(t *testing.T) {
	for name, sc := range map[string]scene{"glyphs": glyphs(), "parts": parts()} {
		var examples []report.Example
		for _, g := range sc.evaluate(t, "t", 2).Groups {
			examples = append(examples, g.Examples...)
		}
		var buf, again bytes.Buffer
		for _, w := range []*bytes.Buffer{&buf, &again} {
			if err := report.WritePNG(w, examples); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(buf.Bytes(), again.Bytes()) {
			t.Errorf("%s: the same examples gave other bytes", name)
		}
		kept(t, name+".png", buf.Bytes())
		img, err := png.Decode(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if b := img.Bounds(); b.Dx() < 500 || b.Dx() > 1300 || b.Dy() < 100*len(examples) {
			t.Errorf("%s: picture of %d examples is %v", name, len(examples), b)
		}
	}
}

// Images of every proportion and size fit into their cells.
func TestWritePNGSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, s := range []dataset.Shape{{C: 1, H: 1, W: 1}, {C: 3, H: 2, W: 90}, {C: 1, H: 300, W: 1}, {C: 2, H: 75, W: 75}, {C: 3, H: 500, W: 400}} {
		var buf bytes.Buffer
		if err := report.WritePNG(&buf, []report.Example{noiseExample(rng, s), noiseExample(rng, s)}); err != nil {
			t.Errorf("%v: %v", s, err)
			continue
		}
		img, err := png.Decode(&buf)
		if err != nil {
			t.Fatal(err)
		}
		// Seven columns and the labels; rows no lower than a label.
		if b := img.Bounds(); b.Dx() < 800 || b.Dx() > 1400 || b.Dy() < 200 || b.Dy() > 450 {
			t.Errorf("%v: picture is %v", s, b)
		}
	}
}

func TestWritePNGErrors(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	small, large := noiseExample(rng, dataset.Shape{C: 1, H: 4, W: 4}), noiseExample(rng, dataset.Shape{C: 1, H: 5, W: 4})
	broken := small
	broken.Mask = broken.Mask[1:]
	for _, c := range []struct {
		examples []report.Example
		words    string
	}{
		{nil, "no examples"},
		{[]report.Example{small, large}, "example 1: images are 5x4x1, those of the first 4x4x1"},
		{[]report.Example{small, broken}, "example 1: \"noise\": mask has 15"},
	} {
		var buf bytes.Buffer
		if err := report.WritePNG(&buf, c.examples); err == nil || !strings.Contains(err.Error(), c.words) || buf.Len() > 0 {
			t.Errorf("error is %v after %d bytes, want one about %q", err, buf.Len(), c.words)
		}
	}
	if err := report.WritePNG(&failing{left: 10}, []report.Example{small}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error is %v, want that of the writer", err)
	}
}
