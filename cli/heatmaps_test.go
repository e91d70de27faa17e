package cli

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// A path made of an image's name stays below the folder.
func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"a/b.png": "a/b.png", "/data/x.png": "data/x.png", "../../etc/x.png": "etc/x.png", "a/../../b.png": "b.png",
		"mnist/test/3": "mnist/test/3", "s3://bucket/a.png": "s3_/bucket/a.png", "x.tar!a.png": "x.tar_a.png",
	} {
		if have := fileName(name); have != want {
			t.Errorf("%q becomes %q, want %q", name, have, want)
		}
	}
}

// What NumPy's format says: magic, version, length of a header that ends on a
// multiple of 64, and the values.
func TestNPY(t *testing.T) {
	var b bytes.Buffer
	values := []float32{1, -2.5, 3, 4, 5, 6}
	if err := writeNPY(&b, 2, 3, values); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	if !bytes.HasPrefix(data, []byte("\x93NUMPY\x01\x00")) {
		t.Fatalf("begins with %q", data[:10])
	}
	n := 10 + int(binary.LittleEndian.Uint16(data[8:]))
	if n%64 != 0 || data[n-1] != '\n' || !strings.Contains(string(data[10:n]), "'shape': (2, 3)") || len(data) != n+4*len(values) {
		t.Errorf("header %q of %d bytes, %d in all", data[10:n], n, len(data))
	}
	for i, v := range values {
		if have := math.Float32frombits(binary.LittleEndian.Uint32(data[n+4*i:])); have != v {
			t.Errorf("value %d is %v, want %v", i, have, v)
		}
	}
}

// The mean over a square, by its definition; a constant stays, and blocks become
// ramps.
func TestBlur(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	const h, w = 9, 13
	v := make([]float32, h*w)
	for i := range v {
		v[i] = rng.Float32()
	}
	for _, side := range []int{1, 2, 5, 40} {
		have := blur(v, h, w, side)
		for y := range h {
			for x := range w {
				var sum, n float64
				for yy := max(0, y-side/2); yy <= min(h-1, y+side/2); yy++ {
					for xx := max(0, x-side/2); xx <= min(w-1, x+side/2); xx++ {
						sum, n = sum+float64(v[yy*w+xx]), n+1
					}
				}
				if math.Abs(float64(have[y*w+x])-sum/n) > 1e-5 {
					t.Fatalf("side %d: pixel %d,%d is %v, want %v", side, y, x, have[y*w+x], sum/n)
				}
			}
		}
	}
}

func TestRegionsOf(t *testing.T) {
	m := nln.Map{H: 4, W: 6, Score: []float32{
		0, 9, 0, 0, 0, 2,
		0, 9, 5, 0, 0, 0,
		0, 0, 0, 0, 3, 3,
		4, 0, 0, 0, 3, 7,
	}}
	have := regionsOf(m, 2.5)
	want := []region{{4, 2, 2, 2, 4, 7}, {1, 0, 2, 2, 3, 9}, {0, 3, 1, 1, 1, 4}}
	if len(have) != len(want) {
		t.Fatalf("%+v, want %+v", have, want)
	}
	for i := range want {
		if have[i] != want[i] {
			t.Errorf("region %d is %+v, want %+v", i, have[i], want[i])
		}
	}
	if r := regionsOf(m, 9); len(r) != 0 {
		t.Errorf("above all: %+v", r)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string][2]int{"128": {128, 128}, "96x64": {96, 64}, "0": {}, "x": {}, "12x": {}, "-3": {}, "1x2x3": {}, "99999999": {}} {
		h, w, err := parseSize(s)
		if (err == nil) != (want != [2]int{}) || err == nil && (h != want[0] || w != want[1]) {
			t.Errorf("%q: %d, %d, %v", s, h, w, err)
		}
	}
}

// Linear between the middles of pixels: a ramp stays one, a constant stays, and the
// same size changes nothing.
func TestUpsample(t *testing.T) {
	v := []float32{0, 1, 2, 3, 10, 11, 12, 13}
	if have := upsample(v, 2, 4, 2, 4); !slices.Equal(have, v) {
		t.Errorf("the same size: %v", have)
	}
	have := upsample(v, 2, 4, 4, 8)
	for y := range 4 {
		for x := range 8 {
			wantX := min(max((float64(x)+.5)/2-.5, 0), 3)
			wantY := min(max((float64(y)+.5)/2-.5, 0), 1)
			if want := wantX + 10*wantY; math.Abs(float64(have[y*8+x])-want) > 1e-5 {
				t.Errorf("pixel %d,%d is %v, want %v", y, x, have[y*8+x], want)
			}
		}
	}
}
