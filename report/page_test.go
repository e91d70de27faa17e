package report_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"flag"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/report"
)

var keep = flag.String("keep", "", "folder in which to keep the pages and pictures of the tests, to look at")

// kept writes what a test made into the folder of -keep.
func kept(t *testing.T, name string, data []byte) {
	t.Helper()
	if *keep == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*keep, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// write returns the page as HTML, checked for what holds for every page.
func write(t *testing.T, p *report.Page) string {
	t.Helper()
	var buf bytes.Buffer
	if err := p.WriteHTML(&buf); err != nil {
		t.Fatal(err)
	}
	page := buf.String()
	checkForm(t, page)
	var again bytes.Buffer
	if err := p.WriteHTML(&again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf.Bytes(), again.Bytes()) {
		t.Error("the same page gave other bytes")
	}
	return page
}

// checkForm parses a page, which is written so that it is XML as well: tags
// must be closed and attributes quoted, no element may run anything or load
// anything, and no plot may hold numbers that are none or colours that do not
// follow the theme.
func checkForm(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	depth, plot := 0, 0 // plot is the depth of the SVG element around, 0 outside
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("page is not well-formed: %v", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			depth++
			if e.Name.Local == "svg" {
				plot = depth
			}
			checkElement(t, e, plot > 0)
		case xml.EndElement:
			if depth == plot {
				plot = 0
			}
			depth--
		}
	}
}

var (
	badNumber = regexp.MustCompile(`NaN|Inf|[0-9.]e\+?[0-9]`)
	badURL    = regexp.MustCompile(`(?i)https?:|//|url\(|javascript:`)
)

func checkElement(t *testing.T, e xml.StartElement, inPlot bool) {
	t.Helper()
	if slices.Contains([]string{"script", "link", "iframe", "object", "embed", "base", "form", "a"}, e.Name.Local) {
		t.Errorf("page has an element %s", e.Name.Local)
	}
	alt := false
	for _, a := range e.Attr {
		name := a.Name.Local
		alt = alt || name == "alt" && a.Value != ""
		switch {
		case name == "src" && !strings.HasPrefix(a.Value, "data:image/"):
			t.Errorf("%s loads %q", e.Name.Local, a.Value)
		case strings.HasPrefix(name, "on"), name == "href":
			t.Errorf("%s has an attribute %s", e.Name.Local, name)
		case inPlot && name != "aria-label" && badNumber.MatchString(a.Value):
			t.Errorf("plot: %s: %s is %.80q", e.Name.Local, name, a.Value)
		case inPlot && strings.Contains(a.Value, "#"):
			t.Errorf("plot: %s: %s %q has a colour that does not follow the theme", e.Name.Local, name, a.Value)
		case inPlot && strings.Contains(a.Value, "font-family"):
			t.Errorf("plot: %s: %s %q has a font of its own", e.Name.Local, name, a.Value)
		case name != "src" && name != "alt" && name != "aria-label" && badURL.MatchString(a.Value):
			t.Errorf("%s: %s is %q", e.Name.Local, name, a.Value)
		}
	}
	if e.Name.Local == "img" && !alt {
		t.Error("an image has no text for those who do not see it")
	}
}

// pictures returns the images of a page, in order.
func pictures(t *testing.T, page string) []image.Image {
	t.Helper()
	var all []image.Image
	for _, m := range regexp.MustCompile(`src="data:image/(png|jpeg);base64,([^"]*)"`).FindAllStringSubmatch(page, -1) {
		// html/template writes the plus signs of base64 as entities.
		raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(m[2], "&#43;", "+"))
		if err != nil {
			t.Fatal(err)
		}
		img, kind, err := image.Decode(bytes.NewReader(raw))
		if err != nil || kind != m[1] {
			t.Fatalf("picture that says it is %s is %s: %v", m[1], kind, err)
		}
		all = append(all, img)
	}
	return all
}

// wants fails the test unless page has all the words.
func wants(t *testing.T, page string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(page, w) {
			t.Errorf("page has no %q", w)
		}
	}
}

