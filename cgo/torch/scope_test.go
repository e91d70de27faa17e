package torch

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// atEnd fails the test if it ends with more objects of the core than it began
// with. Call it before anything that registers a Cleanup of its own.
func atEnd(t *testing.T) {
	t.Helper()
	if err := Load(); err != nil {
		t.Fatal(err)
	}
	before := LiveHandles()
	t.Cleanup(func() {
		if n := LiveHandles(); n != before {
			t.Errorf("%d objects of the core live, %d before the test", n, before)
		}
	})
}

func TestScopeFreesItsTensors(t *testing.T) {
	atEnd(t)
	s := NewScope(CPU)
	x := s.FromFloats([]float32{1, 2, 3, 4}, 2, 2)
	y := x.Add(x).Mul(x)
	if s.Live() != 3 {
		t.Errorf("scope holds %d tensors, want 3", s.Live())
	}
	s.Release(y)
	if s.Live() != 1 {
		t.Errorf("scope holds %d tensors after Release, want 1", s.Live())
	}
	if got := y.Floats(); got[3] != 32 {
		t.Errorf("kept tensor = %v", got)
	}
	if x.Add(y); !errors.Is(s.Err(), errClosed) {
		t.Errorf("use of a released tensor: %v, want %v", s.Err(), errClosed)
	}
	for range 2 {
		if err := s.Close(); !errors.Is(err, errClosed) {
			t.Errorf("Close = %v, want the first error", err)
		}
	}
}

func TestScopeKeepsFirstError(t *testing.T) {
	atEnd(t)
	s := NewScope(CPU)
	defer s.Close()
	x := s.FromFloats(make([]float32, 6), 2, 3)
	bad := x.MatMul(x)
	first := s.Err()
	if first == nil || !strings.HasPrefix(first.Error(), "torch: matmul: ") ||
		!strings.Contains(first.Error(), "2x3") || strings.Contains(first.Error(), "\n") {
		t.Fatalf("error of a bad product: %v", first)
	}
	if got := bad.ReLU().Sum().Shape(); got != nil {
		t.Errorf("shape in a failed scope = %v", got)
	}
	s.FromFloats(nil, -1)
	if err := bad.CopyTo(nil); err != first || s.Err() != first {
		t.Errorf("error changed to %v", s.Err())
	}
	if s.Live() != 1 {
		t.Errorf("scope holds %d tensors, want 1", s.Live())
	}
}

