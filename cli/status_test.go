package cli

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

// Statuses tell apart what came of a run.
func TestScoreStatus(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"data", "synth", "-o", "glyphs", "--format", "idx", "--train", "200", "--test", "20"},
		{"train", "--data", "glyphs", "--steps", "1", "--batch", "16", "-o", "b.nln"},
	} {
		if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: io.Discard}, args); code != exitOK {
			t.Fatalf("%v: status %d", args, code)
		}
	}
	for _, c := range []struct {
		want int
		args []string
	}{
		{exitOK, []string{"glyphs", "--threshold", "-1e9"}}, // all novel, and nobody asked
		{exitNovel, []string{"glyphs", "--threshold", "-1e9", "--fail-on-novel"}},
		{exitOK, []string{"glyphs", "--threshold", "1e9", "--fail-on-novel"}},
		{exitIncomplete, []string{"glyphs", "gone.png", "--threshold", "1e9", "--fail-on-novel"}},
		{exitNovel, []string{"glyphs", "gone.png", "--threshold", "-1e9", "--fail-on-novel"}},
		{exitOK, []string{"glyphs", "--fpr", "1e-6", "--fail-on-novel"}}, // too few to call any novel
		{exitFailure, []string{"nowhere", "--fail-on-novel"}},
	} {
		var stderr bytes.Buffer
		if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: &stderr}, slices.Concat([]string{"score", "-m", "b.nln", "--quiet"}, c.args)); code != c.want {
			t.Errorf("%q: status %d, want %d\n%s", c.args, code, c.want, &stderr)
		}
		if has := strings.Contains(stderr.String(), "20 of 20 images are novel"); has != (c.want == exitNovel) {
			t.Errorf("%q: %s", c.args, &stderr)
		}
		if c.args[1] == "--fpr" && !strings.Contains(stderr.String(), "20 calibration images are too few for a false-positive rate of 1e-06, under which nothing is called novel: hold out 999999 or raise the rate") {
			t.Errorf("no warning of how many calibration images are needed:\n%s", &stderr)
		}
	}
}
