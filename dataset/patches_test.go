package dataset

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomSet returns n images of random pixels.
func randomSet(seed uint64, n int, size Shape) *Set {
	rng := rand.New(rand.NewPCG(seed, 0))
	s := &Set{Name: "random", Size: size, Pix: make([]uint8, n*size.Len()), Scale: Scale255, Classes: []string{"a", "b"}}
	for i := range s.Pix {
		s.Pix[i] = uint8(rng.Uint32())
	}
	for i := range n {
		s.Labels = append(s.Labels, i%2)
	}
	return s
}

func TestGridStarts(t *testing.T) {
	for _, c := range []struct {
		grid Grid
		side int
		want []int
	}{
		{Grid{Patch: 4, Stride: 4}, 12, []int{0, 4, 8}},
		{Grid{Patch: 4, Stride: 4}, 14, []int{0, 4, 8, 10}},
		{Grid{Patch: 4, Stride: 4, Inside: true}, 14, []int{0, 4, 8}},
		{Grid{Patch: 4, Stride: 3}, 10, []int{0, 3, 6}},
		{Grid{Patch: 4, Stride: 3}, 11, []int{0, 3, 6, 7}},
		{Grid{Patch: 4, Stride: 9, Inside: true}, 14, []int{0, 9}},
		{Grid{Patch: 4, Stride: 1}, 4, []int{0}},
	} {
		if have := c.grid.starts(c.side); !slices.Equal(have, c.want) {
			t.Errorf("%+v on %d pixels: %v, want %v", c.grid, c.side, have, c.want)
		}
	}
	// The authors' code never scores 104 rows and columns of capsule.
	capsule := Shape{C: 3, H: 1000, W: 1000}
	if n := len((Grid{Patch: 128, Stride: 128, Inside: true}).Origins(capsule)); n != 49 {
		t.Errorf("%d patches of capsule as the authors cut it, want 49", n)
	}
	if n := len((Grid{Patch: 128, Stride: 128}).Origins(capsule)); n != 64 {
		t.Errorf("%d patches of capsule with its borders, want 64", n)
	}
}

func TestGridCheck(t *testing.T) {
	size := Shape{C: 1, H: 8, W: 6}
	for _, c := range []struct {
		grid Grid
		want string
	}{
		{Grid{Patch: 6, Stride: 6}, ""}, {Grid{Patch: 7, Stride: 1}, "do not fit"}, {Grid{Patch: 0, Stride: 1}, "at least 1"},
		{Grid{Patch: 2, Stride: 0}, "at least 1"}, {Grid{Patch: 2, Stride: 3}, "gaps"}, {Grid{Patch: 2, Stride: 3, Inside: true}, ""},
	} {
		err := c.grid.Check(size)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.grid, err, c.want)
		}
	}
}

// Patches of an image put together are the image, and overlapping maps their mean.
func TestStitch(t *testing.T) {
	size := Shape{C: 1, H: 11, W: 9}
	s := randomSet(1, 1, size)
	x := s.Gather([]int{0}, make([]float32, size.Len()))
	for _, g := range []Grid{{Patch: 4, Stride: 4}, {Patch: 4, Stride: 3}, {Patch: 5, Stride: 1}} {
		n := len(g.Origins(size))
		cut := g.Cut(x, make([]float32, n*g.Patch*g.Patch))
		for i, v := range g.Stitch(size, cut.Pix) {
			if math.Abs(float64(v-x.Pix[i])) > 1e-6 {
				t.Fatalf("%+v: pixel %d is %v, want %v", g, i, v, x.Pix[i])
			}
		}
		// A different constant on each patch: the mean of those that cover a pixel.
		constant := make([]float32, len(cut.Pix))
		for i := range constant {
			constant[i] = float32(i / (g.Patch * g.Patch))
		}
		have := g.Stitch(size, constant)
		for y := range size.H {
			for xx := range size.W {
				var sum, count float64
				for j, o := range g.Origins(size) {
					if y >= o.Y && y < o.Y+g.Patch && xx >= o.X && xx < o.X+g.Patch {
						sum, count = sum+float64(j), count+1
					}
				}
				if v := float64(have[y*size.W+xx]); math.Abs(v-sum/count) > 1e-4 {
					t.Fatalf("%+v: pixel %d,%d is %v, want %v", g, y, xx, v, sum/count)
				}
			}
		}
	}
	if g := (Grid{Patch: 4, Stride: 4, Inside: true}); g.Stitch(size, make([]float32, 4*16))[size.Len()-1] != 0 {
		t.Error("a pixel that no patch covers is not 0")
	}
}

