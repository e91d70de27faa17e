package metrics_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

// slowAUPRO draws the curve point by point, out of flood's regions.
func slowAUPRO(images []scored, limit float64) float64 {
	scores, novel := flat(images)
	thresholds := slices.Clone(scores)
	slices.Sort(thresholds)
	thresholds = slices.Compact(thresholds)
	slices.Reverse(thresholds)
	var normal float64
	for _, n := range novel {
		if !n {
			normal++
		}
	}
	var area, lastFPR, lastPRO float64
	for _, threshold := range thresholds {
		var fp, shares, regions float64
		for _, im := range images {
			labels, found := make([]int32, len(im.scores)), []metrics.Region(nil)
			if im.mask != nil {
				labels, found = flood(im.mask, im.h, im.w)
			}
			regions += float64(len(found))
			for i, s := range im.scores {
				if float64(s) < threshold {
					continue
				}
				if labels[i] == 0 {
					fp++
				} else {
					shares += 1 / float64(found[labels[i]-1].Area)
				}
			}
		}
		fpr, pro := fp/normal, shares/regions
		if fpr >= limit {
			if fpr > lastFPR {
				pro = lastPRO + (pro-lastPRO)*(limit-lastFPR)/(fpr-lastFPR)
			}
			return (area + (limit-lastFPR)*(pro+lastPRO)/2) / limit
		}
		area += (fpr - lastFPR) * (pro + lastPRO) / 2
		lastFPR, lastPRO = fpr, pro
	}
	return area / limit
}

// randomImages returns images of many sizes with both kinds of pixels. Few
// levels make many ties; some scores are negative, infinite or either zero.
func randomImages(rng *rand.Rand, n, levels int) (images []scored) {
	special := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), 1e-40, -1e-40}
	for i := range n {
		h, w := 1+rng.IntN(9), 2+rng.IntN(9)
		im := scored{make([]float32, h*w), make([]byte, h*w), h, w}
		share := rng.Float64() / 2
		for k := range im.scores {
			if rng.Float64() < share {
				im.mask[k] = byte(1 + rng.IntN(255))
			}
			if i == 0 {
				im.mask[0], im.mask[1] = 1, 0
			}
			im.scores[k] = float32(rng.IntN(levels)-levels/2) / 8
			if im.mask[k] != 0 {
				im.scores[k] += float32(rng.IntN(levels)) / 16
			}
			if rng.IntN(10) == 0 {
				im.scores[k] = special[rng.IntN(len(special))]
			}
		}
		if i > 0 && rng.IntN(4) == 0 {
			im.mask = nil
		}
		images = append(images, im)
	}
	return images
}

// twin measures the pixels as images, with the functions of this package, and
// AUPRO by its definition.
func twin(t *testing.T, images []scored) (m measured) {
	t.Helper()
	scores, novel := flat(images)
	var errs [4]error
	m.auroc, errs[0] = metrics.AUROC(scores, novel)
	m.ap, errs[1] = metrics.AveragePrecision(scores, novel)
	m.youden, errs[2] = metrics.Youden(scores, novel)
	m.f1max, errs[3] = metrics.F1Max(scores, novel)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	m.counts.Images = len(images)
	for _, n := range novel {
		if n {
			m.counts.Novel++
		} else {
			m.counts.Normal++
		}
	}
	for _, im := range images {
		if im.mask != nil {
			_, found := flood(im.mask, im.h, im.w)
			m.counts.Regions += len(found)
		}
	}
	return m
}

func TestPixelsEqualTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	for i := range 200 {
		images := randomImages(rng, 1+rng.IntN(4), 1+rng.IntN(60))
		p := newPixels(t, images)
		got, want := measure(t, p), twin(t, images)
		for k, limit := range limits {
			if slow := slowAUPRO(images, limit); !near(got.aupro[k], slow, tol) {
				t.Fatalf("set %d: AUPRO(%v) = %v, by definition %v", i, limit, got.aupro[k], slow)
			}
		}
		want.aupro = got.aupro
		if got != want {
			t.Fatalf("set %d: %+v\nas images %+v", i, got, want)
		}

		scores, novel := flat(images)
		threshold := scores[rng.IntN(len(scores))] + float64(rng.IntN(3)-1)/32
		if math.IsNaN(threshold) {
			continue
		}
		cut, err := p.At(threshold)
		if err != nil {
			t.Fatal(err)
		}
		iou, err := metrics.IoU(scores, novel, threshold)
		if err != nil || cut.IoU != iou || cut.Threshold != threshold {
			t.Fatalf("set %d: At(%v) = %+v, IoU %v, %v", i, threshold, cut, iou, err)
		}
	}
}

