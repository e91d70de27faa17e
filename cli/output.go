package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/nlnctl/nlnctl/internal/atomicfile"
)

// A form is how rows are written.
type form string

const (
	formJSON    form = "JSON lines"
	formCSV     form = "CSV"
	formParquet form = "Parquet"
)

// formOf returns the form that the name of an output asks for by its ending.
func formOf(path string) form {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv":
		return formCSV
	case ".parquet":
		return formParquet
	}
	return formJSON
}

// journal returns the form of rows that are written one after the other, as they
// come, for an output of form f. A Parquet file has its rows by columns, and where
// these lie at its end: half of one is nothing.
func (f form) journal() form {
	if f == formParquet {
		return formJSON
	}
	return f
}

// A tally counts rows.
type tally struct{ total, bad, novel int }

// output scores what args name and writes the rows to path, which appears whole
// or not at all, or to stdout for "-".
func (r *run) output(ctx context.Context, stdout io.Writer, path string, args []string) error {
	f := formOf(path)
	if path != "-" {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
		if st, err := os.Stat(path); err != nil || st.Mode().IsRegular() {
			return r.outputFile(ctx, path, f, args)
		}
	}
	if r.resume {
		return fmt.Errorf("--resume: %s keeps no rows to go on from: want a file", path)
	}
	if f == formParquet {
		return fmt.Errorf("%s is no regular file, which %s needs: write to a file, or other rows", path, f)
	}
	write := func(w io.Writer) error {
		r.rowsTo(w, f)
		if err := r.rows.begin(); err != nil {
			return err
		}
		return r.scoreAll(ctx, args)
	}
	if path == "-" {
		return write(stdout)
	}
	return atomicfile.Write(path, write)
}

// rowsTo makes rows of a form that can be written one by one go to w.
func (r *run) rowsTo(w io.Writer, f form) {
	r.out = bufio.NewWriterSize(w, 1<<16)
	if f == formCSV {
		r.rows = newCSVRows(r.out)
	} else {
		r.rows = &jsonRows{w: r.out}
	}
}

// scoreAll scores what args name, in order.
func (r *run) scoreAll(ctx context.Context, args []string) error {
	for rest := groups(args); len(rest) > 0; {
		var lists []listing
		for len(lists) < len(rest) {
			list := r.listing(rest[len(lists)])
			if list == nil {
				break
			}
			lists = append(lists, list)
		}
		var err error
		if rest = rest[len(lists):]; len(lists) > 0 {
			err = r.scoreFiles(ctx, lists)
		} else {
			err = r.score(ctx, rest[0].args[0])
			rest = rest[1:]
		}
		if err != nil {
			r.flush() // rows that have not been seen yet; err is what went wrong first
			return err
		}
	}
	if r.heat != nil {
		if err := r.heat.wait(); err != nil {
			return err
		}
	}
	return r.flush()
}
