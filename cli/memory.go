package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/resident"
	"github.com/nlnctl/nlnctl/recipe"
)

// perPath is what the path of an image file takes, about.
const perPath = 64

// scorePeak estimates the peak of scoring with a bundle, of whose mapped tables
// more and more is looked at. It hardly depends on the number of images: their
// paths stay, everything else belongs to the batches in flight.
func scorePeak(b *bundle.Bundle, images int) int64 {
	shape := b.Scorer.Shape()
	batch, value := batchOf(b), int64(4)
	if b.Scorer.TakesBytes() {
		value = 1
	}
	batches := value * int64(shape.Len()) * int64(min(images, inFlight*batch))
	return resident.Now() + recipe.LaterLibraries + b.Model.ScoringMemory(min(images, batch)) + batches + b.MappedBytes() +
		faissindex.Memory(b.Index.Len(), b.Index.Dim()) - int64(4*b.Index.Len()*b.Index.Dim()) + int64(images)*perPath
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
