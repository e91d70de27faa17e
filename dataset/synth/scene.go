package synth

// A scene is one image before it is made of bytes. What the pen covers is kept
// apart from the paper, so that a defect can change one of them alone.
type scene struct {
	side, channels int
	lines          [][]vertex
	cover          *canvas   // how much ink lies on each pixel
	paper          []*canvas // one for each channel
	ink            []float64 // colour of the ink, one for each channel
	soft           float64   // width of a line's edge, in pixels
	noise          float64   // standard deviation, in 1/255
	noiseKey       uint64
}

// Which stream of an image a draw belongs to. Streams are apart so that a
// change to the way paper is drawn, say, moves no stroke.
const (
	streamHand = iota
	streamPaper
	streamNoise
	streamDefect
	streamMaterial
)

// An imageID names one image of a set: equal ids give equal images, however
// many others are made.
type imageID struct {
	seed         uint64
	split        uint64
	class, index uint64
}

func (id imageID) stream(which uint64) *stream {
	return newStream(id.seed, id.split, id.class, id.index, which)
}

// newScene writes the glyph of id's class.
func newScene(id imageID, side, channels int) *scene {
	r := id.stream(streamHand)
	h := newHand(r, float64(side))
	sc := &scene{
		side: side, channels: channels,
		soft:     max(1, mul(float64(side), r.between(.035, .06))),
		noise:    r.between(3, 12),
		noiseKey: scramble(id.seed ^ scramble(id.split^scramble(id.class^scramble(id.index)))),
	}
	depth := r.between(.8, 1)
	sc.lines = h.write(r, int(id.class))
	sc.cover = newCanvas(side)
	for _, line := range sc.lines {
		sc.cover.line(line, sc.soft, depth)
	}
	if side >= 16 {
		sc.cover.soften(r.between(0, .5))
	}
	if channels == 1 {
		sc.paper = []*canvas{newCanvas(side)}
		sc.ink = []float64{1}
	} else {
		sc.colour(id)
	}
	return sc
}

// colour lays out coloured paper with a grain, and picks an ink that stands
// out from it. The seed sets the material, each image varies it.
func (sc *scene) colour(id imageID) {
	material := newStream(id.seed, streamMaterial)
	r := id.stream(streamPaper)
	side := float64(sc.side)
	fine := newCanvas(sc.side)
	fine.cloud(r, max(1.5, side/16), max(1.5, side/5))
	coarse := newCanvas(sc.side)
	coarse.cloud(r, side/2.5, side/2.5)
	light := r.normal(.05)
	for range sc.channels {
		tone := material.between(.22, .42) + r.normal(.04) + light
		fineGain, coarseGain := material.between(.10, .16), material.between(.08, .18)
		ink := material.between(.70, .95) + r.normal(.05) + light
		paper := newCanvas(sc.side)
		for i := range paper.v {
			v := tone + mul(fineGain, fine.v[i]-.5) + mul(coarseGain, coarse.v[i]-.5)
			paper.v[i] = clamp(v, 0, 1)
		}
		sc.paper = append(sc.paper, paper)
		sc.ink = append(sc.ink, clamp(ink, 0, 1))
	}
}

// paint lays ink of the given coverage on the paper.
func (sc *scene) paint(cover *canvas) []*canvas {
	out := make([]*canvas, sc.channels)
	for c := range out {
		out[c] = newCanvas(sc.side)
		for i, paper := range sc.paper[c].v {
			out[c].v[i] = mix(paper, sc.ink[c], cover.v[i])
		}
	}
	return out
}

// bytes adds noise and rounds to 8 bits, planar. A scene always has the same
// noise, so that two paintings of it differ only where they were made to. On
// black paper there is none: bare pixels are exactly 0, as in MNIST.
func (sc *scene) bytes(planes []*canvas) []uint8 {
	pix := make([]uint8, 0, sc.channels*sc.side*sc.side)
	r := newStream(sc.noiseKey, streamNoise)
	for _, plane := range planes {
		for _, v := range plane.v {
			noise := r.normal(sc.noise)
			if sc.channels == 1 {
				noise = mul(noise, min(1, 4*v))
			}
			pix = append(pix, uint8(clamp(mul(255, v)+noise+.5, 0, 255)))
		}
	}
	return pix
}
