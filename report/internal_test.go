package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
	"gonum.org/v1/plot/plotter"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1.00", .5: "0.500", -.0332: "−0.0332", 12.345: "12.3", 123.45: "123", 99999: "99999", .00123: "0.00123",
		1.5e-7: "1.5e-07", 2e9: "2e+09", math.Inf(1): "∞", math.Inf(-1): "−∞", 999.9: "1000", .9999: "1.000",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	if got := percent(0, 0); got != "–" {
		t.Errorf("share of nothing is %q", got)
	}
}

// Ticks lie in the span, are round, few, and not all the same word.
func TestTicks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		lo := (rng.Float64() - .5) * math.Pow(10, float64(rng.IntN(8)-3))
		s := span{lo, lo + math.Pow(10, 4*rng.Float64()-3)}
		marks := ticks(s)
		if len(marks) < 3 || len(marks) > 9 {
			t.Errorf("%v: %d ticks: %v", s, len(marks), marks)
		}
		for i, m := range marks {
			if slack := 1e-5 * (s.hi - s.lo); m.Value < s.lo-slack || m.Value > s.hi+slack {
				t.Errorf("%v: tick at %v", s, m.Value)
			}
			if i > 0 && (m.Label == marks[i-1].Label || !(m.Value > marks[i-1].Value)) {
				t.Errorf("%v: ticks %v and %v", s, marks[i-1], m)
			}
		}
	}
	if got := ticks(span{0, 1})[0].Label; got != "0.0" {
		t.Errorf("first tick from 0 to 1 is %q", got)
	}
}

// area is the area under a curve by the trapezoidal rule.
func area(xy plotter.XYs) float64 {
	var sum float64
	for i := 1; i < len(xy); i++ {
		sum += (xy[i].X - xy[i-1].X) * (xy[i].Y + xy[i-1].Y) / 2
	}
	return sum
}

func TestThin(t *testing.T) {
	// A point may be left out if its neighbours are closer than the 800th part
	// of the plot; so the curves lie no further apart.
	const tol = 1. / 400
	rng := rand.New(rand.NewPCG(4, 5))
	for _, n := range []int{2, 10, 1000, 50000} {
		scores, novel := make([]float64, n), make([]bool, n)
		for i := range scores {
			novel[i] = i%2 == 0
			scores[i] = rng.NormFloat64()
			if novel[i] {
				scores[i]++
			}
		}
		curve, err := metrics.ROC(scores, novel)
		if err != nil {
			t.Fatal(err)
		}
		auroc, err := metrics.AUROC(scores, novel)
		if err != nil {
			t.Fatal(err)
		}
		xy := thin(curve)
		if xy[0] != (plotter.XY{}) || xy[len(xy)-1] != (plotter.XY{X: 1, Y: 1}) {
			t.Errorf("%d scores: curve from %v to %v", n, xy[0], xy[len(xy)-1])
		}
		if got := area(xy); math.Abs(got-auroc) > tol {
			t.Errorf("%d scores: area %v, want %v", n, got, auroc)
		}
		if len(xy) > 2500 {
			t.Errorf("%d scores: %d points", n, len(xy))
		}
	}
}

// Its slow twin asks each bar for each score whether it is its own.
func TestHistogram(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 7))
	for range 50 {
		x, n := span{-1, 2}, 3+rng.IntN(20)
		scores := []float64{math.Inf(1), math.Inf(-1), -1, 2}
		for range rng.IntN(100) {
			scores = append(scores, 2*rng.NormFloat64())
		}
		got := histogram(x, n, scores)
		for i := range n {
			want := 0
			for _, s := range scores {
				bar := math.Floor((s - x.lo) / (x.hi - x.lo) * float64(n))
				if bar == float64(i) || i == 0 && bar < 0 || i == n-1 && bar >= float64(n) {
					want++
				}
			}
			if got[i] != float64(want)/float64(len(scores)) {
				t.Errorf("bar %d of %d holds %v of %d scores, want %d", i, n, got[i], len(scores), want)
			}
		}
	}
}

// Very high scores do not squeeze the others into one bar, and are counted.
func TestScoreSpan(t *testing.T) {
	p := &Page{Threshold: 1.1, Novel: []bool{false, false, false, true, true},
		Scores: []nln.Score{{Score: 0}, {Score: .5}, {Score: 1}, {Score: 1.2}, {Score: 1000}}}
	x, cut, ok := p.scoreSpan(p.populations())
	if !ok || x.lo != 0 || x.hi < p.Threshold || x.hi > 10 || cut != 1 {
		t.Errorf("span is %v with %d scores above, %v", x, cut, ok)
	}
	p.Threshold = 50 // which must be on the plot
	if x, _, _ = p.scoreSpan(p.populations()); x.hi <= 50 {
		t.Errorf("span %v does not hold the threshold", x)
	}
}

