package paper

import (
	"image"
	"image/color"
	"math"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Measures of a montage, in points.
const (
	cellSide    = vg.Length(112) // of a picture
	cellGap     = vg.Length(10)
	labelWidth  = vg.Length(150)
	headHeight  = vg.Length(20)
	lineHeight  = vg.Length(15)
	barHeight   = vg.Length(30)
	margin      = vg.Length(10)
	cellPixels  = int(cellSide) * dotsPerInch / 72
	headingSize = vg.Length(12.5)
)

// A montage is pictures in rows, with titles above and words to the left.
type montage struct {
	columns   []string
	rows      []montageRow
	low, high float64 // of the colours, as shares of the range over the test images
}

// A montageRow is pictures, or a heading of those below.
type montageRow struct {
	heading string
	label   []string
	cells   []image.Image // nil: left empty
}

// panel draws the montage.
func (m montage) panel() panel {
	height := margin + headHeight + barHeight
	for _, r := range m.rows {
		height += r.height()
	}
	width := labelWidth + max(vg.Length(len(m.columns))*(cellSide+cellGap)-cellGap, m.barWidth())
	return panel{width + 2*margin, height, m.draw}
}

func (r montageRow) height() vg.Length {
	if r.heading != "" {
		return headHeight
	}
	return cellSide + cellGap
}

func (m montage) draw(c draw.Canvas) {
	y := c.Max.Y - margin
	left := c.Min.X + margin + labelWidth
	for i, title := range m.columns {
		x := left + vg.Length(i)*(cellSide+cellGap) + cellSide/2
		write(c, vg.Point{X: x, Y: y}, fontSize, draw.XCenter, title)
	}
	y -= headHeight
	for _, r := range m.rows {
		if r.heading != "" {
			write(c, vg.Point{X: c.Min.X + margin, Y: y}, headingSize, draw.XLeft, r.heading)
			y -= r.height()
			continue
		}
		for i, s := range r.label {
			write(c, vg.Point{X: c.Min.X + margin, Y: y - vg.Length(i)*lineHeight}, fontSize, draw.XLeft, s)
		}
		for i, img := range r.cells {
			if img != nil {
				place := vg.Point{X: left + vg.Length(i)*(cellSide+cellGap), Y: y - cellSide}
				drawPicture(c, place, img)
			}
		}
		y -= r.height()
	}
	m.drawBar(c, vg.Point{X: left, Y: y})
}

// ends say what the first and the last colour are.
func (m montage) ends() (low, high string) {
	return weight(m.low) + " or less", weight(m.high) + " or more of the range over the test images"
}

const (
	barColors = 2 * cellSide
	barGap    = vg.Length(8)
)

func (m montage) barWidth() vg.Length {
	low, high := m.ends()
	return widthOf(fontSize, low) + barGap + barColors + barGap + widthOf(fontSize, high)
}

// drawBar draws the scale of the colours.
func (m montage) drawBar(c draw.Canvas, at vg.Point) {
	const height = vg.Length(10)
	low, high := m.ends()
	img := image.NewRGBA(image.Rect(0, 0, 256, 1))
	for x := range 256 {
		img.SetRGBA(x, 0, heat(float64(x)/255))
	}
	at.Y -= height + 8
	x := at.X + widthOf(fontSize, low) + barGap
	write(c, vg.Point{X: at.X, Y: at.Y + height + 1}, fontSize, draw.XLeft, low)
	c.DrawImage(vg.Rectangle{Min: vg.Point{X: x, Y: at.Y}, Max: vg.Point{X: x + barColors, Y: at.Y + height}}, enlarge(img, 2, 20))
	write(c, vg.Point{X: x + barColors + barGap, Y: at.Y + height + 1}, fontSize, draw.XLeft, high)
}

// drawPicture draws img in its proportions in the middle of a cell, in a thin frame.
func drawPicture(c draw.Canvas, at vg.Point, img image.Image) {
	b := img.Bounds()
	long := float64(max(b.Dx(), b.Dy()))
	w, h := cellSide*vg.Length(float64(b.Dx())/long), cellSide*vg.Length(float64(b.Dy())/long)
	r := vg.Rectangle{Min: vg.Point{X: at.X + (cellSide-w)/2, Y: at.Y + (cellSide-h)/2}}
	r.Max = vg.Point{X: r.Min.X + w, Y: r.Min.Y + h}
	c.DrawImage(r, img)
	c.SetLineStyle(draw.LineStyle{Color: faint, Width: .7})
	c.Stroke(r.Path())
}

// heat is the colour map "gist_heat" of matplotlib, which the paper's figures have:
// black over red and orange to white. v is cut off at 0 and 1.
func heat(v float64) color.RGBA {
	v = min(max(v, 0), 1)
	channel := func(x float64) uint8 { return uint8(255*min(max(x, 0), 1) + .5) }
	return color.RGBA{channel(1.5 * v), channel(2*v - 1), channel(4*v - 3), 0xff}
}

// pictureOf returns pix, in the order C, H, W with values in [0, 1], at about the size
// of a cell. Three channels are red, green and blue; of others the mean is shown in grey.
func pictureOf(s dataset.Shape, pix []float32) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, s.W, s.H))
	n := s.H * s.W
	level := func(v float64) uint8 { return uint8(255*min(max(v, 0), 1) + .5) }
	for i := range n {
		rgb := [3]uint8{}
		if s.C == 3 {
			for c := range rgb {
				rgb[c] = level(float64(pix[c*n+i]))
			}
		} else {
			var sum float64
			for c := range s.C {
				sum += float64(pix[c*n+i])
			}
			grey := level(sum / float64(s.C))
			rgb = [3]uint8{grey, grey, grey}
		}
		img.SetRGBA(i%s.W, i/s.W, color.RGBA{rgb[0], rgb[1], rgb[2], 0xff})
	}
	return fit(img)
}

