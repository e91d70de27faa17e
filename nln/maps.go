package nln

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Map says where an image is novel: a value for each pixel, H*W, row-major. With
// patches that overlap a pixel has the mean over those that it is in; what no patch
// covers is 0.
type Map struct {
	H, W int

	// Error is the mean over the channels and over the policy's neighbours of
	// |x - g(z^k)|, the error term in image space before its mean over the pixels;
	// for every model, since features have no place.
	Error []float32

	// ErrorRange is over the values of each channel by itself, patch by patch.
	ErrorRange Range

	// Distance is the distance term of the patch that the pixel is in, of the whole
	// image where there are no patches.
	Distance []float32

	// Score is both, scaled by their ranges over the pixels of normal images and
	// mixed as equation 4 mixes them for an image.
	Score []float32

	// Recon is the mean over the channels of |x - g(f(x))|, to compare with.
	Recon []float32
}

// Pixels is what is known of the maps of normal images. It holds for one K and one
// alpha: others need the images again.
type Pixels struct {
	K        int     `json:"k"`
	Alpha    float64 `json:"alpha"`
	Images   int     `json:"images"` // calibration images that it comes from
	Error    Range   `json:"error"`  // of Map.ErrorRange over them
	Distance Range   `json:"distance"`

	// Tail has thresholds of Map.Score that shares of the pixels exceed, the
	// largest share first.
	Tail []TailPoint `json:"tail"`
}

// A TailPoint is a threshold and the share of normal pixels above it.
type TailPoint struct {
	FPR       float64 `json:"fpr"`
	Threshold float64 `json:"threshold"`
}

// tailRates are the shares of pixels that Pixels.Tail has thresholds for.
var tailRates = []float64{.1, .05, .02, .01, .005, .002, .001, .0005, .0002, .0001, 0}

// DefaultPixelFPR is the share of normal pixels that may be above the threshold of
// a region, where none is asked for.
const DefaultPixelFPR = .001

// Threshold returns the threshold that a share fpr of normal pixels exceeds at most:
// that of the largest share in Tail that is no larger.
func (p Pixels) Threshold(fpr float64) float64 {
	for _, t := range p.Tail {
		if t.FPR <= fpr {
			return t.Threshold
		}
	}
	return math.Inf(1)
}

// Pixels is made from at most so many calibration images, and pixels in all.
const mapsImages, mapsPixels = 200, 30 << 20

// ScoreMaps appends to dst the scores of the images x, as Score does, and returns
// their maps, with Recon if recon is set. It needs the table of reconstructions.
func (s *Scorer) ScoreMaps(ctx context.Context, x dataset.Images, recon bool, dst []Score) ([]Score, []Map, error) {
	scores, maps, err := s.scoreMaps(ctx, x, recon, dst)
	if err != nil {
		return dst, nil, fmt.Errorf("nln: maps: %w", err)
	}
	for i := range maps {
		s.Pixels().mix(&maps[i])
	}
	return scores, maps, nil
}

// Pixels returns what is known of the maps of normal images; nil if nothing is, and
// then ScoreMaps leaves Score unset.
func (s *Scorer) Pixels() *Pixels {
	if s.pixels == nil || s.pixels.K != s.cfg.K || s.pixels.Alpha != s.cfg.Alpha {
		return nil
	}
	return s.pixels
}

// mix fills in the score of a map.
func (p *Pixels) mix(m *Map) {
	if p != nil {
		m.Score = p.Mix(*m)
	}
}

// Mix returns the score of each pixel of a map, its error and its distance scaled by
// the ranges of p: those of normal images, or under ProtocolPaper of all that are
// evaluated.
func (p *Pixels) Mix(m Map) []float32 {
	score := make([]float32, len(m.Error))
	for i := range score {
		score[i] = float32(mix(p.Alpha, p.Error.Scale(float64(m.Error[i])), p.Distance.Scale(float64(m.Distance[i]))))
	}
	return score
}

// A map takes several times the memory of its image: EachMap makes few at a time.
const (
	mapImages = 8
	mapBytes  = 8 << 20 // of the images
)

// EachMap calls f with the map of each image of src, in order, as [Scorer.ScoreMaps]
// makes it; with Recon if recon is set.
func (s *Scorer) EachMap(ctx context.Context, src dataset.Source, recon bool, f func(i int, m Map) error) error {
	done := 0
	for x, err := range src.Batches(max(1, min(mapImages, mapBytes/(4*src.Shape().Len())))) {
		if err != nil {
			return err
		}
		_, maps, err := s.ScoreMaps(ctx, x, recon, nil)
		if err != nil {
			return err
		}
		for _, m := range maps {
			if err := f(done, m); err != nil {
				return err
			}
			done++
		}
	}
	return nil
}

