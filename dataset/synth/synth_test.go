package synth

import (
	"bytes"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

func small() Options {
	return Options{Classes: 10, TrainPerClass: 6, TestPerClass: 3, Size: 28, Channels: 1, Seed: 7}
}

func mustGenerate(t testing.TB, o Options) *dataset.Splits {
	t.Helper()
	sp, err := Generate(o)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

func TestGenerateShapesAndLabels(t *testing.T) {
	for _, channels := range []int{1, 3} {
		for _, size := range []int{12, 28, 33, 128} {
			o := small()
			o.Size, o.Channels, o.Classes = size, channels, 4
			sp := mustGenerate(t, o)
			for _, s := range []*dataset.Set{sp.Train, sp.Test} {
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
				if want := (dataset.Shape{C: channels, H: size, W: size}); s.Size != want {
					t.Errorf("size %v, want %v", s.Size, want)
				}
				for i, label := range s.Labels {
					if label != i%4 {
						t.Fatalf("label of image %d is %d, want %d", i, label, i%4)
					}
				}
			}
			if sp.Train.Len() != 24 || sp.Test.Len() != 12 {
				t.Errorf("have %d and %d images, want 24 and 12", sp.Train.Len(), sp.Test.Len())
			}
		}
	}
}

func TestNoTestImages(t *testing.T) {
	o := small()
	o.TestPerClass = 0
	if sp := mustGenerate(t, o); sp.Test != nil {
		t.Errorf("Test has %d images, want nil", sp.Test.Len())
	}
}

// An image must not depend on how many others are made, of which classes.
func TestImagesDoNotDependOnCounts(t *testing.T) {
	few, many := small(), small()
	few.Classes, few.TrainPerClass = 3, 2
	a, b := mustGenerate(t, few).Train, mustGenerate(t, many).Train
	for i := range a.Len() {
		class, index := i%few.Classes, i/few.Classes
		if !bytes.Equal(a.Image(i), b.Image(index*many.Classes+class)) {
			t.Errorf("image %d of class %d changed with the number of images", index, class)
		}
	}
}

func TestSeedsSplitsAndImagesDiffer(t *testing.T) {
	o := small()
	a := mustGenerate(t, o)
	if again := mustGenerate(t, o); !bytes.Equal(a.Train.Pix, again.Train.Pix) || !bytes.Equal(a.Test.Pix, again.Test.Pix) {
		t.Error("the same options gave other images")
	}
	o.Seed++
	b := mustGenerate(t, o)
	seen := make(map[string]string)
	for name, s := range map[string]*dataset.Set{"train": a.Train, "test": a.Test, "train, next seed": b.Train, "test, next seed": b.Test} {
		for i := range s.Len() {
			key := string(s.Image(i))
			if other, ok := seen[key]; ok {
				t.Fatalf("image %d of %s is also in %s", i, name, other)
			}
			seen[key] = name
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no classes":      func(o *Options) { o.Classes = 0 },
		"eleven classes":  func(o *Options) { o.Classes = 11 },
		"no images":       func(o *Options) { o.TrainPerClass = 0 },
		"negative test":   func(o *Options) { o.TestPerClass = -1 },
		"two channels":    func(o *Options) { o.Channels = 2 },
		"small":           func(o *Options) { o.Size = 11 },
		"large":           func(o *Options) { o.Size = 1025 },
		"terabytes":       func(o *Options) { o.TrainPerClass = 1 << 40 },
		"terabytes, test": func(o *Options) { o.TestPerClass = 1 << 40 },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := Generate(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := DefaultOptions().Check(); err != nil {
		t.Error(err)
	}
}

// The set must be learnable and yet hard: a nearest-neighbour classifier gets
// far more right than chance, and not all. The bounds leave room on both sides
// of what was measured with these options, 0.89 of 500 images.
func TestHardButLearnable(t *testing.T) {
	const low, high = .70, .97
	sp := mustGenerate(t, Options{Classes: 10, TrainPerClass: 150, TestPerClass: 50, Size: 28, Channels: 1, Seed: 1})
	right := 0
	for i := range sp.Test.Len() {
		best, label := 1<<62, -1
		for j := range sp.Train.Len() {
			if d := distance(sp.Test.Image(i), sp.Train.Image(j), best); d < best {
				best, label = d, sp.Train.Labels[j]
			}
		}
		if label == sp.Test.Labels[i] {
			right++
		}
	}
	part := float64(right) / float64(sp.Test.Len())
	t.Logf("nearest neighbour gets %.3f right", part)
	if part < low || part > high {
		t.Errorf("nearest neighbour gets %.3f right, want %.2f to %.2f", part, low, high)
	}
}

// distance is the squared distance of two images; it may stop at limit.
func distance(a, b []uint8, limit int) int {
	sum := 0
	for i := range a {
		d := int(a[i]) - int(b[i])
		sum += d * d
		if sum >= limit {
			break
		}
	}
	return sum
}

// As in MNIST, most of an image is bare and exactly 0, and strokes are bright.
func TestGreyImagesAreMostlyBare(t *testing.T) {
	s := mustGenerate(t, small()).Train
	for i := range s.Len() {
		zero, bright := 0, 0
		for _, v := range s.Image(i) {
			if v == 0 {
				zero++
			}
			if v > 150 {
				bright++
			}
		}
		n := s.Size.Len()
		if zero < n/3 || bright < n/60 || bright > n/2 {
			t.Errorf("image %d of class %d: %d of %d pixels bare, %d bright", i, s.Labels[i], zero, n, bright)
		}
	}
}

// Glyphs must lie within the image: little ink may touch the border.
func TestGlyphsFit(t *testing.T) {
	o := small()
	o.TrainPerClass = 100
	s := mustGenerate(t, o).Train
	touching := 0
	for i := range s.Len() {
		x, n := s.Image(i), s.Size.W
		edge := slices.Concat(x[:n], x[len(x)-n:])
		for y := range n {
			edge = append(edge, x[y*n], x[y*n+n-1])
		}
		if slices.Max(edge) > 128 {
			touching++
		}
	}
	if touching > s.Len()/50 {
		t.Errorf("%d of %d glyphs touch the border", touching, s.Len())
	}
}

func TestStreams(t *testing.T) {
	first := func(keys ...uint64) float64 { return newStream(keys...).float() }
	values := []float64{first(), first(0), first(0, 0), first(1, 2), first(2, 1), first(1, 2, 0)}
	slices.Sort(values)
	if len(slices.Compact(values)) != 6 {
		t.Error("different keys gave one stream")
	}
	// Four uniform numbers: mean 0, variance 1; 5 standard errors allowed.
	r, sum, squares := newStream(1), 0.0, 0.0
	const n = 100_000
	for range n {
		v := r.normal(1)
		sum += v
		squares += v * v
	}
	if mean := sum / n; mean < -.016 || mean > .016 {
		t.Errorf("normal has mean %g, want 0", mean)
	}
	if v := squares / n; v < .98 || v > 1.02 {
		t.Errorf("normal has variance %g, want 1", v)
	}
}

func BenchmarkGenerate(b *testing.B) {
	o := small()
	for b.Loop() {
		if _, err := Generate(o); err != nil {
			b.Fatal(err)
		}
	}
	n := b.N * o.Classes * (o.TrainPerClass + o.TestPerClass)
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "images/s")
}
