package metrics_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

// benchImage is the map of one image of 1000 x 1000 pixels, of which 2.7 % lie in
// 25 regions. Scores are as those of error maps are: mostly small, over some
// powers of two, no two alike.
func benchImage() scored {
	const side = 1000
	rng := rand.New(rand.NewPCG(41, 42))
	im := scored{make([]float32, side*side), make([]byte, side*side), side, side}
	for i := range im.scores {
		x, y := i%side%200-100, i/side%200-100
		s := math.Exp(rng.NormFloat64() - 3)
		if x*x+y*y <= 18*18 {
			im.mask[i] = 255
			s *= 8
		}
		im.scores[i] = float32(s)
	}
	return im
}

// vary makes other scores of much the same distribution out of those of one image.
func vary(dst, scores []float32, image int) {
	f := 1 + float32(image%97)/977
	for i, s := range scores {
		dst[i] = s * f
	}
}

const benchImages = 10 // of 10^6 pixels each

func benchPixels(b *testing.B, im scored) *metrics.Pixels {
	p, scores := metrics.NewPixels(), make([]float32, len(im.scores))
	for i := range benchImages {
		vary(scores, im.scores, i)
		if err := p.Add(scores, im.mask, im.h, im.w); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

// BenchmarkPixelsAdd is of 10^7 pixels; bytes/pixel is what is kept of them.
func BenchmarkPixelsAdd(b *testing.B) {
	im := benchImage()
	before := heap()
	p := benchPixels(b, im)
	kept := float64(heap()-before) / (benchImages * float64(len(im.scores)))
	for b.Loop() {
		p = benchPixels(b, im)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(benchImages*float64(len(im.scores))), "ns/pixel")
	b.ReportMetric(kept, "bytes/pixel")
	if p.Counts().Images != benchImages {
		b.Fatal("images are missing")
	}
}

func BenchmarkPixels(b *testing.B) {
	p := benchPixels(b, benchImage())
	for _, m := range []struct {
		name string
		f    func() error
	}{
		{"AUROC", func() error { _, err := p.AUROC(); return err }},
		{"AveragePrecision", func() error { _, err := p.AveragePrecision(); return err }},
		{"Youden", func() error { _, err := p.Youden(); return err }},
		{"F1Max", func() error { _, err := p.F1Max(); return err }},
		{"AUPRO", func() error { _, err := p.AUPRO(metrics.AUPROLimit); return err }},
		{"NormalThreshold", func() error { _, err := p.NormalThreshold(.01); return err }},
	} {
		b.Run(m.name, func(b *testing.B) {
			for b.Loop() {
				if err := m.f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRegions(b *testing.B) {
	im := benchImage()
	for b.Loop() {
		if _, err := metrics.Regions(im.mask, nil, im.h, im.w); err != nil {
			b.Fatal(err)
		}
	}
}