func (s *Scorer) scoreMaps(ctx context.Context, x dataset.Images, recon bool, dst []Score) ([]Score, []Map, error) {
	table := s.table(Feature{Of: OfReconstruction})
	if table == nil {
		return dst, nil, fmt.Errorf("no table of reconstructions: fit with %q among the spaces", SpaceImage)
	}
	if err := checkImages(s.Shape(), 0, x); err != nil {
		return dst, nil, err
	}
	cut := s.cfg.Patched.cut(x)
	rows, err := s.parts(ctx, 0, cut, s.scoreParts(), Parts{})
	if err != nil {
		return dst, nil, err
	}
	images, err := pool(rows, s.cfg.Patched.perImage(), s.localPower(), Parts{})
	if err != nil {
		return dst, nil, err
	}
	for i := range images.Len() {
		dst = append(dst, s.calibration.Score(images, i))
	}
	plane := cut.H * cut.W
	errors, distances := make([]float32, cut.N*plane), make([]float32, cut.N*plane)
	var own []float32
	if recon {
		if own, err = s.reconMaps(ctx, cut); err != nil {
			return dst, nil, err
		}
	}
	rowsOf, err := s.rowsOf(ctx, table, rows.IDs)
	if err != nil {
		return dst, nil, err
	}
	ranges := make([]Range, cut.N)
	err = forBlocks(ctx, cut.N, 1, func(lo, hi int) {
		row, sum := make([]float32, table.F), make([]float32, table.F)
		for i := lo; i < hi; i++ {
			_, d, within := s.cfg.Policy.terms(rows, i)
			for j := range plane {
				distances[i*plane+j] = float32(d)
			}
			ids := rows.Neighbors(i, max(within, 1)) // the nearest, where none is within the radius
			clear(sum)
			for _, id := range ids {
				addDifference(cut.At(i), rowsOf.Row(rowsOf.at(id), row), 1/float32(len(ids)), sum)
			}
			ranges[i] = Range{float64(slices.Min(sum)), float64(slices.Max(sum))}
			meanOfPlanes(sum, errors[i*plane:(i+1)*plane])
		}
	})
	if err != nil {
		return dst, nil, err
	}
	maps := make([]Map, x.N)
	per := s.cfg.Patched.perImage()
	n := per * plane
	for i := range maps {
		maps[i] = Map{H: x.H, W: x.W, ErrorRange: joined(ranges[i*per : (i+1)*per]), Error: s.stitch(errors[i*n : (i+1)*n]), Distance: s.stitch(distances[i*n : (i+1)*n])}
		if recon {
			maps[i].Recon = s.stitch(own[i*n : (i+1)*n])
		}
	}
	return dst, maps, nil
}

// stitch puts the maps of an image's patches together.
func (s *Scorer) stitch(patches []float32) []float32 {
	if !s.cfg.Patched.on() {
		return slices.Clone(patches)
	}
	return s.cfg.Patched.Grid.Stitch(s.cfg.Patched.Image, patches)
}

// addDifference adds weight times the absolute difference of two images.
func addDifference(x, y []float32, weight float32, to []float32) {
	for i, v := range x {
		to[i] += weight * max(v-y[i], y[i]-v)
	}
}

// meanOfPlanes stores in to, which is a plane, the mean over the planes of v.
func meanOfPlanes(v, to []float32) {
	clear(to)
	weight := float32(len(to)) / float32(len(v))
	for ; len(v) > 0; v = v[len(to):] {
		for i := range to {
			to[i] += weight * v[i]
		}
	}
}

// joined returns the range of all.
func joined(ranges []Range) Range {
	r := ranges[0]
	for _, q := range ranges[1:] {
		r.Min, r.Max = min(r.Min, q.Min), max(r.Max, q.Max)
	}
	return r
}

// reconMaps returns the plain reconstruction error of each pixel of x.
func (s *Scorer) reconMaps(ctx context.Context, x dataset.Images) ([]float32, error) {
	b := s.buffers.Get().(*buffers)
	defer s.buffers.Put(b)
	plane, n := x.H*x.W, x.Shape.Len()
	out, difference := make([]float32, x.N*plane), make([]float32, n)
	for lo := 0; lo < x.N; lo += s.cfg.Batch {
		part := x.Slice(lo, min(lo+s.cfg.Batch, x.N))
		if err := s.encode(ctx, lo, part, b); err != nil {
			return nil, err
		}
		if err := s.reconstruct(ctx, lo, part, b); err != nil {
			return nil, err
		}
		for i := range part.N {
			clear(difference)
			addDifference(part.At(i), b.xhat[i*n:(i+1)*n], 1, difference)
			meanOfPlanes(difference, out[(lo+i)*plane:(lo+i+1)*plane])
		}
	}
	return out, nil
}

// calibratePixels learns from the maps of normal images, evenly spaced ones where
// there are many. Nothing is learnt where there are no reconstructions to compare with.
func (s *Scorer) calibratePixels(ctx context.Context, calib dataset.Source) error {
	if s.table(Feature{Of: OfReconstruction}) == nil {
		return nil
	}
	p := &Pixels{K: s.cfg.K, Alpha: s.cfg.Alpha}
	var maps []Map
	most := min(mapsImages, max(1, mapsPixels/(s.Shape().H*s.Shape().W)))
	every := (calib.Len() + most - 1) / most
	err := s.eachBatch(ctx, calib, s.BatchImages(), "maps", func(first int, x dataset.Images) error {
		for i := range x.N {
			if (first+i)%every > 0 {
				continue
			}
			_, m, err := s.scoreMaps(ctx, x.Slice(i, i+1), false, nil)
			if err != nil {
				return fmt.Errorf("image %d: %w", first+i, err)
			}
			maps = append(maps, m...)
		}
		return nil
	})
	if err != nil || len(maps) == 0 {
		return err
	}
	p.Images = len(maps)
	var errors, distances []Range
	for _, m := range maps {
		errors = append(errors, m.ErrorRange)
		distances = append(distances, Range{float64(slices.Min(m.Distance)), float64(slices.Max(m.Distance))})
	}
	p.Error, p.Distance = joined(errors), joined(distances)
	var all []float32
	for i := range maps {
		p.mix(&maps[i])
		all = append(all, maps[i].Score...)
	}
	slices.Sort(all)
	for _, rate := range tailRates {
		above := int(rate * float64(len(all)))
		p.Tail = append(p.Tail, TailPoint{rate, float64(all[max(0, len(all)-1-above)])})
	}
	s.pixels = p
	return nil
}
