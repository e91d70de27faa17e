package paper

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"

	"github.com/nlnctl/nlnctl/internal/atomicfile"
)

//go:embed page.html.tmpl
var pageSource string

//go:embed style.css
var styleSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// Tables returns all tables of the report, in its order.
func (r *Report) Tables() []Table {
	var all []Table
	for _, p := range r.parts {
		all = append(all, p.tables...)
	}
	return all
}

// Absent says which artefacts are not in the report, and what each needs.
func (r *Report) Absent() []string { return r.absent }

// Write puts the report into a folder, which it makes if there is none: report.md,
// report.html and report.tex, a CSV file for each table, results.csv with the results of
// all records and pixels.csv if there are any of pixels, and each figure as SVG and PNG.
// Files of these names are replaced, each whole; others stay. Equal reports give equal
// files.
func (r *Report) Write(dir string) error {
	files, err := r.render()
	if err != nil {
		return fmt.Errorf("paper: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("paper: write report: %w", err)
	}
	for _, f := range files {
		if err := atomicfile.Write(filepath.Join(dir, f.name), f.write); err != nil {
			return fmt.Errorf("paper: %w", err)
		}
	}
	return nil
}

// render returns all files, the report last, so that what it names is there before it.
func (r *Report) render() ([]file, error) {
	files := append([]file{}, r.files...)
	drawn := map[string]drawing{}
	for i := range r.parts {
		p := &r.parts[i]
		for j := range p.tables {
			t := &p.tables[j]
			if err := t.check(); err != nil {
				return nil, err
			}
			files = append(files, file{t.Name + ".csv", t.WriteCSV})
		}
		for _, f := range p.figures {
			var d drawing
			var err error
			if d.png, err = f.png(); err != nil {
				return nil, err
			}
			if d.svg, err = f.svg(); err != nil {
				return nil, err
			}
			drawn[f.name] = d
			files = append(files, file{f.name + ".png", bytesWriter(d.png)}, file{f.name + ".svg", bytesWriter(d.svg)})
		}
	}
	page, err := r.page(drawn)
	if err != nil {
		return nil, err
	}
	return append(files, file{"report.tex", r.writeLaTeX}, file{"report.md", r.writeMarkdown}, file{"report.html", bytesWriter(page)}), nil
}

// A drawing is a figure as files.
type drawing struct{ png, svg []byte }

func bytesWriter(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// A pageView is what the template shows.
type pageView struct {
	Title, Budget string
	Style         template.CSS
	Facts, Absent []string
	Parts         []partView
}

type partView struct {
	Name, Title string
	Figures     []figureView
	Tables      []tableView
}

type figureView struct {
	Caption, Alt string
	Picture      template.URL    // PNG of pixels, or
	Panels       []template.HTML // SVG
}

type tableView struct {
	Title, Name string
	Long        bool
	Body        template.HTML
	Notes       []string
}

func (r *Report) page(drawn map[string]drawing) ([]byte, error) {
	v := pageView{Title: r.title, Budget: r.budget, Style: template.CSS(styleSource), Facts: r.facts, Absent: r.absent}
	for _, p := range r.parts {
		pv := partView{Name: p.name, Title: p.title}
		for _, f := range p.figures {
			fv := figureView{Caption: f.caption, Alt: f.alt}
			if f.picture {
				fv.Picture = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(drawn[f.name].png))
			} else {
				var err error
				if fv.Panels, err = f.inline(); err != nil {
					return nil, err
				}
			}
			pv.Figures = append(pv.Figures, fv)
		}
		for _, t := range p.tables {
			pv.Tables = append(pv.Tables, tableView{t.Title, t.Name, t.Long, t.HTML(), t.Notes})
		}
		v.Parts = append(v.Parts, pv)
	}
	var buf bytes.Buffer
	if err := pageTemplate.Execute(&buf, v); err != nil {
		return nil, fmt.Errorf("write page: %w", err)
	}
	return buf.Bytes(), nil
}

func (r *Report) writeMarkdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n", markdownText(r.title))
	if r.budget != "" {
		fmt.Fprintf(&b, "%s\n\n", markdownText(r.budget))
	}
	markdownList(&b, r.facts)
	for _, p := range r.parts {
		fmt.Fprintf(&b, "## %s\n\n", markdownText(p.title))
		for _, f := range p.figures {
			fmt.Fprintf(&b, "![%s](%s.png)\n\n%s\n\n", markdownText(f.alt), f.name, markdownText(f.caption))
		}
		for _, t := range p.tables {
			if err := t.WriteMarkdown(&b); err != nil {
				return err
			}
		}
	}
	if len(r.absent) > 0 {
		b.WriteString("## Not in this report\n\n")
		markdownList(&b, r.absent)
	}
	_, err := w.Write(bytes.TrimRight(b.Bytes(), "\n"))
	if err == nil {
		_, err = io.WriteString(w, "\n")
	}
	return err
}

func markdownList(b *bytes.Buffer, lines []string) {
	for _, s := range lines {
		b.WriteString("- " + markdownText(s) + "\n")
	}
	if len(lines) > 0 {
		b.WriteString("\n")
	}
}

// latexHead begins a document. The macro sets a table as it is, or shrinks it to the
// width of the text.
const latexHead = `\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{textcomp}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\newsavebox{\tablebox}
\newcommand{\fitted}[1]{\sbox{\tablebox}{#1}%
  \ifdim\wd\tablebox>\textwidth\resizebox{\textwidth}{!}{\usebox{\tablebox}}\else\usebox{\tablebox}\fi}
\begin{document}
`

func (r *Report) writeLaTeX(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(latexHead)
	fmt.Fprintf(&b, "\\title{%s}\\author{}\\date{}\n\\maketitle\n\n", latexText(r.title))
	if r.budget != "" {
		fmt.Fprintf(&b, "%s\n\n", latexText(r.budget))
	}
	latexList(&b, r.facts)
	for _, p := range r.parts {
		fmt.Fprintf(&b, "\\section*{%s}\n\n", latexText(p.title))
		for _, f := range p.figures {
			fmt.Fprintf(&b, "\\begin{center}\n\\includegraphics[width=\\textwidth,height=.75\\textheight,keepaspectratio]{%s.png}\n\\end{center}\n{\\footnotesize %s\\par}\n\n",
				f.name, latexText(f.caption))
		}
		for _, t := range p.tables {
			if t.Long {
				continue
			}
			if err := t.WriteLaTeX(&b); err != nil {
				return err
			}
		}
		b.WriteString("\\clearpage\n")
	}
	if len(r.absent) > 0 {
		b.WriteString("\\section*{Not in this report}\n\n")
		latexList(&b, r.absent)
	}
	b.WriteString("\\end{document}\n")
	_, err := w.Write(b.Bytes())
	return err
}

func latexList(b *bytes.Buffer, lines []string) {
	if len(lines) == 0 {
		return
	}
	b.WriteString("\\begin{itemize}\n")
	for _, s := range lines {
		b.WriteString("\\item {}" + latexText(s) + "\n")
	}
	b.WriteString("\\end{itemize}\n\n")
}