// Neither the order of the images nor measuring in between changes a bit, and
// neither does a strictly increasing transformation.
func TestPixelsRelations(t *testing.T) {
	rng := rand.New(rand.NewPCG(33, 34))
	for i := range 30 {
		images := randomImages(rng, 5, 40)
		want := measure(t, newPixels(t, images))

		p := metrics.NewPixels()
		for k, j := range rng.Perm(len(images)) {
			if err := p.Add(images[j].scores, images[j].mask, images[j].h, images[j].w); err != nil {
				t.Fatal(err)
			}
			if c := p.Counts(); k%2 == 0 && c.Novel > 0 && c.Normal > 0 {
				measure(t, p)
			}
		}
		if got := measure(t, p); got != want {
			t.Errorf("set %d: in another order %+v, want %+v", i, got, want)
		}

		for _, im := range images {
			for k, s := range im.scores {
				im.scores[k] = float32(math.Atan(float64(s))) * 4
			}
		}
		got := measure(t, newPixels(t, images))
		got.youden.Threshold, got.f1max.Threshold = want.youden.Threshold, want.f1max.Threshold
		if got != want {
			t.Errorf("set %d: transformed %+v, want %+v", i, got, want)
		}
	}
}

// So many normal pixels in one bin that they are counted, in another that they
// are sorted by counting, and a few elsewhere.
func TestPixelsMany(t *testing.T) {
	rng := rand.New(rand.NewPCG(35, 36))
	const h, w = 500, 600
	var images []scored
	for range 3 {
		im := scored{make([]float32, h*w), make([]byte, h*w), h, w}
		for k := range im.scores {
			switch rng.IntN(8) {
			case 0: // 112,500 in all
				im.scores[k] = -.5 - rng.Float32()/512
			case 1:
				im.scores[k] = 10 * rng.Float32()
			default:
				im.scores[k] = .5 + rng.Float32()/512
			}
			if y, x := k/w, k%w; y%50 < 8 && x%70 < 9 {
				im.mask[k] = 1
				im.scores[k] += rng.Float32() / 1024
			}
		}
		images = append(images, im)
	}
	p := metrics.NewPixels()
	for i, im := range images {
		if err := p.Add(im.scores, im.mask, im.h, im.w); err != nil {
			t.Fatal(err)
		}
		got, want := measure(t, p), twin(t, images[:i+1])
		if want.aupro = got.aupro; got != want { // AUPRO by its definition takes too long
			t.Errorf("%d images: %+v\nas images %+v", i+1, got, want)
		}
	}
	scores, novel := flat(images)
	var normal []float64
	for i, n := range novel {
		if !n {
			normal = append(normal, scores[i])
		}
	}
	slices.Sort(normal)
	for _, share := range []float64{0, 1e-4, .05, .5, .9} {
		got, err := p.NormalThreshold(share)
		if err != nil {
			t.Fatal(err)
		}
		reach := func(t float64) float64 {
			i, _ := slices.BinarySearch(normal, t)
			return float64(len(normal)-i) / float64(len(normal))
		}
		below := float64(math.Nextafter32(float32(got), float32(math.Inf(-1))))
		if reach(got) > share || reach(below) <= share {
			t.Errorf("NormalThreshold(%v) = %v, which %v reach, and %v the next below", share, got, reach(got), reach(below))
		}
	}
}

// What is promised: 2.5 bytes for a normal pixel, but no more than 272 KiB for each
// range of scores, 10 for a novel one, and 5 MB beside.
func TestPixelsMemory(t *testing.T) {
	const h, w, n = 500, 1000, 8
	for _, c := range []struct {
		name   string
		score  func(*rand.Rand) float32
		novel  int     // in 100
		ranges float64 // 0: many
		slack  float64 // runs of the last mask; novel pixels' lists, which double while they are short
	}{
		{"uniform", func(rng *rand.Rand) float32 { return rng.Float32() }, 0, 0, 0},
		{"all scales", func(rng *rand.Rand) float32 { return float32(math.Exp(rng.Float64()*170 - 85)) }, 5, 0, 6e6},
		{"seven", func(rng *rand.Rand) float32 { return float32(int(1) << rng.IntN(7)) }, 0, 7, 0},
	} {
		rng := rand.New(rand.NewPCG(37, 38))
		im := scored{make([]float32, h*w), make([]byte, h*w), h, w}
		before := heap()
		p := metrics.NewPixels()
		for range n {
			for i := range im.scores {
				im.scores[i] = c.score(rng)
				im.mask[i] = 0
				if rng.IntN(100) < c.novel {
					im.mask[i] = 1
				}
			}
			if err := p.Add(im.scores, im.mask, im.h, im.w); err != nil {
				t.Fatal(err)
			}
		}
		have, count := float64(heap()-before), p.Counts()
		limit := 2.5 * float64(count.Normal)
		if c.ranges > 0 {
			limit = min(limit, c.ranges*272*1024)
		}
		if limit += 10*float64(count.Novel) + 5e6 + c.slack; have > limit {
			t.Errorf("%s: %.0f bytes for %d normal and %d novel pixels, want at most %.0f",
				c.name, have, count.Normal, count.Novel, limit)
		}
		runtime.KeepAlive(im)
	}
}

// heap returns the bytes of the heap that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
