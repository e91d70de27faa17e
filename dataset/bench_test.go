package dataset

import (
	"bytes"
	"image"
	"image/jpeg"
	"testing"
)

// BenchmarkDecodeImage decodes image files that are in memory already; bytes are
// those of the pixels.
func BenchmarkDecodeImage(b *testing.B) {
	picture := image.NewNRGBA(image.Rect(0, 0, 1024, 1024))
	for i := range picture.Pix {
		picture.Pix[i] = uint8(i/4%1024*(i/4096)>>10 | i%4/3*255)
	}
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, picture, nil); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		size Shape
	}{
		{"png/28x28x1", encodePNG(b, greyRamp(28, 28)), Shape{1, 28, 28}},
		{"png/1024x1024x3", encodePNG(b, picture), Shape{3, 1024, 1024}},
		{"jpeg/1024x1024x3", photo.Bytes(), Shape{3, 1024, 1024}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(c.size.Len()))
			for b.Loop() {
				if _, err := DecodeImage(c.data, "x", c.size); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
