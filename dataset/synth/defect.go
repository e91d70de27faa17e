package synth

import "math"

// A defect changes a small part of a scene. It returns the painted planes.
type defect struct {
	name string
	make func(sc *scene, r *stream) []*canvas
}

// defects in the order of their names, as a reader of the layout sorts them.
var defects = []defect{
	{"blot", blot},
	{"hole", hole},
	{"scratch", scratch},
	{"smear", smear},
	{"stroke", extraStroke},
}

// Defects returns the kinds of defects, sorted:
//
//	blot     a drop of ink on or beside the glyph
//	hole     a bit of a stroke that is missing
//	scratch  a thin line across the image, lighter or darker than what it crosses
//	smear    a part of a stroke that was wiped while wet
//	stroke   a short stroke that does not belong to the glyph
func Defects() []string {
	var names []string
	for _, d := range defects {
		names = append(names, d.name)
	}
	return names
}

const (
	// maskThreshold is the difference from the clean image, in 1/255 in any
	// channel, over which a pixel counts as changed: what an eye sees.
	maskThreshold = 32

	// A defect is drawn anew until its mask has between these parts of all
	// pixels, so that it is neither invisible nor glaring.
	minMask = 1.0 / 150
	maxMask = 1.0 / 12

	// defectTries bounds the drawing anew. Few images need more than five.
	defectTries = 100
)

// spoil returns the bytes of the scene with a defect, and the mask of the
// pixels that differ visibly from the clean bytes, 255 where they do. If no try
// meets the bounds on the mask the nearest to them is taken.
func (sc *scene) spoil(d defect, id imageID) (pix, mask []uint8) {
	clean := sc.bytes(sc.paint(sc.cover))
	r := id.stream(streamDefect)
	n := sc.side * sc.side
	least := math.Inf(1)
	for range defectTries {
		p := sc.bytes(d.make(sc, r))
		m, changed := changedMask(clean, p, n)
		part := float64(changed) / float64(n)
		off := max(minMask-part, part-maxMask, 0)
		if off < least {
			pix, mask, least = p, m, off
		}
		if off == 0 {
			break
		}
	}
	return pix, mask
}

// changedMask marks the pixels that differ by more than maskThreshold in any
// channel, and counts them.
func changedMask(a, b []uint8, n int) (mask []uint8, count int) {
	mask = make([]uint8, n)
	for i := range a {
		if d := int(a[i]) - int(b[i]); (d > maskThreshold || d < -maskThreshold) && mask[i%n] == 0 {
			mask[i%n] = 255
			count++
		}
	}
	return mask, count
}

// onGlyph picks a point of the glyph's lines, away from their ends.
func (sc *scene) onGlyph(r *stream) vertex {
	line := sc.lines[r.intn(len(sc.lines))]
	return line[1+r.intn(len(line)-2)]
}

func (sc *scene) scaled(r *stream, lo, hi float64) float64 {
	return mul(float64(sc.side), r.between(lo, hi))
}

// step returns p moved by length pixels in a random direction, drawn from the
// square and projected: no sine is needed.
func step(r *stream, p point, length float64) point {
	dx, dy := r.between(-1, 1), r.between(-1, 1)
	norm := math.Sqrt(mul(dx, dx) + mul(dy, dy))
	if norm < .05 {
		return point{p.x + length, p.y}
	}
	return point{p.x + mul(length, dx/norm), p.y + mul(length, dy/norm)}
}

func blot(sc *scene, r *stream) []*canvas {
	cover := sc.cover.clone()
	at := step(r, sc.onGlyph(r).point, sc.scaled(r, .02, .12))
	size := sc.scaled(r, .035, .065)
	for range 3 + r.intn(3) { // overlapping drops make an uneven outline
		p := step(r, at, mul(size, r.between(0, .8)))
		drop := vertex{p, mul(size, r.between(.5, 1))}
		cover.segment(drop, drop, sc.soft, r.between(.75, 1))
	}
	return sc.paint(cover)
}

func hole(sc *scene, r *stream) []*canvas {
	at := sc.onGlyph(r)
	gone := newCanvas(sc.side)
	at.radius = mul(at.radius, r.between(1.2, 1.7)) + sc.scaled(r, .005, .03)
	far := vertex{step(r, at.point, mul(at.radius, .5)), at.radius}
	gone.segment(at, far, sc.soft, r.between(.8, 1))
	cover := sc.cover.clone()
	for i, g := range gone.v {
		cover.v[i] = mul(cover.v[i], 1-g)
	}
	return sc.paint(cover)
}

func scratch(sc *scene, r *stream) []*canvas {
	from := step(r, sc.onGlyph(r).point, sc.scaled(r, .10, .30))
	over := sc.onGlyph(r).point
	bent := point{over.x + sc.scaled(r, -.05, .05), over.y + sc.scaled(r, -.05, .05)}
	to := point{2*over.x - from.x, 2*over.y - from.y}
	width := max(.35, sc.scaled(r, .008, .016))
	var line []vertex
	for _, p := range (stroke{from, bent, to}).smooth(3) {
		line = append(line, vertex{p, width})
	}
	mark := newCanvas(sc.side)
	mark.line(line, max(1, sc.soft/2), r.between(.45, .8))
	planes := sc.paint(sc.cover)
	for _, plane := range planes {
		for i, m := range mark.v {
			// Dark places become lighter and light ones darker.
			plane.v[i] = mix(plane.v[i], 1-plane.v[i], mul(m, .9))
		}
	}
	return planes
}

func extraStroke(sc *scene, r *stream) []*canvas {
	start := step(r, sc.onGlyph(r).point, sc.scaled(r, 0, .10))
	middle := step(r, start, sc.scaled(r, .08, .16))
	end := step(r, middle, sc.scaled(r, .06, .16))
	radius := mul(sc.onGlyph(r).radius, r.between(.7, 1))
	var line []vertex
	for _, p := range (stroke{start, middle, end}).smooth(3) {
		line = append(line, vertex{p, radius})
	}
	cover := sc.cover.clone()
	cover.line(line, sc.soft, r.between(.65, .95))
	return sc.paint(cover)
}

// smear drags the ink within a soft disc: each pixel there becomes the mean of
// the ink along a line to one side of it.
func smear(sc *scene, r *stream) []*canvas {
	const taps = 8
	at := sc.onGlyph(r).point
	reach := step(r, point{}, sc.scaled(r, .14, .26))
	disc := newCanvas(sc.side)
	center := vertex{at, sc.scaled(r, .09, .15)}
	disc.segment(center, center, sc.scaled(r, .06, .12), 1)
	cover := sc.cover.clone()
	for y := range sc.side {
		for x := range sc.side {
			i := y*sc.side + x
			if disc.v[i] == 0 {
				continue
			}
			sum := 0.0
			for k := range taps {
				t := float64(k) / (taps - 1)
				sx := int(clamp(math.Floor(float64(x)+.5+mul(t, reach.x)), 0, float64(sc.side-1)))
				sy := int(clamp(math.Floor(float64(y)+.5+mul(t, reach.y)), 0, float64(sc.side-1)))
				sum += sc.cover.v[sy*sc.side+sx]
			}
			cover.v[i] = mix(cover.v[i], sum/taps, disc.v[i])
		}
	}
	return sc.paint(cover)
}