// mapOf returns a map of s in the colours of heat: low and high are shares of its
// range over the test images.
func mapOf(s dataset.Shape, values []float32, r nln.Range, low, high float64) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, s.W, s.H))
	for i, v := range values {
		share := 0.
		if r.Max > r.Min {
			share = (float64(v) - r.Min) / (r.Max - r.Min)
		}
		img.SetRGBA(i%s.W, i/s.W, heat((share-low)/(high-low)))
	}
	return fit(img)
}

// maskOf returns a mask in white on black.
func maskOf(s dataset.Shape, mask []byte) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, s.W, s.H))
	for i, v := range mask {
		c := color.RGBA{A: 0xff}
		if v != 0 {
			c = color.RGBA{0xff, 0xff, 0xff, 0xff}
		}
		img.SetRGBA(i%s.W, i/s.W, c)
	}
	return fit(img)
}

// fit enlarges a small image by a whole factor, so that its pixels are squares, and
// averages a large one in whole blocks, to about the pixels of a cell.
func fit(img *image.RGBA) *image.RGBA {
	long := max(img.Bounds().Dx(), img.Bounds().Dy())
	if long < cellPixels {
		zoom := (cellPixels + long - 1) / long
		return enlarge(img, zoom, zoom)
	}
	return reduce(img, max(1, int(math.Round(float64(long)/float64(cellPixels)))))
}

// enlarge repeats each pixel dx times to the right and dy times down.
func enlarge(img *image.RGBA, dx, dy int) *image.RGBA {
	b := img.Bounds()
	out := image.NewRGBA(image.Rect(0, 0, b.Dx()*dx, b.Dy()*dy))
	for y := range b.Dy() * dy {
		for x := range b.Dx() * dx {
			out.SetRGBA(x, y, img.RGBAAt(x/dx, y/dy))
		}
	}
	return out
}

// reduce averages blocks of n by n pixels; what is left over at the right and the
// bottom goes to the last blocks.
func reduce(img *image.RGBA, n int) *image.RGBA {
	b := img.Bounds()
	if n == 1 {
		return img
	}
	w, h := max(1, b.Dx()/n), max(1, b.Dy()/n)
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			var sum [3]int
			x0, x1, y0, y1 := x*b.Dx()/w, (x+1)*b.Dx()/w, y*b.Dy()/h, (y+1)*b.Dy()/h
			for j := y0; j < y1; j++ {
				for i := x0; i < x1; i++ {
					c := img.RGBAAt(i, j)
					sum[0], sum[1], sum[2] = sum[0]+int(c.R), sum[1]+int(c.G), sum[2]+int(c.B)
				}
			}
			area := (x1 - x0) * (y1 - y0)
			out.SetRGBA(x, y, color.RGBA{uint8(sum[0] / area), uint8(sum[1] / area), uint8(sum[2] / area), 0xff})
		}
	}
	return out
}

// outlineColor does not occur in heat, nor often in photographs.
var outlineColor = color.RGBA{0x33, 0xcc, 0xff, 0xff}

// outline draws the border of a mask of size s onto a picture of it.
func outline(img *image.RGBA, s dataset.Shape, mask []byte) *image.RGBA {
	if mask == nil {
		return img
	}
	b := img.Bounds()
	in := func(x, y int) bool {
		if x < 0 || y < 0 || x >= b.Dx() || y >= b.Dy() {
			return false
		}
		return mask[y*s.H/b.Dy()*s.W+x*s.W/b.Dx()] != 0
	}
	const thick = 2
	for y := range b.Dy() {
		for x := range b.Dx() {
			if !in(x, y) {
				continue
			}
			if !in(x-thick, y) || !in(x+thick, y) || !in(x, y-thick) || !in(x, y+thick) {
				img.SetRGBA(x, y, outlineColor)
			}
		}
	}
	return img
}
