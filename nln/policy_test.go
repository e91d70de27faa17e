package nln_test

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// slowRadius computes the two terms of image i from the definition: the indexed
// vectors within r, sorted by distance, at most k of them; none: the image's own
// reconstruction, and r.
func slowRadius(t *testing.T, s *nln.Scorer, p nln.Parts, space string, i, k int, r float64, squared bool) (e, d float64, m int) {
	t.Helper()
	x, train := noise(9, testShape, p.Len(), 1).Images.Slice(i, i+1), noise(2, testShape, testTrain, .5).Images
	z := make([]float32, testLatent)
	if err := s.Model().Encode(t.Context(), x, z); err != nil {
		t.Fatal(err)
	}
	all := slowSearch(testLatent, s.Index().(*nln.Exact).Vectors(), z, testTrain)
	for m < k && float64(all.Dist[m]) <= r {
		v := float64(all.Dist[m])
		if squared {
			v *= v
		}
		d += v
		m++
	}
	term := slowTerm(t, s.Model().(*twin), train, x, space, all.IDs[:max(m, 1)], max(m, 1))
	switch {
	case m > 0:
		return term.Mean[m-1], d / float64(m), m
	case squared:
		return term.Own[0], r * r, 0
	}
	return term.Own[0], r, 0
}

func TestRadiusEqualsDefinition(t *testing.T) {
	const n, k = 25, 4
	x := noise(9, testShape, n, 1).Images
	s := fitTwin(t, newTwin(), nln.NewExact(testLatent), nil)
	p, err := s.Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	first := p.Dist[0]
	for _, c := range []struct {
		space  string
		radius float64
		metric string
	}{
		{"residual", .08, ""}, {"eq8", .08, nln.MetricSquared}, {"code", .1, nln.MetricL2}, {"text", .05, ""},
		{"image", .08, ""}, {"image", float64(first), ""}, {"code", 1e-9, nln.MetricSquared}, {"residual", 1e9, ""},
	} {
		policy := nln.Policy{K: k, Alpha: .8, FPR: .1, Space: c.space, Radius: c.radius, Metric: c.metric}
		named, err := s.With(policy)
		if err != nil {
			t.Fatal(err)
		}
		scores, err := named.Score(t.Context(), x, nil)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[int]int{}
		for i, got := range scores {
			e, d, m := slowRadius(t, s, p, c.space, i, k, c.radius, c.metric == nln.MetricSquared)
			if math.Abs(got.Error-e) > sumTol || math.Abs(got.Distance-d) > sumTol || got.WithinRadius != m {
				t.Errorf("%+v: image %d: terms %v, %v over %d neighbours, want %v, %v over %d", c, i, got.Error, got.Distance, got.WithinRadius, e, d, m)
			}
			if !reflect.DeepEqual(got, named.Calibration().Score(p, i)) || len(got.Neighbors) != k {
				t.Errorf("%+v: image %d: %+v, from parts %+v", c, i, got, named.Calibration().Score(p, i))
			}
			counts[m]++
		}
		if c.radius > 1e-6 && c.radius < 1 && len(counts) < 2 {
			t.Errorf("%+v: every image has the same number of neighbours: %v", c, counts)
		}
		// The same image alone.
		one, err := named.Score(t.Context(), x.Slice(3, 4), nil)
		if err != nil || !reflect.DeepEqual(one[0], scores[3]) {
			t.Errorf("%+v: image 3 alone %+v, among others %+v (%v)", c, one, scores[3], err)
		}
		alone := 0
		for i := range named.CalibrationParts().Len() {
			if float64(named.CalibrationParts().Dist[i*p.K]) > c.radius {
				alone++
			}
		}
		warned := strings.Contains(strings.Join(named.Warnings(), "\n"), "have no neighbour within the radius")
		if named.Calibration().Alone() != alone || warned != (alone > 0) {
			t.Errorf("%+v: %d calibration images alone, want %d; warnings %q", c, named.Calibration().Alone(), alone, named.Warnings())
		}
	}
}

