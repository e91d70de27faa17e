package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"slices"
	"sync"

	"github.com/nlnctl/nlnctl/dataset"
	"gonum.org/v1/plot/palette/moreland"
)

const (
	// errorLevels are the colours of error maps: more cannot be told apart, and
	// fewer make smaller files.
	errorLevels = 64

	// errorShare of the error values on a page lie within the scale. One pixel
	// that is wholly wrong would darken all others if it set the scale.
	errorShare = .995

	maxThumbnail = 128     // rows or columns of a picture in a page
	minThumbnail = 32      // below which pictures are not reduced to save space
	losslessMax  = 4 << 10 // values of a picture that is kept as PNG; larger ones may become JPEG
	jpegQuality  = 88
)

// errorColors is a scale from black over purple and orange to white whose
// luminance grows evenly, so that equal steps of error look equal, to
// colour-blind readers and on paper too: the "extended black body" of Kenneth
// Moreland, https://www.kennethmoreland.com/color-advice/.
var errorColors = sync.OnceValue(func() color.Palette {
	scale := moreland.ExtendedBlackBody()
	scale.SetMin(0)
	scale.SetMax(1)
	return color.Palette(scale.Palette(errorLevels).Colors())
})

// picture returns values of [0, 1] in the order C, H, W as an image; values
// outside are cut off. With three channels they are red, green and blue, with
// any other number their mean is shown in grey.
func picture(s dataset.Shape, pix []float32) image.Image {
	bounds := image.Rect(0, 0, s.W, s.H)
	n := s.H * s.W
	if s.C == 3 {
		m := image.NewRGBA(bounds)
		for i := range n {
			m.Pix[4*i] = level(float64(pix[i]))
			m.Pix[4*i+1] = level(float64(pix[n+i]))
			m.Pix[4*i+2] = level(float64(pix[2*n+i]))
			m.Pix[4*i+3] = 0xff
		}
		return m
	}
	m := image.NewGray(bounds)
	for i := range n {
		var sum float64
		for c := range s.C {
			sum += float64(pix[c*n+i])
		}
		m.Pix[i] = level(sum / float64(s.C))
	}
	return m
}

func level(v float64) uint8 { return uint8(255*min(max(v, 0), 1) + .5) }

// maskPicture returns a mask as an image, white where it is set.
func maskPicture(s dataset.Shape, mask []byte) image.Image {
	m := image.NewGray(image.Rect(0, 0, s.W, s.H))
	for i, v := range mask {
		if v != 0 {
			m.Pix[i] = 0xff
		}
	}
	return m
}

// errorPicture returns an error map in colours, of which the last stands for
// top and more.
func errorPicture(s dataset.Shape, values []float64, top float64) image.Image {
	m := image.NewPaletted(image.Rect(0, 0, s.W, s.H), errorColors())
	for i, v := range values {
		m.Pix[i] = uint8(min(v/top, 1)*(errorLevels-1) + .5)
	}
	return m
}

// errorBar returns the colours of the error scale, from left to right.
func errorBar() image.Image {
	m := image.NewPaletted(image.Rect(0, 0, errorLevels, 1), errorColors())
	for i := range errorLevels {
		m.Pix[i] = uint8(i)
	}
	return m
}

// errorTop returns the value of the last colour for all maps: that below which
// errorShare of them lie, rounded up to two digits.
func errorTop(maps [][]float64) float64 {
	var all []float64
	for _, m := range maps {
		all = append(all, m...)
	}
	if len(all) == 0 {
		return 1
	}
	slices.Sort(all)
	top := all[int(errorShare*float64(len(all)-1))]
	if !(top > 0) {
		top = all[len(all)-1]
	}
	if !(top > 0) {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(top))-1)
	return math.Ceil(top/unit-1e-9) * unit
}

// fitting returns the size of a picture of s within side, with its proportions.
func fitting(s dataset.Shape, side int) dataset.Shape {
	long := max(s.H, s.W)
	if long <= side {
		return s
	}
	return dataset.Shape{C: s.C, H: max(1, s.H*side/long), W: max(1, s.W*side/long)}
}

// reduce averages the planes of src, of size s, to the size t, which is no
// larger and has as many channels.
func reduce[T float32 | float64](s, t dataset.Shape, src []T) []T {
	if s == t {
		return src
	}
	dst := make([]T, 0, t.Len())
	for c := range s.C {
		plane := src[c*s.H*s.W : (c+1)*s.H*s.W]
		for y := range t.H {
			y0, y1 := y*s.H/t.H, (y+1)*s.H/t.H
			for x := range t.W {
				x0, x1 := x*s.W/t.W, (x+1)*s.W/t.W
				var sum float64
				for j := y0; j < y1; j++ {
					for _, v := range plane[j*s.W+x0 : j*s.W+x1] {
						sum += float64(v)
					}
				}
				dst = append(dst, T(sum/float64((y1-y0)*(x1-x0))))
			}
		}
	}
	return dst
}

// reduceMask is reduce for a mask: set where any pixel was, so that a small
// defect stays to be seen.
func reduceMask(s, t dataset.Shape, src []byte) []byte {
	v := make([]float32, len(src))
	for i, b := range src {
		if b != 0 {
			v[i] = 1
		}
	}
	s.C, t.C = 1, 1
	dst := make([]byte, t.Len())
	for i, share := range reduce(s, t, v) {
		if share > 0 {
			dst[i] = 1
		}
	}
	return dst
}

// dataURI returns an image as a data: address.
func dataURI(m image.Image) (template.URL, error) {
	var buf bytes.Buffer
	kind := "png"
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&buf, m); err != nil {
		return "", fmt.Errorf("encode picture: %w", err)
	}
	channels := 3
	if _, grey := m.(*image.Gray); grey {
		channels = 1
	}
	// An error map is read by its colours, which JPEG would change.
	if _, isMap := m.(*image.Paletted); !isMap && m.Bounds().Dx()*m.Bounds().Dy()*channels > losslessMax {
		var lossy bytes.Buffer
		if err := jpeg.Encode(&lossy, m, &jpeg.Options{Quality: jpegQuality}); err != nil {
			return "", fmt.Errorf("encode picture: %w", err)
		}
		if lossy.Len() < buf.Len() {
			buf, kind = lossy, "jpeg"
		}
	}
	return template.URL("data:image/" + kind + ";base64," + base64.StdEncoding.EncodeToString(buf.Bytes())), nil
}
