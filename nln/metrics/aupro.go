package metrics

import "fmt"

// AUPROLimit is the false-positive rate up to which MVTec's evaluation
// integrates, for [Pixels.AUPRO].
const AUPROLimit = .3

// AUPRO returns the normalised area under the per-region overlap (PRO) curve of
// Bergmann et al., The MVTec Anomaly Detection Dataset (IJCV 129, 2021), between
// the false-positive rates 0 and limit, in [0, 1]; [AUPROLimit] is theirs:
//
//	1/limit * integral from 0 to limit of PRO d FPR
//	PRO(t) = mean over the regions C of all masks of |C and score >= t| / |C|
//
// FPR(t) is the share of the normal pixels, those in no mask, of all images,
// also of images without a mask, that score t or more. Each distinct score gives
// a point, (0, 0) is the first, and between them and at the limit the curve is
// straight. Regions are those of [Regions]. All this is as in MVTec's evaluation
// program. A perfect map has 1, a constant one limit/2.
//
// It errors as AUROC does.
func (p *Pixels) AUPRO(limit float64) (float64, error) {
	if !(limit > 0 && limit <= 1) {
		return 0, fmt.Errorf("metrics: pixel aupro: limit is %v, want a false-positive rate above 0 and at most 1",
			limit)
	}
	d, err := p.descent("aupro")
	if err != nil {
		return 0, err
	}
	return d.aupro(limit, p.count.Regions), nil
}

// aupro returns the area under the curve of the mean share of a region against
// the false-positive rate, up to the rate limit, over limit; regions is how many
// regions there are.
func (d descent) aupro(limit float64, regions int) float64 {
	end := limit * float64(d.norm) // in normal pixels
	var area, share float64        // share: summed over the regions
	fp := 0
	for t := range d.ties {
		from, width := share, float64(t.norm)
		share += t.share
		if left := end - float64(fp); width > left {
			// The limit lies between two thresholds.
			area += left * (from + (share-from)*left/width/2)
			break
		}
		area += width * (from + share) / 2
		fp += t.norm
	}
	// At most 1 but for rounding.
	return min(area/float64(regions)/end, 1)
}
