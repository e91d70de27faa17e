package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ucli "github.com/urfave/cli/v2"
)

// TestManual checks that each command has a page, and that the page has its options.
func TestManual(t *testing.T) {
	pages := Manual("v1.2.3", "2026-11-26")
	want := 0
	var walk func(name string, flags []ucli.Flag, commands []*ucli.Command)
	walk = func(name string, flags []ucli.Flag, commands []*ucli.Command) {
		want++
		text := string(pages[name+".1"])
		if !strings.Contains(text, `"2026\-11\-26" "nlnctl v1.2.3"`) {
			t.Errorf("page %s does not begin with date and version: %.100q", name, text)
		}
		for _, f := range flags {
			hidden := !f.(ucli.VisibleFlag).IsVisible()
			if has := strings.Contains(text, `\-\-`+roff(f.Names()[0])); has == hidden {
				t.Errorf("page %s has --%s: %v, hidden: %v", name, f.Names()[0], has, hidden)
			}
		}
		for _, c := range commands {
			walk(name+"-"+c.Name, c.Flags, c.Subcommands)
		}
	}
	app := newApp(Env{})
	walk(app.Name, nil, app.Commands)
	if len(pages) != want || want < 20 {
		t.Errorf("%d pages for %d commands", len(pages), want)
	}
}

func TestManualEscapes(t *testing.T) {
	got := roffText("first -x\n'tis .so\n\n   nlnctl a \\\n   .b\n\nlast")
	want := "first \\-x\n\\&'tis .so\n.PP\n.PP\n.nf\n   nlnctl a \\e\n   .b\n.PP\n.fi\nlast\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestManualFormats has groff's own warnings say what is wrong.
func TestManualFormats(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not installed")
	}
	for name, text := range Manual("v1.2.3", "2026-11-26") {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", file).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
