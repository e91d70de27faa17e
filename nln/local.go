package nln

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// A Local says how the local score is computed,
//
//	d_K(x) / (mean over the K nearest neighbours j of x of d_K(j))^Power
//
// where d_K is the mean Euclidean distance of a latent vector to its K nearest
// among those indexed, for an indexed j among the others. Where normal images
// lie far apart a distance says less than where they are alike; Power says how
// much less. With 0 it would be the distance term, with 1 the ratio to the
// neighbours' own distances, as of the local outlier factor (Breunig et al.,
// 2000), which makes much of what is a little off a dense cluster.
//
// The score is not of the paper. Its defaults, DefaultLocal, come from a trial that
// looked at test images of MNIST. Chosen anew without any, by how well normal
// classes are told apart, each taken for novel in turn, in a task of MNIST and one
// of Fashion-MNIST, they are within a thousandth in AUROC of the best.
type Local struct {
	K     int     // neighbours; 0: the default, or MaxK where that is less
	Power float64 // in (0, 1]; 0: the default
}

// DefaultLocal returns 5 neighbours and a power of 0.5.
func DefaultLocal() Local { return Local{K: 5, Power: .5} }

// complete fills in defaults where k neighbours were kept.
func (l Local) complete(k int) (Local, error) {
	if l.K == 0 {
		l.K = min(DefaultLocal().K, k)
	}
	if l.Power == 0 {
		l.Power = DefaultLocal().Power
	}
	if l.K > k {
		return l, fmt.Errorf("local score: K is %d but %d neighbours were kept: fit again with a larger MaxK", l.K, k)
	}
	return l, nil
}

func (l Local) check() error {
	if l.K < 0 {
		return fmt.Errorf("local score: K is %d, want at least 1, or 0 for the default", l.K)
	}
	if !(l.Power >= 0 && l.Power <= 1) {
		return fmt.Errorf("local score: power is %v, want more than 0 and at most 1, or 0 for the default", l.Power)
	}
	return nil
}

// Local returns the local score of image i over its k nearest neighbours, see
// [Local]. It is not negative, and 0 only at a distance of 0. It panics unless
// 1 <= k <= K.
func (p Parts) Local(i, k int, power float64) float64 {
	at := p.cell(i, k)
	return meanDist(p.Dist[i*p.K:at+1]) / math.Pow(p.Spacing[at], power)
}

// Locals returns the local scores of all images over k neighbours, len N.
func (p Parts) Locals(k int, power float64) []float64 {
	return p.column(func(i, k int) float64 { return p.Local(i, k, power) }, k)
}

// Product returns the local score of image i over its k nearest neighbours times its
// plain reconstruction error. Of images whose latents say little, as of photographs, the
// error says more, and a factor in either weighs alike whatever their units. Like Local
// it is not of the paper. It panics unless 1 <= k <= K.
func (p Parts) Product(i, k int, power float64) float64 {
	return p.Recon[i] * p.Local(i, k, power)
}

// Products returns the products of all images over k neighbours, len N.
func (p Parts) Products(k int, power float64) []float64 {
	return p.column(func(i, k int) float64 { return p.Product(i, k, power) }, k)
}

// meanDist returns the mean of distances, summed in their order.
func meanDist(dist []float32) float64 {
	var sum float64
	for _, d := range dist {
		sum += float64(d)
	}
	return sum / float64(len(dist))
}

// A spacing holds how far apart the indexed images are.
type spacing struct {
	k     int
	mean  []float32 // len N*k, row-major: value j-1 is the mean distance to the j nearest others, 0 if there are none
	floor []float64 // len k: the least denominator over that many neighbours
}

// densest is how many times as dense as on average a neighbourhood may count.
// Among copies of one image the distances are 0, and a score would be infinite
// whatever little the image differs from them.
const densest = 100

// newSpacing returns the spacing with a floor for each number of neighbours:
// the mean over the indexed images divided by densest, or 1 if all are alike.
func newSpacing(mean []float32, k int) spacing {
	s := spacing{k: k, mean: mean, floor: make([]float64, k)}
	for i, v := range mean {
		s.floor[i%k] += float64(v)
	}
	for j := range s.floor {
		if s.floor[j] /= float64(len(mean)/k) * densest; s.floor[j] == 0 {
			s.floor[j] = 1
		}
	}
	return s
}

// around stores in dst[j-1] the mean over the j nearest neighbours, ids[:j], of
// their mean distance to their own j nearest, but no less than the floor.
func (s spacing) around(ids []int64, dst []float64) {
	for j := range ids {
		var sum float64
		for _, id := range ids[:j+1] {
			sum += float64(s.mean[int(id)*s.k+j])
		}
		dst[j] = max(sum/float64(j+1), s.floor[j])
	}
}

// check makes sure that the spacing has a row for each of n indexed images.
func (s spacing) check(n int) error {
	if s.k < 1 || len(s.mean) != n*s.k {
		return fmt.Errorf("spacing of %d values for %d indexed images and %d neighbours", len(s.mean), n, s.k)
	}
	for i, v := range s.mean {
		if !(v >= 0) || v-v != 0 {
			return fmt.Errorf("spacing of indexed image %d over %d neighbours is %v", i/s.k, i%s.k+1, v)
		}
	}
	return nil
}

// spacingQueries is how many indexed images are searched for at a time.
const spacingQueries = 1024

// findSpacing searches the nearest others of each indexed image, whose latent
// vectors are given in order.
func (s *Scorer) findSpacing(ctx context.Context, latents []float32) error {
	n, l, k := s.indexed, s.model.LatentDim(), s.cfg.MaxK
	sources := s.cfg.Sources
	if sources == nil {
		sources = make([]int64, n)
		for i := range sources {
			sources[i] = int64(i)
		}
	}
	mean := make([]float32, n*k)
	others := min(k, n-largestSource(sources))
	if others < 1 {
		s.warnings = append(s.warnings, "the local score has nothing to compare with: index images of more than one source")
	}
	var nb Neighbors
	for lo := 0; lo < n && others > 0; lo += spacingQueries {
		hi := min(lo+spacingQueries, n)
		var err error
		if nb, err = SearchOtherSources(ctx, s.index, latents[lo*l:hi*l], sources[lo:hi], sources, others, nb); err != nil {
			return err
		}
		for i := range hi - lo {
			for j := range k {
				// There may be fewer than k others, then these have to do.
				mean[(lo+i)*k+j] = float32(meanDist(nb.Dist[i*others:][:min(j+1, others)]))
			}
		}
		if s.cfg.Progress != nil {
			s.cfg.Progress("local", hi, n)
		}
	}
	s.spacing = newSpacing(mean, k)
	return s.spacing.check(n)
}

// checkSources makes sure that there is a source for each image to be indexed.
func checkSources(sources []int64, n int) error {
	if sources != nil && len(sources) != n {
		return fmt.Errorf("%d sources of %d train images", len(sources), n)
	}
	return nil
}

// ranks lists the scores that a policy can rank by.
var ranks = []string{ScoreTotal, ScoreLocal, ScoreProduct}

// Ranks returns the scores that a policy can rank by.
func Ranks() []string { return slices.Clone(ranks) }

func checkRank(rank string) error {
	if rank != "" && !slices.Contains(ranks, rank) {
		return fmt.Errorf("rank is %q, want one of %q", rank, ranks)
	}
	return nil
}
