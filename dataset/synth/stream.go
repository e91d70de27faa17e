package synth

import "math/rand/v2"

// A stream is a sequence of random numbers that is set by its keys alone. It
// draws from PCG directly, whose sequence is fixed for ever; the methods of
// rand.Rand may change between Go versions.
type stream struct{ src rand.PCG }

// newStream returns the stream of the keys: different keys, in number or
// order, give unrelated streams.
func newStream(keys ...uint64) *stream {
	s := new(stream)
	hi, lo := uint64(0x6e6c6e2d73796e74), uint64(len(keys))
	for _, k := range keys {
		hi = scramble(hi ^ k)
		lo = scramble(lo + hi)
	}
	s.src.Seed(hi, lo)
	return s
}

// scramble is the output function of SplitMix64 (Steele, Lea, Flood 2014).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// float returns a number in [0, 1), a multiple of 2^-53.
func (s *stream) float() float64 { return float64(s.src.Uint64()>>11) / (1 << 53) }

// between returns a number between lo and hi.
func (s *stream) between(lo, hi float64) float64 { return mix(lo, hi, s.float()) }

// normal returns a number of about normal distribution with mean 0 and
// standard deviation sd, at most 2*sqrt(3)*sd in size: the sum of four
// uniform numbers needs no logarithm, whose last bit differs by platform.
func (s *stream) normal(sd float64) float64 {
	sum := s.float() + s.float() + s.float() + s.float() - 2
	const sqrt3 = 1.7320508075688772 // the sum has variance 4/12
	return mul(sum, mul(sd, sqrt3))
}

// intn returns an integer from 0 to n-1; n must be positive.
func (s *stream) intn(n int) int { return int(s.src.Uint64() % uint64(n)) }

// chance reports true with probability p.
func (s *stream) chance(p float64) bool { return s.float() < p }

// mul returns a*b rounded to a float64. Where a product is summed, Go may fuse
// the two into one operation with one rounding on some processors and not on
// others; the explicit conversion forbids it, and so images do not depend on
// the machine. All sums of products in this package go through mul; a product
// by a power of two is exact, so fusing it changes nothing.
func mul(a, b float64) float64 { return float64(a * b) }

// mix returns a + t*(b-a).
func mix(a, b, t float64) float64 { return a + mul(t, b-a) }

// clamp returns x limited to [lo, hi].
func clamp(x, lo, hi float64) float64 { return min(max(x, lo), hi) }
