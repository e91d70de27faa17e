package dataset

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Split parts the indices 0 to n-1 at random into rest and held, the part held
// out, such as for calibration. Both are ascending, disjoint and cover all.
//
// The draw is stratified: of the m images of each label, the nearest whole
// number to fraction*m is held, but at least 1 and at most m-1, if m >= 2; a
// label with a single image is never held. With labels nil all images count as
// one label. With fraction 0 held is nil. The result depends on the arguments
// alone, and what is held of one label on its own images, not on the others.
//
// It panics if labels is neither nil nor of length n, or if fraction is not in
// [0, 1).
func Split(n int, labels []int, fraction float64, seed uint64) (rest, held []int) {
	if labels != nil && len(labels) != n {
		panic(fmt.Sprintf("dataset: split: have %d labels for %d images", len(labels), n))
	}
	if !(fraction >= 0 && fraction < 1) {
		panic(fmt.Sprintf("dataset: split: fraction %v, want at least 0 and less than 1", fraction))
	}
	groups := make(map[int][]int)
	for i := range n {
		label := 0
		if labels != nil {
			label = labels[i]
		}
		groups[label] = append(groups[label], i)
	}
	for label, ids := range groups {
		m := len(ids)
		h := 0
		if fraction > 0 && m >= 2 {
			// The conversion keeps the product from being fused with the sum,
			// which would round otherwise on other processors.
			h = min(max(int(float64(fraction*float64(m))+0.5), 1), m-1)
		}
		shuffle(ids, h, rand.NewPCG(seed, uint64(label)))
		held = append(held, ids[:h]...)
		rest = append(rest, ids[h:]...)
	}
	slices.Sort(rest)
	slices.Sort(held)
	return rest, held
}

// shuffle moves h indices drawn at random to the front of ids (Fisher-Yates).
// It draws from the generator itself, whose sequence is fixed; the methods of
// rand.Rand could change between Go versions. The remainder's bias, below
// 2^-30 for any set that fits in memory, does not matter here.
func shuffle(ids []int, h int, src *rand.PCG) {
	for i := range h {
		j := i + int(src.Uint64()%uint64(len(ids)-i))
		ids[i], ids[j] = ids[j], ids[i]
	}
}
