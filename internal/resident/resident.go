// Package resident says how much memory the process has.
package resident

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// Now returns how many bytes of the process are in memory, or were at
// most where the system does not tell.
func Now() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if fields := bytes.Fields(text); err == nil && len(fields) > 1 {
		if pages, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil {
			return pages * int64(os.Getpagesize())
		}
	}
	return Peak()
}

// Peak returns the largest resident size of the program so far, in bytes. The
// system's own count for a process, which is asked where there is nothing better,
// begins with the size of what started it.
func Peak() int64 {
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
