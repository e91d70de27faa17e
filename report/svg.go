package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours of lines are those of Masataka Okabe and Kei Ito, which colour-blind
// readers can tell apart (https://jfly.uni-koeln.de/color/), without the yellow
// that does not show on white. The page's style sheet has the same in lighter
// shades for dark screens, so the finished plots name them by variables.
var (
	ink       = color.NRGBA{0x1f, 0x23, 0x28, 0xff} // text and axes
	faint     = color.NRGBA{0xd8, 0xde, 0xe4, 0xff} // grid
	blue      = color.NRGBA{0x00, 0x72, 0xb2, 0xff}
	vermilion = color.NRGBA{0xd5, 0x5e, 0x00, 0xff}
	green     = color.NRGBA{0x00, 0x9e, 0x73, 0xff}
	purple    = color.NRGBA{0xcc, 0x79, 0xa7, 0xff}
	sky       = color.NRGBA{0x56, 0xb4, 0xe9, 0xff}
	orange    = color.NRGBA{0xe6, 0x9f, 0x00, 0xff}
)

// variables are the names of the colours in the style sheet.
var variables = map[color.NRGBA]string{
	ink: "var(--ink)", faint: "var(--line)",
	blue: "var(--blue)", vermilion: "var(--vermilion)", green: "var(--green)",
	purple: "var(--purple)", sky: "var(--sky)", orange: "var(--orange)",
}

// shade is a colour for areas under a line of the colour c: gonum's SVG rounds
// transparent colours, so the area gets an opaque one of its own, which
// becomes c with opacity in the finished plot.
func shade(c color.NRGBA) color.NRGBA {
	c.B ^= 1
	return c
}

// themed replaces colours and fonts in an SVG by what the style sheet says.
var themed = func() *strings.Replacer {
	pairs := []string{
		"font-family:Liberation Sans;font-variant:normal;font-weight:normal;font-style:normal;", "",
	}
	for c, name := range variables {
		pairs = append(pairs, hex(c), name)
		pairs = append(pairs, hex(shade(c))+";fill-opacity:1", name+";fill-opacity:.3", hex(shade(c)), name+";fill-opacity:.3")
	}
	return strings.NewReplacer(pairs...)
}()

func hex(c color.NRGBA) string { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }

// Size of plots. A browser scales them to the page; the letters are large
// enough for a phone.
const (
	plotWidth  = vg.Length(440)
	plotHeight = vg.Length(300)
	plotFont   = vg.Length(11)
)

// A span is a range of an axis.
type span struct{ lo, hi float64 }

// newPlot returns an empty plot with a grid. Both spans must be finite and not
// empty.
func newPlot(xLabel, yLabel string, x, y span) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []struct {
		axis  *plot.Axis
		label string
		span  span
	}{{&p.X, xLabel, x}, {&p.Y, yLabel, y}} {
		a.axis.Min, a.axis.Max = a.span.lo, a.span.hi
		a.axis.Padding = 0
		a.axis.Color = ink
		a.axis.Tick.Color = ink
		a.axis.Tick.Length = 3
		a.axis.Tick.Marker = plot.ConstantTicks(ticks(a.span))
		a.axis.Label.Text = a.label
		a.axis.Label.Padding = 4
		for _, style := range []*text.Style{&a.axis.Label.TextStyle, &a.axis.Tick.Label} {
			style.Font = letters()
			style.Color = ink
		}
	}
	grid := plotter.NewGrid()
	for _, style := range []*draw.LineStyle{&grid.Horizontal, &grid.Vertical} {
		*style = draw.LineStyle{Color: faint, Width: .7}
	}
	p.Add(grid)
	return p
}

func letters() font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: plotFont}
}

// ticks returns three to nine round values in s, with their labels.
func ticks(s span) []plot.Tick {
	rough := (s.hi - s.lo) / 5
	unit := math.Pow(10, math.Floor(math.Log10(rough)))
	step := 10 * unit
	for _, f := range []float64{1, 2, 5} {
		if f*unit >= .6*rough {
			step = f * unit
			break
		}
	}
	digits := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	var t []plot.Tick
	for i := math.Ceil(s.lo/step - 1e-6); i*step <= s.hi+1e-6*step; i++ {
		v := i*step + 0 // not -0
		t = append(t, plot.Tick{Value: v, Label: signed(strconv.FormatFloat(v, 'f', digits, 64))})
	}
	return t
}

