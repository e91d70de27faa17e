package baseline

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

var _ Extractor = (*models.Backbone)(nil)

// tol is relative: vectors are float32, and distances are rounded to it.
const tol = 1e-5

// random returns n images of noise around one of three patterns.
func random(seed uint64, n int, shape dataset.Shape) *dataset.Set {
	r := rand.New(rand.NewPCG(seed, 0))
	s := &dataset.Set{Name: "random", Size: shape, Scale: dataset.Scale255}
	for i := range n {
		for j := range shape.Len() {
			s.Pix = append(s.Pix, uint8(100+50*((i+j)%3)+r.IntN(40)))
		}
	}
	return s
}

// scaled returns the values of all images, a row each.
func scaled(s *dataset.Set) [][]float64 {
	rows := make([][]float64, s.Len())
	for i := range rows {
		for _, v := range s.Image(i) {
			rows[i] = append(rows[i], float64(float32(v)/255))
		}
	}
	return rows
}

// slowDistances are Scores.Distance by sorting all distances.
func slowDistances(train, test [][]float64, k int) (d []float64) {
	for _, q := range test {
		var all []float64
		for _, v := range train {
			var sum float64
			for j := range v {
				sum += (q[j] - v[j]) * (q[j] - v[j])
			}
			all = append(all, math.Sqrt(sum))
		}
		slices.Sort(all)
		var sum float64
		for j := range k {
			sum += all[j]
			d = append(d, sum/float64(j+1))
		}
	}
	return d
}

// near fails the test unless all of got are those of want, relative to the largest.
func near(t *testing.T, name string, got, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	largest := math.Abs(slices.MaxFunc(want, func(a, b float64) int {
		if math.Abs(a) < math.Abs(b) {
			return -1
		}
		return 1
	}))
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tol*largest) {
			t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], want[i])
		}
	}
}

func TestPixels(t *testing.T) {
	shape := dataset.Shape{C: 3, H: 5, W: 4}
	train, test := random(1, 90, shape), random(2, 31, shape)
	const k = 4
	s, err := Pixels(t.Context(), train, test, k)
	if err != nil {
		t.Fatal(err)
	}
	if s.K != k || s.Recon != nil {
		t.Errorf("K is %d, %d reconstruction errors", s.K, len(s.Recon))
	}
	near(t, "distances", s.Distance, slowDistances(scaled(train), scaled(test), k), tol)
	for i, d := range s.Of(2) {
		if d != s.Distance[i*k+1] {
			t.Fatalf("image %d: Of(2) gives %v, want %v", i, d, s.Distance[i*k+1])
		}
	}
	// An image of the training set is at no distance from itself.
	if s, err = Pixels(t.Context(), train, train, 1); err != nil || slices.Max(s.Distance) != 0 {
		t.Errorf("training images among themselves: %v, %v", s.Distance, err)
	}
}

// sums is an Extractor of two features: the sum and the square of the sum.
type sums struct{ calls, largest int }

func (e *sums) Features(_ context.Context, x dataset.Images) ([]float32, int, error) {
	e.calls++
	e.largest = max(e.largest, x.N)
	var v []float32
	for i := range x.N {
		var sum float32
		for _, p := range x.At(i) {
			sum += p
		}
		v = append(v, sum, sum*sum)
	}
	return v, 2, nil
}

func TestDKNN(t *testing.T) {
	shape := dataset.Shape{C: 1, H: 4, W: 4}
	train, test := random(3, batchImages+200, shape), random(4, 40, shape)
	features := func(s *dataset.Set) (rows [][]float64) {
		x := s.Gather(identity(s.Len()), make([]float32, len(s.Pix)))
		v, dim, _ := new(sums).Features(t.Context(), x)
		for i := 0; i < len(v); i += dim {
			rows = append(rows, []float64{float64(v[i]), float64(v[i+1])})
		}
		return rows
	}
	e := &sums{}
	s, err := DKNN(t.Context(), e, train, test, 3)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "distances", s.Distance, slowDistances(features(train), features(test), 3), tol)
	if e.calls != 3 || e.largest != batchImages {
		t.Errorf("%d calls with up to %d images, want 3 with %d", e.calls, e.largest, batchImages)
	}
}

