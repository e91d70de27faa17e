package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nlnctl/nlnctl/internal/safetensors"
	"github.com/nlnctl/nlnctl/nln"
)

// heldFile has what is kept of the calibration images themselves: nln.Held. Scoring
// does not need it.
const heldFile = "heldout.safetensors"

// Names of its tensors. A feature of the images is called as one of neighbours is,
// but that the images themselves are "images" and what a network makes of them
// "images." and the network's name.
const (
	heldImages  = "images"
	heldDigests = "digests"
)

// ErrNotHeld is wrapped by the error of ReadHeld where a bundle does not keep what
// it is asked for.
var ErrNotHeld = errors.New("the bundle keeps nothing of its calibration images, without which other normal images cannot be indexed: train it anew, by this version of nlnctl")

// KeepsHeld says whether the bundle keeps what changing its indexed images needs.
func (m *Manifest) KeepsHeld() bool {
	_, ok := m.Files[heldFile]
	return ok
}

func heldName(f nln.Feature) string {
	switch {
	case f.Of != nln.OfImage:
		return tensorName(f)
	case f.Network == "":
		return heldImages
	}
	return heldImages + "." + f.Network
}

func heldFeature(tensor string) (nln.Feature, bool) {
	if name, network, ok := strings.Cut(tensor, "."); name == heldImages && ok == (network != "") {
		return nln.Feature{Of: nln.OfImage, Network: network}, true
	}
	return featureOf(tensor)
}

// heldTensors returns the file of what is kept of calibration images.
func heldTensors(h *nln.Held) *safetensors.File {
	n := len(h.Digests)
	digests := make([]byte, 0, n*len(nln.Digest{}))
	for _, d := range h.Digests {
		digests = append(digests, d[:]...)
	}
	f := &safetensors.File{Tensors: []safetensors.Tensor{
		{Name: latentTensor, DType: safetensors.F32, Shape: []int{n, len(h.Latents) / max(n, 1)}, Data: safetensors.Bytes(h.Latents)},
	}}
	digested := safetensors.Tensor{Name: heldDigests, DType: safetensors.U8, Shape: []int{n, len(nln.Digest{})}, Data: digests}
	addTables(f, h.Tables, heldName, digested)
	return f
}

// ReadHeld returns what the bundle, which was opened from path, keeps of its
// calibration images. The error wraps ErrNotHeld where that is nothing, as in
// bundles of earlier versions.
func (b *Bundle) ReadHeld(path string) (*nln.Held, error) {
	if !b.Manifest.KeepsHeld() {
		return nil, fmt.Errorf("bundle: %s: %w", path, ErrNotHeld)
	}
	data, err := os.ReadFile(filepath.Join(path, heldFile))
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	h, err := heldOf(data)
	if err != nil {
		return nil, fmt.Errorf("bundle: %s: %s: %w: %w", path, heldFile, ErrDamaged, err)
	}
	return h, nil
}

// heldOf takes what is kept of calibration images out of the bytes of a file, with
// which the result shares memory.
func heldOf(data []byte) (*nln.Held, error) {
	file, err := safetensors.Parse(data)
	if err != nil {
		return nil, err
	}
	h := &nln.Held{}
	for i := range file.Tensors {
		t := &file.Tensors[i]
		feature, known := heldFeature(t.Name)
		switch {
		case len(t.Shape) != 2:
			return nil, fmt.Errorf("tensor %q has the shape %v, want rows and columns", t.Name, t.Shape)
		case t.Name == heldDigests && t.DType == safetensors.U8 && t.Shape[1] == len(nln.Digest{}):
			for b := t.Data; len(b) > 0; b = b[len(nln.Digest{}):] {
				h.Digests = append(h.Digests, nln.Digest(b))
			}
		case t.Name == latentTensor && t.DType == safetensors.F32:
			h.Latents = t.View32()
		case !known || t.Name == latentTensor:
			return nil, fmt.Errorf("unknown tensor %q of type %s and shape %v", t.Name, t.DType, t.Shape)
		case t.DType == safetensors.U8:
			h.Tables = append(h.Tables, &nln.Table{Feature: feature, Kind: nln.CacheUint8, F: t.Shape[1], U8: t.Data})
		case t.DType == safetensors.F32:
			h.Tables = append(h.Tables, &nln.Table{Feature: feature, Kind: nln.CacheFloat32, F: t.Shape[1], F32: t.View32()})
		default:
			return nil, fmt.Errorf("tensor %q has type %s, want U8 or F32", t.Name, t.DType)
		}
	}
	return h, nil
}
