package dataset

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// noiseTask returns a set of n images of ten classes in turn and the task of one.
func noiseTask(t *testing.T, n int, p Protocol, class string) (*Set, *Task) {
	t.Helper()
	labels := make([]int, n)
	for i := range labels {
		labels[i] = i % 10
	}
	sp := &Splits{Train: labelled("train", 10, labels...)}
	task, err := sp.Task(p, class)
	if err != nil {
		t.Fatal(err)
	}
	return sp.Train, task
}

func TestAddNoise(t *testing.T) {
	for _, c := range []struct {
		p        Protocol
		n        int
		share    float64
		added    int
		excluded func(label int) bool
	}{
		{MISO, 1000, 0, 0, nil},
		{MISO, 1000, .29, 29, func(l int) bool { return l == 3 }},
		{MISO, 1000, .299, 29, func(l int) bool { return l == 3 }},
		{MISO, 1000, 1, 100, func(l int) bool { return l == 3 }},
		{MISO, 90, .1, 0, func(l int) bool { return l == 3 }}, // floor(.9)
		{SIMO, 1000, .05, 45, func(l int) bool { return l != 3 }},
		{Defects, 200, .5, 90, func(l int) bool { return l != 0 }},
	} {
		class := "3"
		if !c.p.NeedsClass() {
			class = ""
		}
		train, task := noiseTask(t, c.n, c.p, class)
		before := slices.Clone(task.Inliers)
		if err := task.AddNoise(train, c.share, 7); err != nil {
			t.Errorf("%s, share %v: %v", c.p, c.share, err)
			continue
		}
		if len(task.Noise) != c.added || len(task.Inliers) != len(before)+c.added {
			t.Errorf("%s, share %v: %d images added, %d inliers, want %d and %d", c.p, c.share, len(task.Noise), len(task.Inliers), c.added, len(before)+c.added)
		}
		if !slices.IsSorted(task.Noise) || !slices.IsSorted(task.Inliers) || len(slices.Compact(slices.Clone(task.Inliers))) != len(task.Inliers) {
			t.Errorf("%s, share %v: not ascending, or an image twice", c.p, c.share)
		}
		for _, i := range task.Noise {
			if !c.excluded(train.Labels[i]) {
				t.Errorf("%s, share %v: image %d of label %d is no noise", c.p, c.share, i, train.Labels[i])
			}
		}
		clean := slices.DeleteFunc(slices.Clone(task.Inliers), func(i int) bool { return slices.Contains(task.Noise, i) })
		if !slices.Equal(clean, before) {
			t.Errorf("%s, share %v: the other inliers changed", c.p, c.share)
		}
	}
}

// Each excluded image is drawn as often as the others, with a seed always alike,
// with a larger share among more.
func TestNoiseDraw(t *testing.T) {
	const n, share, seeds = 400, .25, 2000
	draw := func(share float64, seed uint64) []int {
		train, task := noiseTask(t, n, MISO, "3")
		if err := task.AddNoise(train, share, seed); err != nil {
			t.Fatal(err)
		}
		return task.Noise
	}
	counts := map[int]int{}
	for seed := range uint64(seeds) {
		for _, i := range draw(share, seed) {
			counts[i]++
		}
	}
	// Five standard deviations of a binomial count.
	sampling := 5 * math.Sqrt(seeds*share*(1-share))
	for i := 3; i < n; i += 10 {
		if math.Abs(float64(counts[i])-seeds*share) > sampling {
			t.Errorf("image %d was drawn %d times of %d, want about %v", i, counts[i], seeds, seeds*share)
		}
	}
	if len(counts) != n/10 {
		t.Errorf("%d images were drawn, want all %d of the class", len(counts), n/10)
	}
	a, b, more := draw(share, 5), draw(share, 5), draw(2*share, 5)
	if !slices.Equal(a, b) || slices.Equal(a, draw(share, 6)) {
		t.Errorf("seed 5 drew %v and %v, seed 6 %v", a, b, draw(share, 6))
	}
	for _, i := range a {
		if !slices.Contains(more, i) {
			t.Errorf("twice the share lacks image %d", i)
		}
	}
}

func TestAddNoiseErrors(t *testing.T) {
	for name, c := range map[string]struct {
		p      Protocol
		share  float64
		change func(*Set, *Task)
		says   string
	}{
		"negative":         {MISO, -.1, nil, "share is -0.1"},
		"above 1":          {MISO, 1.1, nil, "share is 1.1"},
		"NaN":              {MISO, math.NaN(), nil, "share is NaN"},
		"twice":            {MISO, .5, func(_ *Set, t *Task) { t.Noise = []int{3} }, "1 images of it already"},
		"nothing excluded": {Unlabelled, .5, nil, "no image of train is excluded"},
		"another set":      {MISO, .5, func(s *Set, _ *Task) { s.Pix = s.Pix[:50] }, "inlier 50 is no image of train, which has 50"},
	} {
		class := "3"
		if c.p == Unlabelled {
			class = ""
		}
		train, task := noiseTask(t, 100, c.p, class)
		if c.change != nil {
			c.change(train, task)
		}
		if err := task.AddNoise(train, c.share, 1); err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "dataset: ") {
			t.Errorf("%s: error %v, want one with %q", name, err, c.says)
		}
	}
	train, task := noiseTask(t, 100, Unlabelled, "")
	if err := task.AddNoise(train, 0, 1); err != nil || task.Noise != nil || len(task.Inliers) != 100 {
		t.Errorf("no noise: %v, %v", task.Noise, err)
	}
}
