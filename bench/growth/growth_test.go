package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/nlnctl/nlnctl/bench/results"
)

// power returns a curve of rate c*x^p.
func power(kind string, c, p float64) (points []results.Point) {
	for _, x := range []float64{1e3, 1e4, 1e5, 1e6} {
		points = append(points, results.Point{Axis: axisN, Kind: kind, X: x, Rate: c * math.Pow(x, p), MB: x / 1e3, Recall: .9})
	}
	return points
}

func TestFits(t *testing.T) {
	points := power(exactKind, 1e9, -1)
	points[0].Rate = 1 // a fixed cost, outside of the upper half
	f := fits(points)
	if len(f) != 1 || math.Abs(f[0].Exponent+1) > 1e-9 || math.Abs(f[0].From/1e5-1) > 1e-9 {
		t.Errorf("%+v", f)
	}
	if f := fits(points[:1]); len(f) != 0 {
		t.Errorf("of one point: %+v", f)
	}
}

// 1e9/x and 5e6*x^-.5 meet where x^.5 is 200.
func TestCrossings(t *testing.T) {
	points := append(power(exactKind, 1e9, -1), power("early", 5e6, -.5)...)
	points = append(points, power("never", 1e3, -.5)...)
	c := crossings(points)
	points[4].Rate = 1e9 // the first of "early", before it is slower again
	if again := crossings(points); again[0] != c[0] {
		t.Errorf("%+v where a small index is faster by chance", again[0])
	}
	if len(c) != 2 || math.Abs(c[0].N/4e4-1) > 1e-6 || c[0].Recall != .9 || c[1].N != 0 {
		t.Errorf("%+v", c)
	}
}

func TestMapped(t *testing.T) {
	v := []float32{1, 2, 3, 4}
	if out := mapped(v, 2, 2); &out[0] != &v[0] {
		t.Error("the same size is another map")
	}
	out := mapped(v, 2, 50)
	if len(out) != 100 {
		t.Fatalf("%d values", len(out))
	}
	// Linear: the image of twice a vector is twice its image.
	twice := mapped([]float32{2, 4}, 2, 50)
	for i := range twice {
		if math.Abs(float64(twice[i]-2*out[i])) > 1e-6 {
			t.Fatalf("value %d: %v, want %v", i, twice[i], 2*out[i])
		}
	}
	if d := deviation([]float32{1, 3}); d != 1 {
		t.Errorf("deviation %v", d)
	}
}

// Vectors that are drawn lie near those they are drawn from, and are the same
// each time.
func TestDraw(t *testing.T) {
	l := &latents{dim: 1, base: []float32{0, 1, 100}, spread: .1, near: make([]int64, 3*(neighbours+1))}
	for i := range l.near {
		l.near[i] = []int64{1, 0, 2}[i/(neighbours+1)]
	}
	v := l.draw(1000)
	for _, x := range v {
		if !(x > -.1 && x < 1.1 || x > 99.9 && x < 100.1) {
			t.Fatalf("%v is between no neighbours", x)
		}
	}
	for i, x := range l.draw(1000) {
		if x != v[i] {
			t.Fatal("another draw")
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	points := append(power(exactKind, 1e9, -1), results.Point{Axis: axisK, Kind: exactKind, X: 1, Rate: 5})
	if err := drawTo(filepath.Join(dir, "a.png"), points); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a.png")); err != nil || !bytes.HasPrefix(b, []byte("\x89PNG")) {
		t.Errorf("no picture: %v", err)
	}
	if err := writeCSV(filepath.Join(dir, "a.csv"), points[4:]); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a.csv")); err != nil || string(b) != "axis,kind,x,per_second,mb_added,recall,build_s\nneighbours K,exact search,1,5,0,0,0\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestCurves(t *testing.T) {
	for _, c := range all(true) {
		for _, x := range c.values {
			m := usual
			c.set(&m, x)
			if m == usual && x != 60000 && x != 32 && x != 3 && x != 28 && x != 1024 && x != 1 {
				t.Errorf("%s: %g changes nothing", c.axis, x)
			}
		}
	}
	if sensible(measurement{Kind: trainKind, Side: 224}) || !sensible(measurement{Kind: exactKind, N: 1000, K: 3}) {
		t.Error("sensible")
	}
}