func TestEvaluationPage(t *testing.T) {
	for name, sc := range map[string]scene{"glyphs": glyphs(), "parts": parts()} {
		p := sc.evaluate(t, "Evaluation of "+name, 4)
		page := write(t, p)
		kept(t, name+".html", []byte(page))
		wants(t, page, "AUROC of 0.", "this model", "chosen on the test set", "held-out protocol", "paper protocol",
			"Receiver operating characteristic", "False alarms", "Missed", "Ordinary images", "and more", "threshold")
		if got, want := strings.Count(page, `class="plot"`), 4; got != want {
			t.Errorf("%s: %d plots, want %d", name, got, want)
		}
		examples := 0
		for _, g := range p.Groups {
			examples += len(g.Examples)
		}
		if got := strings.Count(page, "<article>"); got != examples || got == 0 {
			t.Errorf("%s: %d examples on the page, want %d", name, got, examples)
		}
		// The pictures of each are input, reconstruction, three neighbours, two
		// maps and perhaps a mask; the page has the error scale besides.
		if got := len(pictures(t, page)); got < 7*examples+1 || got > 8*examples+1 {
			t.Errorf("%s: %d pictures for %d examples", name, got, examples)
		}
	}
}

// Small pictures are on the page to the pixel.
func TestPicturesAreLossless(t *testing.T) {
	shape := dataset.Shape{C: 3, H: 5, W: 7}
	e := noiseExample(rand.New(rand.NewPCG(5, 6)), shape)
	page := write(t, &report.Page{Title: "one", Groups: []report.Group{{Title: "only", Examples: []report.Example{e}}}})
	got := pictures(t, page)[1] // after the error scale
	n := shape.H * shape.W
	for i := range n {
		r, g, b, _ := got.At(i%shape.W, i/shape.W).RGBA()
		for c, v := range []uint32{r, g, b} {
			if want := uint32(math.Round(255 * float64(e.Input[c*n+i]))); v>>8 != want {
				t.Fatalf("channel %d of pixel %d is %d, want %d", c, i, v>>8, want)
			}
		}
	}
}

// noiseExample returns an example with every picture there can be, of noise,
// which compresses worst.
func noiseExample(rng *rand.Rand, s dataset.Shape) report.Example {
	pix := func() []float32 {
		v := make([]float32, s.Len())
		for i := range v {
			v[i] = rng.Float32()
		}
		return v
	}
	e := report.Example{Name: "noise", Class: "noise", Novel: new(true), Shape: s, Input: pix(), Reconstruction: pix(),
		Score: nln.Score{Score: 1, P: .5}, Mask: make([]byte, s.H*s.W), ErrorMap: make([]float64, s.H*s.W)}
	for i := range e.ErrorMap {
		e.ErrorMap[i] = rng.Float64()
		e.Mask[i] = byte(rng.IntN(2))
	}
	for range 5 {
		e.Neighbors = append(e.Neighbors, report.Neighbor{Name: "n", Distance: 1, Image: pix()})
	}
	return e
}

// However large the images and hard to compress, thirty of them make a page that
// can be mailed.
func TestPageSize(t *testing.T) {
	const bound = 2 << 20
	for _, s := range []dataset.Shape{{C: 1, H: 28, W: 28}, {C: 3, H: 32, W: 32}, {C: 3, H: 64, W: 64}, {C: 3, H: 300, W: 200}} {
		rng := rand.New(rand.NewPCG(1, 1))
		one := noiseExample(rng, s)
		p := &report.Page{Title: "size", Groups: []report.Group{{Title: "noise"}}}
		for range 30 {
			p.Groups[0].Examples = append(p.Groups[0].Examples, one)
		}
		var buf bytes.Buffer
		if err := p.WriteHTML(&buf); err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: %d bytes", s, buf.Len())
		if buf.Len() > bound {
			t.Errorf("page of 30 examples of %v takes %d bytes, at most %d are wanted", s, buf.Len(), bound)
		}
	}
}

func TestHostileNames(t *testing.T) {
	hostile := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</style><b>`, `javascript:alert(1)`, `{{.Title}}`,
		"a\x00b\x1b[31m\u202egnp.exe\ufffe", "\xff\xfe invalid", "line\nbreak\u2028", `C:\path\&amp;'"`, strings.Repeat("long", 1000), "",
	}
	for _, name := range hostile {
		e := noiseExample(rand.New(rand.NewPCG(1, 1)), dataset.Shape{C: 1, H: 4, W: 4})
		e.Name, e.Class, e.Neighbors[0].Name = name, name, name
		p := &report.Page{
			Title: "t" + name, Facts: []report.Fact{{Name: name, Value: name}}, Warnings: []string{name},
			Scores:  []nln.Score{{Score: 1, P: 1}, {Score: 2, P: 1}},
			Novel:   []bool{true, false},
			Classes: []string{name, name + "2"}, Policy: nln.DefaultPolicy(), Threshold: 3,
			Groups: []report.Group{{Title: name, Note: name, Examples: []report.Example{e}}},
		}
		for _, alpha := range []float64{0, .5, 1} {
			p.Results = append(p.Results, nln.Result{Protocol: name, Score: nln.ScoreTotal, K: 3, Alpha: alpha, AUROC: .5, Lo: .4, Hi: .6})
		}
		page := write(t, p) // which fails on elements and attributes that came out of a name
		if strings.ContainsAny(page, "\x00\x1b\u202e\u2028") {
			t.Errorf("name %q: control characters are on the page", name)
		}
		if len(page) > 60000 {
			t.Errorf("name %.20q: page takes %d bytes", name, len(page))
		}
	}
}

