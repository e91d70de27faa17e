package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nlnctl/nlnctl/dataset"
)

const (
	// shownNeighbors is how many neighbours of an image have a picture.
	shownNeighbors = 3

	// exampleBytes is how much the pictures of one example may take on average,
	// as base64; pictures are reduced until they keep to it.
	exampleBytes = 48 << 10

	// pictureSide is how large a picture is shown, in CSS pixels, about.
	pictureSide = 104

	// largeFactor is how much larger the pictures of a page with Large are.
	largeFactor = 2

	// crispSide is the size below which pictures are enlarged by a whole
	// factor, so that each of their pixels is a square.
	crispSide = 48

	nameLimit = 160 // characters of a name that are shown
)

//go:embed page.html.tmpl
var pageSource string

//go:embed style.css
var styleSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// A view is what the template shows, all in words and addresses.
type view struct {
	Title, Summary string
	Large          bool // the pictures come first
	Style          template.CSS
	Facts          []Fact
	Warnings       []string
	Protocols      []string
	AUROC          []aurocRow
	Alpha          string
	Verdicts       []verdictRow
	Classes        []verdictRow
	Truth          bool
	ThresholdNote  string
	Scores, Alphas []*figure
	Groups         []groupView
	ErrorBar       template.URL
	ErrorTop       string
}

type groupView struct {
	Title, Note string
	Examples    []exampleView
}

type exampleView struct {
	Name, Class, Truth, Verdict string
	Kind                        string // of the verdict, as a class of the style sheet
	Values                      []Fact
	Nearest                     string
	Pictures                    []pictureView
}

type pictureView struct {
	Caption, Detail, Alt string
	Src                  template.URL
	Width, Height        int
	Crisp                bool
}

// WriteHTML writes the page. Equal pages give equal bytes. A page whose parts do
// not belong together, such as labels of another number than scores, a verdict
// that does not fit the threshold, pictures of another size than they say, and
// values that are NaN are errors, after which nothing has been written.
//
// All error maps share one scale, which the page states; small pictures are
// enlarged so that their pixels can be seen, and large ones are reduced so that
// an example takes no more than about 50 kB.
func (p *Page) WriteHTML(w io.Writer) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("report: write page: %w", err)
	}
	v, err := p.view()
	if err != nil {
		return fmt.Errorf("report: write page: %w", err)
	}
	var buf bytes.Buffer
	if err := pageTemplate.Execute(&buf, v); err != nil {
		return fmt.Errorf("report: write page: %w", err)
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("report: write page: %w", err)
	}
	return nil
}

func (p *Page) view() (*view, error) {
	v := &view{
		Title: shortName(p.Title),
		Style: template.CSS(styleSource),
		AUROC: p.aurocTable(),
		Alpha: weight(p.Policy.Alpha),
		Truth: p.Novel != nil,
		Large: p.Large,
	}
	for _, protocol := range p.protocols() {
		v.Protocols = append(v.Protocols, shortName(protocol))
	}
	for _, f := range p.Facts {
		v.Facts = append(v.Facts, Fact{shortName(f.Name), shortName(f.Value)})
	}
	for _, w := range p.Warnings {
		v.Warnings = append(v.Warnings, clean(w))
	}
	v.Verdicts, v.Classes = p.verdictTable()
	v.ThresholdNote = p.thresholdNote()
	var err error
	if v.Summary, err = p.summary(); err != nil {
		return nil, err
	}
	if p.Novel != nil {
		roc, err := p.rocPlot()
		if err != nil {
			return nil, err
		}
		if roc != nil {
			v.Scores = append(v.Scores, roc)
		}
	}
	scores, err := p.scorePlot()
	if err != nil {
		return nil, err
	}
	if scores != nil {
		v.Scores = append(v.Scores, scores)
	}
	if v.Alphas, err = p.alphaPlots(); err != nil {
		return nil, err
	}
	return v, p.addPictures(v)
}

func (p *Page) thresholdNote() string {
	switch {
	case len(p.Scores) == 0:
		return ""
	case math.IsInf(p.Threshold, 1):
		return "The threshold is infinite: no score is above it."
	case p.Policy.Threshold != nil:
		return fmt.Sprintf("The threshold %s was set by hand.", number(p.Threshold))
	case p.Policy.FPR > 0:
		return fmt.Sprintf("The threshold %s was set so that %s %% of normal images are flagged, by %s calibration images.",
			number(p.Threshold), weight(100*p.Policy.FPR), count(len(p.Calibration)))
	}
	return fmt.Sprintf("The threshold is %s.", number(p.Threshold))
}