// A stroke is how a line is drawn, in a plot and in its legend.
type stroke struct {
	color  color.NRGBA
	width  float64
	dashes []float64
	fill   bool // the area under it too
}

// addLine adds a line through pts to p.
func addLine(p *plot.Plot, pts plotter.XYs, s stroke) error {
	l, err := plotter.NewLine(pts)
	if err != nil {
		return fmt.Errorf("line: %w", err)
	}
	l.Color = s.color
	l.Width = vg.Length(s.width)
	for _, d := range s.dashes {
		l.Dashes = append(l.Dashes, vg.Length(d))
	}
	if s.fill {
		l.FillColor = shade(s.color)
	}
	p.Add(l)
	return nil
}

// A ring marks a point of a plot.
type ring struct{ x, y float64 }

// Plot implements [plot.Plotter].
func (r ring) Plot(c draw.Canvas, p *plot.Plot) {
	const radius = 5
	trX, trY := p.Transforms(&c)
	at := vg.Point{X: trX(r.x), Y: trY(r.y)}
	if !c.Contains(at) {
		return
	}
	var circle vg.Path
	circle.Move(vg.Point{X: at.X + radius, Y: at.Y})
	circle.Arc(at, radius, 0, 2*math.Pi)
	circle.Close()
	c.SetLineStyle(draw.LineStyle{Color: ink, Width: 1.8})
	c.Stroke(circle)
}

// A marker is an upright line through a whole plot with a label.
type marker struct {
	x     float64
	label string
}

// Plot implements [plot.Plotter].
func (m marker) Plot(c draw.Canvas, p *plot.Plot) {
	trX, _ := p.Transforms(&c)
	x := trX(m.x)
	if !c.ContainsX(x) {
		return
	}
	c.StrokeLine2(draw.LineStyle{Color: ink, Width: 1.2, Dashes: []vg.Length{5, 3}}, x, c.Min.Y, x, c.Max.Y)
	style := p.X.Tick.Label
	style.XAlign, style.YAlign = draw.XLeft, draw.YTop
	at := vg.Point{X: x + 4, Y: c.Max.Y}
	if x > c.Min.X+.65*(c.Max.X-c.Min.X) {
		style.XAlign, at.X = draw.XRight, x-4
	}
	c.FillText(style, at, m.label)
}

// A figure is a plot as the page shows it.
type figure struct {
	Title, Caption string
	SVG            template.HTML
	Legend         []legendItem
}

// A legendItem says what a line stands for.
type legendItem struct {
	Label string
	Style template.CSS // of the sample line
	Area  bool
}

func item(label string, s stroke) legendItem {
	css := "stroke:" + variables[s.color] + ";stroke-width:" + strconv.FormatFloat(s.width, 'f', -1, 64)
	for i, d := range s.dashes {
		if i == 0 {
			css += ";stroke-dasharray:"
		} else {
			css += ","
		}
		css += strconv.FormatFloat(d, 'f', -1, 64)
	}
	css += ";fill:none"
	if s.fill {
		css += ";fill:" + variables[s.color] + ";fill-opacity:.3"
	}
	return legendItem{Label: label, Style: template.CSS(css), Area: s.fill}
}

// render draws p as an element of a page. alt says in words what is to be seen.
func render(p *plot.Plot, alt string) (template.HTML, error) {
	c := vgsvg.NewWith(vgsvg.UseWH(plotWidth, plotHeight))
	p.Draw(draw.Crop(draw.New(c), 2, -8, 2, -8))
	var buf bytes.Buffer
	if _, err := c.WriteTo(&buf); err != nil {
		return "", fmt.Errorf("draw plot: %w", err)
	}
	// The prologue and the fixed size give way to what a page needs.
	_, body, found := strings.Cut(buf.String(), "xlink\">")
	if !found {
		return "", fmt.Errorf("draw plot: unknown form of SVG")
	}
	head := fmt.Sprintf(`<svg class="plot" viewBox="0 0 %g %g" role="img" aria-label="%s">`,
		float64(plotWidth), float64(plotHeight), template.HTMLEscapeString(alt))
	return template.HTML(head + strings.TrimSpace(themed.Replace(body))), nil
}
