package experiment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/internal/atomicfile"
)

// Names in the folder of a run.
const (
	runFile      = "run.json"
	cellsDir     = "cells"
	recordFile   = "record.json"
	examplesFile = "examples.safetensors"

	checkpointSuffix = ".checkpoint" // of the file beside a cell's folder while it is trained
)

// About is what a run folder says of itself: all its cells are of one budget and of
// one root of data, so that no table mixes what is not alike.
type About struct {
	Format int      `json:"format"`
	Budget string   `json:"budget"`
	Spent  string   `json:"about"` // what the budget is
	Data   string   `json:"data"`
	Plans  []string `json:"plans"`
	Titles []string `json:"titles"`
	Make   []string `json:"make"` // tables and figures of the plans
}

// ReadAbout returns what the run in a folder is of.
func ReadAbout(run string) (About, error) {
	var a About
	text, err := os.ReadFile(filepath.Join(run, runFile))
	if errors.Is(err, fs.ErrNotExist) {
		return a, fmt.Errorf("experiment: %s is no run: it has no %s", run, runFile)
	}
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err == nil && a.Format != Format {
		err = fmt.Errorf("it is of format %d, this program reads %d", a.Format, Format)
	}
	if err != nil {
		return a, fmt.Errorf("experiment: %s: %w", filepath.Join(run, runFile), err)
	}
	return a, nil
}

// begin notes in a run's folder that a plan is run there, or returns an error if what
// is there is of another budget or other data.
func begin(run string, p *Plan, budget, data string) error {
	if err := os.MkdirAll(filepath.Join(run, cellsDir), 0o755); err != nil {
		return err
	}
	a, err := ReadAbout(run)
	if _, missing := os.Stat(filepath.Join(run, runFile)); errors.Is(missing, fs.ErrNotExist) {
		a, err = About{Format: Format, Budget: budget, Spent: p.Budgets[budget].About, Data: data}, nil
	}
	switch {
	case err != nil:
		return err
	case a.Budget != budget:
		return fmt.Errorf("%s has cells of the budget %s, not %s: take another folder", run, a.Budget, budget)
	case a.Data != data:
		return fmt.Errorf("%s has cells of the data in %s, not %s: take another folder", run, a.Data, data)
	case slices.Contains(a.Plans, p.Name):
		return nil
	}
	a.Plans, a.Titles = append(a.Plans, p.Name), append(a.Titles, p.Title)
	for _, m := range p.Make {
		if !slices.Contains(a.Make, m) {
			a.Make = append(a.Make, m)
		}
	}
	return writeJSON(filepath.Join(run, runFile), a)
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// Load returns the records of the run in a folder, ordered by what their cells are
// called, and the examples of those that have some. Folders of unfinished cells are
// passed over.
func Load(run string) (records []Record, examples []Examples, err error) {
	if _, err := ReadAbout(run); err != nil {
		return nil, nil, err
	}
	entries, err := os.ReadDir(filepath.Join(run, cellsDir))
	if err != nil {
		return nil, nil, fmt.Errorf("experiment: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		dir := filepath.Join(run, cellsDir, e.Name())
		r, err := readRecord(dir)
		if err != nil {
			return nil, nil, fmt.Errorf("experiment: %w", err)
		}
		records = append(records, r)
		if r.Cell.Pictures == 0 {
			continue
		}
		x, err := readExamples(filepath.Join(dir, examplesFile))
		if err != nil {
			return nil, nil, fmt.Errorf("experiment: %w", err)
		}
		x.Cell = r.Cell
		examples = append(examples, x)
	}
	slices.SortFunc(records, func(a, b Record) int { return strings.Compare(a.Cell.String(), b.Cell.String()) })
	slices.SortFunc(examples, func(a, b Examples) int { return strings.Compare(a.Cell.String(), b.Cell.String()) })
	return records, examples, nil
}

// readRecord reads the record of a cell's folder.
func readRecord(dir string) (Record, error) {
	var r Record
	path := filepath.Join(dir, recordFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("%s: %w; delete %s to do the cell again", path, err, dir)
	}
	if r.Format != Format || r.Digest != filepath.Base(dir) {
		return r, fmt.Errorf("%s is of format %d and digest %s; delete %s to do the cell again", path, r.Format, r.Digest, dir)
	}
	return r, nil
}

// serves says whether a record has all that a cell of its digest asks for.
func (r Record) serves(c Cell) bool {
	return r.Cell.Pictures >= c.Pictures && (r.Cell.Pixels || !c.Pixels)
}

// save writes a cell's folder, whole or not at all.
func save(dir string, r Record, x *Examples) error {
	return atomicfile.WriteDir(dir, true, func(tmp string) error {
		if err := writeJSON(filepath.Join(tmp, recordFile), r); err != nil || x == nil {
			return err
		}
		return atomicfile.Write(filepath.Join(tmp, examplesFile), x.write)
	})
}
