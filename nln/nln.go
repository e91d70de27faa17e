// Package nln scores images by Nearest Latent Neighbours.
//
// The method (Mesarcik et al., "Improving Novelty Detection using the
// Reconstructions of Nearest Neighbours", https://arxiv.org/abs/2111.06150)
// keeps the latent vectors of normal images in a nearest-neighbour index. An
// image x with latent z and nearest normal latents z^1..z^K is scored by
//
//	error    E = mean over k of the mean absolute difference |x - g(z^k)|
//	distance D = mean over k of the Euclidean distance |z - z^k|
//	score      = alpha n_E(E) + (1-alpha) n_D(D)            (equation 4)
//
// where g is the decoder and n_E, n_D scale each term by its range over
// held-out normal images, so that a score does not depend on the other images
// scored with it. Larger is more novel. A model with further networks compares
// images by other features than their pixels (equations 7 and 8): see [Space].
// Beside the paper's scores stands one by the distance alone, which allows for
// how far apart normal images lie around x: see [Local].
//
// Call [Fit] with a trained [Model], an empty [Index], the normal images to
// index and some that were held out; the [Scorer] it returns scores batches of
// images. The package is pure Go: package models has the autoencoders, package
// faissindex the fast index, and [Exact] is an exact index in plain Go.
package nln

import (
	"context"
	"fmt"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Model maps images to latent vectors and back. It must be deterministic,
// and an image's result must not depend on the batch around it beyond rounding.
type Model interface {
	Shape() dataset.Shape // of the images it takes and gives
	LatentDim() int

	// Encode stores the latent vectors of x in z, row-major, len(z) == x.N*LatentDim().
	Encode(ctx context.Context, x dataset.Images, z []float32) error

	// Decode stores the images of the latent vectors z in xhat, row-major,
	// len(xhat) == len(z)/LatentDim()*Shape().Len(), values in [0, 1].
	Decode(ctx context.Context, z []float32, xhat []float32) error
}

// A Reconstructor is a [Model] whose reconstruction of an image need not be
// Decode(Encode(x)), because the vector that is good to search by is not the one
// that the decoder takes, such as the layer before the two heads of a
// variational autoencoder.
//
// Where Reconstructs returns true, Reconstruct stands for the decoder everywhere:
// for the reconstructions g(z^k) of the indexed images, which then are
// reconstructions of the images themselves, for the plain reconstruction error,
// and for an image's own reconstruction; Decode is not called. Where it returns
// false the model is treated as any other. One type can so serve models of both
// kinds; the answer must not change while a model is in use.
type Reconstructor interface {
	Model

	Reconstructs() bool

	// Reconstruct stores the reconstructions of x in xhat, row-major,
	// len(xhat) == len(x.Pix), values in [0, 1]. It must be deterministic, as a
	// Model is.
	Reconstruct(ctx context.Context, x dataset.Images, xhat []float32) error
}

// Reconstruct stores in xhat, len(x.Pix) values, the reconstructions by m of the
// images x, whose latent vectors z m has encoded: Decode of these, or what a
// [Reconstructor] that says so makes of x. It is what a [Scorer] compares x with
// as its plain reconstruction error.
func Reconstruct(ctx context.Context, m Model, x dataset.Images, z, xhat []float32) error {
	if err := reconstruct(ctx, m, x, z, xhat); err != nil {
		return fmt.Errorf("nln: %w", err)
	}
	return nil
}

func reconstruct(ctx context.Context, m Model, x dataset.Images, z, xhat []float32) error {
	if r, ok := m.(Reconstructor); ok && r.Reconstructs() {
		if err := r.Reconstruct(ctx, x, xhat); err != nil {
			return fmt.Errorf("reconstruct: %w", err)
		}
		return nil
	}
	if err := m.Decode(ctx, z, xhat); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}

// Neighbors holds the K nearest vectors of each of some queries, nearest first.
type Neighbors struct {
	K    int
	IDs  []int64   // len queries*K, row-major; ids by order of Add, from 0
	Dist []float32 // Euclidean distance, not squared; same order as IDs
}

// An Index finds nearest neighbours by Euclidean distance. The i'th vector
// ever added has id i.
type Index interface {
	Dim() int
	Len() int

	// Add appends vectors, row-major, a multiple of Dim values, all finite.
	Add(ctx context.Context, vectors []float32) error

	// Search finds the k nearest vectors of each query, at most Len; equal
	// distances are ordered by id. It reuses dst's memory where it suffices. An
	// index may miss some of the nearest, see [ExactSearcher], but gives min(k,
	// Len) vectors and their own distances.
	Search(ctx context.Context, queries []float32, k int, dst Neighbors) (Neighbors, error)
}

// A VectorIndex is an [Index] that gives its vectors back, which then need not
// be kept twice where something else than a search needs them.
type VectorIndex interface {
	Index

	// Vectors returns the vectors in order of id, row-major, Len*Dim values that
	// the index still owns and that are valid until the next Add; nil if it
	// keeps them in another form.
	Vectors() []float32
}

// An ExactSearcher is an [Index] whose Search may miss neighbours, for speed, and
// which can search without missing any. Indexed images are compared with each
// other that way ([SearchOthers], [SearchOtherSources], and what [Fit] keeps for
// the local score): it is done once, and what leaves out the query itself or all
// of its source must not run out of what an approximate search happens to find.
type ExactSearcher interface {
	Index

	// SearchExact is Search without missing any.
	SearchExact(ctx context.Context, queries []float32, k int, dst Neighbors) (Neighbors, error)
}
