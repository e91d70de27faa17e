package nln

import (
	"fmt"
	"math"
)

// A Cache is how the values of the indexed images' reconstructions are kept.
type Cache string

const (
	// CacheUint8 rounds each value in [0, 1] to the nearest of 0/255..255/255:
	// one byte, at most 1/510 from the value, and so at most that much in the
	// error term. Other values are refused.
	CacheUint8 Cache = "uint8"

	// CacheFloat32 keeps values as they are, in four bytes.
	CacheFloat32 Cache = "float32"
)

// Recon holds what the error term compares an image with: a row of F values for
// each indexed image, in order of id. They are the pixels of the image's
// reconstruction g(z), in the order of [dataset.Images].
//
// Only the slice that Kind names is in use. Its memory may be a mapped file.
type Recon struct {
	Kind Cache
	F    int       // values in a row
	U8   []uint8   // len Len*F, row-major: 255 times the value, for CacheUint8
	F32  []float32 // the same, the values themselves, for CacheFloat32
}

// NewRecon returns an empty cache of rows of f values with memory for n rows.
func NewRecon(kind Cache, f, n int) (*Recon, error) {
	r := &Recon{Kind: kind, F: f}
	if err := r.check(); err != nil {
		return nil, err
	}
	if kind == CacheUint8 {
		r.U8 = make([]uint8, 0, n*f)
	} else {
		r.F32 = make([]float32, 0, n*f)
	}
	return r, nil
}

// check makes sure that r can be read row by row.
func (r *Recon) check() error {
	if r.Kind != CacheUint8 && r.Kind != CacheFloat32 {
		return fmt.Errorf("nln: cache %q, want %q or %q", r.Kind, CacheUint8, CacheFloat32)
	}
	if r.F < 1 {
		return fmt.Errorf("nln: cache rows of %d values, want at least 1", r.F)
	}
	if n := r.values(); n%r.F != 0 {
		return fmt.Errorf("nln: cache of %d values is not a multiple of its rows of %d", n, r.F)
	}
	return nil
}

// values returns the number of values in all rows.
func (r *Recon) values() int {
	if r.Kind == CacheUint8 {
		return len(r.U8)
	}
	return len(r.F32)
}

// Len returns the number of rows.
func (r *Recon) Len() int { return r.values() / r.F }

// Append adds rows, a multiple of F values, all finite and, for CacheUint8, in
// [0, 1]. After an error nothing has been added.
func (r *Recon) Append(rows []float32) error {
	if len(rows)%r.F != 0 {
		return fmt.Errorf("nln: cache: %d values are not a multiple of its rows of %d", len(rows), r.F)
	}
	if i := notFinite(rows); i >= 0 {
		return fmt.Errorf("nln: cache: row %d: value %d is %v", r.Len()+i/r.F, i%r.F, rows[i])
	}
	if r.Kind == CacheFloat32 {
		r.F32 = append(r.F32, rows...)
		return nil
	}
	for i, v := range rows {
		if v < 0 || v > 1 {
			return fmt.Errorf("nln: cache: row %d: value %d is %v, which 8 bits for [0, 1] cannot hold: use %q",
				r.Len()+i/r.F, i%r.F, v, CacheFloat32)
		}
	}
	for _, v := range rows {
		r.U8 = append(r.U8, uint8(float64(v)*255+.5))
	}
	return nil
}

// Row stores the values of row i in dst, which must have room for F of them,
// and returns that part of dst.
func (r *Recon) Row(i int, dst []float32) []float32 {
	dst = dst[:r.F]
	if r.Kind == CacheFloat32 {
		copy(dst, r.F32[i*r.F:])
		return dst
	}
	for k, b := range r.U8[i*r.F : (i+1)*r.F] {
		dst[k] = float32(b) / 255
	}
	return dst
}

// MeanAbs returns the mean absolute difference between x, F values, and row i.
func (r *Recon) MeanAbs(x []float32, i int) float64 {
	if r.Kind == CacheUint8 {
		return meanAbs8(x, r.U8[i*r.F:(i+1)*r.F])
	}
	return meanAbs32(x, r.F32[i*r.F:(i+1)*r.F])
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
