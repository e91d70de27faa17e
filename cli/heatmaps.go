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

	heatError    = "error"    // the two that the map is mixed of, by themselves, as NumPy has them
	heatDistance = "distance" // of latents
)

var heatKinds = []string{heatOverlay, heatPNG16, heatNPY, heatMask, heatError, heatDistance}

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

	// reading is how resized pictures are read in their own size, for files of that
	// size; nil where pictures are not resized.
	reading *dataset.Reading

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
	f := heatFiles{Map: m.Map, shape: h.scorer.Shape(), smooth: h.smooth(m.Map)}
	f.pix = slices.Clone(m.pix)
	h.writers <- struct{}{}
	h.all.Go(func() {
		defer func() { <-h.writers }()
		f.enlarge(name, h.reading)
		if err := h.writeFiles(fileName(name), f); err != nil {
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

// heatFiles is what the files of an image are made of.
type heatFiles struct {
	nln.Map
	shape  dataset.Shape // of pix
	pix    []float32
	smooth []float32 // scores for people
}

// mostEnlarged is how many pixels a picture may have whose files are of its own size.
const mostEnlarged = 16 << 20

// enlarge makes the files of the size that a resized picture has itself, where it is a
// file that can be read again: maps linearly between pixels.
func (f *heatFiles) enlarge(path string, r *dataset.Reading) {
	if r == nil {
		return
	}
	own, err := r.Stat(path)
	if err != nil || own.H*own.W > mostEnlarged {
		return // such as an image of an archive
	}
	own.C = f.shape.C
	reader := dataset.ImageReader{Reading: *r}
	reader.Reading.Rows, reader.Reading.Columns = own.H, own.W
	one := &dataset.Set{Size: own, Pix: make([]uint8, own.Len()), Scale: dataset.Scale255}
	if reader.Read(one.Pix, path, own) != nil {
		return
	}
	f.pix = one.Gather([]int{0}, make([]float32, own.Len())).Pix
	for _, v := range []*[]float32{&f.Score, &f.Error, &f.Distance, &f.smooth} {
		*v = upsample(*v, f.H, f.W, own.H, own.W)
	}
	f.shape, f.H, f.W = own, own.H, own.W
}

// upsample returns a map of h rows and w columns in another size, linear between the
// middles of its pixels.
func upsample(v []float32, h, w, rows, columns int) []float32 {
	out := make([]float32, rows*columns)
	at := func(i, n, of int) (lo, hi int, part float32) {
		x := min(max((float64(i)+.5)*float64(n)/float64(of)-.5, 0), float64(n-1))
		lo = int(x)
		return lo, min(lo+1, n-1), float32(x - float64(lo))
	}
	for y := range rows {
		y0, y1, fy := at(y, h, rows)
		for x := range columns {
			x0, x1, fx := at(x, w, columns)
			top, bottom := v[y0*w+x0]*(1-fx)+v[y0*w+x1]*fx, v[y1*w+x0]*(1-fx)+v[y1*w+x1]*fx
			out[y*columns+x] = top*(1-fy) + bottom*fy
		}
	}
	return out
}

func (h *heatmaps) writeFiles(name string, m heatFiles) error {
	base := filepath.Join(h.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(base), 0o777); err != nil {
		return err
	}
	for _, k := range h.kinds {
		var err error
		switch k {
		case heatOverlay:
			err = writePNG(base+".heat.png", report.Heat(m.shape, m.pix, m.smooth, h.scale.Low, h.scale.Top))
		case heatPNG16:
			err = writePNG(base+".map.png", report.Gray16(m.H, m.W, m.Score, h.scale.White))
		case heatMask:
			err = writePNG(base+".mask.png", maskImage(m.Map, h.scale.Threshold))
		case heatNPY:
			err = writeArray(base+".npy", m.H, m.W, m.Score)
		case heatError:
			err = writeArray(base+".error.npy", m.H, m.W, m.Error)
		case heatDistance:
			err = writeArray(base+".distance.npy", m.H, m.W, m.Distance)
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

func writeArray(path string, rows, columns int, values []float32) error {
	return atomicfile.Write(path, func(w io.Writer) error { return writeNPY(w, rows, columns, values) })
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

// A region is a connected part of an image whose pixels are above the threshold, in
// pixels of the image as the model takes it: of the size that pictures are resized to.
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
