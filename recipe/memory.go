package recipe

import (
	"fmt"
	"runtime"

	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/resident"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// What memory a run will have taken at its peak is estimated before its work:
// what the process has by then, which is the libraries and the images, is known,
// and each stage adds an estimate of its own.
const (
	// LaterLibraries is what the libraries take when they first compute, beyond
	// what they have when they are loaded.
	LaterLibraries = 20 << 20
	// leftOver is the share of the smaller of two stages' memory that the larger
	// cannot use again: the core keeps freed memory, in pieces that do not all fit.
	leftOver = 0.3
	// Garbage is how much memory Go may take on top of what is in use before it
	// looks for what is not, as a percentage. What is in use is a few large
	// tables, which takes no time to look through; the default would be as much
	// again.
	Garbage = 20
)

// trainPeak estimates the peak of training a model on n images and fitting a
// scorer to them, with others held out.
func trainPeak(m *models.Autoencoder, scoring nln.Config, n, held int) int64 {
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	step, chunk, tables := m.TrainingMemory(n), m.ScoringMemory(n), scoring.Memory(m, n)+scoring.HeldMemory(m, held)
	peak := resident.Now() + LaterLibraries + max(step, chunk) + int64(leftOver*float64(min(step, chunk))) +
		tables + (int64(heap.HeapAlloc)+tables)*Garbage/100 + faissindex.Memory(n, m.LatentDim())
	return max(peak, resident.Peak()) // reading the images may have taken more
}

// Peak estimates the peak of the memory of the process that trains m on these images
// and fits a scorer to them.
func (n *Normals) Peak(m *models.Autoencoder) int64 {
	return trainPeak(m, n.FitConfig(m), n.Indexed.Len(), n.Held())
}

// MemoryError says that a training would take more memory than it may.
type MemoryError struct{ Needs, Most int64 } // bytes

func (e *MemoryError) Error() string {
	return fmt.Sprintf("training would take about %.0f MB of memory, more than %.0f MB", float64(e.Needs)/1e6, float64(e.Most)/1e6)
}

// Hint says what helps.
func (e *MemoryError) Hint() string {
	return "pass a smaller --batch, a larger --stride or fewer images"
}

// FitMemory makes sure that training takes at most so many bytes, if any, and keeps
// less of the neighbours for that: a byte a value, or nothing, which is decoded again
// for each batch.
func (n *Normals) FitMemory(m *models.Autoencoder, most int64, log Log) error {
	if most == 0 || n.Peak(m) <= most {
		return nil
	}
	caches := []nln.Cache{nln.CacheUint8}
	if !m.Reconstructs() {
		caches = append(caches, nln.CacheNone)
	}
	for _, c := range caches {
		n.Settings.Scoring.Cache = c
		if n.Peak(m) <= most {
			log.Say("cache: %s, to take at most %.0f MB", c, float64(most)/1e6)
			return nil
		}
	}
	return &MemoryError{n.Peak(m), most}
}
