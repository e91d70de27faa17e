package models

import (
	"os"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// testDevice is where the package's tests compute: NLN_TEST_DEVICE, such as "cuda:0",
// or the CPU.
func testDevice(t testing.TB) torch.Device {
	t.Helper()
	name := os.Getenv("NLN_TEST_DEVICE")
	if name == "" {
		return torch.CPU
	}
	d, err := torch.FindDevice(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// onDevice returns a tolerance for sums in float32 that holds on the CPU, for the device
// of the tests. On a CUDA device it is ten times as large: cuDNN computes some
// convolutions by transforms, whose sums have a digit less, and chooses by the batch.
func onDevice(t testing.TB, tol float64) float64 {
	if testDevice(t) == torch.CPU {
		return tol
	}
	return 10 * tol
}
