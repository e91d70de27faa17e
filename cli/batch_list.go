package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/batch"
	"github.com/nlnctl/nlnctl/buckets"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/parquet-go/parquet-go"
)

// An input is what a batch goes through: the items of a folder, of an object store, or
// of a manifest that names them.
type input struct {
	base  string // what the items' names are relative to: a folder's path or a URL
	kind  string // batch.Images or batch.Archives
	items iter.Seq2[string, error]
}

// archiveEndings are those of archives of images.
var archiveEndings = []string{".tar", ".tar.gz", ".tgz", ".tar.zst"}

func isArchive(name string) bool {
	return slices.ContainsFunc(archiveEndings, func(end string) bool { return strings.HasSuffix(strings.ToLower(name), end) })
}

// openInput finds out what an argument means. Nothing is ever listed whole: there may
// be more items than fit in memory. Archives are what is gone through where archives is
// set; else images.
func openInput(ctx context.Context, arg string, archives bool) (input, error) {
	in := input{kind: batch.Images}
	wanted := dataset.IsImageName
	if archives {
		in.kind, wanted = batch.Archives, isArchive
	}
	lower := strings.ToLower(arg)
	if strings.HasSuffix(lower, ".csv") || strings.HasSuffix(lower, ".parquet") {
		path, err := localPath(arg)
		if err != nil {
			return in, fmt.Errorf("%s: a manifest must be a file: %w", arg, err)
		}
		in.base = filepath.Dir(path)
		in.items = manifest(path)
		return in, nil
	}
	if path, err := localPath(arg); err == nil {
		in.base = path
		in.items = walk(path, wanted)
		return in, nil
	}
	in.base = arg
	in.items = func(yield func(string, error) bool) {
		s, err := buckets.Open(ctx, arg)
		if err != nil {
			yield("", err)
			return
		}
		defer s.Close()
		for o, err := range s.List(ctx) {
			if (err != nil || wanted(o.Name)) && !yield(o.Name, err) || err != nil {
				return
			}
		}
	}
	return in, nil
}

// localPath returns the path of a folder or file on this machine that an argument
// names, absolute, or an error if it is a URL of something else.
func localPath(arg string) (string, error) {
	if rest, ok := strings.CutPrefix(arg, "file://"); ok {
		u, err := url.Parse(arg)
		if err != nil {
			return "", err
		}
		if u.Host != "" {
			return "", fmt.Errorf("%s: want three slashes, file:///%s", arg, rest)
		}
		return u.Path, nil
	}
	if strings.Contains(arg, "://") {
		return "", fmt.Errorf("%s is no path", arg)
	}
	return filepath.Abs(arg)
}

// walk yields the files of a folder that are wanted, by their slash-separated paths in
// it, in the order of the alphabet, folder by folder.
func walk(dir string, wanted func(name string) bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() || !wanted(path) {
				return nil
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if !yield(filepath.ToSlash(name), nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield("", err)
		}
	}
}

// imageColumn is the column of a manifest that names images.
const imageColumn = "image"

// manifest yields the column "image" of a CSV or a Parquet file, or of a CSV file
// with one column that one.
func manifest(path string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield("", err)
			return
		}
		defer f.Close()
		names := csvNames(f)
		if strings.HasSuffix(strings.ToLower(path), ".parquet") {
			names = parquetNames(f)
		}
		for name, err := range names {
			if err == nil && name == "" {
				err = errors.New("an image without a name")
			}
			if err != nil {
				yield("", fmt.Errorf("%s: %w", path, err))
				return
			}
			if !yield(name, nil) {
				return
			}
		}
	}
}

func csvNames(r io.Reader) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		c := csv.NewReader(r)
		c.ReuseRecord = true
		head, err := c.Read()
		if err != nil {
			yield("", fmt.Errorf("first line: %w", err))
			return
		}
		at := slices.Index(head, imageColumn)
		if at < 0 {
			yield("", fmt.Errorf("no column %q among %s", imageColumn, strings.Join(head, ", ")))
			return
		}
		for {
			rec, err := c.Read()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
			if !yield(strings.Clone(rec[at]), nil) {
				return
			}
		}
	}
}

func parquetNames(f *os.File) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		type named struct {
			Image string `parquet:"image"`
		}
		st, err := f.Stat()
		if err != nil {
			yield("", err)
			return
		}
		file, err := parquet.OpenFile(f, st.Size())
		if err != nil {
			yield("", err)
			return
		}
		if _, ok := file.Schema().Lookup(imageColumn); !ok {
			yield("", fmt.Errorf("no column %q", imageColumn))
			return
		}
		r := parquet.NewGenericReader[named](file)
		defer r.Close()
		rows := make([]named, 1024)
		for {
			n, err := r.Read(rows)
			for _, row := range rows[:n] {
				if !yield(row.Image, nil) {
					return
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}
