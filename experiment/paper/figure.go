package paper

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
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A figure is panels of one size: side by side in a file, and one by one in a page,
// where a narrow screen has them below each other.
type figure struct {
	name    string
	caption string
	alt     string // what is to be seen, in words
	panels  []panel
	across  int  // panels in a row of a file
	picture bool // of pixels: a page has it as PNG
}

// A panel draws itself onto a canvas of its size.
type panel struct {
	width, height vg.Length
	draw          func(c draw.Canvas)
}

var (
	ink   = color.NRGBA{0x1f, 0x23, 0x28, 0xff}
	faint = color.NRGBA{0xd8, 0xde, 0xe4, 0xff}
)

const (
	dotsPerInch = 144 // of PNG files
	fontSize    = vg.Length(11)
	panelGap    = vg.Length(14)
)

func letters(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// write draws a line of text with its top left, or centre or right, at p.
func write(c draw.Canvas, p vg.Point, size vg.Length, align text.XAlignment, s string) {
	c.FillText(text.Style{Color: ink, Font: letters(size), Handler: plot.DefaultTextHandler, XAlign: align, YAlign: draw.YTop}, p, s)
}

// widthOf returns how wide a line of text is.
func widthOf(size vg.Length, s string) vg.Length {
	style := text.Style{Font: letters(size), Handler: plot.DefaultTextHandler}
	return style.Width(s)
}

// size returns the size of the figure in one piece.
func (f *figure) size() (width, height vg.Length) {
	across := min(f.across, len(f.panels))
	down := (len(f.panels) + across - 1) / across
	p := f.panels[0]
	return vg.Length(across)*(p.width+panelGap) - panelGap, vg.Length(down)*(p.height+panelGap) - panelGap
}

// compose draws all panels on white.
func (f *figure) compose(canvas vg.CanvasSizer) {
	c := draw.New(canvas)
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	for i, p := range f.panels {
		x := c.Min.X + vg.Length(i%f.across)*(p.width+panelGap)
		y := c.Max.Y - vg.Length(i/f.across)*(p.height+panelGap)
		p.draw(draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{Min: vg.Point{X: x, Y: y - p.height}, Max: vg.Point{X: x + p.width, Y: y}}})
	}
}

// png returns the figure as a PNG file.
func (f *figure) png() ([]byte, error) {
	w, h := f.size()
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(dotsPerInch))}
	f.compose(canvas)
	var buf bytes.Buffer
	if _, err := canvas.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("%s: encode: %w", f.name, err)
	}
	return buf.Bytes(), nil
}

// svg returns the figure as an SVG file.
func (f *figure) svg() ([]byte, error) {
	w, h := f.size()
	return drawSVG(f.name, w, h, f.compose)
}

func drawSVG(name string, w, h vg.Length, draw func(vg.CanvasSizer)) ([]byte, error) {
	canvas := vgsvg.NewWith(vgsvg.UseWH(w, h))
	draw(canvas)
	var buf bytes.Buffer
	if _, err := canvas.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("%s: encode: %w", name, err)
	}
	// A viewer without the font must not fall back to one with serifs, and gonum
	// calls its embedded PNG files JPEG.
	return svgFixes(buf.Bytes()), nil
}

