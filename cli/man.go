package cli

import (
	"fmt"
	"strings"

	ucli "github.com/urfave/cli/v2"
)

// Manual returns the pages of the manual, in roff, by the names of their files: of
// the program, nlnctl.1, and of each command, such as nlnctl-batch-run.1. They say what
// --help says. The date, in any form, stands at their foot.
func Manual(version, date string) map[string][]byte {
	app := newApp(Env{Version: version})
	m := manual{version: version, date: date, pages: map[string][]byte{}}
	m.add(page{
		words: []string{app.Name}, usage: app.Usage, synopsis: app.UsageText, description: app.Description,
		commands: app.Commands,
	})
	return m.pages
}

type manual struct {
	version, date string
	pages         map[string][]byte
}

// A page is about the program or one of its commands.
type page struct {
	words                        []string // nlnctl, batch, run
	usage, synopsis, description string
	flags                        []ucli.Flag
	commands                     []*ucli.Command
}

func (m *manual) add(p page) {
	name := strings.Join(p.words, "-")
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 %s %s\n", strings.ToUpper(roff(name)), quoted(m.date), quoted("nlnctl "+m.version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(p.usage))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.nf\n%s\n.fi\n", roffLines(p.synopsis))
	if p.description != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n%s", roffText(p.description))
	}
	heading := ".SH OPTIONS\n"
	for _, f := range p.flags {
		if v, ok := f.(ucli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		names, usage, _ := strings.Cut(f.String(), "\t")
		fmt.Fprintf(&b, "%s.TP\n\\fB%s\\fR\n%s\n", heading, roff(names), roffLines(strings.TrimSpace(usage)))
		heading = ""
	}
	heading = ".SH COMMANDS\n"
	for _, c := range p.commands {
		if c.Hidden {
			continue
		}
		words := append(append([]string{}, p.words...), c.Name)
		fmt.Fprintf(&b, "%s.TP\n\\fB%s\\fR(1)\n%s\n", heading, roff(strings.Join(words, "-")), roff(c.Usage))
		heading = ""
		m.add(page{words, c.Usage, c.UsageText, c.Description, c.Flags, c.Subcommands})
	}
	if len(p.words) > 1 {
		fmt.Fprintf(&b, ".SH SEE ALSO\n\\fB%s\\fR(1)\n", roff(strings.Join(p.words[:len(p.words)-1], "-")))
	}
	m.pages[name+".1"] = []byte(b.String())
}

// roffText sets a description: paragraphs are filled, and what is indented stays as it is.
func roffText(text string) string {
	var b strings.Builder
	asIs := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if indented := strings.HasPrefix(line, " "); indented != asIs && line != "" {
			asIs = indented
			if asIs {
				b.WriteString(".PP\n.nf\n")
			} else {
				b.WriteString(".fi\n")
			}
		}
		if line == "" {
			b.WriteString(".PP\n")
		} else {
			b.WriteString(roff(line) + "\n")
		}
	}
	if asIs {
		b.WriteString(".fi\n")
	}
	return b.String()
}

func roffLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = roff(line)
	}
	return strings.Join(lines, "\n")
}

// roff escapes a line: a backslash and a hyphen mean something in it, and a point or
// an apostrophe does where the line begins.
func roff(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	return line
}

// quoted is an argument of a request.
func quoted(arg string) string { return `"` + strings.ReplaceAll(roff(arg), `"`, "'") + `"` }
