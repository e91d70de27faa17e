package paper

import (
	"encoding/csv"
	"html/template"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// sectioned says whether some rows stand under a heading.
func (t *Table) sectioned() bool {
	for _, r := range t.Rows {
		if r.Section != "" {
			return true
		}
	}
	return false
}

// WriteCSV writes the table with one line of titles; where rows have headings these are
// a first column. Minus signs are hyphens.
func (t *Table) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	var titles []string
	sectioned := t.sectioned()
	if sectioned {
		titles = append(titles, "section")
	}
	for _, c := range t.Columns {
		titles = append(titles, c.name())
	}
	if err := out.Write(titles); err != nil {
		return err
	}
	section := ""
	for _, r := range t.Rows {
		if r.Section != "" {
			section = r.Section
			continue
		}
		var cells []string
		if sectioned {
			cells = append(cells, section)
		}
		for _, c := range r.Cells {
			cells = append(cells, strings.ReplaceAll(c, "−", "-"))
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// markdownEscapes are what Markdown would take for markup, in a cell or in a line.
var markdownEscapes = strings.NewReplacer(
	`\`, `\\`, "|", `\|`, "*", `\*`, "_", `\_`, "`", "\\`", "<", "&lt;", ">", "&gt;", "[", `\[`, "]", `\]`, "&", "&amp;",
	"~", `\~`, "#", `\#`, "\n", " ", "\r", " ")

func markdownText(s string) string { return markdownEscapes.Replace(s) }

// WriteMarkdown writes the table in the form of GitHub, under a heading of the third
// level. A long table is named alone.
func (t *Table) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("### " + markdownText(t.Title) + "\n\n")
	if t.Long {
		b.WriteString("In `" + t.Name + ".csv`.\n\n")
	} else {
		t.markdownRows(&b)
	}
	for _, n := range t.Notes {
		b.WriteString("- " + markdownText(n) + "\n")
	}
	if len(t.Notes) > 0 {
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) markdownRows(b *strings.Builder) {
	var rule strings.Builder
	for i, c := range t.Columns {
		b.WriteString("| " + markdownText(c.name()) + " ")
		if i < t.Labels {
			rule.WriteString("|:---")
		} else {
			rule.WriteString("|---:")
		}
	}
	b.WriteString("|\n" + rule.String() + "|\n")
	for _, r := range t.Rows {
		if r.Section != "" {
			b.WriteString("| **" + markdownText(r.Section) + "** " + strings.Repeat("| ", len(t.Columns)-1) + "|\n")
			continue
		}
		for _, c := range r.Cells {
			b.WriteString("| " + markdownText(c) + " ")
		}
		b.WriteString("|\n")
	}
	b.WriteString("\n")
}

// latexEscapes are what TeX would take for commands, and characters beyond ASCII that
// the tables have.
var latexEscapes = map[rune]string{
	'\\': `\textbackslash{}`, '{': `\{`, '}': `\}`, '$': `\$`, '&': `\&`, '#': `\#`, '%': `\%`, '_': `\_`,
	'~': `\textasciitilde{}`, '^': `\textasciicircum{}`, '<': `\textless{}`, '>': `\textgreater{}`, '|': `\textbar{}`,
	'"': `\textquotedbl{}`, '−': `$-$`, '±': `$\pm$`, '–': `--`, '“': "``", '”': "''", '’': "'", '…': `\ldots{}`,
	'×': `$\times$`, '·': `$\cdot$`, '\n': " ",
	// A cell that begins with one of these would be an argument of the row's end.
	'[': "{[}", ']': "{]}", '*': "{*}",
}

// latexText escapes s. Characters that a plain installation of LaTeX cannot set become
// question marks.
func latexText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch e, ok := latexEscapes[r]; {
		case ok:
			b.WriteString(e)
		case r < 0x80 && unicode.IsPrint(r), r >= 0xC0 && r < 0x180 && unicode.IsLetter(r):
			b.WriteRune(r)
		default:
			b.WriteByte('?')
		}
	}
	return b.String()
}

// latexRows is how many rows of a table fit on a page.
const latexRows = 36

// WriteLaTeX writes the table for the package booktabs, in its place and without a number,
// which would not be that of the paper: shrunk where it is wider than
// the text by the macro \fitted that the report defines, and in pieces where it is
// longer than a page.
func (t *Table) WriteLaTeX(w io.Writer) error {
	var b strings.Builder
	for start := 0; start == 0 || start < len(t.Rows); start += latexRows {
		rows := t.Rows[start:min(start+latexRows, len(t.Rows))]
		title := t.Title
		if start > 0 {
			title += ", continued"
		}
		b.WriteString("\\begin{center}\n\\textbf{" + latexText(title) + "}\\par\\medskip\n")
		b.WriteString("\\fitted{\\begin{tabular}{" + strings.Repeat("l", t.Labels) + strings.Repeat("r", len(t.Columns)-t.Labels) + "}\n\\toprule\n")
		t.latexHead(&b)
		for _, r := range rows {
			if r.Section != "" {
				b.WriteString("\\addlinespace\n\\multicolumn{" + strconv.Itoa(len(t.Columns)) + "}{l}{\\textit{" + latexText(r.Section) + "}} \\\\\n")
				continue
			}
			for i, c := range r.Cells {
				if i > 0 {
					b.WriteString(" & ")
				}
				b.WriteString(latexText(c))
			}
			b.WriteString(" \\\\\n")
		}
		b.WriteString("\\bottomrule\n\\end{tabular}}\n\\end{center}\n\n")
	}
	if len(t.Notes) > 0 {
		b.WriteString("{\\footnotesize\\begin{itemize}\n")
		for _, n := range t.Notes {
			b.WriteString("\\item {}" + latexText(n) + "\n")
		}
		b.WriteString("\\end{itemize}}\n\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) latexHead(b *strings.Builder) {
	groups := t.groups()
	if len(groups) > 0 {
		var rules strings.Builder
		at := 1
		for i, g := range groups {
			if i > 0 {
				b.WriteString(" & ")
			}
			if g.title == "" {
				b.WriteString(strings.Repeat(" & ", g.span-1))
			} else {
				b.WriteString("\\multicolumn{" + strconv.Itoa(g.span) + "}{c}{" + latexText(g.title) + "}")
				rules.WriteString("\\cmidrule(lr){" + strconv.Itoa(at) + "-" + strconv.Itoa(at+g.span-1) + "} ")
			}
			at += g.span
		}
		b.WriteString(" \\\\\n" + strings.TrimSpace(rules.String()) + "\n")
	}
	for i, c := range t.Columns {
		if i > 0 {
			b.WriteString(" & ")
		}
		b.WriteString(latexText(c.Title))
	}
	b.WriteString(" \\\\\n\\midrule\n")
}

// A columnGroup is columns under one title.
type columnGroup struct {
	title string
	span  int
}

// groups returns the groups from left to right, none if no column is in one.
func (t *Table) groups() []columnGroup {
	var groups []columnGroup
	any := false
	for _, c := range t.Columns {
		any = any || c.Group != ""
		if n := len(groups); n > 0 && groups[n-1].title == c.Group {
			groups[n-1].span++
		} else {
			groups = append(groups, columnGroup{c.Group, 1})
		}
	}
	if !any {
		return nil
	}
	return groups
}

// HTML returns the table as an element of a page, which scrolls within its own box.
// The notes are not in it.
func (t *Table) HTML() template.HTML {
	esc := template.HTMLEscapeString
	var b strings.Builder
	b.WriteString("<div class=\"scroll\" tabindex=\"0\"><table>\n<caption>" + esc(t.Title) + "</caption>\n<thead>\n")
	starts := map[int]bool{} // columns with which a group begins
	if groups := t.groups(); len(groups) > 0 {
		b.WriteString("<tr>")
		at := 0
		for _, g := range groups {
			class := ""
			if at > 0 {
				starts[at] = true
				class = ` class="start"`
			}
			if g.title == "" {
				b.WriteString("<td" + class + ` colspan="` + strconv.Itoa(g.span) + `"></td>`)
			} else {
				b.WriteString("<th" + class + ` scope="colgroup" colspan="` + strconv.Itoa(g.span) + `">` + esc(g.title) + "</th>")
			}
			at += g.span
		}
		b.WriteString("</tr>\n")
	}
	class := func(i int) string {
		var names []string
		if i >= t.Labels {
			names = append(names, "num")
		}
		if starts[i] {
			names = append(names, "start")
		}
		if names == nil {
			return ""
		}
		return ` class="` + strings.Join(names, " ") + `"`
	}
	b.WriteString("<tr>")
	for i, c := range t.Columns {
		b.WriteString("<th" + class(i) + ` scope="col">` + esc(c.Title) + "</th>")
	}
	b.WriteString("</tr>\n</thead>\n<tbody>\n")
	for _, r := range t.Rows {
		if r.Section != "" {
			b.WriteString(`<tr class="section"><th scope="rowgroup" colspan="` + strconv.Itoa(len(t.Columns)) + `"><span>` + esc(r.Section) + "</span></th></tr>\n")
			continue
		}
		b.WriteString("<tr>")
		for i, c := range r.Cells {
			if i < t.Labels {
				b.WriteString("<th" + class(i) + ` scope="row">` + esc(c) + "</th>")
			} else {
				b.WriteString("<td" + class(i) + ">" + esc(c) + "</td>")
			}
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</tbody>\n</table></div>\n")
	return template.HTML(b.String())
}
