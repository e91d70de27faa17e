package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/report"
	ucli "github.com/urfave/cli/v2"
)

func reportCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "report",
		Usage:     "make a page of the rows that score wrote",
		UsageText: "nlnctl report -m BUNDLE ROWS -o PAGE.html [options]",
		Description: `Writes a page that stands alone: the distribution of the scores beside that of normal
images, and galleries of the images that score highest and of ordinary ones, with
their nearest normal images. ROWS are what score wrote, JSON lines or CSV; the image
files are read again where they still are. With --normal the page knows which
verdicts are right, and has a ROC curve.

   nlnctl score  -m parts.nln new-parts -o scores.jsonl
   nlnctl report -m parts.nln scores.jsonl -o scores.html`,
		Flags: append([]ucli.Flag{
			modelFlag(),
			&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "the page to write, `FILE`", Required: true},
			&ucli.StringFlag{Name: "normal", Usage: "images with `TEXT` in their paths are normal, such as /good/, and all others novel"},
			threadsFlag(), quietFlag(),
		}, append(deviceFlags(), limitFlags()...)...),
		Action: func(c *ucli.Context) error {
			if c.NArg() != 1 {
				return badUsage(c, "want one file of rows, have %d", c.NArg())
			}
			b, reading, err := openReading(c)
			if err != nil {
				return err
			}
			defer b.Close()
			rows, err := readRows(c.Args().First())
			if err != nil {
				return err
			}
			e := newExplainer(b, reading)
			m := newMeter(c, env.Stderr)
			p, err := e.report(c.Context, c.Args().First(), rows, c.String("normal"), m)
			if err != nil {
				return err
			}
			if err := atomicfile.Write(c.String("output"), p.WriteHTML); err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, c.String("output"))
			return err
		},
	}
}

// report returns the page of some rows.
func (e *explainer) report(ctx context.Context, source string, rows []row, normal string, m *meter) (*report.Page, error) {
	p := report.New("Scores of "+filepath.Base(source), e.scorer)
	var scored []row
	for _, r := range rows {
		if r.Status != statusOK {
			continue
		}
		if r.Model != e.bundle.Digest {
			return nil, fmt.Errorf("%s: %s was scored with another bundle or another version of it (%.16s, not %.16s)", source, r.Image, r.Model, e.bundle.Digest)
		}
		scored = append(scored, r)
		p.Scores = append(p.Scores, nln.Score{Recon: r.Recon, Error: r.Error, Distance: r.Distance, Local: r.Local, LocalP: r.LocalP,
			Score: r.Score, P: r.P, Novel: r.Novel, Neighbors: r.Neighbors})
		if normal != "" {
			p.Novel = append(p.Novel, !strings.Contains(filepath.ToSlash(r.Image), normal))
		}
	}
	if len(scored) == 0 {
		return nil, fmt.Errorf("%s has no row of an image that was scored", source)
	}
	// The rows' own threshold may be another than the bundle's.
	own := p.Threshold
	p.Threshold = math.Inf(1)
	if t := scored[0].Threshold; t != nil {
		p.Threshold = *t
		if p.Threshold != own {
			p.Policy.Threshold = t
		}
	}
	if bad := len(rows) - len(scored); bad > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d of %d images could not be scored and are left out", bad, len(rows)))
	}
	missing := 0
	for _, pick := range p.Pick(examples) {
		g := report.Group{Title: pick.Title, Note: pick.Note}
		for _, i := range pick.Images {
			ex, err := e.example(ctx, scored[i].Image)
			if err != nil {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				missing++
				continue
			}
			if p.Novel != nil {
				ex.Novel = &p.Novel[i]
			}
			ex.Score = p.Scores[i]
			g.Examples = append(g.Examples, ex)
		}
		p.Groups = append(p.Groups, g)
	}
	if missing > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d of the images to be shown cannot be read any more", missing))
	}
	for _, note := range e.notes {
		m.say("note: %s", note)
	}
	return p, nil
}

// readRows reads what score wrote.
func readRows(path string) ([]row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	parse := jsonRowsOf
	if strings.EqualFold(filepath.Ext(path), ".csv") {
		parse = csvRowsOf
	}
	rows, err := parse(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rows, nil
}

func jsonRowsOf(in io.Reader) (rows []row, err error) {
	d := json.NewDecoder(in)
	for {
		r := row{numbers: &numbers{}}
		if err := d.Decode(&r); err == io.EOF {
			return rows, nil
		} else if err != nil {
			return nil, fmt.Errorf("row %d: %w", len(rows)+1, err)
		}
		rows = append(rows, r)
	}
}

func csvRowsOf(in io.Reader) (rows []row, err error) {
	c := csv.NewReader(in)
	c.FieldsPerRecord = len(csvHeader)
	if _, err := c.Read(); err != nil {
		return nil, errors.New("not the columns that score writes")
	}
	for {
		f, err := c.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		r := row{Image: f[0], Status: f[1], Reason: f[2], numbers: &numbers{}, Model: f[len(f)-1]}
		if r.Status == statusOK {
			if err := r.numbers.parse(f); err != nil {
				return nil, fmt.Errorf("row %d: %w", len(rows)+1, err)
			}
		}
		rows = append(rows, r)
	}
}

// parse takes the numbers out of the fields of a row of CSV.
func (n *numbers) parse(f []string) (err error) {
	for i, v := range []*float64{&n.Recon, &n.Error, &n.Distance, &n.Local, &n.LocalP, &n.Score, &n.P} {
		if *v, err = strconv.ParseFloat(f[3+i], 64); err != nil {
			return err
		}
	}
	if n.Novel, err = strconv.ParseBool(f[10]); err != nil {
		return err
	}
	if f[11] != "" {
		t, err := strconv.ParseFloat(f[11], 64)
		if err != nil {
			return err
		}
		n.Threshold = &t
	}
	for id := range strings.FieldsSeq(f[12]) {
		v, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return err
		}
		n.Neighbors = append(n.Neighbors, v)
	}
	return nil
}
