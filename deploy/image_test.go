package deploy_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A stage is a part of the Dockerfile that begins with FROM: its instructions, each in
// one line.
type stage struct {
	name, from   string
	instructions []string
}

// stages reads the Dockerfile; what stands before the first FROM is the first of them.
func stages(t *testing.T) []stage {
	t.Helper()
	b, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(string(b), "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")
	all := []stage{{}}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "FROM" {
			all = append(all, stage{from: words[1], name: strings.Join(words[2:], " ")})
		}
		last := &all[len(all)-1]
		last.instructions = append(last.instructions, strings.TrimSpace(line))
	}
	return all
}

// TestDockerfile checks what the images have in common with the manifests and with
// versions.mk.
func TestDockerfile(t *testing.T) {
	all := stages(t)
	versions, err := os.ReadFile("../versions.mk")
	if err != nil {
		t.Fatal(err)
	}
	base, ok := strings.CutPrefix(all[0].instructions[0], "ARG BASE=")
	if !ok || !strings.Contains(string(versions), "\nBASE_IMAGE="+base+"\n") {
		t.Errorf("%q is not what versions.mk says", all[0].instructions)
	}
	if last := all[len(all)-1]; last.from != "cpu" || len(last.instructions) != 1 {
		t.Errorf("the default is %+v, want cpu", last)
	}
	made := map[string]stage{}
	for _, s := range all[1:] {
		if _, known := made[s.from]; s.from != "${BASE}" && !known {
			t.Errorf("%s begins with %s", s.name, s.from)
		}
		made[strings.TrimPrefix(s.name, "AS ")] = s
	}
	user := fmt.Sprint(pods(t)["kubernetes/base/worker.yaml"]["securityContext"].(map[string]any)["runAsUser"])
	for _, name := range []string{"cpu", "cuda"} {
		s := made[name]
		if s.from != "runtime" {
			t.Errorf("%s begins with %q, which may have a compiler", name, s.from)
		}
		for _, want := range []string{
			"USER " + user + ":" + user, `VOLUME ["/data", "/models"]`, `ENTRYPOINT ["nlnctl"]`, "ARG VERSION=development", "ARG REVISION=unknown",
		} {
			if !slices.Contains(s.instructions, want) {
				t.Errorf("%s has no %s", name, want)
			}
		}
		text := strings.Join(s.instructions, "\n")
		for _, want := range []string{"HEALTHCHECK ", "title=", "description=", "source=", `licenses="Apache-2.0"`, `version="${VERSION}"`, `revision="${REVISION}"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %s", name, want)
			}
		}
	}
	if !strings.Contains(strings.Join(made["runtime"].instructions, "\n"), "useradd --uid "+user+" ") {
		t.Errorf("there is no user %s", user)
	}
}
