package torch

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// testDevice is where the package's tests compute: NLN_TEST_DEVICE, such as
// "cuda:0", or the CPU.
func testDevice(t *testing.T) Device {
	t.Helper()
	name := os.Getenv("NLN_TEST_DEVICE")
	if name == "" {
		return CPU
	}
	d, err := FindDevice(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFindDevice(t *testing.T) {
	n, err := CUDADevices()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := FindDevice("cpu"); err != nil || d != CPU || d.String() != "cpu" {
		t.Errorf("cpu: %v, %v", d, err)
	}
	want := CPU
	if n > 0 {
		want = CUDA(0)
	}
	if d, err := FindDevice("auto"); err != nil || d != want {
		t.Errorf("auto: %v, %v, want %v", d, err, want)
	}
	for _, name := range []string{"", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda0", "CPU", "cuda:99999", "auto:1"} {
		if _, err := FindDevice(name); err == nil || errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "want auto, cpu, cuda or cuda:N") {
			t.Errorf("%q: error %v", name, err)
		}
	}
	_, err = FindDevice("cuda:4000")
	if n == 0 && !errors.Is(err, ErrUnsupported) || err == nil {
		t.Errorf("a device that is not there: error %v", err)
	}
}

func TestStream(t *testing.T) {
	dev := testDevice(t)
	st, err := NewStream(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	x, err := NewOwned(dev, []float32{1, 2, 3}, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s := NewScope(dev)
	defer s.Close()
	var sum *Tensor
	work := func() error { sum = x.In(s).Square().Sum(); return s.Err() }
	err = Run(func() error {
		if err := st.Do(work); err != nil {
			return err
		}
		return st.Wait()
	})
	if err != nil || sum.Item() != 14 {
		t.Fatalf("sum %v, error %v", sum.Item(), err)
	}
	err = Run(func() error {
		g, err := st.Capture(work)
		if dev == CPU {
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("recorded on the CPU: error %v", err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		defer g.Close()
		for _, v := range []float32{2, 3} {
			if err := x.Set([]float32{v, 0, 0}); err != nil {
				return err
			}
			if err := errors.Join(g.Replay(), st.Wait()); err != nil {
				return err
			}
			if got := sum.Item(); got != v*v {
				t.Errorf("replayed on %v: %v, want %v", v, got, v*v)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	if err := st.Do(work); err == nil {
		t.Error("a closed stream took work")
	}
}

func TestPrecision(t *testing.T) {
	dev := testDevice(t)
	defer SetPrecision(Float32)
	product := func() float32 {
		s := NewScope(dev)
		defer s.Close()
		w := s.FromFloats([]float32{1 + 1.0/512, 1}, 1, 2)
		return s.FromFloats([]float32{1, 0}, 1, 2).Linear(w, nil).Item()
	}
	for p, want := range map[Precision]float32{Float32: 1 + 1.0/512, BFloat16: 1} {
		if err := SetPrecision(p); err != nil {
			t.Fatal(err)
		}
		if got := product(); got != want || CurrentPrecision() != p {
			t.Errorf("%s: %v, want %v; the precision is %s", p, got, want, CurrentPrecision())
		}
	}
	if err := SetPrecision("f8"); err == nil || !strings.Contains(err.Error(), "f32, tf32 or bf16") {
		t.Errorf("f8: error %v", err)
	}
}