// addPictures adds the groups, with pictures as large as the space allows.
func (p *Page) addPictures(v *view) error {
	var maps [][]float64
	examples := 0
	for _, g := range p.Groups {
		examples += len(g.Examples)
		for i := range g.Examples {
			e := &g.Examples[i]
			maps = append(maps, e.ErrorMap)
			if e.Reconstruction != nil {
				maps = append(maps, differenceMap(e.Shape, e.Input, e.Reconstruction))
			}
		}
	}
	top := errorTop(maps)
	large := 1
	if p.Large {
		large = largeFactor
	}
	for side := large * maxThumbnail; ; side /= 2 {
		v.Groups = nil
		size := 0
		for _, g := range p.Groups {
			gv, n, err := newGroupView(g, side, large, top)
			if err != nil {
				return err
			}
			size += n
			v.Groups = append(v.Groups, gv)
		}
		if size <= examples*exampleBytes*large*large || side <= minThumbnail {
			break
		}
	}
	if examples == 0 {
		return nil
	}
	v.ErrorTop = weight(top)
	var err error
	v.ErrorBar, err = dataURI(errorBar())
	return err
}

func newGroupView(g Group, side, large int, top float64) (gv groupView, size int, err error) {
	gv = groupView{Title: clean(g.Title), Note: clean(g.Note)}
	for i := range g.Examples {
		e, err := newExampleView(&g.Examples[i], side, large, top)
		if err != nil {
			return gv, 0, err
		}
		for _, pic := range e.Pictures {
			size += len(pic.Src)
		}
		gv.Examples = append(gv.Examples, e)
	}
	return gv, size, nil
}

func newExampleView(e *Example, side, large int, top float64) (exampleView, error) {
	v := exampleView{
		Name: shortName(e.Name),
		Values: []Fact{
			{"score", number(e.Score.Score)},
			{"p-value", number(e.Score.P)},
			{"error", number(e.Score.Error)},
			{"distance", number(e.Score.Distance)},
			{"local", number(e.Score.Local)},
			{"local p-value", number(e.Score.LocalP)},
			{"recon. error", number(e.Score.Recon)},
		},
	}
	v.Values = append(v.Values, e.More...)
	if e.Class != "" {
		v.Class = "class " + shortName(e.Class)
	}
	v.Truth, v.Verdict, v.Kind = e.verdict()
	var names []string
	for _, nb := range e.Neighbors[:min(shownNeighbors, len(e.Neighbors))] {
		names = append(names, shortName(nb.Name))
	}
	v.Nearest = strings.Join(names, ", ")
	for _, t := range e.tiles(shownNeighbors, top) {
		pic, err := t.view(e.Shape, side, large)
		if err != nil {
			return v, fmt.Errorf("%q: %s: %w", e.Name, t.title, err)
		}
		v.Pictures = append(v.Pictures, pic)
	}
	return v, nil
}

// view encodes the tile with its longer side at most side pixels.
func (t tile) view(s dataset.Shape, side, large int) (pictureView, error) {
	small := fitting(s, side)
	src, err := dataURI(t.draw(small))
	if err != nil {
		return pictureView{}, err
	}
	v := pictureView{Caption: t.title, Detail: t.detail, Alt: t.title, Src: src}
	if t.detail != "" {
		v.Alt += ", " + t.detail
	}
	long := max(small.H, small.W)
	zoom := float64(large*pictureSide) / float64(long)
	if v.Crisp = long < crispSide; v.Crisp {
		zoom = math.Round(zoom)
	}
	v.Width = max(1, int(zoom*float64(small.W)+.5))
	v.Height = max(1, int(zoom*float64(small.H)+.5))
	return v, nil
}

// clean makes text from outside fit to be shown: characters that would change
// the reading of what stands around them are replaced.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r): // line ends of any kind
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r): // "gnp.exe" could be read as "exe.png"
			return '\uFFFD'
		case r == 0xFFFE || r == 0xFFFF: // no characters in XML
			return '\uFFFD'
		}
		return r
	}, s)
}

// shortName is clean for names, whose middle is left out if they are long.
func shortName(s string) string {
	s = clean(s)
	if utf8.RuneCountInString(s) <= nameLimit {
		return s
	}
	r := []rune(s)
	return string(r[:nameLimit/2]) + " … " + string(r[len(r)-nameLimit/2:])
}
