package synth

// A point lies in the unit square of a glyph, x to the right and y down, or,
// once placed, in an image, in pixels.
type point struct{ x, y float64 }

// A stroke is one movement of the pen, as the control points of a curve; a
// point given twice makes a corner.
type stroke []point

// glyphs are the classes, each in the forms in which hands write it. They are
// drawn for this package, after the ten digits: 1 and 7, 3 and 8, 4 and 9, 5
// and 6, 0 and 6 share much of their strokes, so that no class is told from
// all others by a glance at a few pixels.
var glyphs = [10][][]stroke{
	0: {
		{{{.58, .03}, {.38, -.01}, {.20, .22}, {.13, .54}, {.20, .86}, {.44, 1.02}, {.70, .94}, {.85, .66}, {.86, .30}, {.68, .04}, {.50, .03}}},
		{{{.44, .06}, {.22, .16}, {.10, .46}, {.16, .82}, {.40, 1.0}, {.66, .98}, {.86, .72}, {.88, .34}, {.70, .05}, {.48, -.01}, {.34, .10}}},
		{{{.66, .12}, {.50, -.02}, {.28, .10}, {.14, .42}, {.16, .80}, {.36, 1.02}, {.62, .96}, {.82, .72}, {.84, .34}, {.72, .08}, {.56, .02}, {.46, .14}}},
	},
	1: {
		{{{.52, .04}, {.50, .50}, {.48, .96}}},
		{{{.54, .04}, {.50, .48}, {.50, .96}}},
		{{{.30, .26}, {.46, .16}, {.54, .04}, {.54, .04}, {.52, .50}, {.52, .96}}},
		{{{.32, .22}, {.54, .05}, {.54, .05}, {.52, .50}, {.52, .94}}, {{.32, .95}, {.50, .94}, {.72, .95}}},
	},
	2: {
		{{{.20, .26}, {.24, .02}, {.72, .00}, {.80, .34}, {.56, .62}, {.18, .92}, {.18, .92}, {.46, .90}, {.84, .92}}},
		{{{.18, .22}, {.40, -.02}, {.84, .08}, {.74, .48}, {.48, .80}, {.22, .98}, {.10, .80}, {.34, .74}, {.56, .90}, {.86, .92}}},
		{{{.24, .14}, {.56, .00}, {.84, .16}, {.70, .54}, {.24, .94}, {.24, .94}, {.82, .88}}},
	},
	3: {
		{{{.22, .14}, {.46, -.04}, {.86, .10}, {.76, .42}, {.40, .47}, {.40, .47}, {.84, .50}, {.88, .90}, {.50, 1.02}, {.16, .86}}},
		{{{.24, .08}, {.50, .02}, {.80, .08}, {.74, .34}, {.46, .46}, {.84, .52}, {.86, .96}, {.46, .98}, {.18, .90}}},
		{{{.20, .20}, {.40, -.02}, {.84, .06}, {.78, .46}, {.50, .50}, {.80, .58}, {.82, .92}, {.44, 1.0}, {.20, .80}}},
	},
	4: {
		{{{.30, .06}, {.24, .34}, {.18, .58}, {.18, .58}, {.50, .58}, {.84, .54}}, {{.68, .06}, {.64, .50}, {.60, .98}}},
		{{{.26, .08}, {.20, .62}, {.56, .60}, {.76, .44}}, {{.76, .08}, {.74, .50}, {.68, .98}}},
		{{{.66, .04}, {.40, .32}, {.14, .64}, {.14, .64}, {.50, .63}, {.88, .62}}, {{.66, .04}, {.64, .50}, {.62, .98}}},
	},
	5: {
		{{{.78, .06}, {.32, .08}, {.32, .08}, {.26, .46}, {.26, .46}, {.60, .34}, {.88, .58}, {.76, .98}, {.40, 1.0}, {.16, .88}}},
		{{{.34, .08}, {.28, .46}, {.28, .46}, {.70, .36}, {.86, .66}, {.70, 1.0}, {.20, .96}}, {{.34, .08}, {.56, .10}, {.80, .04}}},
		{{{.80, .10}, {.48, .06}, {.30, .20}, {.32, .46}, {.78, .52}, {.80, .90}, {.50, 1.02}, {.18, .86}}},
	},
	6: {
		{{{.66, .02}, {.38, .20}, {.16, .66}, {.26, 1.0}, {.66, 1.0}, {.84, .70}, {.62, .46}, {.34, .56}, {.24, .78}}},
		{{{.50, .02}, {.26, .32}, {.16, .80}, {.42, 1.04}, {.82, .92}, {.78, .54}, {.42, .50}, {.24, .76}}},
		{{{.76, .10}, {.50, -.02}, {.18, .44}, {.20, .96}, {.60, 1.02}, {.84, .80}, {.68, .52}, {.30, .60}}},
	},
	7: {
		{{{.18, .12}, {.48, .08}, {.80, .10}, {.80, .10}, {.62, .44}, {.44, .96}}},
		{{{.18, .20}, {.22, .08}, {.50, .10}, {.82, .06}, {.70, .40}, {.50, .96}}},
		{{{.18, .10}, {.48, .10}, {.80, .08}, {.80, .08}, {.60, .48}, {.46, .96}}, {{.36, .52}, {.56, .50}, {.76, .50}}},
	},
	8: {
		{{{.72, .16}, {.56, -.02}, {.24, .04}, {.26, .36}, {.54, .50}, {.86, .66}, {.80, 1.02}, {.46, 1.02}, {.14, .92}, {.24, .60}, {.54, .46}, {.76, .30}, {.70, .10}}},
		{{{.50, .46}, {.20, .30}, {.34, -.02}, {.70, .00}, {.82, .28}, {.50, .48}, {.14, .70}, {.28, 1.02}, {.74, 1.02}, {.86, .70}, {.48, .46}}},
		{{{.78, .10}, {.46, -.04}, {.18, .20}, {.46, .46}, {.80, .66}, {.70, 1.02}, {.28, 1.00}, {.28, .68}, {.60, .40}, {.80, .08}}},
	},
	9: {
		{{{.74, .24}, {.60, -.02}, {.22, .06}, {.18, .42}, {.48, .56}, {.78, .34}, {.76, .14}, {.74, .60}, {.66, .98}}},
		{{{.76, .16}, {.46, -.04}, {.16, .24}, {.32, .56}, {.72, .44}, {.78, .14}, {.78, .54}, {.70, .94}, {.34, .98}}},
		{{{.70, .10}, {.36, .00}, {.16, .36}, {.46, .54}, {.76, .22}, {.76, .22}, {.70, .60}, {.58, .98}}},
	},
}

