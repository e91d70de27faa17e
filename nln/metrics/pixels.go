package metrics

import (
	"fmt"
	"math"
)

// maxPixels is how many pixels a Pixels takes: they are counted in 32 bits.
const maxPixels = math.MaxUint32

// Pixels measures how well score maps separate novel from normal pixels, over
// all pixels of the images that it was given with Add. The methods that measure
// may be called at any time, also between two images.
//
// Measures are exact but for the rounding of float64: each distinct score is a
// threshold of its own. For that every pixel is kept, in 2 to 2.5 bytes if it is
// normal and 8 to 10 if it is novel, and in 5 MB beside; but normal pixels take no
// more than 272 KiB for each range of scores whose float32 has the same upper half,
// of which there are 128 between a score and its double. 10^8 pixels, a fortieth of
// them novel, take 190 to 240 MB. At most 2^32-1 pixels can be added. No result
// depends on the order of the images.
//
// Pixels that score the threshold of a [Cut] or more are called novel. Scores
// may be negative or infinite. A Pixels is for one goroutine: measuring orders
// what it holds.
type Pixels struct {
	bins       []bin         // by the upper half of the key of a score
	scratch    *[lows]uint32 // zero
	components components    // of the last mask
	count      PixelCounts   // of what was added
}

// PixelCounts says what a [Pixels] was given.
type PixelCounts struct {
	Images        int
	Normal, Novel int // pixels
	Regions       int // connected components of the masks, each image's own, see [Regions]
}

// NewPixels returns a Pixels without images.
func NewPixels() *Pixels {
	return &Pixels{bins: make([]bin, 1<<16), scratch: new([lows]uint32)}
}

// Counts says how many images, pixels and regions were added.
func (p *Pixels) Counts() PixelCounts { return p.count }

// Add adds an image: the score of each of its pixels and its mask, both of len
// h*w, row-major. Every value of the mask but 0 marks a novel pixel; a nil mask
// marks none. Neither slice is kept or changed. Images may differ in size.
//
// A NaN score, a slice of another length and an image without pixels are errors
// that name the image by its number, from 0 on; then nothing is added.
func (p *Pixels) Add(scores []float32, mask []byte, h, w int) error {
	if err := p.check(scores, mask, h, w); err != nil {
		return fmt.Errorf("metrics: pixels: image %d: %w", p.count.Images, err)
	}
	p.count.Images++
	if mask == nil {
		for _, s := range scores {
			k := key(s)
			p.bins[k>>16].addNormal(uint16(k))
		}
		p.count.Normal += len(scores)
		return nil
	}
	for i, s := range scores {
		if mask[i] == 0 {
			k := key(s)
			p.bins[k>>16].addNormal(uint16(k))
		}
	}
	p.components.find(mask, w)
	novel := 0
	for _, r := range p.components.runs {
		area := uint64(p.components.regions[r.region].Area)
		for _, s := range scores[r.y*w+r.x0 : r.y*w+r.x1] {
			k := key(s)
			b := &p.bins[k>>16]
			b.novel = append(b.novel, uint64(uint16(k))<<32|area)
		}
		novel += r.x1 - r.x0
	}
	p.count.Novel += novel
	p.count.Normal += len(scores) - novel
	p.count.Regions += len(p.components.regions)
	return nil
}

func (p *Pixels) check(scores []float32, mask []byte, h, w int) error {
	if err := checkSize("scores", len(scores), h, w); err != nil {
		return err
	}
	if mask != nil {
		if err := checkSize("mask", len(mask), h, w); err != nil {
			return err
		}
	}
	for i, s := range scores {
		if s != s {
			return fmt.Errorf("score at row %d, column %d is NaN", i/w, i%w)
		}
	}
	if have := p.count.Normal + p.count.Novel; int64(have)+int64(len(scores)) > maxPixels {
		return fmt.Errorf("%d pixels after %d, at most %d can be measured together: "+
			"take fewer images or smaller maps", len(scores), have, int64(maxPixels))
	}
	return nil
}

