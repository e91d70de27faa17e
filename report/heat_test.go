package report_test

import (
	"image/color"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/report"
)

// Below low only the picture is seen, in grey; from there on it is hidden more and
// more by a colour that gets lighter.
func TestHeat(t *testing.T) {
	s := dataset.Shape{C: 3, H: 1, W: 5}
	pix := []float32{
		1, 1, 1, 1, 1,
		0, 0, 0, 0, 0,
		0, 0, 0, 0, 0,
	}
	m := report.Heat(s, pix, []float32{-1, .5, 1, 2, 99}, .5, 2)
	const grey = 76 // 0.299 of 255
	for x := range 2 {
		if c := m.RGBAAt(x, 0); c.R != grey || c.G != grey || c.B != grey {
			t.Errorf("pixel %d is %v, want grey of %d", x, c, grey)
		}
	}
	light := func(c color.RGBA) int { return int(c.R) + int(c.G) + int(c.B) }
	if !(light(m.RGBAAt(2, 0)) < light(m.RGBAAt(3, 0))) || m.RGBAAt(3, 0) != m.RGBAAt(4, 0) {
		t.Errorf("heat %v, %v, %v", m.RGBAAt(2, 0), m.RGBAAt(3, 0), m.RGBAAt(4, 0))
	}
	if c := m.RGBAAt(2, 0); c.R == c.G && c.G == c.B {
		t.Errorf("heat of a third has no colour: %v", c)
	}
}

func TestGray16(t *testing.T) {
	m := report.Gray16(1, 4, []float32{-1, 0, 1, 3}, 2)
	for x, want := range []uint16{0, 0, 32768, 65535} {
		if have := m.Gray16At(x, 0).Y; have != want {
			t.Errorf("value %d is %d, want %d", x, have, want)
		}
	}
}
