package dataset

import (
	"image"
	"image/color"
)

// montageSide is how many pixels an image takes in a montage at least; smaller
// images are magnified by a whole factor.
const montageSide = 56

// Montage lays images of s out for a person to look at: one row for each label
// with its first perClass images, in their order; without labels one grid of
// rows of perClass. Small images are magnified, and the outline of a mask is
// drawn in red. It returns an empty image for an empty set, and panics if
// perClass < 1.
func Montage(s *Set, perClass int) *image.RGBA {
	if perClass < 1 {
		panic("dataset: montage: images per class, want at least 1")
	}
	rows := montageRows(s, perClass)
	zoom := max(1, (montageSide+s.Size.W-1)/max(s.Size.W, 1))
	const gap = 2
	cellW, cellH := zoom*s.Size.W+gap, zoom*s.Size.H+gap
	columns := 0
	for _, row := range rows {
		columns = max(columns, len(row))
	}
	out := image.NewRGBA(image.Rect(0, 0, columns*cellW, len(rows)*cellH))
	for i := range out.Pix {
		out.Pix[i] = 0xff // gaps and missing images are white
	}
	for r, row := range rows {
		for c, i := range row {
			s.magnify(out, i, image.Pt(c*cellW, r*cellH), zoom)
		}
	}
	return out
}

// montageRows returns the indices of the images of each row.
func montageRows(s *Set, perClass int) [][]int {
	var rows [][]int
	if s.Labels == nil {
		for i := range s.Len() {
			if i%perClass == 0 {
				rows = append(rows, nil)
			}
			rows[i/perClass] = append(rows[i/perClass], i)
		}
		return rows
	}
	rows = make([][]int, len(s.Classes))
	for i, label := range s.Labels {
		if len(rows[label]) < perClass {
			rows[label] = append(rows[label], i)
		}
	}
	return rows
}

// magnify draws image i with its top left corner at p.
func (s *Set) magnify(out *image.RGBA, i int, p image.Point, zoom int) {
	n := s.Size.H * s.Size.W
	pix := s.Image(i)
	var mask []byte
	if s.Masks != nil {
		mask = s.Masks[i]
	}
	for y := range zoom * s.Size.H {
		for x := range zoom * s.Size.W {
			j := y/zoom*s.Size.W + x/zoom
			px := color.RGBA{pix[j], pix[j], pix[j], 0xff}
			if s.Size.C >= 3 {
				px.G, px.B = pix[n+j], pix[2*n+j]
			}
			if onOutline(mask, s.Size, x, y, zoom) {
				px = color.RGBA{0xff, 0, 0, 0xff}
			}
			out.SetRGBA(p.X+x, p.Y+y, px)
		}
	}
}

// onOutline reports whether the magnified pixel x, y lies in the mask and
// touches a pixel outside of it.
func onOutline(mask []byte, size Shape, x, y, zoom int) bool {
	inside := func(x, y int) bool {
		if x < 0 || y < 0 || x >= zoom*size.W || y >= zoom*size.H {
			return false
		}
		return mask[y/zoom*size.W+x/zoom] != 0
	}
	if mask == nil || !inside(x, y) {
		return false
	}
	return !inside(x-1, y) || !inside(x+1, y) || !inside(x, y-1) || !inside(x, y+1)
}