// The three vectors of the distance tests, seen from the first and from afar.
func TestRadiusBounds(t *testing.T) {
	v := []float32{0, 0, 3, 4, 6, 8}
	s := fitVectors(t, v, 2, func(c *nln.Config) { c.Spaces = []string{nln.SpaceImage, nln.SpaceLatent} })
	x := vectors{2}.source([]float32{0, 0, 30, 40}).Images
	for _, c := range []struct {
		radius float64
		metric string
		d      [2]float64
		within [2]int
	}{
		{0, "", [2]float64{5, 45}, [2]int{3, 3}},
		{5, "", [2]float64{2.5, 5}, [2]int{2, 0}}, // inclusive
		{math.Nextafter(5, 0), "", [2]float64{0, math.Nextafter(5, 0)}, [2]int{1, 0}},
		{40, "", [2]float64{5, 40}, [2]int{3, 1}},
		{45, nln.MetricSquared, [2]float64{125. / 3, (45*45 + 40*40) / 2.}, [2]int{3, 2}},
		{0, nln.MetricSquared, [2]float64{125. / 3, (50*50 + 45*45 + 40*40) / 3.}, [2]int{3, 3}},
		{0, nln.MetricL1Mean, [2]float64{3.5, 31.5}, [2]int{3, 3}},
	} {
		named, err := s.With(nln.Policy{K: 3, Alpha: .5, FPR: .5, Radius: c.radius, Metric: c.metric})
		if err != nil {
			t.Fatal(err)
		}
		scores, err := named.Score(t.Context(), x, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range scores {
			if math.Abs(got.Distance-c.d[i]) > sumTol || got.WithinRadius != c.within[i] {
				t.Errorf("radius %v, metric %q: image %d: distance %v over %d, want %v over %d", c.radius, c.metric, i, got.Distance, got.WithinRadius, c.d[i], c.within[i])
			}
			if got.Error != got.Recon { // every image decodes to black
				t.Errorf("radius %v: image %d: error %v, want %v", c.radius, i, got.Error, got.Recon)
			}
			if want := slowLocal(2, v, ids(3), x.At(i), 3, .5); math.Abs(got.Local-want) > 2*spacingTol*want {
				t.Errorf("radius %v, metric %q: local score %v, want %v whatever they are", c.radius, c.metric, got.Local, want)
			}
		}
	}
}

// Parts under a policy have its terms, for each K, and are the same when it is
// applied again.
func TestApply(t *testing.T) {
	s := fitTwin(t, newTwin(), nln.NewExact(testLatent), func(c *nln.Config) { c.Spaces = append(slices.Clone(allSpaces), nln.SpaceLatent) })
	p, err := s.Parts(t.Context(), noise(9, testShape, 25, 1).Images, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := nln.Parts{}.Append(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, policy := range []nln.Policy{
		{K: 3, FPR: .1, Space: "code"},
		{K: 30, FPR: .1, Radius: .08, Space: "text", Local: nln.Local{K: 30}},
		{K: 1, FPR: .1, Radius: .08, Metric: nln.MetricSquared},
		{K: 1, FPR: .1, Metric: nln.MetricL1Mean, Space: "image"},
	} {
		q, err := policy.Apply(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := policy.Apply(q)
		if err != nil || !reflect.DeepEqual(again, q) {
			t.Errorf("%+v: applied twice it differs (%v)", policy, err)
		}
		if err := q.Check(); err != nil {
			t.Error(err)
		}
		for _, space := range p.SpaceNames() {
			in, err := q.In(space)
			if err != nil {
				t.Fatal(err)
			}
			for k := 1; k <= p.K; k++ {
				of := policy
				of.K, of.Space, of.Local = k, space, nln.Local{}
				named, err := s.With(of)
				if err != nil {
					t.Fatal(err)
				}
				for i := range p.Len() {
					if want := named.Calibration().Score(p, i); in.E(i, k) != want.Error || in.D(i, k) != want.Distance || in.Local(i, k, 1) != p.Local(i, k, 1) {
						t.Fatalf("%+v: image %d, K %d: terms %v, %v, want %v, %v", of, i, k, in.E(i, k), in.D(i, k), want.Error, want.Distance)
					}
				}
			}
		}
		if policy.Space != "" && q.Spaces[0].Space != policy.Space {
			t.Errorf("%+v: space %q first", policy, q.Spaces[0].Space)
		}
	}
	if !reflect.DeepEqual(p, before) {
		t.Error("Apply changed the parts it was given")
	}
	if q, err := (nln.Policy{K: 1, FPR: .1}).Apply(nln.Parts{}); err != nil || q.Len() != 0 {
		t.Errorf("no parts: %v, %v", q, err)
	}
}

func TestPolicyErrors(t *testing.T) {
	s := fitTwin(t, newTwin(), nln.NewExact(testLatent), nil)
	for name, c := range map[string]struct {
		policy nln.Policy
		want   string
	}{
		"negative radius": {nln.Policy{K: 1, FPR: .1, Radius: -1}, "radius is -1"},
		"radius NaN":      {nln.Policy{K: 1, FPR: .1, Radius: math.NaN()}, "radius is NaN"},
		"endless radius":  {nln.Policy{K: 1, FPR: .1, Radius: math.Inf(1)}, "radius is +Inf"},
		"metric":          {nln.Policy{K: 1, FPR: .1, Metric: "cosine"}, `metric is "cosine", want one of ["l2"`},
		"L1 and radius":   {nln.Policy{K: 1, FPR: .1, Metric: nln.MetricL1Mean, Radius: 1}, `"l1mean" with a radius`},
		"L1 not kept":     {nln.Policy{K: 1, FPR: .1, Metric: nln.MetricL1Mean}, `metric is "l1mean" but`},
	} {
		_, err := s.With(c.policy)
		wantError(t, name, err, "nln: ", c.want)
		_, err = nln.Calibrate(s.CalibrationParts(), c.policy)
		wantError(t, name, err, "nln: ", c.want)
		_, err = c.policy.Apply(s.CalibrationParts())
		wantError(t, name, err, "nln: ", c.want)
	}
}
