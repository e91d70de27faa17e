package metrics

import (
	"fmt"
	"image"
)

// A Region is a connected component of a mask.
type Region struct {
	Box  image.Rectangle // the smallest that holds it: x to the right, y down, Max not included
	Area int             // pixels
}

// Regions returns the connected components of a mask, of len h*w and row-major,
// in which every value but 0 belongs to one. They are in the order of their
// first pixels; there are none in an empty mask.
//
// Pixels that touch at a side or a corner are connected (8-connectivity), as in
// MVTec's evaluation program, which gives scipy.ndimage.label a structure of
// ones; without one scipy takes sides alone.
//
// labels, unless nil, has len h*w and gets 0 where the mask is 0, elsewhere the
// number of the pixel's region, from 1 on: that of index i has number i+1.
func Regions(mask []byte, labels []int32, h, w int) ([]Region, error) {
	if err := checkSize("mask", len(mask), h, w); err != nil {
		return nil, fmt.Errorf("metrics: regions: %w", err)
	}
	if labels != nil {
		if err := checkSize("labels", len(labels), h, w); err != nil {
			return nil, fmt.Errorf("metrics: regions: %w", err)
		}
		clear(labels)
	}
	var c components
	c.find(mask, w)
	if labels != nil {
		for _, r := range c.runs {
			row := labels[r.y*w : (r.y+1)*w]
			for x := r.x0; x < r.x1; x++ {
				row[x] = int32(r.region + 1)
			}
		}
	}
	return c.regions, nil
}

// checkSize makes sure that n values are those of an image of h rows of w pixels.
func checkSize(what string, n, h, w int) error {
	if h < 1 || w < 1 {
		return fmt.Errorf("%d rows of %d pixels, want at least 1 of 1", h, w)
	}
	// Not n != h*w, which may overflow.
	if n%w != 0 || n/w != h {
		return fmt.Errorf("%s has len %d, want %d rows of %d pixels", what, n, h, w)
	}
	return nil
}

// A run is a piece of a row, as long as possible, inside the mask.
type run struct {
	y, x0, x1 int // x1 not included
	region    int // at first another run of the same region, the run itself where it is the first
}

// components finds the regions of one mask after another in the same memory.
type components struct {
	runs    []run // row by row, left to right
	regions []Region
}

// find replaces the regions by those of mask, whose rows have w pixels. Runs are
// joined to those that they touch in the row above; of joined runs the first is
// the root, which the others lead to.
func (c *components) find(mask []byte, w int) {
	c.runs, c.regions = c.runs[:0], nil
	above, row := 0, 0 // first run of the row above and of this one
	for y := range len(mask) / w {
		above, row = row, len(c.runs)
		c.appendRuns(mask[y*w:(y+1)*w], y)
		up := above
		for i := row; i < len(c.runs); i++ {
			for up < row && c.runs[up].x1 < c.runs[i].x0 {
				up++
			}
			// The last that touches run i may touch the next run too.
			for j := up; j < row && c.runs[j].x0 <= c.runs[i].x1; j++ {
				c.join(i, j)
			}
		}
	}
	c.number()
}

// appendRuns appends the runs of row y.
func (c *components) appendRuns(row []byte, y int) {
	for x := 0; x < len(row); x++ {
		if row[x] == 0 {
			continue
		}
		r := run{y: y, x0: x, region: len(c.runs)}
		for x++; x < len(row) && row[x] != 0; x++ {
		}
		r.x1 = x
		c.runs = append(c.runs, r)
	}
}

// root returns the first run known to be of the same region as run i.
func (c *components) root(i int) int {
	for c.runs[i].region != i {
		up := c.runs[i].region
		c.runs[i].region = c.runs[up].region // which halves the way of the next call
		i = c.runs[i].region
	}
	return i
}

func (c *components) join(i, j int) {
	i, j = c.root(i), c.root(j)
	c.runs[max(i, j)].region = min(i, j)
}

// number makes regions out of the joined runs.
func (c *components) number() {
	for i := range c.runs {
		r := &c.runs[i]
		if r.region == i {
			r.region = len(c.regions)
			c.regions = append(c.regions, Region{})
		} else {
			// A run before this one: its region is a number already.
			r.region = c.runs[r.region].region
		}
		s := &c.regions[r.region]
		s.Box = s.Box.Union(image.Rect(r.x0, r.y, r.x1, r.y+1))
		s.Area += r.x1 - r.x0
	}
}