// Its slow twin weighs each pixel of the source by where it falls.
func TestReduce(t *testing.T) {
	const tol = 1e-6 // float32 sums
	rng := rand.New(rand.NewPCG(8, 9))
	for range 100 {
		s := dataset.Shape{C: 1 + rng.IntN(3), H: 1 + rng.IntN(40), W: 1 + rng.IntN(40)}
		to := fitting(s, 1+rng.IntN(40))
		src := make([]float32, s.Len())
		for i := range src {
			src[i] = rng.Float32()
		}
		got := reduce(s, to, src)
		if len(got) != to.Len() {
			t.Fatalf("%v to %v: %d values", s, to, len(got))
		}
		for i, v := range got {
			c, y, x := i/(to.H*to.W), i/to.W%to.H, i%to.W
			var sum, n float64
			for sy := range s.H {
				for sx := range s.W {
					if inPart(sy, y, s.H, to.H) && inPart(sx, x, s.W, to.W) {
						sum += float64(src[c*s.H*s.W+sy*s.W+sx])
						n++
					}
				}
			}
			if math.Abs(float64(v)-sum/n) > tol {
				t.Fatalf("%v to %v: value %d is %v, want %v", s, to, i, v, sum/n)
			}
		}
	}
}

// inPart reports whether place i of n falls into part j of m.
func inPart(i, j, n, m int) bool { return i >= j*n/m && i < (j+1)*n/m }

// A defect of one pixel is still marked in a small picture.
func TestReduceMask(t *testing.T) {
	s, to := dataset.Shape{C: 3, H: 100, W: 50}, dataset.Shape{C: 3, H: 10, W: 5}
	mask := make([]byte, s.H*s.W)
	mask[57*s.W+31] = 255
	got := reduceMask(s, to, mask)
	for i, v := range got {
		if want := i == 5*to.W+3; (v != 0) != want {
			t.Errorf("pixel %d of the mask is %d", i, v)
		}
	}
}

func TestDifferenceMap(t *testing.T) {
	s := dataset.Shape{C: 2, H: 1, W: 2}
	got := differenceMap(s, []float32{0, 1, .5, .5}, []float32{1, 1, .25, 1})
	if want := []float64{.625, .25}; !slices.Equal(got, want) {
		t.Errorf("differences are %v, want %v", got, want)
	}
}

func TestErrorTop(t *testing.T) {
	spread := make([]float64, 1000)
	for i := range spread {
		spread[i] = float64(i) / 1000
	}
	for _, c := range []struct {
		maps [][]float64
		want float64
	}{
		{nil, 1},
		{[][]float64{nil, {}}, 1},
		{[][]float64{{0, 0, 0}}, 1},
		{[][]float64{spread}, 1},                                   // .994
		{[][]float64{spread[:500]}, .5},                            // .496
		{[][]float64{make([]float64, 10000), {.123}}, .13},         // hardly any error
		{[][]float64{slices.Repeat([]float64{.3}, 999), {9}}, .3},  // one pixel does not count
		{[][]float64{slices.Repeat([]float64{3e-7}, 9), {}}, 3e-7}, // small, but all there is
	} {
		if got := errorTop(c.maps); math.Abs(got-c.want) > 1e-9*c.want {
			t.Errorf("scale ends at %v, want %v", got, c.want)
		}
	}
}

// The scale grows evenly in luminance, so that it reads in grey as well.
func TestErrorColors(t *testing.T) {
	last := -1.
	for i, c := range errorColors() {
		r, g, b, _ := c.RGBA()
		luminance := .2126*linear(r) + .7152*linear(g) + .0722*linear(b)
		// CIE 1976 lightness: from 0 to 100 in equal steps, but for rounding.
		lightness := 116*math.Cbrt(luminance) - 16
		if want := 100 * float64(i) / (errorLevels - 1); luminance <= last || want > 10 && math.Abs(lightness-want) > 1.5 {
			t.Errorf("colour %d has lightness %.1f, want %.1f", i, lightness, want)
		}
		last = luminance
	}
	m := errorPicture(dataset.Shape{C: 1, H: 1, W: 3}, []float64{0, .5, 7}, .5).(*image.Paletted)
	if want := []uint8{0, errorLevels - 1, errorLevels - 1}; !slices.Equal(m.Pix, want) {
		t.Errorf("error colours are %v, want %v", m.Pix, want)
	}
}

