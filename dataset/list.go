package dataset

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A listRow is an image of a list.
type listRow struct {
	line                     int // of the file, from 1
	path, label, mask, split string
}

// A list is what the file of a list:FILE says.
type list struct {
	file    string
	rows    []listRow
	unknown []string // columns that mean nothing here
}

// isList reports whether a plain path is a list by its name.
func isList(location string) bool {
	return slices.Contains([]string{".csv", ".jsonl"}, strings.ToLower(filepath.Ext(location))) && isFile(location)
}

// openList reads list:FILE, image files named by a table: CSV whose first line
// names the columns, or JSON lines with the columns as keys, by the ending of FILE.
//
//	path    of the image, absolute or relative to the list's folder
//	label   its class; may be missing or empty, but then for all images of a split
//	mask    PNG in which a pixel that is not zero marks a defect; may be missing or empty
//	split   train or test; without it there is one split, and Train and Test are the
//	        same *Set
//
// The classes are those of all rows, sorted by name, but that good, or else
// normal, comes first: label 0 is normal under the protocol [Defects]. Images keep
// the list's order, and their names are its paths. An error names the line.
func openList(_ context.Context, location string, r Reading) (*Splits, error) {
	l, err := readList(location, r)
	if err != nil {
		return nil, err
	}
	classes := l.classes()
	sp := &Splits{Kind: "list"}
	base := "list/" + filepath.Base(location)
	if train, test, split := l.splits(); !split {
		if sp.Train, err = l.set(base, l.rows, classes, r); err != nil {
			return nil, err
		}
		sp.Test = sp.Train
	} else {
		if len(train) > 0 {
			if sp.Train, err = l.set(base+"/train", train, classes, r); err != nil {
				return nil, err
			}
		}
		if len(test) > 0 {
			if sp.Test, err = l.set(base+"/test", test, classes, r); err != nil {
				return nil, err
			}
		}
	}
	if len(l.unknown) > 0 {
		slices.Sort(l.unknown)
		s := cmp.Or(sp.Train, sp.Test)
		s.Notes = append(s.Notes, fmt.Sprintf("list: %s: the columns %s mean nothing here; those that do are %s",
			location, strings.Join(l.unknown, ", "), strings.Join(listColumns, ", ")))
	}
	return sp, nil
}

// ListFiles returns the paths of the image files that a list names, as [Open]
// would read them: the test images, where it has a column "split".
func (r Reading) ListFiles(location string) ([]string, error) {
	if err := r.CheckGlobs(); err != nil {
		return nil, err
	}
	l, err := readList(location, r)
	if err != nil {
		return nil, err
	}
	rows := l.rows
	if _, test, split := l.splits(); split {
		if rows = test; len(rows) == 0 {
			return nil, fmt.Errorf("dataset: list %s: no image is of the split test", location)
		}
	}
	paths := make([]string, len(rows))
	for i, row := range rows {
		paths[i] = l.place(row.path)
	}
	return paths, nil
}

// readList reads a list and keeps the rows that the globs choose.
func readList(location string, r Reading) (*list, error) {
	l := &list{file: location}
	var read func() error
	switch strings.ToLower(filepath.Ext(location)) {
	case ".csv":
		read = l.readCSV
	case ".jsonl":
		read = l.readJSONL
	default:
		return nil, fmt.Errorf("dataset: open list: %s ends neither in .csv nor in .jsonl", location)
	}
	if err := read(); err != nil {
		return nil, err
	}
	for _, row := range l.rows {
		if err := l.check(row); err != nil {
			return nil, err
		}
	}
	l.rows = slices.DeleteFunc(l.rows, func(row listRow) bool { return !r.takes(path.Clean(filepath.ToSlash(row.path))) })
	if len(l.rows) == 0 {
		return nil, r.noImages("list", location)
	}
	return l, nil
}

// check reports what is wrong with a row by itself, and beside the first one.
func (l *list) check(row listRow) error {
	first := l.rows[0]
	switch {
	case row.path == "":
		return l.errorf(row.line, `no value for "path"`)
	case row.split != "" && row.split != "train" && row.split != "test":
		return l.errorf(row.line, "split is %q, want train or test", row.split)
	case (row.split == "") != (first.split == ""):
		return l.errorf(row.line, "split is %q, in line %d it is %q: want one for all images or for none", row.split, first.line, first.split)
	}
	return nil
}

// errorf returns a FormatError that names a line.
func (l *list) errorf(line int, format string, args ...any) error {
	return formatErrorf(l.file, "line %d: %w", line, fmt.Errorf(format, args...))
}

// place returns where a path of the list leads.
func (l *list) place(name string) string {
	name = filepath.FromSlash(name)
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(l.file), name)
}

// splits parts the rows, if they say of which split they are.
func (l *list) splits() (train, test []listRow, split bool) {
	for _, row := range l.rows {
		switch row.split {
		case "train":
			train = append(train, row)
		case "test":
			test = append(test, row)
		default:
			return nil, nil, false
		}
	}
	return train, test, true
}

// normalClasses are classes that come first, the first of them that there is.
var normalClasses = []string{"good", "normal"}

// classes returns the classes in the order of their labels, nil if there are none.
func (l *list) classes() []string {
	var names []string
	for _, row := range l.rows {
		if row.label != "" {
			names = append(names, row.label)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, normal := range normalClasses {
		if i := slices.Index(names, normal); i >= 0 {
			return slices.Insert(slices.Delete(names, i, i+1), 0, normal)
		}
	}
	return names
}

// set reads rows.
func (l *list) set(name string, rows []listRow, classes []string, r Reading) (*Set, error) {
	s := &Set{Name: name, Scale: Scale255}
	paths := make([]string, len(rows))
	masks := false
	for i, row := range rows {
		if (row.label == "") != (rows[0].label == "") {
			with, without := rows[0].line, row.line
			if row.label != "" {
				with, without = without, with
			}
			return nil, l.errorf(without, `no value for "label", line %d has one: want labels for all images of a split or for none`, with)
		}
		if row.label != "" {
			s.Classes = classes
			s.Labels = append(s.Labels, slices.Index(classes, row.label))
		}
		s.Names = append(s.Names, row.path)
		paths[i] = l.place(row.path)
		masks = masks || row.mask != ""
	}
	p := filePictures(paths, r)
	stat, read := p.stat, p.read
	p.stat = func(i int) (Shape, error) {
		shape, err := stat(i)
		return shape, l.wrap(rows[i], err)
	}
	p.read = func(i int, dst []uint8, want Shape) error { return l.wrap(rows[i], read(i, dst, want)) }
	if err := s.readPictures(p, r); err != nil || !masks {
		return s, err
	}
	s.Masks = make([][]byte, len(rows))
	return s, inParallel(0, len(rows), func(i int) (err error) {
		if rows[i].mask != "" {
			if s.Masks[i], err = readMask(l.place(rows[i].mask), s.Size, r); err != nil {
				err = l.wrap(rows[i], fmt.Errorf("mask: %w", err))
			}
		}
		return err
	})
}

// wrap adds the line that an error is about.
func (l *list) wrap(row listRow, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("dataset: %s: line %d: %w", l.file, row.line, err)
}
