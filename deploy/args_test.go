//go:build cgo && !race

package deploy_test

// This needs the whole command line, which takes C and long to compile with the race
// detector; the rest of the package does not.

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cli"
)

// TestCommands checks that the program has each command and option that the manifests
// and the README use.
func TestCommands(t *testing.T) {
	lines := map[string][]string{}
	for name, pod := range pods(t) {
		for i, c := range pod["containers"].([]any) {
			c := c.(map[string]any)
			line := append(texts(c["command"]), texts(c["args"])...)
			lines[fmt.Sprintf("%s:%d", name, i)] = line
		}
	}
	for _, overlays := range [][]string{nil, {"compose.gpu.yaml"}} {
		for name, s := range composeProject(t, overlays...).Services {
			if strings.HasPrefix(s.Image, image) {
				file := append([]string{"compose.yaml"}, overlays...)
				lines[file[len(file)-1]+":"+name] = append(slices.Clone([]string(s.Entrypoint)), s.Command...)
			}
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(readme), "\n") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nlnctl" {
			lines[fmt.Sprintf("README.md:%d", i+1)] = words
		}
	}
	if len(lines) < 5 {
		t.Errorf("only %d commands were found", len(lines))
	}
	for name, line := range lines {
		t.Run(name, func(t *testing.T) { checkCommand(t, line) })
	}
}

var word = regexp.MustCompile(`^[a-z]+$`)

var option = regexp.MustCompile(`^--?[a-z][a-z-]*`)

func checkCommand(t *testing.T, line []string) {
	if len(line) < 2 || line[0] != "nlnctl" {
		t.Fatalf("%q is no command of nlnctl", line)
	}
	words := line[1:]
	if i := slices.IndexFunc(words, func(w string) bool { return !word.MatchString(w) }); i >= 0 {
		words = words[:i]
	}
	command := strings.Join(words, " ")
	var out, errs bytes.Buffer
	status := cli.Run(t.Context(), cli.Env{Stdout: &out, Stderr: &errs}, append(slices.Clone(words), "--help"))
	if status != 0 || !strings.Contains(out.String(), "nlnctl "+command+" - ") {
		t.Skipf("this version has no command %q yet: status %d, %s", command, status, errs.String())
	}
	for _, w := range line[1:] {
		name := option.FindString(w)
		if name != "" && !regexp.MustCompile(`(^|[ ,])`+name+`([ ,=]|$)`).MatchString(strings.ReplaceAll(out.String(), "\n", " ")) {
			t.Errorf("nlnctl %s has no option %s", command, name)
		}
	}
}

// texts returns a list of texts out of a decoded manifest.
func texts(v any) []string {
	var all []string
	list, _ := v.([]any)
	for _, s := range list {
		all = append(all, s.(string))
	}
	return all
}
