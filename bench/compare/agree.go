package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/nlnctl/nlnctl/bench/workload"
)

// Tolerances between two ways to compute the same. docs/benchmarks.md says them too.
const (
	lossTolerance  = 1e-3           // relative; Adam divides by small numbers in the first steps
	reconTolerance = 1e-5           // float32 sums in another order
	errorTolerance = 1. / 510       // half a step of the bytes in which we keep reconstructions
	distTolerance  = .02            // of the mean distance: FAISS's rounding, see tied
	otherNeighbour = .01            // share of images whose error term a tie may change
	rounding       = 1. / (1 << 20) // float32's 2^-24, of some sixteen roundings
)

// A space is what neighbours are found in.
type space struct {
	dim              int
	vectors, queries []float32
}

// agreement compares a way's answer with ours and says how far they agree, or
// that they do not.
func agreement(task string, exact bool, a, b workload.Answer, s space) (text string, recall float64, err error) {
	switch {
	case task == "train":
		text, err = sameLosses(a.Losses, b.Losses)
	case task == "score":
		text, err = sameTerms(a.Terms, b.Terms)
	case exact:
		text, err = sameNeighbours(a.IDs, b.IDs, s)
	default:
		recall, err = recallOf(a.IDs, b.IDs)
		text = fmt.Sprintf("recall %.4f", recall)
	}
	return text, recall, err
}

func sameLosses(a, b []float64) (string, error) {
	if len(a) != len(b) || len(a) == 0 {
		return "", fmt.Errorf("compare: %d losses and %d", len(a), len(b))
	}
	worst := 0.
	for i := range a {
		worst = max(worst, math.Abs(a[i]-b[i])/math.Abs(a[i]))
	}
	if !(worst <= lossTolerance) {
		return "", fmt.Errorf("compare: losses %v and %v differ by a relative %.1e, more than %.0e", a, b, worst, lossTolerance)
	}
	return fmt.Sprintf("losses differ by a relative %.1e", worst), nil
}

// sameNeighbours compares as many queries as both answered.
func sameNeighbours(a, b [][]int64, s space) (string, error) {
	ties, n := 0, min(len(a), len(b))
	if n == 0 {
		return "", fmt.Errorf("compare: no neighbours")
	}
	for i := range n {
		if slices.Equal(a[i], b[i]) {
			continue
		}
		ties++
		for j := range a[i] {
			if j >= len(b[i]) || !s.tied(i, a[i][j], b[i][j]) {
				return "", fmt.Errorf("compare: query %d has neighbours %v and %v, which differ by more than rounding", i, a[i], b[i])
			}
		}
	}
	return fmt.Sprintf("%d queries, the same neighbours; %d with a tie", n, ties), nil
}

// tied says whether two vectors are as far from a query but for what float32
// cannot tell: their squared distances, computed in float64, differ by less than
// the rounding of |q|^2 + |v|^2 - 2qv, of which each term can be as large as
// (|q| + |v|)^2.
func (s space) tied(query int, a, b int64) bool {
	if a == b {
		return true
	}
	if a < 0 || b < 0 || int(max(a, b)) >= len(s.vectors)/s.dim {
		return false
	}
	q := s.queries[query*s.dim : (query+1)*s.dim]
	var da, db, norm, largest float64
	for i, x := range q {
		va, vb := float64(s.vectors[int(a)*s.dim+i]), float64(s.vectors[int(b)*s.dim+i])
		da += (float64(x) - va) * (float64(x) - va)
		db += (float64(x) - vb) * (float64(x) - vb)
		norm += float64(x) * float64(x)
		largest += max(va*va, vb*vb)
	}
	scale := math.Sqrt(norm) + math.Sqrt(largest)
	return math.Abs(da-db) <= rounding*scale*scale
}

// recallOf returns the share of the neighbours in a that are in b.
func recallOf(a, b [][]int64) (float64, error) {
	found, all := 0, 0
	for i := range min(len(a), len(b)) {
		for _, id := range a[i] {
			all++
			if slices.Contains(b[i], id) {
				found++
			}
		}
	}
	if all == 0 {
		return 0, fmt.Errorf("compare: no neighbours")
	}
	return float64(found) / float64(all), nil
}

// sameTerms compares the parts of the scores for each K that both have.
func sameTerms(a, b map[string]workload.Terms) (string, error) {
	if len(a) == 0 || len(a) != len(b) {
		return "", fmt.Errorf("compare: terms for %d and %d values of K", len(a), len(b))
	}
	var recon, distance, middle float64
	others, images := 0, 0
	for k, x := range a {
		y := b[k]
		n := min(len(x.Recon), len(y.Recon), len(x.Error), len(y.Error), len(x.Distance), len(y.Distance))
		if n == 0 {
			return "", fmt.Errorf("compare: no terms for K=%s", k)
		}
		var errors []float64
		far := 0
		for i := range n {
			recon = max(recon, math.Abs(x.Recon[i]-y.Recon[i]))
			distance = max(distance, math.Abs(x.Distance[i]-y.Distance[i])/mean(x.Distance))
			d := math.Abs(x.Error[i] - y.Error[i])
			errors = append(errors, d)
			if !(d <= errorTolerance) {
				far++
			}
		}
		slices.Sort(errors)
		middle = max(middle, errors[n/2])
		others, images = others+far, images+n
	}
	if share := float64(others) / float64(images); !(recon <= reconTolerance && distance <= distTolerance && share <= otherNeighbour) {
		return "", fmt.Errorf("compare: terms disagree: plain error by %.1e, distance by %.1e of its mean, error term of %d of %d images by more than 1/510",
			recon, distance, others, images)
	}
	return fmt.Sprintf("%d images: plain error within %.0e, distance within %.2f %%, error term %.0e in the middle, %d through a tie",
		images, recon, 100*distance, middle, others), nil
}

func mean(v []float64) float64 {
	sum := 0.
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}
