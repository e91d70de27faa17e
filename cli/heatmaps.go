package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
	"github.com/nlnctl/nlnctl/report"
)

// Kinds of files that heat maps are written as.
const (
	heatOverlay = "overlay" // the picture with its heat, for people
	heatPNG16   = "png16"   // the map, 16 bits a pixel
	heatNPY     = "npy"     // the map as it is, float32, as NumPy writes arrays
	heatMask    = "mask"    // white where pixels are above the threshold
)

var heatKinds = []string{heatOverlay, heatPNG16, heatNPY, heatMask}

// heatScale says what the values of heat maps mean. It is the same for all pictures
// that a bundle scores.
type heatScale struct {
	Threshold float64 `json:"threshold"` // of a pixel: above it lie regions
	FPR       float64 `json:"fpr"`       // share of the pixels of normal images above it
	Low       float64 `json:"overlay_low"`
	Top       float64 `json:"overlay_top"`   // value of the last colour
	White     float64 `json:"png16_maximum"` // value of 65535
	Model     string  `json:"model"`
}

// heatmaps makes the heat maps of a run: it scores images with their maps, finds the
// regions above the threshold and writes files. Maps wait in the order of the images
// until these are written.
type heatmaps struct {
	dir    string   // "": no files
	kinds  []string // of files
	scale  heatScale
	scorer *nln.Scorer

	mu      sync.Mutex
	waiting []heatmap
	writers chan struct{} // as many as may write
	all     sync.WaitGroup
	failed  error // of the first file that could not be written
}

// A heatmap is a map and the picture that it is of.
type heatmap struct {
	nln.Map
	pix []float32 // valid until the image is written
}

// newHeatmaps prepares a folder for the heat maps of a scorer's images; with no
// folder there are regions alone.
func newHeatmaps(dir, kinds string, fpr float64, s *nln.Scorer, digest string) (*heatmaps, error) {
	p := s.Pixels()
	if p == nil {
		return nil, &hintedError{errors.New("the bundle knows nothing of the pixels of normal images under this policy"), "train again: bundles of an earlier version, and those of another K or alpha, have no maps"}
	}
	h := &heatmaps{dir: dir, kinds: strings.Split(kinds, ","), scorer: s, writers: make(chan struct{}, runtime.GOMAXPROCS(0))}
	for _, k := range h.kinds {
		if !slices.Contains(heatKinds, k) {
			return nil, fmt.Errorf("--heatmap-files: %q is not one of %s", k, strings.Join(heatKinds, ", "))
		}
	}
	t := p.Threshold(fpr)
	// Colours begin where one pixel of a hundred of normal images is, and end four
	// times as far above as the threshold.
	low := p.Threshold(.01)
	h.scale = heatScale{Threshold: t, FPR: fpr, Low: low, Top: low + 4*max(t-low, math.Abs(t)*.1, 1e-6), White: 4 * max(t, 1e-6), Model: digest}
	if dir == "" {
		return h, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return h, atomicfile.Write(filepath.Join(dir, "scale.json"), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(h.scale)
	})
}

