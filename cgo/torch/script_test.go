package torch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// openScript returns testdata/script.pt, made by testdata/script.py.
func openScript(t *testing.T) *Script {
	t.Helper()
	n, err := LoadScript("testdata/script.pt", CPU)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestScriptGivesRows(t *testing.T) {
	atEnd(t)
	n := openScript(t)
	for _, c := range []struct {
		name string
		x    []float32
		want []float32
	}{
		{"of four dimensions", []float32{0, 1, 2, 3}, []float32{0, 3, 4, 9}},
		{"transposed float64", []float32{8, 1, 2, 3}, []float32{8.5, 1.5, 2.5, 3.5}},
		{"evaluates", []float32{12, 1, 2, 3}, []float32{0, 0, 0, 0}},
		{"booleans", []float32{14, 0, -2, 3}, []float32{1, 0, 0, 1}},
	} {
		s := NewGradScope(CPU) // in which nothing is recorded for the script's weights all the same
		y := n.Forward(s.FromFloats(c.x, 2, 2))
		if shape := y.Shape(); !slices.Equal(shape, []int{2, 2}) {
			t.Errorf("%s: shape %v, want 2, 2", c.name, shape)
		}
		if got := y.Floats(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What a script gives is the caller's alone, though it be the script's own state
// or its input.
func TestScriptGivesACopy(t *testing.T) {
	atEnd(t)
	n := openScript(t)
	s := NewScope(CPU)
	defer s.Close()
	in := s.FromFloats([]float32{11, 0}, 1, 2)
	first := n.Forward(in)
	second := n.Forward(in)
	if a, b := first.Item(), second.Item(); a != 1 || b != 2 {
		t.Errorf("two calls gave %v and %v, want 1 and 2", a, b)
	}
	x := s.FromFloats([]float32{13, -1}, 1, 2)
	n.Forward(x).ReLUInPlace()
	if got := x.Floats(); !slices.Equal(got, []float32{13, -1}) {
		t.Errorf("the input became %v", got)
	}
}

func TestScriptFailures(t *testing.T) {
	atEnd(t)
	n := openScript(t)
	const file = "torch: run script: testdata/script.pt: "
	for _, c := range []struct {
		x    float32
		want string
	}{
		{1, "the script gives a Tuple, want a tensor"},
		{2, "the script gives a tensor of shape [1, 2], want 2 rows"},
		{3, "the script gives values that are not finite"},
		{4, "the script failed: builtins.ValueError: no such thing"},
		{5, "the script failed: RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x2 and 1x4)"},
		{6, "the script gives a tensor of shape [], want 2 rows"},
		{7, "the script gives a tensor of shape [2, 0], which is empty"},
		{10, "the script gives a tensor that is not of plain numbers"},
		{99, "the script gives a None, want a tensor"},
	} {
		s := NewScope(CPU)
		y := n.Forward(s.FromFloats([]float32{c.x, 1, 1, 1}, 2, 2))
		if y.Floats() != nil {
			t.Errorf("case %v: gave a tensor", c.x)
		}
		err := s.Close()
		if err == nil || !strings.HasPrefix(err.Error(), file) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("case %v: %q, want %q", c.x, err, file+c.want)
		}
	}

	s := NewScope(CPU)
	n.Forward(s.FromFloats([]float32{9, 1}, 1, 2))
	if err := s.Close(); !errors.Is(err, ErrOutOfMemory) || !strings.Contains(err.Error(), "testdata/script.pt") {
		t.Errorf("a script that wants 256 TB: %v", err)
	}
	s = NewScope(CPU)
	n.Forward(s.FromFloats(nil, 0, 2))
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "want at least 1 row") {
		t.Errorf("no rows: %v", err)
	}
	// It is none the worse for it.
	s = NewScope(CPU)
	defer s.Close()
	if got := n.Forward(s.FromFloats([]float32{0, 1}, 1, 2)).Floats(); !slices.Equal(got, []float32{0, 3}) {
		t.Errorf("after failures: %v, %v", got, s.Err())
	}
}

func TestScriptFiles(t *testing.T) {
	atEnd(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, err := os.ReadFile("testdata/script.pt")
	if err != nil {
		t.Fatal(err)
	}
	const not = "not a TorchScript file"
	for path, want := range map[string]string{
		filepath.Join(dir, "missing.pt"):          "No such file or directory",
		dir:                                       "Is a directory",
		write("empty.pt", nil):                    not,
		write("text.pt", []byte("no network\n")):  not,
		write("cut.pt", whole[:len(whole)/2]):     not,
		write("damaged.pt", damaged(whole, 0x40)): not,
	} {
		n, err := LoadScript(path, CPU)
		if err == nil {
			n.Close()
			t.Errorf("%s was loaded", path)
			continue
		}
		if !strings.HasPrefix(err.Error(), "torch: load script: "+path+": ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, want %q", path, err, want)
		}
	}
	if _, err := LoadScript("testdata/script.pt", Device(-7)); err == nil || !strings.Contains(err.Error(), "unknown device -7") {
		t.Errorf("device -7: %v", err)
	}
}

// damaged returns data with the bits of mask turned in the middle third.
func damaged(data []byte, mask byte) []byte {
	d := slices.Clone(data)
	for i := len(d) / 3; i < 2*len(d)/3; i++ {
		d[i] ^= mask
	}
	return d
}

func TestScriptMisuse(t *testing.T) {
	atEnd(t)
	n := openScript(t)
	s, other := NewScope(CPU), NewScope(CUDA(0))
	n.Forward(&Tensor{s: other})
	if err := other.Close(); err == nil || !strings.Contains(err.Error(), "the script is on cpu, the tensor on cuda:0") {
		t.Errorf("tensor of another device: %v", err)
	}
	n.Close()
	n.Close()
	n.Forward(s.FromFloats([]float32{0, 1}, 1, 2))
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "script used after Close") {
		t.Errorf("script after Close: %v", err)
	}
}
