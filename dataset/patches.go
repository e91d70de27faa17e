package dataset

import (
	"encoding/binary"
	"fmt"
	"image"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"strconv"
)

// Patches are patches of the images of a set, cut out when they are asked for, so
// that they take no memory of their own. It is a [Source].
type Patches struct {
	set  *Set
	grid Grid
	cuts []cut
}

// A cut is where a patch lies in an image.
type cut struct {
	image int32
	y, x  int32 // top left, before it is turned
	turn  uint8 // quarters, counterclockwise
	angle float32
}

// Ways to add patches for training to those of a grid.
const (
	AugmentNone = "none"

	// AugmentCode is what the paper's authors do for MVTec AD: random crops of the
	// middle of each image, and all patches once more, of which a part is turned by
	// quarters at random.
	AugmentCode = "code"

	// AugmentBergmann is what Bergmann et al. (CVPR 2019) do: 10,000 patches at
	// random places, turned by random angles, instead of those of the grid. They
	// mirror some kinds of objects too, which is left out: a text in the mirror is
	// not normal.
	AugmentBergmann = "bergmann"
)

// Augments returns the ways to add patches.
func Augments() []string { return []string{AugmentNone, AugmentCode, AugmentBergmann} }

// Of returns the patches of all images of a set, image by image and row by row.
// The grid has passed [Grid.Check] for its size.
func (g Grid) Of(s *Set) *Patches {
	p := &Patches{set: s, grid: g}
	for i := range s.Len() {
		for _, o := range g.Origins(s.Size) {
			p.cuts = append(p.cuts, cut{image: int32(i), y: int32(o.Y), x: int32(o.X)})
		}
	}
	return p
}

// Augmented returns more patches than those of a grid in one of the ways of
// [Augments]; the seed decides which.
func (p *Patches) Augmented(how string, seed uint64) (*Patches, error) {
	rng := rand.New(rand.NewPCG(seed, 0x61756720))
	q := &Patches{set: p.set, grid: p.grid}
	switch how {
	case AugmentNone:
		return p, nil
	case AugmentCode:
		q.cuts = append(append(q.cuts, p.cuts...), p.middles(rng)...)
		q.cuts = append(q.cuts, turned(q.cuts, rng)...)
	case AugmentBergmann:
		q.cuts = p.anywhere(rng)
	default:
		return nil, fmt.Errorf("dataset: augmentation %q, want one of %q", how, Augments())
	}
	return q, nil
}

// middles returns crops of the middle of each image: of blocks of 1.7 patches in the
// central 0.8 of it a patch each, uniformly placed.
func (p *Patches) middles(rng *rand.Rand) (cuts []cut) {
	block, size := int(1.7*float64(p.grid.Patch)), p.set.Size
	top, left := int((float64(size.H)-.8*float64(size.H))/2), int((float64(size.W)-.8*float64(size.W))/2)
	rows, columns := (size.H-2*top)/block, (size.W-2*left)/block
	within := block - p.grid.Patch + 1
	for i := range p.set.Len() {
		for r := range rows {
			for c := range columns {
				cuts = append(cuts, cut{image: int32(i), y: int32(top + r*block + rng.IntN(within)), x: int32(left + c*block + rng.IntN(within))})
			}
		}
	}
	return cuts
}

// turned returns a second copy in which each patch is turned with a chance of a half
// by 0 to 4 quarters. As 0 and 4 are none, three of ten differ from the first.
func turned(cuts []cut, rng *rand.Rand) []cut {
	again := make([]cut, len(cuts))
	for i, c := range cuts {
		if rng.IntN(2) == 1 {
			c.turn = uint8(rng.IntN(5) % 4)
		}
		again[i] = c
	}
	return again
}

// bergmannPatches is how many patches Bergmann et al. train on.
const bergmannPatches = 10000

// anywhere returns patches at random places, turned by random angles about their
// middle. What lies beyond the border is mirrored at it.
func (p *Patches) anywhere(rng *rand.Rand) []cut {
	cuts := make([]cut, bergmannPatches)
	for i := range cuts {
		cuts[i] = cut{image: int32(rng.IntN(p.set.Len())),
			y: int32(rng.IntN(p.set.Size.H - p.grid.Patch + 1)), x: int32(rng.IntN(p.set.Size.W - p.grid.Patch + 1)),
			angle: float32(2 * math.Pi * rng.Float64())}
	}
	return cuts
}

// Unique returns the patches without those that come again: of the second copy that
// AugmentCode makes, those that are not turned. Of two equal entries in an index the
// second only takes the place of another neighbour.
func (p *Patches) Unique() *Patches {
	q := &Patches{set: p.set, grid: p.grid}
	seen := make(map[cut]bool, len(p.cuts))
	for _, c := range p.cuts {
		if !seen[c] {
			seen[c] = true
			q.cuts = append(q.cuts, c)
		}
	}
	return q
}

// Shape returns the shape of a patch.
func (p *Patches) Shape() Shape { return Shape{C: p.set.Size.C, H: p.grid.Patch, W: p.grid.Patch} }

// Len returns the number of patches.
func (p *Patches) Len() int { return len(p.cuts) }

// Name returns the image's name and where in it patch i lies, such as "a.png@0:128":
// row and column of its top left pixel, with "/90" or the like where it is turned.
func (p *Patches) Name(i int) string {
	c := p.cuts[i]
	name := fmt.Sprintf("%s@%d:%d", p.set.ImageName(int(c.image)), c.y, c.x)
	if degrees := 90*float64(c.turn) + float64(c.angle)*180/math.Pi; degrees != 0 {
		name += "/" + strconv.FormatFloat(degrees, 'f', -1, 32)
	}
	return name
}