// score scores images and keeps their maps for writing.
func (h *heatmaps) score(ctx context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error) {
	scores, maps, err := h.scorer.ScoreMaps(ctx, x, false, dst)
	if err != nil {
		return dst, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, m := range maps {
		h.waiting = append(h.waiting, heatmap{m, x.At(i)})
	}
	return scores, nil
}

// write takes the map of the next image, writes its files in the background and
// returns its regions, largest first.
func (h *heatmaps) write(name string) ([]region, error) {
	h.mu.Lock()
	m := h.waiting[0]
	h.waiting = h.waiting[1:]
	err := h.failed
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	found := regionsOf(m.Map, h.scale.Threshold)
	if h.dir == "" {
		return found, nil
	}
	shape := h.scorer.Shape()
	smooth := h.smooth(m.Map)
	var overlay image.Image
	if slices.Contains(h.kinds, heatOverlay) {
		overlay = report.Heat(shape, m.pix, smooth, h.scale.Low, h.scale.Top)
	}
	h.writers <- struct{}{}
	h.all.Go(func() {
		defer func() { <-h.writers }()
		if err := h.writeFiles(fileName(name), overlay, m.Map); err != nil {
			h.mu.Lock()
			h.failed = errors.Join(h.failed, err)
			h.mu.Unlock()
		}
	})
	return found, nil
}

// wait returns when all files are written.
func (h *heatmaps) wait() error {
	h.all.Wait()
	return h.failed
}

// fileName makes a path below the folder out of an image's name: that of the image,
// with its folders, but never outside.
func fileName(name string) string {
	name = path.Clean("/" + filepath.ToSlash(name))[1:]
	return strings.NewReplacer(":", "_", "!", "_").Replace(name)
}

func (h *heatmaps) writeFiles(name string, overlay image.Image, m nln.Map) error {
	base := filepath.Join(h.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(base), 0o777); err != nil {
		return err
	}
	for _, k := range h.kinds {
		var err error
		switch k {
		case heatOverlay:
			err = writePNG(base+".heat.png", overlay)
		case heatPNG16:
			err = writePNG(base+".map.png", report.Gray16(m.H, m.W, m.Score, h.scale.White))
		case heatMask:
			err = writePNG(base+".mask.png", maskImage(m, h.scale.Threshold))
		case heatNPY:
			err = atomicfile.Write(base+".npy", func(w io.Writer) error { return writeNPY(w, m.H, m.W, m.Score) })
		}
		if err != nil {
			return fmt.Errorf("heat map of %s: %w", name, err)
		}
	}
	return nil
}

// maskImage is white where a map is above a threshold.
func maskImage(m nln.Map, threshold float64) image.Image {
	out := image.NewGray(image.Rect(0, 0, m.W, m.H))
	for i, v := range m.Score {
		if float64(v) > threshold {
			out.Pix[i] = 0xff
		}
	}
	return out
}

func writePNG(path string, m image.Image) error {
	return atomicfile.Write(path, func(w io.Writer) error { return png.Encode(w, m) })
}

// writeNPY writes rows of values as NumPy's format of version 1.0 has them.
func writeNPY(w io.Writer, rows, columns int, values []float32) error {
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, columns)
	const fixed = 10 // magic, version and length; with them the header is a multiple of 64
	header += strings.Repeat(" ", 63-(fixed+len(header))%64) + "\n"
	var b bytes.Buffer
	b.WriteString("\x93NUMPY\x01\x00")
	binary.Write(&b, binary.LittleEndian, uint16(len(header)))
	b.WriteString(header)
	binary.Write(&b, binary.LittleEndian, values)
	_, err := w.Write(b.Bytes())
	return err
}

// smooth returns the scores of a map in which the distance goes evenly from the
// middle of one patch to the next, as people see maps better; verdicts and regions
// do not come from it.
func (h *heatmaps) smooth(m nln.Map) []float32 {
	p, patch := h.scorer.Pixels(), h.scorer.Config().Patched.Grid.Patch
	if patch == 0 {
		return m.Score
	}
	distance := blur(m.Distance, m.H, m.W, patch)
	out := make([]float32, len(m.Score))
	for i := range out {
		out[i] = m.Score[i] + float32((1-p.Alpha)*(p.Distance.Scale(float64(distance[i]))-p.Distance.Scale(float64(m.Distance[i]))))
	}
	return out
}

// blur returns the mean over a square of side pixels around each pixel, of those that
// are in the map: what is constant on squares of that side becomes linear between
// their middles.
func blur(v []float32, h, w, side int) []float32 {
	out := make([]float32, len(v))
	line := func(from, to []float32, start, step, n int) {
		sum, lo, hi := 0., 0, 0 // of lo up to, not including, hi
		for i := range n {
			for ; hi < min(n, i+side/2+1); hi++ {
				sum += float64(from[start+hi*step])
			}
			for ; lo < i-side/2; lo++ {
				sum -= float64(from[start+lo*step])
			}
			to[start+i*step] = float32(sum / float64(hi-lo))
		}
	}
	for y := range h {
		line(v, out, y*w, 1, w)
	}
	rows := slices.Clone(out)
	for x := range w {
		line(rows, out, x, w, h)
	}
	return out
}

// A region is a connected part of an image whose pixels are above the threshold.
type region struct {
	X      int     `json:"x" parquet:"x"` // of the left column
	Y      int     `json:"y" parquet:"y"` // of the top row
	Width  int     `json:"width" parquet:"width"`
	Height int     `json:"height" parquet:"height"`
	Area   int     `json:"area" parquet:"area"`   // pixels
	Score  float64 `json:"score" parquet:"score"` // the largest of its pixels
}

// regionsOf returns the regions of a map above a threshold, the largest first; of
// equal ones the one further up.
func regionsOf(m nln.Map, threshold float64) []region {
	mask, labels := make([]byte, len(m.Score)), make([]int32, len(m.Score))
	for i, v := range m.Score {
		if float64(v) > threshold {
			mask[i] = 1
		}
	}
	found, err := metrics.Regions(mask, labels, m.H, m.W)
	if err != nil {
		panic(err) // the map has the size that it says
	}
	all := make([]region, len(found))
	for i, r := range found {
		all[i] = region{X: r.Box.Min.X, Y: r.Box.Min.Y, Width: r.Box.Dx(), Height: r.Box.Dy(), Area: r.Area, Score: math.Inf(-1)}
	}
	for i, l := range labels {
		if l > 0 {
			all[l-1].Score = max(all[l-1].Score, float64(m.Score[i]))
		}
	}
	slices.SortStableFunc(all, func(a, b region) int { return b.Area - a.Area })
	return all
}