// Whatever is not known leaves its part of the page out.
func TestPagesWithLittle(t *testing.T) {
	inf := math.Inf(1)
	scores := func(v ...float64) []nln.Score {
		s := make([]nln.Score, len(v))
		for i := range v {
			s[i] = nln.Score{Score: v[i], Recon: v[i], Error: v[i], Distance: v[i], P: .5}
		}
		return s
	}
	flag := func(threshold float64, s []nln.Score) []nln.Score {
		for i := range s {
			s[i].Novel = s[i].Score > threshold
		}
		return s
	}
	policy := nln.DefaultPolicy()
	result := nln.Result{Protocol: nln.ProtocolHeldOut, Score: nln.ScoreTotal, K: 3, Alpha: .8, AUROC: .9, Lo: .8, Hi: 1}
	for name, c := range map[string]struct {
		page  report.Page
		has   []string
		plots int
		lacks []string
	}{
		"title alone": {report.Page{}, nil, 0, []string{"<h2>", "<table>", "<img", "<dl"}},
		"one result": {report.Page{Policy: policy, Results: []nln.Result{result}},
			[]string{"0.900", "AUROC of 0.900", "this model"}, 0, []string{"best alpha", "<img"}},
		"truth unknown": {report.Page{Policy: policy, Threshold: 2, Scores: flag(2, scores(1, 2, 3)), Calibration: []float64{0, 1}},
			[]string{"1 of 3 images (33.3 %) are flagged"}, 1, []string{"truth", "AUROC of"}},
		"no threshold": {report.Page{Policy: policy, Threshold: inf, Scores: scores(1, 2, 3), Novel: []bool{false, false, true}},
			[]string{"The threshold is infinite", "AUROC of 1.000"}, 2, []string{"The ring", "∞ was set"}},
		"no threshold and no truth": {report.Page{Policy: policy, Threshold: inf, Scores: scores(1, 2, 3)},
			[]string{"none is flagged"}, 1, nil},
		"everything flagged": {report.Page{Policy: policy, Threshold: -inf, Scores: flag(-inf, scores(1, 2)), Novel: []bool{false, true}},
			[]string{"100.0 % of the novel images and 100.0 % of the normal ones"}, 2, nil},
		"normal ones alone": {report.Page{Policy: policy, Threshold: 2, Scores: flag(2, scores(1, 3)), Novel: []bool{false, false}},
			[]string{"1 of 2 normal images (50.0 %) are flagged"}, 1, []string{"AUROC of"}},
		"novel ones alone": {report.Page{Policy: policy, Threshold: 2, Scores: flag(2, scores(1, 3)), Novel: []bool{true, true}},
			[]string{"50.0 % of the novel images"}, 1, []string{"AUROC of"}},
		"equal scores": {report.Page{Policy: policy, Threshold: 1, Scores: scores(1, 1, 1), Novel: []bool{true, false, true}},
			[]string{"AUROC of 0.500"}, 2, nil},
		"zero scores": {report.Page{Policy: policy, Threshold: 0, Scores: scores(0, 0), Novel: []bool{true, false}},
			[]string{"AUROC of 0.500"}, 2, nil},
		"extreme scores": {report.Page{Policy: policy, Threshold: 1, Scores: flag(1, scores(-inf, 0, 1e-300, inf, 1e308, -1e308)), Novel: []bool{true, false, true, false, true, true}},
			[]string{"AUROC of"}, 2, nil},
		"infinite scores": {report.Page{Policy: policy, Threshold: 1, Scores: flag(1, scores(inf, -inf)), Novel: []bool{true, false}},
			[]string{"AUROC of 1.000"}, 1, nil},
		"huge threshold": {report.Page{Policy: policy, Threshold: 1e308, Scores: scores(1, 2), Novel: []bool{true, false}},
			[]string{"AUROC of 0.000"}, 2, nil},
		"an empty group": {report.Page{Groups: []report.Group{{Title: "False alarms", Note: "None."}}},
			[]string{"False alarms", "None."}, 0, []string{"<img", "One scale"}},
		"an image without pictures": {report.Page{Groups: []report.Group{{Title: "G", Examples: []report.Example{{
			Shape: dataset.Shape{C: 1, H: 1, W: 1}, Input: []float32{2}}}}}},
			[]string{"not flagged", "1 and more"}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.page.Title = "A page"
			page := write(t, &c.page)
			wants(t, page, c.has...)
			for _, w := range c.lacks {
				if strings.Contains(page[strings.Index(page, "<body>"):], w) {
					t.Errorf("page has %q", w)
				}
			}
			if got := strings.Count(page, `class="plot"`); got != c.plots {
				t.Errorf("%d plots, want %d", got, c.plots)
			}
		})
	}
}