// Numbers of patches for each image, as the authors' code has them.
func TestAugmentCode(t *testing.T) {
	for _, c := range []struct{ side, grid, all int }{{1024, 64, 146}, {1000, 49, 116}} {
		g := Grid{Patch: 128, Stride: 128, Inside: true}
		p := g.Of(randomSet(2, 3, Shape{C: 1, H: c.side, W: c.side}))
		q, err := p.Augmented(AugmentCode, 1)
		if err != nil || p.Len() != 3*c.grid || q.Len() != 3*c.all {
			t.Errorf("%d pixels: %d and %d patches, %v, want %d and %d", c.side, p.Len(), q.Len(), err, 3*c.grid, 3*c.all)
		}
		turned := 0
		for i, k := range q.cuts {
			if i < q.Len()/2 && k.turn != 0 {
				t.Fatalf("patch %d of the first copy is turned", i)
			}
			if k.turn != 0 {
				turned++
			}
			if k.x < 0 || k.y < 0 || int(k.x)+128 > c.side || int(k.y)+128 > c.side {
				t.Fatalf("patch at %d,%d", k.y, k.x)
			}
			if inside := i >= 3*c.grid && i < q.Len()/2; inside && (k.x < int32(c.side/10) || int(k.x)+128 > c.side-c.side/10+1) {
				t.Fatalf("crop at %d is not of the middle", k.x)
			}
		}
		if share := float64(turned) / float64(q.Len()/2); math.Abs(share-.3) > .08 {
			t.Errorf("%.2f of the second copy are turned, want 0.3", share)
		}
		if u := q.Unique(); u.Len() != q.Len()/2+turned {
			t.Errorf("%d unique patches, want %d", u.Len(), q.Len()/2+turned)
		}
		again, _ := p.Augmented(AugmentCode, 1)
		other, _ := p.Augmented(AugmentCode, 2)
		if !slices.Equal(again.cuts, q.cuts) || slices.Equal(other.cuts, q.cuts) {
			t.Error("the seed does not decide")
		}
	}
	if _, err := (Grid{Patch: 2, Stride: 2}).Of(randomSet(1, 1, Shape{1, 4, 4})).Augmented("mirror", 0); err == nil {
		t.Error("an unknown augmentation")
	}
}

func TestAugmentBergmann(t *testing.T) {
	p, err := Grid{Patch: 8, Stride: 8}.Of(randomSet(3, 5, Shape{C: 3, H: 20, W: 24})).Augmented(AugmentBergmann, 4)
	if err != nil || p.Len() != 10000 {
		t.Fatalf("%d patches, %v", p.Len(), err)
	}
	images := map[int]int{}
	var angle float64
	for i, c := range p.cuts {
		images[p.Source(i)]++
		angle += float64(c.angle) / float64(p.Len())
	}
	if len(images) != 5 || images[0] < 1800 || math.Abs(angle-math.Pi) > .1 {
		t.Errorf("images %v, mean angle %v", images, angle)
	}
}

