//go:build !unix

package mapped

import "os"

// mapFile returns nil: this system has no mapping that the package knows.
func mapFile(*os.File, int) *File { return nil }
