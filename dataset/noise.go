package dataset

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// noiseStream keeps the draw apart from those that [Split] makes of one seed.
const noiseStream = 1 << 40

// wholeTol is by how much share*n may miss a whole number below which it counts:
// 0.29 of 100 images are 29, though the product is rounded to 28.999...
const wholeTol = 1e-9

// AddNoise adds images to the inliers that the protocol excludes, as if they had
// been labelled wrongly: floor(share*n) of the n such images of train, at random.
// train is the set that the task's Inliers count in.
//
// The draw is without replacement and depends on the seed and on which images are
// excluded alone; a larger share adds to what a smaller one adds. Share 0 changes
// nothing. Noise says which images they are, so that a caller can keep them out of
// what is held out as normal, or leave them there.
//
// A share that is not in [0, 1], a task that has noise already, and a share above
// 0 where the protocol excludes no image of train are errors.
func (t *Task) AddNoise(train *Set, share float64, seed uint64) error {
	switch {
	case !(share >= 0 && share <= 1):
		return fmt.Errorf("dataset: label noise: share is %v, want 0 to 1", share)
	case len(t.Noise) > 0:
		return fmt.Errorf("dataset: label noise: the task has %d images of it already", len(t.Noise))
	case share == 0:
		return nil
	}
	var excluded []int
	next := 0 // place in Inliers
	for i := range train.Len() {
		if next < len(t.Inliers) && t.Inliers[next] == i {
			next++
		} else {
			excluded = append(excluded, i)
		}
	}
	if next != len(t.Inliers) {
		return fmt.Errorf("dataset: label noise: inlier %d is no image of %s, which has %d", t.Inliers[next], train.Name, train.Len())
	}
	if len(excluded) == 0 {
		return fmt.Errorf("dataset: label noise: no image of %s is excluded, so that there is none to add: use a protocol that excludes some", train.Name)
	}
	n := min(int(share*float64(len(excluded))+wholeTol), len(excluded))
	shuffle(excluded, n, rand.NewPCG(seed, noiseStream))
	t.Noise = excluded[:n:n]
	slices.Sort(t.Noise)
	t.Inliers = slices.Concat(t.Inliers, t.Noise)
	slices.Sort(t.Inliers)
	return nil
}
