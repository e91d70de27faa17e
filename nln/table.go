package nln

import (
	"fmt"
	"math"
)

// A Cache is how the values of a [Table] are kept.
type Cache string

const (
	// CacheUint8 rounds each value in [0, 1] to the nearest of 0/255..255/255:
	// one byte, at most 1/510 from the value, and so at most that much in the
	// error term. Other values are refused.
	CacheUint8 Cache = "uint8"

	// CacheFloat32 keeps values as they are, in four bytes.
	CacheFloat32 Cache = "float32"

	// CacheNone keeps no rows of reconstructions and of what is made of them: those
	// of a batch's neighbours are decoded again, which takes several times as long.
	// It is for large images and little memory, and needs an index that is a
	// [VectorIndex] and a model whose reconstructions are decoded from latents.
	CacheNone Cache = "none"
)

// A Table holds what the error term compares an image with: one feature of each
// indexed image, a row of F values, in order of id. Rows of reconstructions are
// in the order of [dataset.Images].
//
// Only the slice that Kind names is in use. Its memory may be a mapped file.
type Table struct {
	Feature Feature // of indexed images computed from g(z) or z, not from the image itself
	Kind    Cache
	F       int       // values in a row; 0 in a table of nothing
	U8      []uint8   // len Len*F, row-major: 255 times the value, for CacheUint8
	F32     []float32 // the same, the values themselves, for CacheFloat32
}

// NewTable returns an empty table of rows of f values with memory for n rows.
func NewTable(feature Feature, kind Cache, f, n int) (*Table, error) {
	t, err := newTable(feature, kind, f, n)
	if err != nil {
		return nil, fmt.Errorf("nln: %w", err)
	}
	return t, nil
}

func newTable(feature Feature, kind Cache, f, n int) (*Table, error) {
	t := &Table{Feature: feature, Kind: kind, F: f}
	if err := t.check(); err != nil {
		return nil, err
	}
	switch kind {
	case CacheUint8:
		t.U8 = make([]uint8, 0, n*f)
	case CacheFloat32:
		t.F32 = make([]float32, 0, n*f)
	}
	return t, nil
}

// check makes sure that t can be read row by row.
func (t *Table) check() error {
	if t.Kind != CacheUint8 && t.Kind != CacheFloat32 && t.Kind != CacheNone {
		return fmt.Errorf("table of %v: cache %q, want %q, %q or %q", t.Feature, t.Kind, CacheUint8, CacheFloat32, CacheNone)
	}
	if t.F < 1 {
		return fmt.Errorf("table of %v: rows of %d values, want at least 1", t.Feature, t.F)
	}
	if n := t.values(); n%t.F != 0 {
		return fmt.Errorf("table of %v: %d values are not a multiple of its rows of %d", t.Feature, n, t.F)
	}
	return nil
}

// values returns the number of values in all rows.
func (t *Table) values() int {
	if t.Kind == CacheUint8 {
		return len(t.U8)
	}
	return len(t.F32)
}

// Len returns the number of rows.
func (t *Table) Len() int {
	if t.F == 0 {
		return 0
	}
	return t.values() / t.F
}

// Append adds rows, a multiple of F values, all finite and, for CacheUint8, in
// [0, 1]. After an error nothing has been added.
func (t *Table) Append(rows []float32) error {
	if err := t.add(rows); err != nil {
		return fmt.Errorf("nln: %w", err)
	}
	return nil
}

func (t *Table) add(rows []float32) error {
	if len(rows)%t.F != 0 {
		return fmt.Errorf("table of %v: %d values are not a multiple of its rows of %d", t.Feature, len(rows), t.F)
	}
	if i := notFinite(rows); i >= 0 {
		return fmt.Errorf("table of %v: row %d: value %d is %v", t.Feature, t.Len()+i/t.F, i%t.F, rows[i])
	}
	switch t.Kind {
	case CacheFloat32:
		t.F32 = append(t.F32, rows...)
		return nil
	case CacheNone:
		return nil
	}
	for i, v := range rows {
		if v < 0 || v > 1 {
			return fmt.Errorf("table of %v: row %d: value %d is %v, which 8 bits for [0, 1] cannot hold: use %q",
				t.Feature, t.Len()+i/t.F, i%t.F, v, CacheFloat32)
		}
	}
	for _, v := range rows {
		t.U8 = append(t.U8, uint8(float64(v)*255+.5))
	}
	return nil
}

// Row stores the values of row i in dst, which must have room for F of them,
// and returns that part of dst.
func (t *Table) Row(i int, dst []float32) []float32 {
	dst = dst[:t.F]
	if t.Kind == CacheFloat32 {
		copy(dst, t.F32[i*t.F:])
		return dst
	}
	for k, b := range t.U8[i*t.F : (i+1)*t.F] {
		dst[k] = float32(b) / 255
	}
	return dst
}

// MeanAbs returns the mean absolute difference between x, F values, and row i.
func (t *Table) MeanAbs(x []float32, i int) float64 {
	if t.Kind == CacheUint8 {
		return meanAbs8(x, t.U8[i*t.F:(i+1)*t.F])
	}
	return meanAbs32(x, t.F32[i*t.F:(i+1)*t.F])
}

// byteValue has the value of each byte, rounded to float32 as Row does.
var byteValue = func() (t [256]float64) {
	for b := range t {
		t[b] = float64(float32(b) / 255)
	}
	return t
}()

// meanAbs32 returns the mean of |x[i] - y[i]|, in float64. The sum is split in
// four by i mod 4, always the same way, because one sum would have to wait for
// each addition; the result depends on x and y alone.
func meanAbs32(x, y []float32) float64 {
	y = y[:len(x)]
	var a, b, c, d float64
	i := 0
	for ; i+4 <= len(x); i += 4 {
		x4, y4 := x[i:i+4:i+4], y[i:i+4:i+4]
		a += math.Abs(float64(x4[0]) - float64(y4[0]))
		b += math.Abs(float64(x4[1]) - float64(y4[1]))
		c += math.Abs(float64(x4[2]) - float64(y4[2]))
		d += math.Abs(float64(x4[3]) - float64(y4[3]))
	}
	for ; i < len(x); i++ {
		a += math.Abs(float64(x[i]) - float64(y[i]))
	}
	return ((a + b) + (c + d)) / float64(len(x))
}

// meanAbs8 is meanAbs32 for a row of bytes.
func meanAbs8(x []float32, y []uint8) float64 {
	y = y[:len(x)]
	var a, b, c, d float64
	i := 0
	for ; i+4 <= len(x); i += 4 {
		x4, y4 := x[i:i+4:i+4], y[i:i+4:i+4]
		a += math.Abs(float64(x4[0]) - byteValue[y4[0]])
		b += math.Abs(float64(x4[1]) - byteValue[y4[1]])
		c += math.Abs(float64(x4[2]) - byteValue[y4[2]])
		d += math.Abs(float64(x4[3]) - byteValue[y4[3]])
	}
	for ; i < len(x); i++ {
		a += math.Abs(float64(x[i]) - byteValue[y[i]])
	}
	return ((a + b) + (c + d)) / float64(len(x))
}