// failing is a writer that takes a number of bytes and then no more.
type failing struct{ left int }

func (w *failing) Write(p []byte) (int, error) {
	n := min(w.left, len(p))
	w.left -= n
	if n < len(p) {
		return n, errors.New("disk full")
	}
	return n, nil
}

func TestWriteErrors(t *testing.T) {
	good := noiseExample(rand.New(rand.NewPCG(1, 1)), dataset.Shape{C: 1, H: 4, W: 4})
	example := func(change func(*report.Example)) report.Page {
		e := good
		e.Neighbors = slices.Clone(good.Neighbors)
		change(&e)
		return report.Page{Title: "t", Groups: []report.Group{{Title: "g", Examples: []report.Example{e}}}}
	}
	nan := math.NaN()
	one := []nln.Score{{Score: 1}}
	policy := nln.DefaultPolicy()
	for _, c := range []struct {
		page  report.Page
		words string
	}{
		{report.Page{}, "no title"},
		{report.Page{Title: "t", Threshold: nan}, "threshold is NaN"},
		{report.Page{Title: "t", Policy: policy, Threshold: 1, Scores: one, Novel: []bool{true, false}}, "1 scores, 2 labels"},
		{report.Page{Title: "t", Policy: policy, Threshold: 1, Scores: one, Classes: []string{}}, "1 scores, 0 classes"},
		{report.Page{Title: "t", Threshold: 1, Scores: one}, "K = 0"},
		{report.Page{Title: "t", Policy: policy, Scores: one}, "does not fit the threshold 0"},
		{report.Page{Title: "t", Policy: policy, Threshold: 1, Scores: []nln.Score{{Distance: nan}}}, "score 0: a term is NaN"},
		{report.Page{Title: "t", Policy: policy, Threshold: 1, Scores: []nln.Score{{}, {Local: nan}}}, "score 1: a term is NaN"},
		{report.Page{Title: "t", Calibration: []float64{1, nan}}, "calibration score 1 is NaN"},
		{report.Page{Title: "t", Results: []nln.Result{{AUROC: nan}}}, "result 0: alpha 0, auroc NaN"},
		{report.Page{Title: "t", Results: []nln.Result{{Alpha: 2}}}, "alpha 2"},
		{example(func(e *report.Example) { e.Shape.C = 0 }), "images are 4x4x0"},
		{example(func(e *report.Example) { e.Input = e.Input[1:] }), `"noise": input has 15 values, want 16`},
		{example(func(e *report.Example) { e.Reconstruction = e.Reconstruction[1:] }), "reconstruction has 15"},
		{example(func(e *report.Example) { e.Neighbors[2].Image = e.Input[2:] }), "neighbour 3 has 14"},
		{example(func(e *report.Example) { e.Neighbors[1].Distance = nan }), "distance to neighbour 2 is NaN"},
		{example(func(e *report.Example) { e.ErrorMap = e.ErrorMap[1:] }), "error map has 15"},
		{example(func(e *report.Example) { e.ErrorMap = []float64{15: nan} }), "error map: value 15 is NaN"},
		{example(func(e *report.Example) { e.ErrorMap = []float64{15: -1} }), "error map: value 15 is -1"},
		{example(func(e *report.Example) { e.Input = []float32{15: float32(nan)} }), "input: value 15 is NaN"},
		{example(func(e *report.Example) { e.Mask = e.Mask[1:] }), "mask has 15"},
		{example(func(e *report.Example) { e.Score.P = nan }), "p NaN"},
	} {
		var buf bytes.Buffer
		err := c.page.WriteHTML(&buf)
		if err == nil || !strings.HasPrefix(err.Error(), "report: write page: ") || !strings.Contains(err.Error(), c.words) {
			t.Errorf("error is %v, want one about %q", err, c.words)
		}
		if buf.Len() > 0 {
			t.Errorf("error %v came after %d bytes", err, buf.Len())
		}
	}
	err := (&report.Page{Title: "t"}).WriteHTML(&failing{left: 100})
	if err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error is %v, want that of the writer", err)
	}
}
