package metrics_test

import (
	"cmp"
	"image"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

// flood finds regions pixel by pixel: the definition.
func flood(mask []byte, h, w int) (labels []int32, regions []metrics.Region) {
	labels = make([]int32, h*w)
	for i := range mask {
		if mask[i] == 0 || labels[i] != 0 {
			continue
		}
		var r metrics.Region
		number := int32(len(regions) + 1)
		labels[i] = number
		for todo := []int{i}; len(todo) > 0; {
			y, x := todo[0]/w, todo[0]%w
			todo = todo[1:]
			r.Area++
			r.Box = r.Box.Union(image.Rect(x, y, x+1, y+1))
			for dy := -1; dy <= 1; dy++ {
				for dx := -1; dx <= 1; dx++ {
					v, u := y+dy, x+dx
					if v < 0 || v >= h || u < 0 || u >= w || mask[v*w+u] == 0 || labels[v*w+u] != 0 {
						continue
					}
					labels[v*w+u] = number
					todo = append(todo, v*w+u)
				}
			}
		}
		regions = append(regions, r)
	}
	return labels, regions
}

// draw makes a mask out of rows in which # is set.
func draw(rows ...string) (mask []byte, h, w int) {
	for _, c := range strings.Join(rows, "") {
		if c == '#' {
			mask = append(mask, 255)
		} else {
			mask = append(mask, 0)
		}
	}
	return mask, len(rows), len(rows[0])
}

func TestRegionsKnown(t *testing.T) {
	for _, c := range []struct {
		rows []string
		want []metrics.Region
	}{
		{[]string{"..", ".."}, nil},
		{[]string{"##", "##"}, []metrics.Region{{Box: image.Rect(0, 0, 2, 2), Area: 4}}},
		{[]string{"#.", ".#"}, []metrics.Region{{Box: image.Rect(0, 0, 2, 2), Area: 2}}},
		{[]string{".#", "#."}, []metrics.Region{{Box: image.Rect(0, 0, 2, 2), Area: 2}}},
		{[]string{"#.#", "..."}, []metrics.Region{{Box: image.Rect(0, 0, 1, 1), Area: 1}, {Box: image.Rect(2, 0, 3, 1), Area: 1}}},
		// The end of a row does not touch the start of the next.
		{[]string{"..#", "#.."}, []metrics.Region{{Box: image.Rect(2, 0, 3, 1), Area: 1}, {Box: image.Rect(0, 1, 1, 2), Area: 1}}},
		// Three arms that meet in the last row are the first one's region.
		{[]string{"#.#.#", "#.#.#", "#####"}, []metrics.Region{{Box: image.Rect(0, 0, 5, 3), Area: 11}}},
	} {
		mask, h, w := draw(c.rows...)
		if got, err := metrics.Regions(mask, nil, h, w); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Regions(%q) = %v, %v, want %v", c.rows, got, err, c.want)
		}
	}
}

func TestRegionsEqualFlood(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	for i := range 2000 {
		h, w := 1+rng.IntN(12), 1+rng.IntN(12)
		mask, share := make([]byte, h*w), rng.Float64()
		for k := range mask {
			if rng.Float64() < share {
				mask[k] = byte(1 + rng.IntN(255))
			}
		}
		wantLabels, want := flood(mask, h, w)
		labels := make([]int32, h*w)
		for k := range labels {
			labels[k] = -7 // which must be overwritten
		}
		got, err := metrics.Regions(mask, labels, h, w)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) || !slices.Equal(labels, wantLabels) {
			t.Fatalf("mask %d, %d x %d %v:\nregions %v\nwant    %v\nlabels %v\nwant   %v", i, h, w, mask, got, want, labels, wantLabels)
		}
	}
}

// Numbers and the script that made them: testdata/pixels.py.
func TestRegionsAgainstScipy(t *testing.T) {
	order := func(a, b metrics.Region) int {
		p, q := a.Box, b.Box
		return cmp.Or(cmp.Compare(p.Min.Y, q.Min.Y), cmp.Compare(p.Min.X, q.Min.X), cmp.Compare(a.Area, b.Area))
	}
	for _, c := range pixelCases(t) {
		for i, im := range c.Images {
			var want []metrics.Region
			for _, r := range im.Regions {
				want = append(want, metrics.Region{Box: image.Rect(r.X0, r.Y0, r.X1, r.Y1), Area: r.Area})
			}
			got, err := metrics.Regions(im.mask(), nil, im.H, im.W)
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, order)
			slices.SortFunc(want, order)
			if !slices.Equal(got, want) {
				t.Errorf("%s, image %d: regions %v, want %v", c.Name, i, got, want)
			}
		}
	}
}

func TestRegionsErrors(t *testing.T) {
	for _, c := range []struct {
		mask   []byte
		labels []int32
		h, w   int
		want   string
	}{
		{make([]byte, 5), nil, 2, 3, "metrics: regions: mask has len 5, want 2 rows of 3 pixels"},
		{make([]byte, 6), make([]int32, 4), 2, 3, "metrics: regions: labels has len 4, want 2 rows of 3 pixels"},
		{nil, nil, 0, 3, "metrics: regions: 0 rows of 3 pixels, want at least 1 of 1"},
		{make([]byte, 6), nil, -2, -3, "metrics: regions: -2 rows of -3 pixels, want at least 1 of 1"},
	} {
		if _, err := metrics.Regions(c.mask, c.labels, c.h, c.w); err == nil || err.Error() != c.want {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
