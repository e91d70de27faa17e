// Command testsum reads the output of "go test -json" on standard input and
// prints what go test prints without -v, the reason of each skipped test, and a
// closing line
//
//	label: 12 passed, 0 failed, 1 skipped
//
// It counts tests and subtests alike. A package that fails with no failed test,
// because it does not build or its program dies, counts as one failure. The exit
// status is 1 if anything failed or no test ran at all.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ... | testsum LABEL")
		os.Exit(2)
	}
	s := newSummary(os.Stdout)
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %s\n", os.Args[1], s)
	if s.failed > 0 || s.passed == 0 {
		os.Exit(1)
	}
}

// An event is one line of go test -json; see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output, in place of Package
	Test       string
	Output     string
}

type test struct{ pkg, name string }

// A summary counts tests and prints what is worth reading.
type summary struct {
	w                       io.Writer
	passed, failed, skipped int
	output                  map[test][]string // of tests that have not ended
	badTests                map[string]int    // failed tests of each package
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, output: map[test][]string{}, badTests: map[string]int{}}
}

func (s *summary) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", s.passed, s.failed, s.skipped)
}

// read takes in all events of r. Lines that are not events are printed as they are.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
				fmt.Fprint(s.w, line)
			} else {
				s.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
}

func (s *summary) add(e event) {
	t := test{e.Package, e.Test}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(s.w, e.Output)
	case e.Test != "":
		s.addTest(t, e)
	case e.Action == "output":
		if e.Output != "PASS\n" {
			fmt.Fprint(s.w, e.Output)
		}
	case e.Action == "fail":
		s.endPackage(e.Package)
	}
}

func (s *summary) addTest(t test, e event) {
	switch e.Action {
	case "run":
		s.output[t] = []string{}
		return
	case "output":
		s.output[t] = append(s.output[t], e.Output)
		return
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		fmt.Fprintf(s.w, "skip\t%s.%s%s\n", t.pkg, t.name, reason(s.output[t]))
	case "fail":
		s.fail(t)
	default: // pause, cont, start, bench
		return
	}
	delete(s.output, t)
}

func (s *summary) fail(t test) {
	s.failed++
	s.badTests[t.pkg]++
	for _, line := range s.output[t] {
		if !isProgress(line) {
			fmt.Fprint(s.w, line)
		}
	}
	delete(s.output, t)
}

// endPackage ends a failed package: tests that began and did not end were cut
// off by what made the package fail.
func (s *summary) endPackage(pkg string) {
	var open []test
	for t := range s.output {
		if t.pkg == pkg {
			open = append(open, t)
		}
	}
	sort.Slice(open, func(i, j int) bool { return open[i].name < open[j].name })
	for _, t := range open {
		s.fail(t)
	}
	if s.badTests[pkg] == 0 {
		s.failed++
	}
}

// isProgress says whether line is one that go test prints with -v alone.
func isProgress(line string) bool {
	return strings.HasPrefix(line, "=== ")
}

// reason finds what a skipped test said last before it ended.
func reason(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		text := strings.TrimSpace(lines[i])
		if text != "" && !isProgress(text) && !strings.HasPrefix(text, "--- ") {
			return "\t" + text
		}
	}
	return ""
}
