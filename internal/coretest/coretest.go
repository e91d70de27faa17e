// Package coretest is what the tests of several packages over the native core have in
// common: the device that they compute on, and the oracle of exact indexes.
package coretest

import (
	"os"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// Device returns where tests compute: NLN_TEST_DEVICE, such as "cuda:0", or the CPU.
func Device(t testing.TB) torch.Device {
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
