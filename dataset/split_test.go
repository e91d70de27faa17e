package dataset

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSplitParts(t *testing.T) {
	const seed = 2
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		n, classes, fraction := r.IntN(200), 1+r.IntN(12), r.Float64()
		var labels []int
		if r.IntN(3) > 0 {
			labels = make([]int, n)
			for i := range labels {
				labels[i] = r.IntN(classes)
			}
		}
		rest, held := Split(n, labels, fraction, 5)
		if !slices.IsSorted(rest) || !slices.IsSorted(held) {
			t.Fatal("not ascending")
		}
		all := slices.Concat(rest, held)
		slices.Sort(all)
		for i, v := range all {
			if i != v {
				t.Fatalf("rest and held do not part 0 to %d", n-1)
			}
		}
		if len(all) != n {
			t.Fatalf("%d indices, want %d", len(all), n)
		}
		of := func(ids []int) map[int]int {
			count := make(map[int]int)
			for _, i := range ids {
				if labels == nil {
					count[0]++
				} else {
					count[labels[i]]++
				}
			}
			return count
		}
		total, got := of(all), of(held)
		for label, m := range total {
			want := int(math.Round(fraction * float64(m)))
			want = min(max(want, 1), m-1)
			if got[label] != want {
				t.Fatalf("seed %d: %d of %d images of label %d are held, want %d (fraction %g)", seed, got[label], m, label, want, fraction)
			}
		}
	}
}

func TestSplitEdges(t *testing.T) {
	if rest, held := Split(5, nil, 0, 1); held != nil || len(rest) != 5 {
		t.Errorf("fraction 0: %v, %v", rest, held)
	}
	if rest, held := Split(0, nil, .5, 1); rest != nil || held != nil {
		t.Errorf("no images: %v, %v", rest, held)
	}
	if rest, held := Split(3, []int{4, 4, 9}, .01, 1); len(held) != 1 || held[0] == 2 || len(rest) != 2 {
		t.Errorf("a label with one image: %v, %v", rest, held)
	}
	if rest, _ := Split(2, nil, .99, 1); len(rest) != 1 {
		t.Errorf("fraction .99 of 2: rest %v, want one", rest)
	}
	for _, c := range []struct {
		labels   []int
		fraction float64
	}{{nil, 1}, {nil, -.1}, {nil, math.NaN()}, {[]int{1}, .5}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("labels %v, fraction %g: no panic", c.labels, c.fraction)
				}
			}()
			Split(2, c.labels, c.fraction, 1)
		}()
	}
}

func TestSplitIsFixedAndSeeded(t *testing.T) {
	_, a := Split(1000, nil, .1, 1)
	_, again := Split(1000, nil, .1, 1)
	_, b := Split(1000, nil, .1, 2)
	if !slices.Equal(a, again) || slices.Equal(a, b) {
		t.Error("the draw does not depend on the seed alone")
	}
	// Pinned as first drawn: calibration images must stay what they were when a
	// bundle was made.
	if want := []int{3, 4, 11}; !slices.Equal(first(Split(12, nil, .25, 1)), want) {
		t.Errorf("Split(12, nil, .25, 1) holds %v, want %v", first(Split(12, nil, .25, 1)), want)
	}
	// Another label's images change nothing.
	labels := make([]int, 1000)
	for i := 500; i < 1000; i++ {
		labels[i] = 1
	}
	_, one := Split(500, labels[:500], .1, 3)
	_, two := Split(1000, labels, .1, 3)
	if !slices.Equal(one, two[:50]) {
		t.Error("what is held of label 0 changed with label 1")
	}
}

func first(_, held []int) []int { return held }

// Each image is held about equally often: 5 standard errors of a binomial.
func TestSplitIsFair(t *testing.T) {
	const n, rounds, fraction = 20, 4000, .25
	count := make([]int, n)
	for seed := range uint64(rounds) {
		_, held := Split(n, nil, fraction, seed)
		for _, i := range held {
			count[i]++
		}
	}
	limit := 5 * math.Sqrt(rounds*fraction*(1-fraction))
	for i, c := range count {
		if math.Abs(float64(c)-rounds*fraction) > limit {
			t.Errorf("image %d was held %d times of %d, want about %g", i, c, rounds, rounds*fraction)
		}
	}
}
