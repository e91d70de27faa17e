package report

import (
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Measures of the montage, in pixels.
const (
	montageCell   = 112 // side of a picture, about
	montageColumn = 100 // least width of a column, for its title
	montageRow    = 74  // least height of a row, for its label
	montageGap    = 10
	montageMargin = 16
	montageHead   = 24  // column titles
	montageLabel  = 150 // to the left of a row
	montageFoot   = 34  // the error scale
	montageFont   = 13
)

// WritePNG writes one picture of the examples for a document: a row for each
// with its truth, verdict and score, columns for the image, its reconstruction,
// up to two neighbours and the error maps, and the scale of the maps below. No
// examples and examples that do not fit together in size are errors; so is what
// [Page.WriteHTML] refuses about them. Equal examples give equal bytes.
func WritePNG(w io.Writer, examples []Example) error {
	img, err := montage(examples)
	if err != nil {
		return fmt.Errorf("report: write picture: %w", err)
	}
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(w, img); err != nil {
		return fmt.Errorf("report: write picture: %w", err)
	}
	return nil
}

// A layout is where the cells of a montage lie.
type layout struct {
	columns       []string // titles
	cellW, cellH  int      // of a picture
	columnW, rowH int
	width, height int
}

func (l layout) at(row, column int) image.Point {
	return image.Pt(montageMargin+montageLabel+column*(l.columnW+montageGap), montageMargin+montageHead+row*(l.rowH+montageGap))
}

func montage(examples []Example) (image.Image, error) {
	const neighbors = 2
	if len(examples) == 0 {
		return nil, fmt.Errorf("no examples")
	}
	var maps [][]float64
	for i := range examples {
		e := &examples[i]
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("example %d: %w", i, err)
		}
		if e.Shape != examples[0].Shape {
			return nil, fmt.Errorf("example %d: images are %v, those of the first %v", i, e.Shape, examples[0].Shape)
		}
		maps = append(maps, e.ErrorMap)
		if e.Reconstruction != nil {
			maps = append(maps, differenceMap(e.Shape, e.Input, e.Reconstruction))
		}
	}
	top := errorTop(maps)
	small := fitting(examples[0].Shape, montageCell)
	zoom := int(math.Round(montageCell / float64(max(small.H, small.W))))
	l := layout{cellW: zoom * small.W, cellH: zoom * small.H}
	l.columnW, l.rowH = max(l.cellW, montageColumn), max(l.cellH, montageRow)
	for i := range examples {
		for _, t := range examples[i].tiles(neighbors, top) {
			if !slices.Contains(l.columns, t.title) {
				l.columns = append(l.columns, t.title)
			}
		}
	}
	end := l.at(len(examples), len(l.columns))
	l.width, l.height = end.X-montageGap+montageMargin, end.Y-montageGap+montageMargin+montageFoot
	out := l.letter(examples, top)
	for r := range examples {
		for _, t := range examples[r].tiles(neighbors, top) {
			p := l.at(r, slices.Index(l.columns, t.title))
			enlarge(out, t.draw(small), p.Add(image.Pt((l.columnW-l.cellW)/2, 0)), zoom)
		}
	}
	bar := image.Rect(0, 0, 3*errorLevels, 12).Add(l.bar())
	for x := range bar.Dx() {
		column := image.Rect(bar.Min.X+x, bar.Min.Y, bar.Min.X+x+1, bar.Max.Y)
		draw.Draw(out, column, image.NewUniform(errorColors()[x*errorLevels/bar.Dx()]), image.Point{}, draw.Src)
	}
	return out, nil
}

// bar returns where the error scale lies.
func (l layout) bar() image.Point {
	return image.Pt(montageMargin+montageLabel, l.height-montageMargin-12)
}

// letter returns a white picture with all that is written in the montage.
func (l layout) letter(examples []Example, top float64) draw.Image {
	const dpi = 72 // a point is a pixel
	canvas := vgimg.NewWith(vgimg.UseWH(vg.Length(l.width), vg.Length(l.height)), vgimg.UseDPI(dpi))
	c := vgdraw.New(canvas)
	style := text.Style{Color: ink, Font: letters(), Handler: plot.DefaultTextHandler, YAlign: vgdraw.YTop}
	style.Font.Size = montageFont
	write := func(p image.Point, s string) { // p from the top left, as in images
		c.FillText(style, vg.Point{X: vg.Length(p.X), Y: vg.Length(l.height - p.Y)}, s)
	}
	bar := l.bar()
	write(bar.Add(image.Pt(3*errorLevels+8, -1)), weight(top)+" and more")
	style.XAlign = vgdraw.XRight
	write(bar.Add(image.Pt(-8, -1)), "error 0")
	style.XAlign = vgdraw.XCenter
	for i, title := range l.columns {
		write(l.at(0, i).Add(image.Pt(l.columnW/2, -montageHead+4)), title)
	}
	style.XAlign = vgdraw.XLeft
	for r := range examples {
		for i, line := range labels(&examples[r]) {
			write(image.Pt(montageMargin, l.at(r, 0).Y+i*(montageFont+5)), line)
		}
	}
	return canvas.Image()
}

// labels returns the lines to the left of a row.
func labels(e *Example) []string {
	const limit = 20 // characters that fit
	var lines []string
	if e.Class != "" {
		class := []rune("class " + clean(e.Class))
		if len(class) > limit {
			class = append(class[:limit-1], '…')
		}
		lines = append(lines, string(class))
	}
	truth, verdict, _ := e.verdict()
	if truth != "" {
		verdict = truth + ", " + verdict
	}
	return append(lines, verdict, "score "+number(e.Score.Score), "p-value "+number(e.Score.P))
}

// enlarge draws src with its top left corner at p, each pixel zoom times as
// large, in a thin frame.
func enlarge(out draw.Image, src image.Image, p image.Point, zoom int) {
	b := src.Bounds()
	frame := image.Rect(p.X-1, p.Y-1, p.X+zoom*b.Dx()+1, p.Y+zoom*b.Dy()+1)
	draw.Draw(out, frame, image.NewUniform(faint), image.Point{}, draw.Src)
	for y := range zoom * b.Dy() {
		for x := range zoom * b.Dx() {
			out.Set(p.X+x, p.Y+y, src.At(b.Min.X+x/zoom, b.Min.Y+y/zoom))
		}
	}
}
