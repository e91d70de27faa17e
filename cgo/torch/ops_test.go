package torch

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// opTol bounds the relative difference to PyTorch's numbers: both are libtorch
// in float32, but the version, the processor and so the order of sums differ.
const opTol = 2e-5

type array struct {
	Shape []int
	Data  []float32
}

func (a array) in(s *Scope) *Tensor { return s.FromFloats(a.Data, a.Shape...) }

func (a array) owned(t *testing.T) *Owned {
	t.Helper()
	o, err := NewOwned(CPU, a.Data, a.Shape...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// fixture is testdata/ops.json, made by testdata/ops.py.
type fixture struct {
	Cases []struct {
		Op       string
		Args     []float64
		Inputs   []array
		Constant []int
		Output   array
		Weight   array
		Grads    []array
	}
	Adam []struct {
		LR, Eps      float64
		Start        []float32
		Grads, After [][]float32
	}
	BatchNorm struct {
		X, Mean, Var array
		MeanAfter    array `json:"mean_after"`
		VarAfter     array `json:"var_after"`
	} `json:"batch_norm"`
}

func readFixture(t *testing.T) (f fixture) {
	t.Helper()
	text, err := os.ReadFile("testdata/ops.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func ints(args []float64) []int {
	v := make([]int, len(args))
	for i, a := range args {
		v[i] = int(a)
	}
	return v
}

// ops applies each operation by the name it has in the fixture.
var ops = map[string]func(x []*Tensor, a []float64) *Tensor{
	"add":           func(x []*Tensor, a []float64) *Tensor { return x[0].Add(x[1]) },
	"sub":           func(x []*Tensor, a []float64) *Tensor { return x[0].Sub(x[1]) },
	"mul":           func(x []*Tensor, a []float64) *Tensor { return x[0].Mul(x[1]) },
	"div":           func(x []*Tensor, a []float64) *Tensor { return x[0].Div(x[1]) },
	"affine":        func(x []*Tensor, a []float64) *Tensor { return x[0].Affine(a[0], a[1]) },
	"abs":           func(x []*Tensor, a []float64) *Tensor { return x[0].Abs() },
	"exp":           func(x []*Tensor, a []float64) *Tensor { return x[0].Exp() },
	"log":           func(x []*Tensor, a []float64) *Tensor { return x[0].Log() },
	"sqrt":          func(x []*Tensor, a []float64) *Tensor { return x[0].Sqrt() },
	"square":        func(x []*Tensor, a []float64) *Tensor { return x[0].Square() },
	"clamp":         func(x []*Tensor, a []float64) *Tensor { return x[0].Clamp(a[0], a[1]) },
	"sigmoid":       func(x []*Tensor, a []float64) *Tensor { return x[0].Sigmoid() },
	"tanh":          func(x []*Tensor, a []float64) *Tensor { return x[0].Tanh() },
	"relu":          func(x []*Tensor, a []float64) *Tensor { return x[0].ReLU() },
	"leaky_relu":    func(x []*Tensor, a []float64) *Tensor { return x[0].LeakyReLU(a[0]) },
	"relu_in_place": func(x []*Tensor, a []float64) *Tensor { return x[0].Affine(1, 0).ReLUInPlace() },
	"reshape":       func(x []*Tensor, a []float64) *Tensor { return x[0].Reshape(ints(a)...) },
	"permute":       func(x []*Tensor, a []float64) *Tensor { return x[0].Permute(ints(a)...) },
	"flip":          func(x []*Tensor, a []float64) *Tensor { return x[0].Flip(ints(a)...) },
	"narrow":        func(x []*Tensor, a []float64) *Tensor { return x[0].Narrow(int(a[0]), int(a[1]), int(a[2])) },
	"cat":           func(x []*Tensor, a []float64) *Tensor { return x[0].s.Cat(int(a[0]), x...) },
	"pad":           func(x []*Tensor, a []float64) *Tensor { return x[0].Pad(int(a[0]), int(a[1]), int(a[2]), int(a[3])) },
	"sum":           func(x []*Tensor, a []float64) *Tensor { return x[0].Sum() },
	"mean":          func(x []*Tensor, a []float64) *Tensor { return x[0].Mean() },
	"sum_dim":       func(x []*Tensor, a []float64) *Tensor { return x[0].SumDim(int(a[0])) },
	"mean_dim":      func(x []*Tensor, a []float64) *Tensor { return x[0].MeanDim(int(a[0])) },
	"matmul":        func(x []*Tensor, a []float64) *Tensor { return x[0].MatMul(x[1]) },
	"linear":        func(x []*Tensor, a []float64) *Tensor { return x[0].Linear(x[1], optional(x)) },
	"conv2d":        func(x []*Tensor, a []float64) *Tensor { return x[0].Conv2D(x[1], optional(x), int(a[0]), int(a[1])) },
	"conv_transpose2d": func(x []*Tensor, a []float64) *Tensor {
		return x[0].ConvTranspose2D(x[1], optional(x), int(a[0]), int(a[1]))
	},
	"max_pool2d": func(x []*Tensor, a []float64) *Tensor { return x[0].MaxPool2D(int(a[0]), int(a[1])) },
	"upsample2d": func(x []*Tensor, a []float64) *Tensor { return x[0].Upsample2D(int(a[0])) },
	"batch_norm_train": func(x []*Tensor, a []float64) *Tensor {
		s := x[0].s
		return x[0].BatchNorm(BatchNorm{x[1], x[2], s.Full(0, 3), s.Full(1, 3), 0.01, 1e-3}, true)
	},
	"batch_norm_eval": func(x []*Tensor, a []float64) *Tensor {
		s := x[0].s
		mean, variance := s.FromFloats([]float32{0.5, 0, -1}, 3), s.FromFloats([]float32{1, 2, 0.5}, 3)
		return x[0].BatchNorm(BatchNorm{x[1], x[2], mean, variance, 0.01, 1e-3}, false)
	},
	"mse_loss":             func(x []*Tensor, a []float64) *Tensor { return x[0].MSELoss(x[1]) },
	"l1_loss":              func(x []*Tensor, a []float64) *Tensor { return x[0].L1Loss(x[1]) },
	"bce_with_logits_loss": func(x []*Tensor, a []float64) *Tensor { return x[0].BCEWithLogitsLoss(x[1]) },
}

func optional(x []*Tensor) *Tensor {
	if len(x) < 3 {
		return nil
	}
	return x[2]
}

func same(t *testing.T, what string, got []float32, want []float32, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: have %d values, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tol*(1+math.Abs(float64(want[i])))) {
			t.Errorf("%s[%d] = %v, PyTorch gives %v", what, i, got[i], want[i])
			return
		}
	}
}

func TestOperationsMatchPyTorch(t *testing.T) {
	atEnd(t)
	seen := map[string]bool{}
	for _, c := range readFixture(t).Cases {
		seen[c.Op] = true
		t.Run(c.Op, func(t *testing.T) {
			op := ops[c.Op]
			if op == nil {
				t.Fatal("no such operation in the test's table")
			}
			s := NewGradScope(CPU)
			defer s.Close()
			var x []*Tensor
			var variables []*Owned
			for i, a := range c.Inputs {
				o := a.owned(t)
				if len(c.Constant) == 0 || c.Constant[0] != i {
					if err := o.SetRequiresGrad(true); err != nil {
						t.Fatal(err)
					}
					variables = append(variables, o)
				}
				x = append(x, o.In(s))
			}
			out := op(x, c.Args)
			if got, want := len(out.Shape()), len(c.Output.Shape); got != want {
				t.Fatalf("result has %d dimensions, want %d (%v)", got, want, s.Err())
			}
			for i, n := range out.Shape() {
				if n != c.Output.Shape[i] {
					t.Fatalf("result has shape %v, want %v", out.Shape(), c.Output.Shape)
				}
			}
			same(t, "result", out.Floats(), c.Output.Data, opTol)
			loss := out.Mul(c.Weight.in(s)).Sum()
			for i, g := range s.Grad(loss, variables, false) {
				if g == nil {
					t.Errorf("no gradient %d", i)
					continue
				}
				same(t, "gradient", g.Floats(), c.Grads[i].Data, opTol)
			}
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
	for name := range ops {
		if !seen[name] {
			t.Errorf("the fixture has no case of %s", name)
		}
	}
}

func TestAdamMatchesPyTorch(t *testing.T) {
	atEnd(t)
	for _, c := range readFixture(t).Adam {
		p := array{[]int{len(c.Start)}, c.Start}.owned(t)
		cfg := DefaultAdam(c.LR)
		cfg.Eps = c.Eps
		adam, err := NewAdam([]*Owned{p}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer adam.Close()
		got := make([]float32, p.Len())
		for i, g := range c.Grads {
			s := NewScope(CPU)
			if err := adam.Step(s, []*Tensor{s.FromFloats(g, len(g))}); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if err := p.CopyTo(got); err != nil {
				t.Fatal(err)
			}
			same(t, "parameter", got, c.After[i], opTol)
		}
	}
}

// An optimiser that goes on from another's state must go on as that one does.
func TestAdamStateResumes(t *testing.T) {
	atEnd(t)
	c := readFixture(t).Adam[0]
	half := len(c.Grads) / 2
	run := func(from []float32, state *AdamState, grads [][]float32) ([]float32, AdamState) {
		p := array{[]int{len(from)}, from}.owned(t)
		adam, err := NewAdam([]*Owned{p}, DefaultAdam(c.LR))
		if err != nil {
			t.Fatal(err)
		}
		defer adam.Close()
		if state != nil {
			if err := adam.SetState(0, *state); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range grads {
			s := NewScope(CPU)
			if err := adam.Step(s, []*Tensor{s.FromFloats(g, len(g))}); err != nil {
				t.Fatal(err)
			}
			s.Close()
		}
		got := make([]float32, p.Len())
		if err := p.CopyTo(got); err != nil {
			t.Fatal(err)
		}
		st, err := adam.State(0)
		if err != nil {
			t.Fatal(err)
		}
		return got, st
	}
	mid, state := run(c.Start, nil, c.Grads[:half])
	if state.Steps != half {
		t.Errorf("steps = %d after %d", state.Steps, half)
	}
	end, _ := run(mid, &state, c.Grads[half:])
	whole, _ := run(c.Start, nil, c.Grads)
	for i := range whole {
		if end[i] != whole[i] {
			t.Errorf("parameter %d: resumed %v, in one go %v", i, end[i], whole[i])
		}
	}
}

func TestBatchNormMovesRunningStatistics(t *testing.T) {
	atEnd(t)
	f := readFixture(t).BatchNorm
	mean, variance := f.Mean.owned(t), f.Var.owned(t)
	s := NewScope(CPU)
	defer s.Close()
	f.X.in(s).BatchNorm(BatchNorm{s.Full(1, 3), s.Full(0, 3), mean.In(s), variance.In(s), 0.01, 1e-3}, true)
	got := make([]float32, 3)
	if err := mean.CopyTo(got); err != nil || s.Err() != nil {
		t.Fatal(err, s.Err())
	}
	same(t, "running mean", got, f.MeanAfter.Data, opTol)
	if err := variance.CopyTo(got); err != nil {
		t.Fatal(err)
	}
	same(t, "running variance", got, f.VarAfter.Data, opTol)
}