// linear undoes the curve of sRGB (IEC 61966-2-1) for a 16-bit value.
func linear(v uint32) float64 {
	if c := float64(v) / 0xffff; c > .04045 {
		return math.Pow((c+.055)/1.055, 2.4)
	} else {
		return c / 12.92
	}
}

func TestDataURI(t *testing.T) {
	uri, err := dataURI(errorBar())
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := strings.CutPrefix(string(uri), "data:image/png;base64,")
	data, err := base64.StdEncoding.DecodeString(raw)
	if !ok || err != nil {
		t.Fatalf("address %.40s: %v", uri, err)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil || img.Bounds().Dx() != errorLevels {
		t.Errorf("picture is %v, %v", img.Bounds(), err)
	}
}

// The table has the model's own row, and the best alpha under a label that says
// how it was found.
func TestAUROCTable(t *testing.T) {
	p := &Page{Title: "t", Policy: nln.Policy{K: 2, Alpha: .5}}
	add := func(protocol, score string, k int, alpha, auroc float64) {
		p.Results = append(p.Results, nln.Result{Protocol: protocol, Score: score, K: k, Alpha: alpha, AUROC: auroc, Lo: auroc - .1, Hi: auroc + .1})
	}
	for _, protocol := range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
		add(protocol, nln.ScoreRecon, 0, 1, .6)
		for _, k := range []int{2, 1} {
			add(protocol, nln.ScoreError, k, 1, .7)
			for _, alpha := range []float64{0, .4, .5, .9} {
				auroc := .8 - math.Abs(alpha-.4)/10
				if protocol == nln.ProtocolPaper {
					auroc = .8 // all equal: the nearest to the page's own
				}
				add(protocol, nln.ScoreTotal, k, alpha, auroc)
			}
		}
	}
	var lines []string
	for _, r := range p.aurocTable() {
		lines = append(lines, fmt.Sprintf("%d %d %s/%s %v %v", r.K, r.Span, r.Label, r.Note, r.Chosen, r.Cells))
	}
	want := []string{
		"0 1 reconstruction error/baseline false [{0.600 0.500–0.700 } {0.600 0.500–0.700 }]",
		"1 3 error term/ false [{0.700 0.600–0.800 } {0.700 0.600–0.800 }]",
		"0 0 total, alpha 0.5, 1−alpha 0.5/ false [{0.790 0.690–0.890 } {0.800 0.700–0.900 }]",
		"0 0 total, best alpha/chosen on the test set false [{0.800 0.700–0.900 alpha 0.4, 1−alpha 0.6} {0.800 0.700–0.900 alpha 0.5, 1−alpha 0.5}]",
		"2 3 error term/ false [{0.700 0.600–0.800 } {0.700 0.600–0.800 }]",
		"0 0 total, alpha 0.5, 1−alpha 0.5/this model true [{0.790 0.690–0.890 } {0.800 0.700–0.900 }]",
		"0 0 total, best alpha/chosen on the test set false [{0.800 0.700–0.900 alpha 0.4, 1−alpha 0.6} {0.800 0.700–0.900 alpha 0.5, 1−alpha 0.5}]",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("table is\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if got := p.protocols(); !slices.Equal(got, []string{nln.ProtocolHeldOut, nln.ProtocolPaper}) {
		t.Errorf("protocols are %v", got)
	}
}

func TestVerdictTable(t *testing.T) {
	p := &Page{Threshold: 1, Novel: []bool{false, true, true, false, true},
		Classes: []string{"good", "hole", "blot", "good", "hole"},
		Scores:  []nln.Score{{Score: 0}, {Score: 2, Novel: true}, {Score: .5}, {Score: 3, Novel: true}, {Score: 4, Novel: true}}}
	rows, classes := p.verdictTable()
	want := []verdictRow{
		{"all", "normal", "2", "1", "50.0 %", "3.00"},
		{"all", "novel", "3", "2", "66.7 %", "2.00"},
		{"good", "normal", "2", "1", "50.0 %", "3.00"},
		{"blot", "novel", "1", "0", "0.0 %", "0.500"},
		{"hole", "novel", "2", "2", "100.0 %", "4.00"},
	}
	if got := slices.Concat(rows, classes); !slices.Equal(got, want) {
		t.Errorf("table is\n%v\nwant\n%v", got, want)
	}
	if got := p.verdicts(); got != (verdicts{novel: 3, normal: 2, found: 2, alarms: 1}) {
		t.Errorf("verdicts are %+v", got)
	}
}