func TestWrongUse(t *testing.T) {
	atEnd(t)
	other := NewScope(CPU)
	defer other.Close()
	foreign := other.Full(1, 2)
	o, err := NewOwned(CPU, []float32{1, 2}, 2)
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	o.Close()
	g, err := NewGenerator(1, CPU)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	for name, c := range map[string]struct {
		f    func(s *Scope) error
		want string
	}{
		"too few values":   {func(s *Scope) error { s.FromFloats([]float32{1}, 2); return s.Err() }, "have 1 values, want 2"},
		"negative size":    {func(s *Scope) error { s.Full(0, -2); return s.Err() }, "negative size"},
		"huge shape":       {func(s *Scope) error { s.Full(0, 1<<40, 1<<40); return s.Err() }, "too large"},
		"foreign tensor":   {func(s *Scope) error { s.Full(1, 2).Add(foreign); return s.Err() }, "another scope"},
		"closed owned":     {func(s *Scope) error { o.In(s); return s.Err() }, "after Close"},
		"closed generator": {func(s *Scope) error { s.RandN(g, 2); return s.Err() }, "after Close"},
		"closed dropout":   {func(s *Scope) error { s.Full(1, 2).Dropout(.5, g); return s.Err() }, "after Close"},
		"short copy":       {func(s *Scope) error { return s.Full(1, 3).CopyTo(make([]float32, 2)) }, "have 2 values, want 3"},
		"channels":         {func(s *Scope) error { s.Full(0, 1, 3, 4, 4).Conv2D(s.Full(0, 2, 1, 2, 2), nil, 1, 0); return s.Err() }, "conv2d: "},
		"loss shapes":      {func(s *Scope) error { s.Full(0, 2, 3).MSELoss(s.Full(0, 3)); return s.Err() }, "shapes differ"},
		"no such device": {func(s *Scope) error {
			NewScope(CUDA(0))
			c := NewScope(Device(-7))
			defer c.Close()
			c.Full(0, 1)
			return c.Err()
		}, "unknown device"},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewScope(CPU)
			defer s.Close()
			if err := c.f(s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestOutOfMemory(t *testing.T) {
	atEnd(t)
	s := NewScope(CPU)
	defer s.Close()
	s.Full(0, 1<<50)
	if !errors.Is(s.Err(), ErrOutOfMemory) {
		t.Errorf("error of 4 PiB = %v, want ErrOutOfMemory", s.Err())
	}
}

func TestGradStopsAtConstantsAndGroups(t *testing.T) {
	atEnd(t)
	a, b := array{[]int{1}, []float32{3}}.owned(t), array{[]int{1}, []float32{5}}.owned(t)
	unused := array{[]int{1}, []float32{7}}.owned(t)
	for _, o := range []*Owned{a, b, unused} {
		o.SetRequiresGrad(true)
	}
	s := NewGradScope(CPU)
	loss := a.In(s).Mul(b.In(s)).Sum()
	ga := s.Grad(loss, []*Owned{a}, true)
	gb := s.Grad(loss, []*Owned{b, unused}, false)
	if s.Err() != nil || ga[0].Item() != 5 || gb[0].Item() != 3 || gb[1] != nil {
		t.Errorf("gradients = %v, %v (%v)", ga, gb, s.Err())
	}
	if s.Grad(loss, []*Owned{a}, false); s.Err() == nil {
		t.Error("a second Grad through a freed graph worked")
	}
	s.Close()

	// Where no gradients are recorded, weights are constants.
	s = NewScope(CPU)
	defer s.Close()
	if s.Grad(a.In(s).Sum(), []*Owned{a}, false); s.Err() == nil {
		t.Error("Grad worked in a scope without gradients")
	}
}

func TestGenerators(t *testing.T) {
	atEnd(t)
	draw := func(seed uint64) []float32 {
		g, err := NewGenerator(seed, CPU)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		s := NewScope(CPU)
		defer s.Close()
		return append(s.RandN(g, 5000).Floats(), s.Uniform(g, 2, 3, 5000).Floats()...)
	}
	a, b, c := draw(1), draw(1), draw(2)
	differ := 0
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("value %d differs between two generators of one seed", i)
		}
		if a[i] != c[i] {
			differ++
		}
	}
	if differ < len(a)/2 {
		t.Errorf("two seeds differ in %d of %d values only", differ, len(a))
	}
	var sum, square float64
	for _, v := range a[:5000] {
		sum += float64(v)
		square += float64(v) * float64(v)
	}
	// Five standard errors of the mean and of the variance of 5000 draws.
	if math.Abs(sum/5000) > 5/math.Sqrt(5000) || math.Abs(square/5000-1) > 5*math.Sqrt(2./5000) {
		t.Errorf("normal values have mean %v, variance %v", sum/5000, square/5000)
	}
	for _, v := range a[5000:] {
		if v < 2 || v >= 3 {
			t.Fatalf("uniform value %v outside [2, 3)", v)
		}
	}
}

func TestDropout(t *testing.T) {
	atEnd(t)
	g, err := NewGenerator(3, CPU)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	x := array{[]int{10000}, make([]float32, 10000)}
	for i := range x.Data {
		x.Data[i] = 1
	}
	o := x.owned(t)
	o.SetRequiresGrad(true)
	s := NewGradScope(CPU)
	defer s.Close()
	y := o.In(s).Dropout(0.3, g)
	grad := s.Grad(y.Sum(), []*Owned{o}, false)[0].Floats()
	zeros := 0
	for i, v := range y.Floats() {
		switch {
		case v == 0:
			zeros++
		case math.Abs(float64(v)-1/0.7) > 1e-6:
			t.Fatalf("kept value %v, want 1/0.7", v)
		}
		if grad[i] != v {
			t.Fatalf("gradient %v, want the mask %v", grad[i], v)
		}
	}
	// Five standard deviations of a binomial count.
	if d := math.Abs(float64(zeros) - 3000); d > 5*math.Sqrt(10000*.3*.7) {
		t.Errorf("%d of 10000 values dropped, want about 3000", zeros)
	}
	if s.Full(1, 2).Dropout(1, g); s.Err() == nil {
		t.Error("dropout of everything worked")
	}
}

// Scopes of several goroutines must not disturb each other: no gradient mode,
// no error and no generator is shared between calls.
func TestScopesInParallel(t *testing.T) {
	atEnd(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			o, err := NewOwned(CPU, []float32{float32(i)}, 1)
			if err != nil {
				t.Error(err)
				return
			}
			defer o.Close()
			o.SetRequiresGrad(true)
			for range 50 {
				s := NewGradScope(CPU)
				if i%2 == 0 { // fail on purpose beside the others
					s.Full(0, 2, 3).MatMul(s.Full(0, 2, 3))
					if s.Err() == nil || !strings.Contains(s.Err().Error(), "matmul") {
						t.Errorf("error = %v", s.Err())
					}
				} else if g := s.Grad(o.In(s).Square().Sum(), []*Owned{o}, false); s.Err() != nil || g[0].Item() != 2*float32(i) {
					t.Errorf("gradient = %v, %v", g, s.Err())
				}
				s.Close()
			}
		})
	}
	wg.Wait()
}

func TestLeakNet(t *testing.T) {
	atEnd(t)
	before := Leaks()
	func() {
		if _, err := NewOwned(CPU, []float32{1}, 1); err != nil {
			t.Fatal(err)
		}
	}()
	for range 5000 { // what is to be done at the end of a life has a goroutine of its own
		runtime.GC()
		time.Sleep(time.Millisecond)
		if Leaks() == before+1 {
			return
		}
	}
	t.Errorf("%d leaks found, want 1", Leaks()-before)
}

func TestRunIsOneThreadAndPassesOn(t *testing.T) {
	want := errors.New("x")
	if err := Run(func() error { return want }); err != want {
		t.Errorf("Run = %v", err)
	}
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("the panic was lost")
			}
		}()
		Run(func() error { panic("boom") })
	}()
	n := 0 // not guarded: the calls come one after the other
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { Run(func() error { n++; return nil }) })
	}
	wg.Wait()
	if n != 50 {
		t.Errorf("%d calls ran, want 50", n)
	}
}

func TestSetThreadsRefuses(t *testing.T) {
	for _, n := range []int{-1, MaxThreads() + 1, 1 << 30} {
		if err := SetThreads(n); err == nil || !strings.Contains(err.Error(), "threads") {
			t.Errorf("SetThreads(%d) = %v", n, err)
		}
	}
}