// A patch that is turned by an angle of so many quarters is the one that is turned by
// quarters, and two quarters are its pixels from behind.
func TestTurns(t *testing.T) {
	s := randomSet(5, 1, Shape{C: 3, H: 12, W: 13})
	p := &Patches{set: s, grid: Grid{Patch: 6, Stride: 6}}
	n := p.Shape().Len()
	spare := make([]uint8, n)
	pixels := func(c cut) []uint8 {
		dst := make([]uint8, n)
		p.pixels(c, dst, spare)
		return dst
	}
	for turn := range uint8(4) {
		quarters, angle := pixels(cut{y: 3, x: 4, turn: turn}), pixels(cut{y: 3, x: 4, angle: float32(turn) * math.Pi / 2})
		for i := range quarters {
			if d := int(quarters[i]) - int(angle[i]); d < -1 || d > 1 {
				t.Fatalf("%d quarters: pixel %d is %d by the angle, want %d", turn, i, angle[i], quarters[i])
			}
		}
	}
	plain, half := pixels(cut{y: 3, x: 4}), pixels(cut{y: 3, x: 4, turn: 2})
	for c := range 3 {
		plane := slices.Clone(half[c*36 : (c+1)*36])
		slices.Reverse(plane)
		if !slices.Equal(plane, plain[c*36:(c+1)*36]) {
			t.Fatalf("channel %d turned by two quarters", c)
		}
	}
	// Row 0 of a quarter counterclockwise is the last column.
	if one := pixels(cut{y: 3, x: 4, turn: 1}); one[0] != plain[5] || one[5] != plain[35] {
		t.Errorf("a quarter begins with %d and %d, want %d and %d", one[0], one[5], plain[5], plain[35])
	}
	for i, want := range map[int]int{-1: 1, -2: 2, 0: 0, 4: 4, 5: 3, 8: 0, 9: 1, -9: 1} {
		if have := mirror(i, 5); have != want {
			t.Errorf("mirror(%d) is %d, want %d", i, have, want)
		}
	}
}

func TestPatchesAreASource(t *testing.T) {
	s := randomSet(6, 3, Shape{C: 3, H: 10, W: 7})
	p, err := Grid{Patch: 4, Stride: 3}.Of(s).Augmented(AugmentCode, 1)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]int, p.Len())
	for i := range all {
		all[i] = i
	}
	want := p.Gather(all, make([]float32, p.Len()*p.Shape().Len()))
	set := p.Set(all)
	if err := set.Check(); err != nil {
		t.Fatal(err)
	}
	same := set.Gather(all, make([]float32, len(want.Pix)))
	if !slices.Equal(same.Pix, want.Pix) {
		t.Error("the set of all patches has other pixels")
	}
	some := []int{p.Len() - 1, 0}
	mine, theirs := make([]uint8, 2*p.Shape().Len()), make([]uint8, 2*p.Shape().Len())
	p.Bytes(some, mine)
	set.Bytes(some, theirs)
	if !slices.Equal(mine, theirs) || !slices.Equal(mine[p.Shape().Len():], set.Image(0)) || p.Scaling() != set.Scaling() {
		t.Error("the bytes of patches and of their set differ")
	}
	if set.Labels[p.Len()-1] != s.Labels[p.Source(p.Len()-1)] || set.ImageName(1) != p.Name(1) || p.Name(1) != "random/0@0:3" {
		t.Errorf("label %d, names %q and %q", set.Labels[p.Len()-1], set.ImageName(1), p.Name(1))
	}
	done := 0
	for x, err := range p.Batches(7) {
		if err != nil || x.Shape != p.Shape() {
			t.Fatal(x.Shape, err)
		}
		if !slices.Equal(x.Pix, want.Slice(done, done+x.N).Pix) {
			t.Fatalf("the batch from %d on has other pixels", done)
		}
		done += x.N
	}
	if done != p.Len() {
		t.Errorf("batches of %d patches, want %d", done, p.Len())
	}
	// The first patch of the third image is the top left of it.
	x := s.Gather([]int{2}, make([]float32, s.Size.Len()))
	first := p.Gather([]int{2 * len(p.grid.Origins(s.Size))}, make([]float32, p.Shape().Len()))
	if first.Pix[5] != x.Pix[8] {
		t.Errorf("pixel 1,1 is %v, want %v", first.Pix[5], x.Pix[8])
	}
	id := func(p *Patches) string {
		var b bytes.Buffer
		if err := p.WriteIdentity(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if id(p) == id(p.Unique()) && p.Unique().Len() != p.Len() || !strings.HasPrefix(id(p), fmt.Sprintf("%v", s.Size)) {
		t.Error("other patches have the same identity")
	}
}