// descend yields the distinct scores of all pixels from the highest down.
func (p *Pixels) descend(yield func(tie) bool) {
	for high := len(p.bins) - 1; high >= 0; high-- {
		b := &p.bins[high]
		if b.normal == nil && b.novel == nil {
			continue
		}
		b.order(p.scratch)
		if !b.descend(high, yield) {
			return
		}
	}
}

// descent returns the pixels' scores; op names the measure in errors.
func (p *Pixels) descent(op string) (descent, error) {
	if c := p.count; c.Novel == 0 || c.Normal == 0 {
		return descent{}, fmt.Errorf("metrics: pixel %s: %d novel of %d pixels in %d images: %w",
			op, c.Novel, c.Novel+c.Normal, c.Images, ErrOneClass)
	}
	return descent{p.descend, p.count.Novel, p.count.Normal}, nil
}

// AUROC returns the [AUROC] of the pixels. Without novel or without normal
// pixels the error wraps [ErrOneClass].
func (p *Pixels) AUROC() (float64, error) {
	d, err := p.descent("auroc")
	if err != nil {
		return 0, err
	}
	return d.auroc(), nil
}

// AveragePrecision returns the [AveragePrecision] of the pixels, and errors as
// AUROC does.
func (p *Pixels) AveragePrecision() (float64, error) {
	d, err := p.descent("average precision")
	if err != nil {
		return 0, err
	}
	return d.averagePrecision(), nil
}

// Youden returns the cut of the pixels with the largest TPR - FPR, see [Youden];
// the IoU in it is the segmentation measure of the paper: over all pixels
// together, at a threshold that was chosen with their masks in hand. For an
// honest one see NormalThreshold and At. It errors as AUROC does.
func (p *Pixels) Youden() (Cut, error) {
	d, err := p.descent("youden")
	if err != nil {
		return Cut{}, err
	}
	return d.youden(), nil
}

// F1Max returns the cut of the pixels with the largest F1, see [F1Max], also
// chosen with the masks in hand. It errors as AUROC does.
func (p *Pixels) F1Max() (Cut, error) {
	d, err := p.descent("f1max")
	if err != nil {
		return Cut{}, err
	}
	return d.f1max(), nil
}

// At returns the cut at a threshold that was chosen elsewhere, such as on maps
// of other, normal images (NormalThreshold). It errors as AUROC does, and if the
// threshold is NaN.
func (p *Pixels) At(threshold float64) (Cut, error) {
	if math.IsNaN(threshold) {
		return Cut{}, fmt.Errorf("metrics: pixel cut: threshold is NaN")
	}
	d, err := p.descent("cut")
	if err != nil {
		return Cut{}, err
	}
	return d.at(threshold), nil
}

// NormalThreshold returns the lowest float32 that no more than share of the normal
// pixels score or exceed, such as .01; share is in [0, 1). It lies just above one of
// their scores. Of maps of normal images on which nothing else is measured it is an
// honest threshold for other images, see At. Novel pixels do not count.
//
// Pixels of one image are alike, so that on new images the share varies more
// than the number of pixels suggests: the number of images tells how much.
//
// It fails where there are no normal pixels, and where more than share of them
// score +Inf.
func (p *Pixels) NormalThreshold(share float64) (float64, error) {
	if !(share >= 0 && share < 1) {
		return 0, fmt.Errorf("metrics: pixel threshold: share of normal pixels is %v, want at least 0 and less than 1",
			share)
	}
	if p.count.Normal == 0 {
		return 0, fmt.Errorf("metrics: pixel threshold: no normal pixels in %d images: add maps of normal images",
			p.count.Images)
	}
	reach := 0
	highest := math.Inf(-1) // score that too many reach
	for t := range p.descend {
		if reach += t.norm; float64(reach)/float64(p.count.Normal) > share {
			highest = t.score
			break
		}
	}
	if math.IsInf(highest, 1) {
		return 0, fmt.Errorf("metrics: pixel threshold: %d of %d normal pixels score +Inf, more than a share of %v",
			reach, p.count.Normal, share)
	}
	return float64(math.Nextafter32(float32(highest), float32(math.Inf(1)))), nil
}