func identity(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

// A network as a user brings it, from the file to the scores.
func TestDKNNWithABackbone(t *testing.T) {
	const cpu = -1 // torch.CPU
	b, err := models.OpenBackbone("../../models/testdata/backbone.pt", cpu)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	train, test, novel := classes(dataset.Shape{C: 1, H: 12, W: 12})
	s, err := DKNN(t.Context(), b, train, test, 2)
	if err != nil {
		t.Fatal(err)
	}
	checkAUROC(t, "dknn", s.Of(2), novel)
}

// classes returns a task that is easy: bright squares on the left are normal, those
// on the right are novel.
func classes(shape dataset.Shape) (train, test *dataset.Set, novel []bool) {
	r := rand.New(rand.NewPCG(5, 0))
	add := func(s *dataset.Set, right bool) {
		top, left := r.IntN(shape.H/2), r.IntN(shape.W/4)
		if right {
			left += shape.W / 2
		}
		pix := make([]uint8, shape.Len())
		for i := range pix {
			row, column := i/shape.W%shape.H, i%shape.W
			pix[i] = uint8(r.IntN(20))
			if row >= top && row < top+shape.H/2 && column >= left && column < left+shape.W/4 {
				pix[i] += 200
			}
		}
		s.Pix = append(s.Pix, pix...)
	}
	train, test = &dataset.Set{Size: shape, Scale: dataset.Scale255}, &dataset.Set{Size: shape, Scale: dataset.Scale255}
	for range 120 {
		add(train, false)
	}
	for i := range 60 {
		novel = append(novel, i%3 == 0)
		add(test, novel[i])
	}
	return train, test, novel
}

func checkAUROC(t *testing.T, name string, scores []float64, novel []bool) {
	t.Helper()
	if auroc, err := metrics.AUROC(scores, novel); err != nil || auroc < .9 {
		t.Errorf("%s: AUROC %v, want at least .9: %v", name, auroc, err)
	}
}

func TestAnObviousClassIsFound(t *testing.T) {
	train, test, novel := classes(dataset.Shape{C: 3, H: 12, W: 12})
	s, err := Pixels(t.Context(), train, test, 3)
	if err != nil {
		t.Fatal(err)
	}
	checkAUROC(t, "pixels", s.Of(3), novel)
	if s, err = PCA(t.Context(), train, test, 16, 3); err != nil {
		t.Fatal(err)
	}
	checkAUROC(t, "pca, distance", s.Of(3), novel)
	checkAUROC(t, "pca, reconstruction", s.Recon, novel)
}

// broken is an Extractor that gives what it holds.
type broken struct {
	v   []float32
	dim int
	err error
}

func (e broken) Features(context.Context, dataset.Images) ([]float32, int, error) {
	return e.v, e.dim, e.err
}

func TestErrors(t *testing.T) {
	small, other := dataset.Shape{C: 1, H: 2, W: 3}, dataset.Shape{C: 1, H: 3, W: 2}
	train, test, none := random(1, 5, small), random(2, 3, small), &dataset.Set{Size: small}
	ctx := t.Context()
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	same := &dataset.Set{Size: small, Pix: make([]uint8, 5*6)}
	failed := errors.New("no features today")
	nan := float32(math.NaN())
	for _, c := range []struct {
		name string
		run  func() (Scores, error)
		is   error
		want string
	}{
		{"k of 0", func() (Scores, error) { return Pixels(ctx, train, test, 0) }, nil, "baseline: pixels: k is 0"},
		{"k of 6", func() (Scores, error) { return Pixels(ctx, train, test, 6) }, ErrTooFew, "k is 6 and there are 5 training images"},
		{"no training images", func() (Scores, error) { return DKNN(ctx, &sums{}, none, test, 1) }, ErrTooFew, "baseline: dknn: "},
		{"no test images", func() (Scores, error) { return PCA(ctx, train, none, 2, 1) }, ErrTooFew, "baseline: pca: "},
		{"other shapes", func() (Scores, error) { return Pixels(ctx, train, random(1, 3, other), 1) }, nil, "training images of 2x3x1 and test images of 3x2x1"},
		{"no components", func() (Scores, error) { return PCA(ctx, train, test, 0, 1) }, nil, "0 components, want 1 to 6"},
		{"more components than values", func() (Scores, error) { return PCA(ctx, train, test, 7, 1) }, nil, "7 components, want 1 to 6"},
		{"more components than images", func() (Scores, error) { return PCA(ctx, train, test, 6, 1) }, ErrTooFew, "6 components of 5 images"},
		{"equal images", func() (Scores, error) { return PCA(ctx, same, test, 2, 1) }, nil, "do not differ"},
		{"cancelled", func() (Scores, error) { return PCA(stopped, train, test, 2, 1) }, context.Canceled, ""},
		{"extractor fails", func() (Scores, error) { return DKNN(ctx, broken{err: failed}, train, test, 1) }, failed, "training images: "},
		{"too few features", func() (Scores, error) { return DKNN(ctx, broken{make([]float32, 8), 2, nil}, train, test, 1) }, nil, "8 values for 5 images"},
		{"no features", func() (Scores, error) { return DKNN(ctx, broken{}, train, test, 1) }, nil, "dimension 0"},
		{"other features", func() (Scores, error) { return DKNN(ctx, &changing{}, train, test, 1) }, nil, "test images: 9 values for 3 images, of 3 each, want 2 each"},
		{"not finite", func() (Scores, error) { return DKNN(ctx, broken{[]float32{1, 2, 3, 4, nan}, 1, nil}, train, test, 1) }, nil, "vector 4: value 0 is NaN"},
	} {
		s, err := c.run()
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if s.K != 0 || s.Distance != nil || s.Recon != nil {
			t.Errorf("%s: scores beside an error", c.name)
		}
	}
}

// changing gives one feature more at each call.
type changing struct{ dim int }

func (e *changing) Features(_ context.Context, x dataset.Images) ([]float32, int, error) {
	e.dim = max(2, e.dim+1)
	return make([]float32, x.N*e.dim), e.dim, nil
}