// smooth rounds a control polygon off by cutting its corners (Chaikin 1974),
// which needs no more than weighted means: the curve tends to the quadratic
// B-spline of the points and keeps both ends.
func (s stroke) smooth(rounds int) stroke {
	for range rounds {
		cut := make(stroke, 0, 2*len(s))
		cut = append(cut, s[0])
		for i := range len(s) - 1 {
			a, b := s[i], s[i+1]
			cut = append(cut,
				point{mix(a.x, b.x, .25), mix(a.y, b.y, .25)},
				point{mix(a.x, b.x, .75), mix(a.y, b.y, .75)})
		}
		s = append(cut, s[len(s)-1])
	}
	return s
}

// A hand is how one image is written: everything that differs between two
// writings of the same form.
type hand struct {
	shake        float64 // standard deviation of control points, in glyph units
	bendX, bendY [2]float64
	aspect       float64 // width of the glyph relative to its height
	slant        float64 // x moved right per unit of y upwards
	cos, sin     float64 // rotation
	scale        float64 // pixels per glyph unit
	center       point   // in pixels
	radius       float64 // of the pen, in pixels
}

// newHand draws a hand for images of the given side in pixels.
func newHand(r *stream, side float64) hand {
	var h hand
	h.shake = r.between(.015, .055)
	h.bendX = [2]float64{r.normal(.20), r.normal(.20)}
	h.bendY = [2]float64{r.normal(.17), r.normal(.17)}
	h.aspect = r.between(.58, 1.04)
	h.slant = .14 + r.normal(.24)
	// The half-angle tangent gives a rotation out of products and a quotient.
	t := clamp(r.normal(.075), -.2, .2)
	h.cos = (1 - mul(t, t)) / (1 + mul(t, t))
	h.sin = 2 * t / (1 + mul(t, t))
	h.scale = mul(side, r.between(.58, .76))
	h.center = point{
		mul(side, .5+r.normal(.026)),
		mul(side, .5+r.normal(.026)),
	}
	h.radius = mul(side, r.between(.030, .062))
	return h
}

// place maps a point of the glyph to the image.
func (h *hand) place(p point) point {
	u, v := p.x-.5, p.y-.5
	// A second-degree warp bends straight strokes and makes loops uneven.
	bu := u + mul(h.bendX[0], mul(v, v)) + mul(h.bendX[1], mul(u, v))
	bv := v + mul(h.bendY[0], mul(u, u)) + mul(h.bendY[1], mul(u, v))
	su := mul(bu, h.aspect) - mul(bv, h.slant)
	x := mul(su, h.cos) - mul(bv, h.sin)
	y := mul(su, h.sin) + mul(bv, h.cos)
	return point{h.center.x + mul(h.scale, x), h.center.y + mul(h.scale, y)}
}

// A vertex is a point of a drawn line with the pen's radius there, in pixels.
type vertex struct {
	point
	radius float64
}

// write returns the strokes of one writing of class c, ready to draw.
func (h *hand) write(r *stream, c int) [][]vertex {
	forms := glyphs[c]
	form := forms[r.intn(len(forms))]
	var lines [][]vertex
	for _, s := range form {
		shaken := make(stroke, len(s))
		for i, p := range s {
			if i > 0 && p == s[i-1] { // both points of a corner move together
				shaken[i] = shaken[i-1]
				continue
			}
			shaken[i] = h.place(point{p.x + r.normal(h.shake), p.y + r.normal(h.shake)})
		}
		lines = append(lines, h.press(r, shaken.smooth(3)))
	}
	return lines
}

// press gives each point of a line its radius: the pressure of the pen wanders
// along the line and eases at its ends.
func (h *hand) press(r *stream, s stroke) []vertex {
	line := make([]vertex, len(s))
	from, to := 1+r.normal(.12), 1+r.normal(.12)
	for i, p := range s {
		t := float64(i) / float64(len(s)-1)
		line[i] = vertex{p, mul(h.radius, mix(from, to, t))}
	}
	line[0].radius = mul(line[0].radius, .8)
	line[len(s)-1].radius = mul(line[len(s)-1].radius, .7)
	return line
}
