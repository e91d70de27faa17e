package models

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/nlnctl/nlnctl/internal/safetensors"
)

// readTol bounds the difference of latents between our core and Python's
// PyTorch, which may be another version: sums of a few thousand products.
const readTol = 1e-4

// PyTorch must read the weights, by the names, shapes and padding that
// docs/format/bundle.md gives, and encode as we do.
func TestPyTorchReadsTheWeights(t *testing.T) {
	python := "/usr/bin/python3" // of the distribution, where apt install python3-torch puts PyTorch
	if err := exec.Command(python, "-c", "import torch").Run(); err != nil {
		t.Skip("PyTorch is not installed: apt install python3-torch to run this test")
	}
	m := newModel(t, config(t, "paper", grey28))
	dir := t.TempDir()
	weightsPath, imagesPath := filepath.Join(dir, "weights.safetensors"), filepath.Join(dir, "images")
	const n = 5
	set := waves(n, grey28)
	x := set.Gather(identity(n), make([]float32, len(set.Pix)))
	if err := os.WriteFile(weightsPath, weights(t, m), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(imagesPath, safetensors.Bytes(x.Pix), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/read.py", weightsPath, imagesPath, strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs [][]float64
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	ours := make([]float32, n*m.LatentDim())
	if err := m.Encode(t.Context(), x, ours); err != nil {
		t.Fatal(err)
	}
	for i, row := range theirs {
		for j, v := range row {
			if w := float64(ours[i*m.LatentDim()+j]); math.Abs(w-v) > readTol*(1+math.Abs(v)) {
				t.Fatalf("image %d: latent %d is %v, PyTorch has %v", i, j, w, v)
			}
		}
	}
	if len(theirs) != n {
		t.Errorf("%d rows, want %d", len(theirs), n)
	}
}
