package synth

import "math"

// A canvas holds one value in [0, 1] for each pixel of a square, row-major.
type canvas struct {
	side int
	v    []float64 // len side*side
}

func newCanvas(side int) *canvas { return &canvas{side, make([]float64, side*side)} }

func (c *canvas) clone() *canvas {
	return &canvas{c.side, append([]float64(nil), c.v...)}
}

// window returns the pixels within reach of a box, cut to the canvas.
func (c *canvas) window(x0, y0, x1, y1, reach float64) (left, top, right, bottom int) {
	last := float64(c.side)
	left = int(clamp(math.Floor(x0-reach), 0, last))
	top = int(clamp(math.Floor(y0-reach), 0, last))
	right = int(clamp(math.Ceil(x1+reach), 0, last))
	bottom = int(clamp(math.Ceil(y1+reach), 0, last))
	return left, top, right, bottom
}

// line draws a line of round pen marks: the value of a pixel is raised to how
// much of it lies within the pen's radius of the line, by the distance of its
// centre, over an edge of soft pixels, times ink.
func (c *canvas) line(line []vertex, soft, ink float64) {
	for i := range len(line) - 1 {
		c.segment(line[i], line[i+1], soft, ink)
	}
}

func (c *canvas) segment(a, b vertex, soft, ink float64) {
	reach := max(a.radius, b.radius) + soft
	left, top, right, bottom := c.window(min(a.x, b.x), min(a.y, b.y), max(a.x, b.x), max(a.y, b.y), reach)
	ex, ey := b.x-a.x, b.y-a.y
	length2 := mul(ex, ex) + mul(ey, ey)
	for y := top; y < bottom; y++ {
		row := c.v[y*c.side:]
		py := float64(y) + .5 - a.y
		for x := left; x < right; x++ {
			px := float64(x) + .5 - a.x
			t := 0.0
			if length2 > 0 {
				t = clamp((mul(px, ex)+mul(py, ey))/length2, 0, 1)
			}
			dx, dy := px-mul(t, ex), py-mul(t, ey)
			d := math.Sqrt(mul(dx, dx)+mul(dy, dy)) - mix(a.radius, b.radius, t)
			if cover := mul(ink, clamp(.5-d/soft, 0, 1)); cover > row[x] {
				row[x] = cover
			}
		}
	}
}

// soften mixes each pixel with the binomial mean (1 2 1)/4 of its row and
// column, by weight w.
func (c *canvas) soften(w float64) {
	n := c.side
	mean := func(i, before, after int) float64 { return (c.v[before] + 2*c.v[i] + c.v[after]) / 4 }
	rows := newCanvas(n)
	for y := range n {
		for x := range n {
			i := y*n + x
			rows.v[i] = mean(i, y*n+max(x-1, 0), y*n+min(x+1, n-1))
		}
	}
	for y := range n {
		for x := range n {
			i := y*n + x
			m := (rows.v[max(y-1, 0)*n+x] + 2*rows.v[i] + rows.v[min(y+1, n-1)*n+x]) / 4
			c.v[i] = mix(c.v[i], m, w)
		}
	}
}

// cloud fills the canvas with smooth random values, about one hill or dale in
// each cell of cellX by cellY pixels, in [0, 1].
func (c *canvas) cloud(r *stream, cellX, cellY float64) {
	nx, ny := int(float64(c.side)/cellX)+2, int(float64(c.side)/cellY)+2
	knots := make([]float64, nx*ny)
	for i := range knots {
		knots[i] = r.float()
	}
	for y := range c.side {
		j, ty := cell(y, cellY)
		for x := range c.side {
			i, tx := cell(x, cellX)
			k := knots[j*nx+i:]
			c.v[y*c.side+x] = mix(mix(k[0], k[1], tx), mix(k[nx], k[nx+1], tx), ty)
		}
	}
}

// cell returns the cell of a pixel and how far it lies towards the next, eased
// so that the slope is 0 at both ends.
func cell(pixel int, size float64) (int, float64) {
	at := float64(pixel) / size
	whole := math.Floor(at)
	t := at - whole
	return int(whole), mul(mul(t, t), 3-2*t)
}
