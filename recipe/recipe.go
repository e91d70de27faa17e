// Package recipe makes a detector out of a data set by settings: which images it
// learns from, how the model is trained, what is indexed and held out, and how scores
// are formed.
//
// A [Request] names a preset and what differs from it; [Request.Resolve] gives the
// [Settings]. [Learn] parts the normal images of a data set by them, and [Fit] indexes
// and calibrates a model that was trained on these.
package recipe

import (
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
)

// A Request says what settings are wanted: those of a preset for a model, over them
// those of a file, over these Values, and over all Flags.
type Request struct {
	Preset string            // one of models.Presets
	Arch   string            // one of models.Archs
	File   string            // a configuration file in YAML; "": none
	Values map[string]string // by the name of the setting
	Flags  map[string]string // by the name of the command line's option, see Flags
}

// Flags returns what the command line gives of the settings that have an option there:
// get returns the value of the option of a name, and whether it was given.
func Flags(get func(option string) (text string, given bool)) map[string]string {
	flags := map[string]string{}
	for _, t := range new(Settings).table() {
		if t.flag == "" {
			continue
		}
		if text, given := get(t.flag); given {
			flags[t.flag] = strings.TrimSpace(text)
		}
	}
	return flags
}

// A Log is told what happens.
type Log interface {
	Say(format string, args ...any)  // something to keep
	Show(format string, args ...any) // how far a long piece of work is
	Clear()                          // the work is over
}

// Quiet is a Log that keeps nothing.
type Quiet struct{}

func (Quiet) Say(string, ...any)  {}
func (Quiet) Show(string, ...any) {}
func (Quiet) Clear()              {}

// pick returns the values at some places, nil of nil.
func pick(values, at []int) []int {
	if values == nil {
		return nil
	}
	picked := make([]int, len(at))
	for i, k := range at {
		picked[i] = values[k]
	}
	return picked
}

// Spaced returns at most so many of the numbers below n, evenly spaced.
func Spaced(n, most int) []int {
	ids := make([]int, min(n, most))
	for i := range ids {
		ids[i] = i * n / len(ids)
	}
	return ids
}

// some returns images of a set, evenly spaced.
func some(set *dataset.Set, most int) *dataset.Set { return set.Subset(Spaced(set.Len(), most)) }
