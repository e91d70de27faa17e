package dataset

import (
	"image"
	"image/color"
)

// planar stores img as the planes R, G, B in dst, len 3*H*W. It gives, for any
// image type, the high bytes of Color.RGBA, which is premultiplied and so
// composited over black; the types that the decoders return go a faster way.
func planar(dst []uint8, img image.Image) {
	b := img.Bounds()
	n := b.Dx() * b.Dy()
	red, green, blue := dst[:n], dst[n:2*n], dst[2*n:3*n]
	i := 0
	switch m := img.(type) {
	case *image.Gray:
		grey(red, img)
		copy(green, red)
		copy(blue, red)
	case *image.RGBA:
		for y := range b.Dy() {
			row := m.Pix[y*m.Stride:][:4*b.Dx()]
			for ; len(row) > 0; row = row[4:] {
				red[i], green[i], blue[i] = row[0], row[1], row[2]
				i++
			}
		}
	case *image.NRGBA:
		for y := range b.Dy() {
			row := m.Pix[y*m.Stride:][:4*b.Dx()]
			for ; len(row) > 0; row = row[4:] {
				a := row[3]
				red[i], green[i], blue[i] = overBlack(row[0], a), overBlack(row[1], a), overBlack(row[2], a)
				i++
			}
		}
	case *image.YCbCr:
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				j, k := m.YOffset(x, y), m.COffset(x, y)
				red[i], green[i], blue[i] = color.YCbCrToRGB(m.Y[j], m.Cb[k], m.Cr[k])
				i++
			}
		}
	default:
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				r, g, bl, _ := img.At(x, y).RGBA()
				red[i], green[i], blue[i] = uint8(r>>8), uint8(g>>8), uint8(bl>>8)
				i++
			}
		}
	}
}

// grey stores img as one plane in dst, len H*W, and reports whether every
// pixel is grey; dst is only partly written if not.
func grey(dst []uint8, img image.Image) bool {
	b := img.Bounds()
	if m, ok := img.(*image.Gray); ok {
		for y := range b.Dy() {
			copy(dst[y*b.Dx():], m.Pix[y*m.Stride:][:b.Dx()])
		}
		return true
	}
	i := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, _ := img.At(x, y).RGBA()
			// Compared as 8-bit values: that is what is kept.
			if r>>8 != g>>8 || g>>8 != bl>>8 {
				return false
			}
			dst[i] = uint8(r >> 8)
			i++
		}
	}
	return true
}

// overBlack returns the high byte of v, stretched to 16 bits, with alpha a, as
// color.NRGBA.RGBA gives it.
func overBlack(v, a uint8) uint8 {
	if a == 0xff {
		return v
	}
	return uint8(uint32(v) * 0x101 * uint32(a) / 0xff >> 8)
}
