package faissindex

import (
	"context"
	"fmt"
)

// onGPU is the kind of a search in the copy that a GPU has.
const onGPU Kind = "gpu"

const (
	// gpuBlock is how many queries a GPU gets at a time.
	gpuBlock = 4096
	// gpuMost is how many neighbours FAISS finds on a GPU at most; more are
	// searched for on the processor. Newer versions find twice as many.
	gpuMost = 1024
)

// UseGPU has Search look for candidates in a copy of the vectors on a CUDA device,
// by FAISS. Their distances and order are then those of nln.Exact, but FAISS rounds
// to float32, by which neighbours that lie almost equally far may be missed. The
// index must be exact; SearchExact stays as it is, and nothing can be added any more.
// The error wraps faiss.ErrUnsupported where the core was built without
// NLN_FAISS_GPU=1.
func (x *Index) UseGPU(device int) error {
	if x.kind != Exact {
		return fmt.Errorf("faissindex: GPU: the index is of kind %s, want %s", x.kind, Exact)
	}
	g, err := x.raw.OnGPU(device)
	if err != nil {
		return fmt.Errorf("faissindex: %w", err)
	}
	err = x.offGPU()
	x.gpu = g
	return err
}

// offGPU frees the copy.
func (x *Index) offGPU() error {
	if x.gpu == nil {
		return nil
	}
	err := x.gpu.Close()
	x.gpu = nil
	return err
}

// way returns how k neighbours are searched for.
func (x *Index) way(kind Kind, k int) func(ctx context.Context, queries []float32, k int, ids []int64, dist []float32) error {
	if kind == Exact || kind == onGPU && k+spare > gpuMost {
		return x.searchExact
	}
	return x.searchApproximate
}
