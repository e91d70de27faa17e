// Package workload is what the two sides of the benchmarks share: the folder
// from which both read images, weights and latent vectors, and the lines in
// which the program that compares them talks to each.
//
// A worker is a process that prepares one task in one way, writes an [Answer] to
// a file, prints a line and then answers each [Request] on its standard input
// with a [Reply] on its standard output. So rounds of several workers can be
// run in turn without their start being measured.
package workload

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// Names of the files in a folder. Pixels and vectors are raw little-endian
// float32, row-major; images N, C, H, W in [0, 1].
const (
	MetaFile         = "meta.json"
	TrainBytes       = "train.u8"    // images before scaling, a byte a value
	TrainFile        = "train.f32"   // the same, scaled
	QueryFile        = "queries.f32" // images to score
	WeightsFile      = "weights.safetensors"
	LatentFile       = "latents.f32"       // of the training images
	QueryLatentFile  = "query-latents.f32" // of the images to score
	BundleDir        = "bundle"
	ImageFile        = "one.png" // the first image to score
	AnswerImages     = 64        // images in a step of Answer.Losses
	AnswerSteps      = 3         // values of Answer.Losses
	AnswerNeighbours = 5         // of a query in Answer.IDs
)

// A Meta says what a folder holds.
type Meta struct {
	Data    string  `json:"data"`   // where the images come from, such as "MNIST"
	Preset  string  `json:"preset"` // of the model
	Shape   [3]int  `json:"shape"`  // C, H, W
	Latent  int     `json:"latent"`
	Entries int     `json:"entries"` // training images, and latent vectors in the index
	Queries int     `json:"queries"` // images to score; 0: the folder is for training alone
	Filters [3]int  `json:"filters"` // of the encoder's convolutions
	Norm    bool    `json:"norm"`    // whether there is batch normalisation
	Loss    string  `json:"loss"`    // "mse" or "bce"
	LR      float64 `json:"lr"`
	Batch   int     `json:"batch"`  // images in a training step
	Images  int     `json:"images"` // how many the set-up trained on, with repetition
}

// A Request asks a worker to work for some seconds, or a little longer to end
// what it has begun.
type Request struct {
	K       int     `json:"k"`    // neighbours; no matter for training
	Mode    string  `json:"mode"` // of a search: "batch" or "single"
	Seconds float64 `json:"seconds"`
}

// A Reply says what a worker did.
type Reply struct {
	Units   int     `json:"units"` // images or queries
	Seconds float64 `json:"seconds"`
}

// Rate returns units per second.
func (r Reply) Rate() float64 { return float64(r.Units) / r.Seconds }

// Terms are the parts of the scores of the images to score, in order.
type Terms struct {
	Recon    []float64 `json:"recon"`
	Error    []float64 `json:"error"`
	Distance []float64 `json:"distance"`
}

// An Answer is what a worker computes, to see that all compute the same.
type Answer struct {
	Losses []float64        `json:"losses,omitempty"` // before each of some training steps on the first images
	IDs    [][]int64        `json:"ids,omitempty"`    // of each query's neighbours, nearest first
	Terms  map[string]Terms `json:"terms,omitempty"`  // by K
}

// A Stage is a part of a longer way, measured alone.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"` // of all threads
}

// values returns how many values an image has.
func (m Meta) values() int { return m.Shape[0] * m.Shape[1] * m.Shape[2] }

// ReadMeta returns the description of a folder.
func ReadMeta(dir string) (Meta, error) {
	var m Meta
	err := ReadJSON(filepath.Join(dir, MetaFile), &m)
	if err == nil && m.values() < 1 {
		err = fmt.Errorf("workload: %s: images of %v", dir, m.Shape)
	}
	return m, err
}

// ReadJSON stores what a file holds in v.
func ReadJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("workload: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("workload: %s: %w", path, err)
	}
	return nil
}

// WriteJSON writes v to a file.
func WriteJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("workload: %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("workload: %w", err)
	}
	return nil
}

// ReadFloats returns the values of a raw file.
func ReadFloats(dir, name string) ([]float32, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	if len(b)%4 != 0 {
		return nil, fmt.Errorf("workload: %s has %d bytes, want a multiple of 4", name, len(b))
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v, nil
}

// WriteFloats writes values to a raw file.
func WriteFloats(dir, name string, v []float32) error {
	b := make([]byte, 4*len(v))
	for i, f := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(f))
	}
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		return fmt.Errorf("workload: %w", err)
	}
	return nil
}
