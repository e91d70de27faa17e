package main

import (
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/dataset"
)

// largest is how far an image is moved at most to make another of it.
const largest = 2

// writePictures writes count PNG files of images like those to be scored in the
// folder dir: each of these moved by up to two pixels, which makes 25 of one.
func writePictures(dir, out string, count int) error {
	meta, err := workload.ReadMeta(dir)
	if err != nil {
		return err
	}
	x, err := workload.ReadFloats(dir, workload.QueryFile)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	size := shape(meta)
	for i := range count {
		at := i % meta.Queries
		move := i / meta.Queries % ((2*largest + 1) * (2*largest + 1))
		img := picture(x[at*size.Len():(at+1)*size.Len()], size, move%(2*largest+1)-largest, move/(2*largest+1)-largest)
		if err := writeImage(filepath.Join(out, fmt.Sprintf("%06d.png", i)), img, png.Encode); err != nil {
			return err
		}
	}
	return nil
}

// picture makes an image of pixels in [0, 1], moved by dx and dy; its edge is
// repeated where nothing is left.
func picture(pix []float32, size dataset.Shape, dx, dy int) image.Image {
	plane, grey := size.H*size.W, image.NewGray(image.Rect(0, 0, size.W, size.H))
	colour := image.NewNRGBA(grey.Rect)
	for i := range plane {
		row, column := min(max(i/size.W-dy, 0), size.H-1), min(max(i%size.W-dx, 0), size.W-1)
		at := row*size.W + column
		grey.Pix[i] = uint8(255*pix[at] + .5)
		for c := range 3 {
			colour.Pix[4*i+c] = uint8(255*pix[min(c, size.C-1)*plane+at] + .5)
		}
		colour.Pix[4*i+3] = 255
	}
	if size.C == 1 {
		return grey
	}
	return colour
}

// megapixel is the side of a picture of about a million pixels.
const megapixel = 1024

// writeMegapixels writes count large pictures as PNG and as JPEG, each kind to a
// folder of its own.
func writeMegapixels(out string, count int) error {
	kinds := map[string]func(io.Writer, image.Image) error{
		"png":  png.Encode,
		"jpeg": func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, &jpeg.Options{Quality: 90}) },
	}
	rng := rand.New(rand.NewPCG(1, megapixel))
	for i := range count {
		img := landscape(rng)
		for kind, encode := range kinds {
			dir := filepath.Join(out, kind)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := writeImage(filepath.Join(dir, fmt.Sprintf("%03d.%s", i, kind)), img, encode); err != nil {
				return err
			}
		}
	}
	return nil
}

// landscape draws a picture that compresses about as a photograph does: shapes
// of all sizes, the smaller the fainter, and the grain of a sensor.
func landscape(rng *rand.Rand) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, megapixel, megapixel))
	values := make([]float64, megapixel*megapixel)
	for c := range 3 {
		clear(values)
		for cell, strength := megapixel/2, 64.; cell >= 4; cell, strength = cell/2, strength/1.6 {
			addNoise(values, cell, strength, rng)
		}
		for i, v := range values {
			img.Pix[4*i+c] = uint8(min(max(128+v+2*rng.NormFloat64(), 0), 255))
		}
	}
	for i := range values {
		img.Pix[4*i+3] = 255
	}
	return img
}

// addNoise adds random values on a grid of cells, in between interpolated.
func addNoise(values []float64, cell int, strength float64, rng *rand.Rand) {
	side := megapixel/cell + 1
	grid := make([]float64, side*side)
	for i := range grid {
		grid[i] = strength * rng.NormFloat64()
	}
	for y := range megapixel {
		for x := range megapixel {
			at, u, v := y/cell*side+x/cell, float64(x%cell)/float64(cell), float64(y%cell)/float64(cell)
			values[y*megapixel+x] += (1-v)*((1-u)*grid[at]+u*grid[at+1]) + v*((1-u)*grid[at+side]+u*grid[at+side+1])
		}
	}
}

func writeImage(path string, img image.Image, encode func(io.Writer, image.Image) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := encode(f, img); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
