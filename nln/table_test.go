package nln_test

import (
	"math"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

const (
	// sumTol is for a mean of up to some thousand float64 values in [0, 1],
	// added in another order.
	sumTol = 1e-12

	// roundTol is what 8 bits may change in a value, or a mean of differences:
	// half a step, and the rounding of a step to float32.
	roundTol = 1./510 + 1e-7
)

// pixels is the feature of neighbours in image space.
var pixels = nln.Feature{Of: nln.OfReconstruction}

// slowMeanAbs is the mean absolute difference, term by term.
func slowMeanAbs(x, y []float32) float64 {
	var sum float64
	for i := range x {
		sum += math.Abs(float64(x[i]) - float64(y[i]))
	}
	return sum / float64(len(x))
}

func newTable(t testing.TB, kind nln.Cache, f int, rows []float32) *nln.Table {
	t.Helper()
	r, err := nln.NewTable(pixels, kind, f, len(rows)/f)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Append(rows); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTableMeanAbs(t *testing.T) {
	for _, f := range []int{1, 2, 3, 4, 5, 7, 8, 29, 784, 3072} {
		shape := dataset.Shape{C: 1, H: 1, W: f}
		rows, x := noise(1, shape, 3, 1).Pix, noise(2, shape, 1, 1).Pix
		exact, bytes := newTable(t, nln.CacheFloat32, f, rows), newTable(t, nln.CacheUint8, f, rows)
		for i := range 3 {
			want := slowMeanAbs(x, rows[i*f:(i+1)*f])
			if got := exact.MeanAbs(x, i); math.Abs(got-want) > sumTol {
				t.Errorf("%d values: row %d: %v, want %v", f, i, got, want)
			}
			if got := bytes.MeanAbs(x, i); math.Abs(got-want) > roundTol {
				t.Errorf("%d values: row %d: %v with 8 bits, %v without", f, i, got, want)
			}
			if got, want := bytes.MeanAbs(x, i), slowMeanAbs(x, bytes.Row(i, make([]float32, f))); math.Abs(got-want) > sumTol {
				t.Errorf("%d values: row %d: %v, from the row's values %v", f, i, got, want)
			}
		}
	}
}

// Every byte is kept as it is, and every value goes to the nearest byte.
func TestTableRounds(t *testing.T) {
	const n = 100*255 + 1
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(i) / (n - 1)
	}
	r := newTable(t, nln.CacheUint8, n, values)
	row := r.Row(0, make([]float32, n))
	for i, v := range row {
		if d := math.Abs(float64(v) - float64(values[i])); d > roundTol {
			t.Fatalf("%v is kept as %v, %v away", values[i], v, d)
		}
		if i%100 == 0 && r.U8[i] != uint8(i/100) {
			t.Fatalf("%d/255 is kept as %d/255", i/100, r.U8[i])
		}
	}
	again := newTable(t, nln.CacheUint8, n, row)
	if !slices.Equal(again.U8, r.U8) {
		t.Error("values of a row do not round to themselves")
	}
	if exact := newTable(t, nln.CacheFloat32, n, values); !slices.Equal(exact.Row(0, make([]float32, n)), values) {
		t.Error("float32 values changed")
	}
}

func TestTableErrors(t *testing.T) {
	_, err := nln.NewTable(pixels, "fp8", 4, 1)
	wantError(t, "kind", err, "nln: table of g(z): ", `"fp8"`, `"uint8"`)
	_, err = nln.NewTable(pixels, nln.CacheUint8, 0, 1)
	wantError(t, "no values", err, "rows of 0 values")
	r := newTable(t, nln.CacheUint8, 2, []float32{0, 1})
	wantError(t, "ragged", r.Append([]float32{1, 1, 1}), "3 values", "rows of 2")
	wantError(t, "NaN", r.Append([]float32{0, 1, float32(math.NaN()), 1}), "row 2", "value 0", "NaN")
	wantError(t, "above 1", r.Append([]float32{0, 1.25}), "row 1", "value 1", "1.25", "float32")
	wantError(t, "below 0", r.Append([]float32{-.5, 0}), "row 1", "-0.5")
	if r.Len() != 1 {
		t.Errorf("%d rows after errors, want 1", r.Len())
	}
	if wide := newTable(t, nln.CacheFloat32, 2, []float32{-3, 40}); wide.MeanAbs([]float32{0, 0}, 0) != 21.5 {
		t.Error("float32 rows must take values outside [0, 1]")
	}
}

func BenchmarkTableMeanAbs(b *testing.B) {
	for _, kind := range []nln.Cache{nln.CacheUint8, nln.CacheFloat32} {
		b.Run(string(kind), func(b *testing.B) {
			x := noise(1, dataset.Shape{C: 1, H: 28, W: 28}, 64, 1)
			r := newTable(b, kind, 784, x.Pix)
			b.SetBytes(784)
			for i := 0; b.Loop(); i++ {
				r.MeanAbs(x.At(i%64), (i+1)%64)
			}
		})
	}
}
