package nln

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// mix returns alpha*e + (1-alpha)*d. A term without weight is left out, so that
// it cannot turn the sum into NaN when its scale overflows.
func mix(alpha, e, d float64) float64 {
	switch alpha {
	case 0:
		return d
	case 1:
		return e
	}
	return float64(alpha*e) + float64((1-alpha)*d)
}

// rho returns the weight of the distance relative to the error once both are
// scaled: scores rank as E + rho*D. It is infinite where the error has no
// weight and NaN where neither has.
func rho(alpha float64, e, d Range) float64 {
	we, wd := 0., 0.
	if e.Max > e.Min {
		we = alpha / (e.Max - e.Min)
	}
	if d.Max > d.Min {
		wd = (1 - alpha) / (d.Max - d.Min)
	}
	return wd / we
}

// A TooFewError says that a false-positive rate is finer than the calibration
// images can show: the smallest p-value of n images is 1/(n+1).
type TooFewError struct {
	Have, Need int // calibration images
	FPR        float64
}

func (e *TooFewError) Error() string {
	return fmt.Sprintf("%d calibration images are too few for a false-positive rate of %v, under which nothing is called novel: hold out %d or raise the rate",
		e.Have, e.FPR, e.Need)
}

// A Calibration turns parts into scores, p-values and verdicts under a policy.
// Its constants come from held-out normal images and are frozen, so that a
// score does not depend on the images scored with it. It does not change and
// may be used from several goroutines.
type Calibration struct {
	policy          Policy
	alone           int // calibration images without a neighbour within the policy's radius
	error, distance Range
	scores          []float64 // of the calibration images, those that the policy ranks by, ascending
	locals          []float64 // their local scores, ascending
	threshold       float64
	tooFew          *TooFewError
}

// Calibrate returns the calibration of policy by calib, the parts of normal
// images that are neither in the index nor were trained on; an empty
// policy.Space stands for the first of calib. Fewer neighbours in calib than
// policy.K, a space that it lacks and an empty calib are errors. Too few images
// for policy.FPR are not: then nothing is called novel and Threshold says why.
func Calibrate(calib Parts, policy Policy) (*Calibration, error) {
	c, err := calibrate(calib, policy)
	if err != nil {
		return nil, fmt.Errorf("nln: %w", err)
	}
	return c, nil
}

func calibrate(calib Parts, policy Policy) (*Calibration, error) {
	if err := policy.check(); err != nil {
		return nil, err
	}
	if err := calib.check(); err != nil {
		return nil, fmt.Errorf("calibrate: %w", err)
	}
	if calib.Len() == 0 {
		return nil, fmt.Errorf("calibrate: no images: hold out some normal ones")
	}
	policy, err := policy.complete(calib.K, calib.SpaceNames())
	if err != nil {
		return nil, fmt.Errorf("calibrate: %w", err)
	}
	alone, es, ds := 0, make([]float64, calib.Len()), make([]float64, calib.Len())
	for i := range es {
		var within int
		if es[i], ds[i], within = policy.terms(calib, i); within == 0 {
			alone++
		}
	}
	c := &Calibration{alone: alone, policy: policy, locals: calib.Locals(policy.Local.K, policy.Local.Power),
		error: rangeBy(policy.Normalise, es), distance: rangeBy(policy.Normalise, ds)}
	slices.Sort(c.locals)
	if c.scores = c.locals; policy.Rank != ScoreLocal {
		c.scores = make([]float64, calib.Len())
		for i := range c.scores {
			c.scores[i] = c.rank(calib, i, es[i], ds[i])
		}
		slices.Sort(c.scores)
	}
	c.setThreshold()
	return c, nil
}

// newUncalibrated returns a calibration without images: scores are the plain sum
// of equation 4, every p-value is 1.
func newUncalibrated(policy Policy) *Calibration {
	c := &Calibration{policy: policy, error: Range{0, 1}, distance: Range{0, 1}}
	c.setThreshold()
	return c
}

