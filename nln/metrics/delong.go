package metrics

import (
	"fmt"
	"math"
)

// DeLong returns the AUROC with a confidence interval, lo <= auc <= hi, whose
// nominal coverage is level, such as 0.95; level must lie in (0, 1).
//
// The variance is that of DeLong, DeLong and Clarke-Pearson (Biometrics 44,
// 1988), for n normal and p novel images
//
//	S_novel / p + S_normal / n
//
// where S_novel is the sample variance over the novel images of the share of
// normal images below each (ties one half) and S_normal the same with the
// classes exchanged. These shares come out of one sort, O(N log N), as in Sun
// and Xu (IEEE Signal Processing Letters 21, 2014).
//
// The interval is symmetric in log(auc/(1-auc)), which keeps it inside (0, 1)
// and covers better than the plain one near the ends (Pepe, The Statistical
// Evaluation of Medical Tests, 2003). Where that says nothing:
//
//   - auc is 0 or 1, so that the estimated variance is 0 however few the
//     images. Of m = min(n, p) disjoint pairs all then fall the same way, which
//     an AUROC of a makes happen with chance a^m (or (1-a)^m): the interval is
//     the Clopper-Pearson interval of those m pairs, such as [(1-level)/2^(1/m), 1].
//   - a class has one image, so that its variance cannot be estimated: [0, 1].
//   - all scores are equal: [0.5, 0.5], the AUROC of any constant score.
func DeLong(scores []float64, novel []bool, level float64) (auc, lo, hi float64, err error) {
	if !(level > 0 && level < 1) {
		return 0, 0, 0, fmt.Errorf("metrics: delong: confidence level %v, want between 0 and 1", level)
	}
	r, err := rank("delong", scores, novel)
	if err != nil {
		return 0, 0, 0, err
	}
	auc = r.descent().auroc()
	tail := (1 - level) / 2
	switch pairs := float64(min(r.novel, r.norm)); {
	case auc == 1:
		return auc, math.Pow(tail, 1/pairs), 1, nil
	case auc == 0:
		return auc, 0, 1 - math.Pow(tail, 1/pairs), nil
	case pairs == 1:
		return auc, 0, 1, nil
	case len(r.ties) == 1:
		return auc, auc, auc, nil
	}
	se := math.Sqrt(r.delongVariance(auc)) / (auc * (1 - auc)) // of the logit, by the delta method
	logit := math.Log(auc / (1 - auc))
	half := math.Sqrt2 * math.Erfinv(level) * se
	return auc, expit(logit - half), expit(logit + half), nil
}

// delongVariance returns the variance of the AUROC; both classes must have two
// images or more.
func (r ranking) delongVariance(auc float64) float64 {
	p, n := float64(r.novel), float64(r.norm)
	var novelBelow, normBelow int
	var sumNovel, sumNorm float64 // of squared deviations
	for _, t := range r.ties {
		share := (float64(normBelow) + float64(t.norm)/2) / n // of normal images below a novel one of this score
		sumNovel += float64(t.novel) * (share - auc) * (share - auc)
		novelBelow += t.novel
		normBelow += t.norm
		share = (p - float64(novelBelow) + float64(t.novel)/2) / p // of novel images above a normal one
		sumNorm += float64(t.norm) * (share - auc) * (share - auc)
	}
	return sumNovel/(p-1)/p + sumNorm/(n-1)/n
}

// expit is the inverse of the logit.
func expit(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
