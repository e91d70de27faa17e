package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The committed stubs must be those of the committed header.
func TestStubsAreUpToDate(t *testing.T) {
	header, err := os.ReadFile("../../../native/nln_core.h")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(header)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../stubs.c")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("stubs.c is not what nln_core.h gives: run go generate ./cgo/internal/core")
	}
}

func TestGenerateRefusesWhatItCannotRead(t *testing.T) {
	for _, header := range []string{
		"",
		"\nNLN_API nln_status nln_f(int32_t);\n", // a parameter without a name
		"\nNLN_API const char *nln_f(int32_t a);\n",      // a result of two words
		"\nNLN_API nln_status other_f(int32_t value);\n", // a foreign prefix
	} {
		if got, err := generate([]byte(header)); err == nil {
			t.Errorf("generate(%q) = %q, want an error", header, got)
		}
	}
	got, err := generate([]byte("\nNLN_API nln_status nln_f(const float *x,\n  int64_t n);\n"))
	if err != nil || !strings.Contains(string(got), "(const float *, int64_t))fn[0])(x, n)") {
		t.Errorf("generate = %q, %v", got, err)
	}
}
