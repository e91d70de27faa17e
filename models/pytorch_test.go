package models

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/safetensors"
)

// readTol bounds the difference of latents between our core and Python's
// PyTorch, which may be another version: sums of a few thousand products.
const readTol = 1e-4

// PyTorch must read the weights of each model, the running statistics of batch
// normalisation included, by the names, shapes and padding that
// docs/format/bundle.md gives, and encode as we do.
func TestPyTorchReadsTheWeights(t *testing.T) {
	python := "/usr/bin/python3" // of the distribution, where apt install python3-torch puts PyTorch
	find := "import importlib.util as u, sys; sys.exit(not u.find_spec('torch'))"
	if err := exec.Command(python, "-c", find).Run(); err != nil {
		t.Skip("PyTorch is not installed: apt install python3-torch to run this test")
	}
	cases := []struct {
		arch, norm string
		shape      dataset.Shape
	}{
		{ArchAE, NormNone, grey28}, {ArchAAE, NormCode, color32}, {ArchVAE, NormStandard, grey28},
		{ArchAERes, NormAffine, grey28}, {ArchAECon, NormCode, grey28}, {ArchAE, NormNone, dataset.Shape{C: 3, H: 128, W: 128}},
	}
	const n = 5
	args, dir := []string{"testdata/read.py"}, t.TempDir()
	var ours [][]float32
	for i, c := range cases {
		cfg := configOfArch(t, "fast", c.arch, c.shape)
		cfg.Norm, cfg.Batch, cfg.Steps = c.norm, 8, 3
		m, set := newModel(t, cfg), waves(16, c.shape)
		start := snapshot(t, m)
		train(t, m, set, Options{}) // away from biases of 0 and a norm that does nothing
		moved := snapshot(t, m)["encoder.norm1.running_mean"] != start["encoder.norm1.running_mean"]
		if want := c.norm == NormStandard || c.norm == NormCode; moved != want {
			t.Errorf("%s with norm %s: running mean moved: %v, want %v", c.arch, c.norm, moved, want)
		}
		x := reorder(set, identity(n))
		ours = append(ours, floats(t, n*m.LatentDim(), func(z []float32) error { return m.Encode(t.Context(), x, z) }))
		for name, data := range map[string][]byte{"weights": weights(t, m), "images": safetensors.Bytes(x.Pix)} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(name, i)), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		args = append(args, filepath.Join(dir, fmt.Sprint("weights", i)), filepath.Join(dir, fmt.Sprint("images", i)))
		m.Close()
	}
	cmd := exec.Command(python, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs [][][]float64
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		if len(theirs) != len(cases) || len(theirs[i]) != n || n*len(theirs[i][0]) != len(ours[i]) {
			t.Fatalf("PyTorch has latents of %d models, want %d", len(theirs), len(cases))
		}
		for j, v := range slices.Concat(theirs[i]...) {
			if w := float64(ours[i][j]); math.Abs(w-v) > onDevice(t, readTol)*(1+math.Abs(v)) {
				t.Errorf("%s with norm %s: value %d of the latents is %v, PyTorch has %v", c.arch, c.norm, j, w, v)
				break
			}
		}
	}
}
