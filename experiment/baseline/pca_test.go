package baseline

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// slowPCA is PCA by gonum's own, with sums written out.
func slowPCA(t *testing.T, train, test [][]float64, c, k int) Scores {
	t.Helper()
	x := mat.NewDense(len(train), len(train[0]), nil)
	for i, row := range train {
		x.SetRow(i, row)
	}
	var pc stat.PC
	if !pc.PrincipalComponents(x, nil) {
		t.Fatal("no principal components")
	}
	var v mat.Dense
	pc.VectorsTo(&v)
	mean := make([]float64, len(train[0]))
	for j := range mean {
		mean[j] = stat.Mean(mat.Col(nil, j, x), nil)
	}
	components := func(rows [][]float64) (z [][]float64) {
		for _, row := range rows {
			one := make([]float64, c)
			for i := range one {
				for j := range row {
					one[i] += (row[j] - mean[j]) * v.At(j, i)
				}
			}
			z = append(z, one)
		}
		return z
	}
	zTest := components(test)
	s := Scores{K: k, Distance: slowDistances(components(train), zTest, k)}
	for n, row := range test {
		var sum float64
		for j := range row {
			hat := mean[j]
			for i := range c {
				hat += zTest[n][i] * v.At(j, i)
			}
			sum += math.Abs(row[j]-hat) / float64(len(row))
		}
		s.Recon = append(s.Recon, sum)
	}
	return s
}

// Both ways to all eigenvectors, by the covariance and by the smaller Gram matrix.
func TestPCA(t *testing.T) {
	shape := dataset.Shape{C: 2, H: 4, W: 5}
	for _, n := range []int{150, 25} {
		train, test := random(6, n, shape), random(7, 30, shape)
		for _, c := range []int{1, 5, 20} {
			got, err := PCA(t.Context(), train, test, c, 3)
			if err != nil {
				t.Fatal(err)
			}
			want := slowPCA(t, scaled(train), scaled(test), c, 3)
			near(t, "distances", got.Distance, want.Distance, tol)
			near(t, "reconstruction errors", got.Recon, want.Recon, tol)
		}
	}
}

// spectrum returns n centred rows of dim values whose variances fall as those of
// natural images do, and are zero from rank on.
func spectrum(seed uint64, n, dim, rank int) *mat.Dense {
	r := rand.New(rand.NewPCG(seed, 0))
	normal := func(rows, columns int) *mat.Dense {
		m := mat.NewDense(rows, columns, nil)
		for i := range rows {
			for j := range columns {
				m.Set(i, j, r.NormFloat64())
			}
		}
		return m
	}
	z, v := normal(n, rank), normal(dim, rank)
	orthonormalize(v)
	for j := range rank {
		for i := range n {
			z.Set(i, j, z.At(i, j)/float64(j+1))
		}
	}
	var x mat.Dense
	x.Mul(z, v.T())
	center(&x)
	return &x
}

// explained returns the part of x's variance in the directions v, which must be
// orthonormal.
func explained(t *testing.T, x, v *mat.Dense) float64 {
	t.Helper()
	var unit, y mat.Dense
	unit.Mul(v.T(), v)
	n, _ := unit.Dims()
	for i := range n {
		for j := range n {
			want := 0.
			if i == j {
				want = 1
			}
			if math.Abs(unit.At(i, j)-want) > 1e-9 {
				t.Fatalf("directions %d and %d: product %v, want %v", i, j, unit.At(i, j), want)
			}
		}
	}
	y.Mul(x, v)
	return math.Pow(mat.Norm(&y, 2)/mat.Norm(x, 2), 2)
}

// The iteration finds directions that explain as much as the exact ones, gives the
// same to the bit each time, and no more than there are.
func TestIteration(t *testing.T) {
	const c = 8
	x := spectrum(8, 300, 120, 100)
	exact, err := principal(t.Context(), x, c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := iterate(t.Context(), x, c)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := explained(t, x, got), explained(t, x, exact); a > b+1e-12 || a < b*(1-10*gain) {
		t.Errorf("iteration explains %v of the variance, the exact directions %v", a, b)
	}
	again, err := iterate(t.Context(), x, c)
	if err != nil || !mat.Equal(got, again) {
		t.Errorf("another run gives other directions: %v", err)
	}
	for _, rank := range []int{1, 5} {
		few := spectrum(9, 60, 50, rank)
		for name, f := range map[string]func() (*mat.Dense, error){
			"iterate":   func() (*mat.Dense, error) { return iterate(t.Context(), few, c) },
			"principal": func() (*mat.Dense, error) { return principal(t.Context(), few, c) },
			"gram":      func() (*mat.Dense, error) { return principal(t.Context(), mat.DenseCopyOf(few.Slice(0, 40, 0, 50)), c) },
		} {
			v, err := f()
			if err != nil {
				t.Fatal(err)
			}
			if _, n := v.Dims(); n != rank {
				t.Errorf("%s: %d directions of %d", name, n, rank)
			}
			if e := explained(t, few, v); e < 1-1e-9 {
				t.Errorf("%s: %d directions explain %v of the variance, want all", name, rank, e)
			}
		}
	}
}

func TestPCAIsDeterministicAndSamples(t *testing.T) {
	shape := dataset.Shape{C: 1, H: 1, W: 3}
	train, test := random(10, sampleImages+sampleImages/2, shape), random(11, 20, shape)
	x, err := sample(t.Context(), train)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := x.Dims(); n != sampleImages {
		t.Fatalf("%d images in the sample, want %d", n, sampleImages)
	}
	rows := scaled(train)
	for i := range sampleImages {
		if want := rows[i*3/2]; !slices.Equal(x.RawRowView(i), want) {
			t.Fatalf("row %d is %v, want %v", i, x.RawRowView(i), want)
		}
	}
	a, err := PCA(t.Context(), train, test, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	b, err := PCA(t.Context(), train, test, 2, 2)
	if err != nil || !slices.Equal(a.Distance, b.Distance) || !slices.Equal(a.Recon, b.Recon) {
		t.Errorf("another run gives other scores: %v", err)
	}
}