func svgFixes(svg []byte) []byte {
	svg = bytes.ReplaceAll(svg, []byte("font-family:Liberation Sans"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif"))
	return bytes.ReplaceAll(svg, []byte("data:image/jpg;base64,"), []byte("data:image/png;base64,"))
}

// inline returns each panel as an element of a page.
func (f *figure) inline() ([]template.HTML, error) {
	var all []template.HTML
	for _, p := range f.panels {
		one := figure{name: f.name, panels: []panel{p}, across: 1}
		svg, err := one.svg()
		if err != nil {
			return nil, err
		}
		_, body, found := strings.Cut(string(svg), "xlink\">")
		if !found {
			return nil, fmt.Errorf("%s: unknown form of SVG", f.name)
		}
		head := fmt.Sprintf(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`,
			float64(p.width), float64(p.height), template.HTMLEscapeString(f.alt))
		all = append(all, template.HTML(head+strings.TrimSpace(body)))
	}
	return all, nil
}

// A line is points of a plot with a mark at each.
type line struct {
	label  string
	points plotter.XYs // by X
}

// looks of lines, by number: the colours of Masataka Okabe and Kei Ito, which
// colour-blind readers can tell apart (https://jfly.uni-koeln.de/color/), and marks and
// dashes for those who print.
var looks = []struct {
	color  color.NRGBA
	dashes []vg.Length
	mark   draw.GlyphDrawer
}{
	{color.NRGBA{0x00, 0x72, 0xb2, 0xff}, nil, draw.CircleGlyph{}},
	{color.NRGBA{0xd5, 0x5e, 0x00, 0xff}, []vg.Length{6, 3}, draw.BoxGlyph{}},
	{color.NRGBA{0x00, 0x9e, 0x73, 0xff}, []vg.Length{2, 2}, draw.TriangleGlyph{}},
	{color.NRGBA{0xcc, 0x79, 0xa7, 0xff}, []vg.Length{8, 3, 2, 3}, draw.SquareGlyph{}},
	{color.NRGBA{0xe6, 0x9f, 0x00, 0xff}, []vg.Length{1, 2}, draw.RingGlyph{}},
	{color.NRGBA{0x56, 0xb4, 0xe9, 0xff}, []vg.Length{10, 2}, draw.CrossGlyph{}},
}

// A chart is one plot with its axes.
type chart struct {
	title, x, y string
	xTicks      []plot.Tick
	xMin, xMax  float64
	lines       []line
}

const (
	chartWidth  = vg.Length(330)
	chartHeight = vg.Length(290)
	legendRow   = vg.Length(15)
	legendLine  = vg.Length(26)
)

// panel returns the chart with its legend below.
func (ch chart) panel() panel {
	return panel{chartWidth, chartHeight, ch.draw}
}

func (ch chart) draw(c draw.Canvas) {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text = ch.title
	p.Title.TextStyle.Font = letters(12.5)
	p.Title.Padding = 5
	p.X.Label.Text, p.Y.Label.Text = ch.x, ch.y
	p.X.Min, p.X.Max = ch.xMin, ch.xMax
	p.X.Tick.Marker = plot.ConstantTicks(ch.xTicks)
	p.Y.Min, p.Y.Max = ch.span()
	p.Y.Tick.Marker = evenTicks{}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Padding = 0
		a.Color, a.Tick.Color = ink, ink
		a.Tick.Length = 3
		a.Label.Padding = 3
		a.Label.TextStyle.Font, a.Tick.Label.Font = letters(fontSize), letters(fontSize)
		a.Label.TextStyle.Color, a.Tick.Label.Color = ink, ink
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, faint
	grid.Vertical.Width, grid.Horizontal.Width = .7, .7
	p.Add(grid)
	for i, l := range ch.lines {
		p.Add(strokeOf(l, i))
	}
	legend := ch.legend()
	height := vg.Length(len(legend))*legendRow + 4
	p.Draw(draw.Crop(c, 2, -10, height, -2))
	for row, items := range legend {
		x := c.Min.X + 36
		for _, i := range items {
			y := c.Min.Y + height - vg.Length(row)*legendRow - legendRow/2
			look := looks[i%len(looks)]
			c.StrokeLine2(draw.LineStyle{Color: look.color, Width: 1.8, Dashes: look.dashes}, x, y, x+legendLine, y)
			c.DrawGlyph(draw.GlyphStyle{Color: look.color, Radius: 3, Shape: look.mark}, vg.Point{X: x + legendLine/2, Y: y})
			write(c, vg.Point{X: x + legendLine + 5, Y: y + fontSize/2 + 1}, fontSize, draw.XLeft, ch.lines[i].label)
			x += legendLine + 5 + widthOf(fontSize, ch.lines[i].label) + 14
		}
	}
}

// legend returns the numbers of the lines in rows that fit below the chart.
func (ch chart) legend() [][]int {
	var rows [][]int
	room := vg.Length(0)
	for i, l := range ch.lines {
		w := legendLine + 5 + widthOf(fontSize, l.label) + 14
		if len(rows) == 0 || w > room {
			rows = append(rows, nil)
			room = chartWidth - 36
		}
		room -= w
		rows[len(rows)-1] = append(rows[len(rows)-1], i)
	}
	return rows
}

// evenTicks are gonum's ticks, with as many decimals in all labels as one needs.
type evenTicks struct{}

// Ticks implements [plot.Ticker].
func (evenTicks) Ticks(lo, hi float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(lo, hi)
	decimals := 0
	for _, t := range ticks {
		if _, after, ok := strings.Cut(t.Label, "."); ok {
			decimals = max(decimals, len(after))
		}
	}
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'f', decimals, 64)
		}
	}
	return ticks
}

// span returns a range that holds all values, with some room.
func (ch chart) span() (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, l := range ch.lines {
		for _, p := range l.points {
			lo, hi = min(lo, p.Y), max(hi, p.Y)
		}
	}
	room := max(.005, .08*(hi-lo))
	return max(0, lo-room), min(1, hi+room)
}

// strokeOf draws a line with its marks.
func strokeOf(l line, number int) plot.Plotter {
	look := looks[number%len(looks)]
	return marked{l.points, draw.LineStyle{Color: look.color, Width: 1.8, Dashes: look.dashes}, draw.GlyphStyle{Color: look.color, Radius: 3.2, Shape: look.mark}}
}

// marked is a line with marks, as a plotter. plotter.NewLinePoints refuses values that
// are not finite, of which there are none here.
type marked struct {
	points plotter.XYs
	line   draw.LineStyle
	mark   draw.GlyphStyle
}

// Plot implements [plot.Plotter].
func (m marked) Plot(c draw.Canvas, p *plot.Plot) {
	trX, trY := p.Transforms(&c)
	var at []vg.Point
	for _, pt := range m.points {
		at = append(at, vg.Point{X: trX(pt.X), Y: trY(pt.Y)})
	}
	if len(at) > 1 {
		c.StrokeLines(m.line, at)
	}
	for _, pt := range at {
		c.DrawGlyph(m.mark, pt)
	}
}