// setThreshold finds the order statistic above which p <= FPR.
func (c *Calibration) setThreshold() {
	if c.policy.Threshold != nil {
		c.threshold = *c.policy.Threshold
		return
	}
	n := len(c.scores)
	above := allowed(n, c.policy.FPR)
	if above < 0 {
		c.threshold = math.Inf(1)
		c.tooFew = &TooFewError{Have: n, Need: needed(c.policy.FPR), FPR: c.policy.FPR}
		return
	}
	// A score above this one has at most above calibration scores at or over
	// it; a score at or below it has one more.
	c.threshold = c.scores[n-1-above]
}

// pValue returns the p-value of a score that count of n calibration scores reach.
func pValue(count, n int) float64 { return float64(1+count) / float64(n+1) }

// allowed returns the largest count whose p-value is at most fpr, or -1. The
// first guess may be off by the rounding of its product; pValue decides, so
// that verdicts and p-values agree to the bit.
func allowed(n int, fpr float64) int {
	count := int(fpr*float64(n+1)) - 1
	for pValue(count+1, n) <= fpr {
		count++
	}
	for count >= 0 && pValue(count, n) > fpr {
		count--
	}
	return count
}

// ImagesNeeded returns how many calibration images a false-positive rate in (0, 1)
// needs at least: with fewer no p-value is as small.
func ImagesNeeded(fpr float64) int { return needed(fpr) }

// needed returns the smallest number of images with a p-value of at most fpr.
func needed(fpr float64) int {
	const most = 1 << 53 // whole numbers are exact in float64 up to here
	n := int(max(0, min(math.Ceil(1/fpr)-2, most)))
	for n < most && pValue(0, n) > fpr {
		n++
	}
	return n
}

// Policy returns the policy that c was made for, its defaults filled in.
func (c *Calibration) Policy() Policy { return c.policy }

// Len returns the number of calibration images.
func (c *Calibration) Len() int { return len(c.scores) }

// Alone returns the number of calibration images that have no neighbour within
// the policy's radius.
func (c *Calibration) Alone() int { return c.alone }

// ErrorRange returns what the policy's Normalise makes of the error term over
// the calibration images: {b, b+s} in the formula of Combine.
func (c *Calibration) ErrorRange() Range { return c.error }

// DistanceRange returns the same of the distance term.
func (c *Calibration) DistanceRange() Range { return c.distance }

// Combine returns the total score of an error term e and a distance term d,
//
//	alpha (e - b_E)/s_E + (1-alpha) (d - b_D)/s_D
//
// with b and s of the calibration images, by default the smallest value and the
// width of the range (see [Policy].Normalise), not clipped. A term that was
// constant there counts 0.
func (c *Calibration) Combine(e, d float64) float64 {
	return mix(c.policy.Alpha, c.error.Scale(e), c.distance.Scale(d))
}

// Rho returns ((1-alpha)/alpha) (s_E/s_D): scores rank as E + Rho*D. Unlike
// alpha it does not depend on how the terms are scaled. It is +Inf where the
// error term has no weight and NaN where neither term has, or where the policy
// ranks by another score.
func (c *Calibration) Rho() float64 {
	if c.policy.Rank != ScoreTotal {
		return math.NaN()
	}
	return rho(c.policy.Alpha, c.error, c.distance)
}

// P returns the p-value of a score: how likely a normal image scores as much,
//
//	(1 + number of calibration scores >= score) / (n+1)
//
// which is never 0. The score is the one that the policy ranks by. Over normal
// images the p-value is at most t with chance at most t, exactly for an alpha of
// 0 or 1, for the local score and for the product; otherwise the ratio of the two scales comes
// from the same images, an effect that shrinks with their number. P of NaN is
// NaN.
func (c *Calibration) P(score float64) float64 { return pAmong(c.scores, score) }

// LocalP returns the p-value of a local score, whatever the policy ranks by.
func (c *Calibration) LocalP(local float64) float64 { return pAmong(c.locals, local) }

