package cli

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// What memory a run will have taken at its peak is estimated before its work:
// what the process has by then, which is the libraries and the images, is known,
// and each stage adds an estimate of its own.
const (
	// laterLibraries is what the libraries take when they first compute, beyond
	// what they have when they are loaded.
	laterLibraries = 20 << 20
	// leftOver is the share of the smaller of two stages' memory that the larger
	// cannot use again: the core keeps freed memory, in pieces that do not all fit.
	leftOver = 0.3
	// garbage is how much memory Go may take on top of what is in use before it
	// looks for what is not, as a percentage. What is in use is a few large
	// tables, which takes no time to look through; the default would be as much
	// again.
	garbage = 20
	// perPath is what the path of an image file takes, about.
	perPath = 64
)

// trainPeak estimates the peak of training a model on n images and fitting a
// scorer to them, with others held out.
func trainPeak(m *models.Autoencoder, scoring nln.Config, n, held int) int64 {
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	step, chunk, tables := m.TrainingMemory(n), m.ScoringMemory(n), scoring.Memory(m, n)+scoring.HeldMemory(m, held)
	peak := residentMemory() + laterLibraries + max(step, chunk) + int64(leftOver*float64(min(step, chunk))) +
		tables + (int64(heap.HeapAlloc)+tables)*garbage/100 + faissindex.Memory(n, m.LatentDim())
	return max(peak, peakMemory()) // reading the images may have taken more
}

// scorePeak estimates the peak of scoring with a bundle, of whose mapped tables
// more and more is looked at. It hardly depends on the number of images: their
// paths stay, everything else belongs to the batches in flight.
func scorePeak(b *bundle.Bundle, images int) int64 {
	shape := b.Scorer.Shape()
	batch := batchSize(shape)
	batches := 4 * int64(shape.Len()) * int64(min(images, inFlight*batch))
	return residentMemory() + laterLibraries + b.Model.ScoringMemory(min(images, batch)) + batches + b.MappedBytes() +
		faissindex.Memory(b.Index.Len(), b.Index.Dim()) - int64(4*b.Index.Len()*b.Index.Dim()) + int64(images)*perPath
}

// residentMemory returns how many bytes of the process are in memory, or were at
// most where the system does not tell.
func residentMemory() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if fields := bytes.Fields(text); err == nil && len(fields) > 1 {
		if pages, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil {
			return pages * int64(os.Getpagesize())
		}
	}
	return peakMemory()
}

// peakMemory returns the largest resident size of the program so far, in bytes. The
// system's own count for a process, which is asked where there is nothing better,
// begins with the size of what started it.
func peakMemory() int64 {
	if text, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range bytes.Lines(text) {
			if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
				if fields := bytes.Fields(rest); len(fields) > 0 {
					if kB, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil {
						return kB * 1024
					}
				}
			}
		}
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss * 1024 // Linux counts in kilobytes
}

// fitMemory makes sure that a training takes at most so many bytes, if any, and keeps
// less of the neighbours for that: a byte a value, or nothing, which is decoded again
// for each batch.
func fitMemory(n *normals, m *models.Autoencoder, most int64, meter *meter) error {
	peak := func() int64 { return trainPeak(m, n.fitConfig(m), n.indexed.Len(), n.held()) }
	if most == 0 || peak() <= most {
		return nil
	}
	caches := []nln.Cache{nln.CacheUint8}
	if !m.Reconstructs() {
		caches = append(caches, nln.CacheNone)
	}
	cache := &n.settings.scoring.Cache
	for _, c := range caches {
		if *cache = c; peak() <= most {
			meter.say("cache: %s, to take at most %s", c, megabytes(most))
			return nil
		}
	}
	return &hintedError{fmt.Errorf("training would take about %s of memory, more than %s", megabytes(peak()), megabytes(most)),
		"pass a smaller --batch, a larger --stride or fewer images"}
}

// parseBytes reads a size such as 6GB, 512MB or a plain number of bytes.
func parseBytes(s string) (int64, error) {
	number, unit := strings.TrimSpace(strings.ToUpper(s)), 1.
	for _, u := range []struct {
		name string
		size float64
	}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0) || v*unit >= 1<<62 {
		return 0, fmt.Errorf("%q is no size, want one such as 6GB", s)
	}
	return int64(v * unit), nil
}
