package metrics

import (
	"math"
	"slices"
)

// key returns a whole number that orders as the scores do; s must not be NaN.
// The two zeros have one key.
func key(s float32) uint32 {
	if s == 0 {
		s = 0
	}
	b := math.Float32bits(s)
	// The sign bit of a positive number becomes 1; all bits of a negative one,
	// whose magnitude orders the other way, are inverted.
	return b ^ (uint32(int32(b)>>31) | 1<<31)
}

// scoreOf returns the score with key k.
func scoreOf(k uint32) float32 {
	if k>>31 == 1 {
		return math.Float32frombits(k ^ 1<<31)
	}
	return math.Float32frombits(^k)
}

const (
	// lows is how many scores share the upper half of their key: how many lower
	// halves there are.
	lows = 1 << 16

	// manyNormal is how many normal pixels of a bin are listed at most. In the
	// memory of so long a list all lower halves are counted.
	manyNormal = 2 * lows

	// pendingNormal is how many normal pixels a bin that counts them lists until
	// it does. Counted one by one, each would be another access to memory that
	// is in no cache.
	pendingNormal = 1 << 13

	// shortList is the length up to which a list is sorted by comparing.
	shortList = 1 << 12
)

// A bin holds the pixels whose scores share the upper half of their key.
type bin struct {
	normal []uint16      // lower halves of the keys of normal pixels, those not in counts
	counts *[lows]uint32 // how many normal pixels have each lower half; nil while they are few
	novel  []uint64      // of each novel pixel: lower half << 32 + area of its region
}

func (b *bin) addNormal(low uint16) {
	if len(b.normal) == cap(b.normal) {
		b.makeRoom()
	}
	b.normal = append(b.normal, low)
}

// makeRoom begins to count the normal pixels once they are many, and counts those
// that are listed.
func (b *bin) makeRoom() {
	switch {
	case b.counts != nil:
		b.count()
	case len(b.normal) == manyNormal:
		b.counts = new([lows]uint32)
		b.count()
		b.normal = make([]uint16, 0, pendingNormal)
	default:
		// By a quarter, as append would, but never beyond what is used.
		n := len(b.normal)
		b.normal = append(make([]uint16, 0, min(n+n/4+16, manyNormal)), b.normal...)
	}
}

func (b *bin) count() {
	for _, low := range b.normal {
		b.counts[low]++
	}
	b.normal = b.normal[:0]
}

// order makes the bin ready for descend. scratch is zero, before and after.
func (b *bin) order(scratch *[lows]uint32) {
	slices.Sort(b.novel)
	switch {
	case b.counts != nil:
		b.count()
	case len(b.normal) <= shortList:
		slices.Sort(b.normal)
	case !slices.IsSorted(b.normal):
		for _, low := range b.normal {
			scratch[low]++
		}
		i := 0
		for low, n := range scratch {
			for range n {
				b.normal[i] = uint16(low)
				i++
			}
		}
		clear(scratch[:])
	}
}

// descend yields the ties of an ordered bin, from the highest score down, and
// returns false once yield does. high is the upper half of the bin's keys.
func (b *bin) descend(high int, yield func(tie) bool) bool {
	end := len(b.normal)
	if b.counts != nil {
		end = lows
	}
	normLow, norm, normAt := b.normalBefore(end)
	novelLow, novel, share, novelAt := b.novelBefore(len(b.novel))
	for normLow >= 0 || novelLow >= 0 {
		low := max(normLow, novelLow)
		t := tie{score: float64(scoreOf(uint32(high)<<16 | uint32(low)))}
		if normLow == low {
			t.norm = norm
			normLow, norm, normAt = b.normalBefore(normAt)
		}
		if novelLow == low {
			t.novel, t.share = novel, share
			novelLow, novel, share, novelAt = b.novelBefore(novelAt)
		}
		if !yield(t) {
			return false
		}
	}
	return true
}

// normalBefore returns the highest lower half of normal pixels before place end
// of the counts or the list, or -1, how many pixels have it, and its own place.
func (b *bin) normalBefore(end int) (low, n, at int) {
	if b.counts != nil {
		for at = end - 1; at >= 0; at-- {
			if n := b.counts[at]; n > 0 {
				return at, int(n), at
			}
		}
		return -1, 0, 0
	}
	if end == 0 {
		return -1, 0, 0
	}
	value := b.normal[end-1]
	for at = end - 1; at > 0 && b.normal[at-1] == value; at-- {
	}
	return int(value), end - at, at
}

// novelBefore does the same for novel pixels; share is the sum of their shares
// of their regions.
func (b *bin) novelBefore(end int) (low, n int, share float64, at int) {
	if end == 0 {
		return -1, 0, 0, 0
	}
	low = int(b.novel[end-1] >> 32)
	for at = end; at > 0 && int(b.novel[at-1]>>32) == low; {
		// Pixels of regions of one area are counted before they are divided: a
		// whole region adds exactly 1.
		equal, value := at, b.novel[at-1]
		for at > 0 && b.novel[at-1] == value {
			at--
		}
		share += float64(equal-at) / float64(uint32(value))
	}
	return low, end - at, share, at
}
