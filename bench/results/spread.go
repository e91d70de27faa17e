package results

import "slices"

// A Spread is the median of some values, with the least and the greatest.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Of returns the spread of v, zero where there is nothing.
func Of(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Low: v[0], High: v[n-1]}
}

// Over returns the spread of a/b, value by value: what was measured in turn is
// divided, so that a machine that is slow for a while is slow for both. The
// longer one's last values are left out.
func Over(a, b []float64) Spread {
	var q []float64
	for i := range min(len(a), len(b)) {
		q = append(q, a[i]/b[i])
	}
	return Of(q)
}
