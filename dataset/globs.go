package dataset

import (
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// takes reports whether the globs choose the image called name, a slash-separated
// path relative to what the spec names.
func (r Reading) takes(name string) bool {
	return (len(r.Include) == 0 || matchesOne(r.Include, name)) && !matchesOne(r.Exclude, name)
}

// matchesOne reports whether name matches one of the globs.
func matchesOne(globs []string, name string) bool {
	for _, g := range globs {
		against := name
		if !strings.Contains(g, "/") {
			against = path.Base(name)
		}
		if doublestar.MatchUnvalidated(rooted(g), against) {
			return true
		}
	}
	return false
}

// rooted returns a glob without the "/" or "./" that says where it begins.
func rooted(glob string) string {
	return strings.TrimPrefix(strings.TrimPrefix(glob, "./"), "/")
}

func (r Reading) hasGlobs() bool { return len(r.Include)+len(r.Exclude) > 0 }

// CheckGlobs returns an error that names the first glob that cannot be one.
func (r Reading) CheckGlobs() error {
	for _, list := range [][]string{r.Include, r.Exclude} {
		for _, g := range list {
			if g == "" || !doublestar.ValidatePattern(g) {
				return fmt.Errorf("dataset: %q is no glob; it may hold *, **, ?, [abc] and {one,other}", g)
			}
		}
	}
	return nil
}

// noImages says that a place holds no image files, or none that the globs choose.
func (r Reading) noImages(kind, location string) error {
	which := "no image files"
	if r.hasGlobs() {
		which = "no image files that the globs choose"
	}
	return fmt.Errorf("dataset: open %s: %s holds %s", kind, location, which)
}
