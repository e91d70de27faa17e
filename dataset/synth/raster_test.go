package synth

import (
	"math"
	"testing"
)

// tolerance for the same formula in another order of operations.
const tolerance = 1e-12

// slowSegment is segment as its formula reads, over every pixel.
func slowSegment(c *canvas, a, b vertex, soft, ink float64) {
	for y := range c.side {
		for x := range c.side {
			px, py := float64(x)+.5, float64(y)+.5
			t := 0.0
			if l := math.Pow(b.x-a.x, 2) + math.Pow(b.y-a.y, 2); l > 0 {
				t = ((px-a.x)*(b.x-a.x) + (py-a.y)*(b.y-a.y)) / l
				t = math.Min(1, math.Max(0, t))
			}
			d := math.Hypot(px-a.x-t*(b.x-a.x), py-a.y-t*(b.y-a.y))
			r := a.radius + t*(b.radius-a.radius)
			v := ink * math.Min(1, math.Max(0, .5-(d-r)/soft))
			c.v[y*c.side+x] = math.Max(c.v[y*c.side+x], v)
		}
	}
}

func TestSegmentMatchesSlow(t *testing.T) {
	r := newStream(3)
	for range 200 {
		side := 8 + r.intn(20)
		spot := func() vertex {
			return vertex{point{r.between(-5, 30), r.between(-5, 30)}, r.between(.2, 4)}
		}
		a, b := spot(), spot()
		if r.chance(.1) {
			b = a
		}
		soft, ink := r.between(.5, 3), r.between(.3, 1)
		fast, slow := newCanvas(side), newCanvas(side)
		fast.segment(a, b, soft, ink)
		slowSegment(slow, a, b, soft, ink)
		for i := range fast.v {
			if math.Abs(fast.v[i]-slow.v[i]) > tolerance {
				t.Fatalf("side %d, from %v to %v, soft %g: pixel %d is %g, want %g", side, a, b, soft, i, fast.v[i], slow.v[i])
			}
		}
	}
}

// Softening keeps the sum of what is away from the border, and leaves flat
// areas alone.
func TestSoften(t *testing.T) {
	c := newCanvas(9)
	c.v[4*9+4] = 1
	c.soften(1)
	want := [3]float64{1. / 4, 1. / 8, 1. / 16} // centre, side, corner
	for dy := -1; dy <= 1; dy++ {
		for dx := -1; dx <= 1; dx++ {
			if got := c.v[(4+dy)*9+4+dx]; got != want[dx*dx+dy*dy] {
				t.Errorf("at %d, %d have %g, want %g", dx, dy, got, want[dx*dx+dy*dy])
			}
		}
	}
	flat := newCanvas(5)
	for i := range flat.v {
		flat.v[i] = .5
	}
	flat.soften(.7)
	for i, v := range flat.v {
		if v != .5 {
			t.Errorf("flat pixel %d became %g", i, v)
		}
	}
}

func TestCloudStaysInRange(t *testing.T) {
	for _, side := range []int{12, 28, 65} {
		c := newCanvas(side)
		c.cloud(newStream(1), 1.5, float64(side)/2.5)
		lo, hi := 1.0, 0.0
		for _, v := range c.v {
			lo, hi = min(lo, v), max(hi, v)
		}
		if lo < 0 || hi > 1 || hi-lo < .3 {
			t.Errorf("side %d: values from %g to %g", side, lo, hi)
		}
	}
}

// Cutting corners keeps the ends and a corner that is given twice.
func TestSmooth(t *testing.T) {
	s := stroke{{0, 0}, {1, 0}, {1, 0}, {1, 1}}.smooth(3)
	if s[0] != (point{0, 0}) || s[len(s)-1] != (point{1, 1}) {
		t.Errorf("ends moved to %v and %v", s[0], s[len(s)-1])
	}
	near := math.Inf(1)
	for _, p := range s {
		near = min(near, math.Hypot(p.x-1, p.y))
	}
	if near > tolerance {
		t.Errorf("the corner is missed by %g", near)
	}
}