// pAmong returns the p-value of a score among others, ascending.
func pAmong(scores []float64, score float64) float64 {
	if math.IsNaN(score) {
		return score
	}
	below := sort.SearchFloat64s(scores, score)
	return pValue(len(scores)-below, len(scores))
}

// Threshold returns the score above which an image is called novel. Where it
// comes from the false-positive rate that is the same as P(score) <= FPR, and a
// [*TooFewError] comes with an infinite threshold when no score can be novel.
func (c *Calibration) Threshold() (float64, error) {
	if c.tooFew != nil {
		return c.threshold, c.tooFew
	}
	return c.threshold, nil
}

// Novel returns whether score is above the threshold.
func (c *Calibration) Novel(score float64) bool { return score > c.threshold }

// Warnings returns what about the calibration makes scores less useful than they
// could be, one line each, with the remedy.
func (c *Calibration) Warnings() []string {
	var w []string
	if c.tooFew != nil {
		w = append(w, c.tooFew.Error())
	}
	if c.policy.Rank != ScoreTotal {
		return w
	}
	if c.alone > 0 {
		w = append(w, fmt.Sprintf("%d of %d calibration images have no neighbour within the radius of %v and are compared with their own reconstruction: raise it",
			c.alone, c.Len(), c.policy.Radius))
	}
	for _, t := range []struct {
		name   string
		weight float64
		r      Range
	}{{"error", c.policy.Alpha, c.error}, {"distance", 1 - c.policy.Alpha, c.distance}} {
		if t.weight > 0 && t.r.Min == t.r.Max {
			w = append(w, fmt.Sprintf("the %s term is the same for %s calibration images and will not count: hold out more", t.name, c.most()))
		}
	}
	return w
}

// most says how many calibration images share a value where the range of a term
// has no width.
func (c *Calibration) most() string {
	if c.policy.Normalise == NormaliseRobust {
		return fmt.Sprintf("nearly all %d", c.Len())
	}
	return fmt.Sprintf("all %d", c.Len())
}

// A Score holds the novelty of one image; larger is more novel.
type Score struct {
	Recon    float64 // plain reconstruction error, see [Parts]
	Error    float64 // error term over the policy's K neighbours, in the units of its space
	Distance float64 // distance term over the same neighbours, in latent units by the policy's metric
	Local    float64 // local score, see [Local]
	LocalP   float64 // p-value of Local against the calibration images, in (0, 1]

	Score float64 // what the policy ranks by: both terms by [Calibration.Combine], Local, or Local times Recon
	P     float64 // p-value of Score against the calibration images, in (0, 1]
	Novel bool    // whether Score is above the threshold

	Neighbors []int64 // ids of the K nearest indexed images, nearest first

	// WithinRadius is how many of them Error and Distance are means over: K, or
	// fewer where the policy has a Radius. With 0 the image stands alone, and
	// Error is that of its own reconstruction.
	WithinRadius int
}

// rank returns the score of image i of p that the policy ranks by; its two terms are
// given.
func (c *Calibration) rank(p Parts, i int, err, dist float64) float64 {
	local := c.policy.Local
	switch c.policy.Rank {
	case ScoreLocal:
		return p.Local(i, local.K, local.Power)
	case ScoreProduct:
		return p.Product(i, local.K, local.Power)
	}
	return c.Combine(err, dist)
}

// Score returns the score of image i of p. It panics unless p has the policy's
// space and as many neighbours as the policy's two K or more. Neighbors shares
// memory with p.
func (c *Calibration) Score(p Parts, i int) Score {
	s := Score{Recon: p.Recon[i], Neighbors: p.Neighbors(i, c.policy.K)}
	s.Error, s.Distance, s.WithinRadius = c.policy.terms(p, i)
	s.Local = p.Local(i, c.policy.Local.K, c.policy.Local.Power)
	s.LocalP = c.LocalP(s.Local)
	s.Score = c.rank(p, i, s.Error, s.Distance)
	s.P = c.P(s.Score)
	s.Novel = c.Novel(s.Score)
	return s
}