// Source returns which image of the set patch i is of.
func (p *Patches) Source(i int) int { return int(p.cuts[i].image) }

// Gather converts the patches ids to values in [0, 1], as [Set.Gather] does with
// images, and returns them. A scale stretches each patch by itself.
func (p *Patches) Gather(ids []int, dst []float32) Images {
	size := p.Shape()
	n := size.Len()
	x := Images{Shape: size, N: len(ids), Pix: dst[:len(ids)*n]}
	flat, turned := make([]uint8, n), make([]uint8, n)
	for k, i := range ids {
		p.pixels(p.cuts[i], flat, turned)
		p.set.Scale.apply(flat, size, x.At(k))
	}
	return x
}

// Bytes stores the 8-bit pixels of the patches ids in dst, as [Set.Bytes] does with
// images.
func (p *Patches) Bytes(ids []int, dst []uint8) {
	n := p.Shape().Len()
	spare := make([]uint8, n)
	for k, i := range ids {
		p.pixels(p.cuts[i], dst[k*n:(k+1)*n], spare)
	}
}

// Scaling returns how Gather converts.
func (p *Patches) Scaling() Scale { return p.set.Scaling() }

// pixels stores the pixels of a patch in dst; spare is as large.
func (p *Patches) pixels(c cut, dst, spare []uint8) {
	from, patch := p.set.Image(int(c.image)), p.grid.Patch
	if c.angle != 0 {
		for ch := range p.set.Size.C {
			n := p.set.Size.H * p.set.Size.W
			rotate(from[ch*n:(ch+1)*n], p.set.Size, c, patch, dst[ch*patch*patch:(ch+1)*patch*patch])
		}
		return
	}
	cutPlanes(from, p.set.Size, image.Pt(int(c.x), int(c.y)), patch, dst)
	for range c.turn {
		copy(spare, dst)
		quarter(spare, p.Shape(), dst)
	}
}

// quarter turns an image counterclockwise.
func quarter(src []uint8, s Shape, dst []uint8) {
	for c := range s.C {
		plane := c * s.H * s.W
		for y := range s.H {
			for x := range s.W {
				dst[plane+(s.W-1-x)*s.H+y] = src[plane+y*s.W+x]
			}
		}
	}
}

// rotate samples a patch of one plane that is turned about its middle, linearly
// between pixels.
func rotate(src []uint8, size Shape, c cut, patch int, dst []uint8) {
	sin, cos := math.Sincos(float64(c.angle))
	half := float64(patch-1) / 2
	at := func(y, x int) float64 { return float64(src[mirror(y, size.H)*size.W+mirror(x, size.W)]) }
	for r := range patch {
		for k := range patch {
			dy, dx := float64(r)-half, float64(k)-half
			y, x := float64(c.y)+half+cos*dy+sin*dx, float64(c.x)+half-sin*dy+cos*dx
			top, left := math.Floor(y), math.Floor(x)
			fy, fx, iy, ix := y-top, x-left, int(top), int(left)
			v := (1-fy)*((1-fx)*at(iy, ix)+fx*at(iy, ix+1)) + fy*((1-fx)*at(iy+1, ix)+fx*at(iy+1, ix+1))
			dst[r*patch+k] = uint8(v + .5)
		}
	}
}

// mirror returns the place in 0 to n-1 that i has when both borders are mirrors.
func mirror(i, n int) int {
	if n == 1 {
		return 0
	}
	period := 2 * (n - 1)
	if i = ((i % period) + period) % period; i >= n {
		i = period - i
	}
	return i
}

// Batches yields the patches in order; see [Source].
func (p *Patches) Batches(size int) iter.Seq2[Images, error] {
	if size < 1 {
		panic("dataset: batch size " + strconv.Itoa(size) + ", want at least 1")
	}
	return func(yield func(Images, error) bool) {
		buf, ids := make([]float32, min(size, p.Len())*p.Shape().Len()), make([]int, 0, size)
		for lo := 0; lo < p.Len(); lo += size {
			ids = ids[:0]
			for i := lo; i < min(lo+size, p.Len()); i++ {
				ids = append(ids, i)
			}
			if !yield(p.Gather(ids, buf), nil) {
				return
			}
		}
	}
}

// WriteIdentity writes what tells these patches from others.
func (p *Patches) WriteIdentity(w io.Writer) error {
	if err := p.set.WriteIdentity(w); err != nil {
		return err
	}
	if err := binary.Write(w, binary.LittleEndian, p.cuts); err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	return nil
}

// WriteIdentity writes what tells this set from others: its shape, scale and pixels.
func (s *Set) WriteIdentity(w io.Writer) error {
	fmt.Fprintf(w, "%v %s %d\n", s.Size, s.Scale, s.Len())
	_, err := w.Write(s.Pix)
	return err
}

// Set returns a set of the patches ids, with their pixels in memory, named as Name
// does and labelled as the images that they are of.
func (p *Patches) Set(ids []int) *Set {
	n := p.Shape().Len()
	s := &Set{Name: p.set.Name, Size: p.Shape(), Classes: p.set.Classes, Scale: p.set.Scale, Pix: make([]uint8, len(ids)*n)}
	p.Bytes(ids, s.Pix)
	for _, i := range ids {
		s.Names = append(s.Names, p.Name(i))
		if p.set.Labels != nil {
			s.Labels = append(s.Labels, p.set.Labels[p.Source(i)])
		}
	}
	return s
}
