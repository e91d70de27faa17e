package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// openTar reads tar:FILE, image files at any depth of an archive, as openFolder
// reads the folder that it was made from. An archive of one folder with folders
// in it, such as parts/good/a.png and parts/bad/b.png, is that folder: its name is
// no class.
//
// The archive is read twice, once for names and sizes and once for pixels, so that
// memory is that of the set; it therefore has to be a regular file.
func openTar(ctx context.Context, location string, r Reading) (*Splits, error) {
	if info, err := os.Stat(location); err != nil {
		return nil, fmt.Errorf("dataset: open tar: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("dataset: open tar: %s is no regular file, which a set needs, as it is read twice", location)
	}
	t, err := listTar(ctx, location, r)
	if err != nil {
		return nil, err
	}
	sp, parts := folderSets("tar", "tar/"+filepath.Base(location), t.relative())
	type place struct {
		set *Set
		i   int
	}
	places := make(map[string]place, len(t.names)) // by the member's name
	for _, p := range parts {
		name := func(i int) string { return t.top + p.prefix + p.set.Names[i] }
		shapes := make([]Shape, len(p.set.Names))
		for i := range shapes {
			shapes[i], places[name(i)] = t.shapes[name(i)], place{p.set, i}
		}
		if err := p.set.allocate(shapes, func(i int) string { return location + "!" + name(i) }, r); err != nil {
			return nil, err
		}
	}
	if t.others > 0 {
		sp.noteOthers("tar: "+location, t.others, t.other)
	}
	if t.links > 0 {
		sp.Train.Notes = append(sp.Train.Notes, fmt.Sprintf("tar: %s: %d links to images were left out", location, t.links))
	}
	s, err := streamTar(ctx, location, r)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var read atomic.Int64
	err = s.inParallel(ctx, r, func(ir *ImageReader, f *File) error {
		at, ok := places[strings.TrimPrefix(f.Name, location+"!")]
		if !ok {
			return nil // a link
		}
		data, err := f.Bytes()
		if err != nil {
			return err
		}
		read.Add(1)
		return ir.ReadBytes(at.set.Image(at.i), data, f.Name, at.set.Size)
	})
	if err != nil {
		return nil, err
	}
	if read.Load() != int64(len(places)) {
		return nil, formatErrorf(location, "tar: %d images the first time and %d the second: the archive was changed meanwhile", len(places), read.Load())
	}
	return sp, nil
}

// A listing is what an archive holds.
type listing struct {
	names  []string // of the images, sorted
	top    string   // what all begin with, a folder with its slash or empty
	shapes map[string]Shape
	links  int
	others int // files that are no images by their names
	other  string
}

// relative returns the names without top.
func (t *listing) relative() []string {
	names := make([]string, len(t.names))
	for i, n := range t.names {
		names[i] = n[len(t.top):]
	}
	return names
}

// listTar reads the names and the headers of all images of an archive.
func listTar(ctx context.Context, location string, r Reading) (*listing, error) {
	a, err := openArchive(location, r)
	if err != nil {
		return nil, err
	}
	defer a.close()
	t := &listing{shapes: map[string]Shape{}}
	var buf []byte
	for {
		m, err := a.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if unsupported := (*UnsupportedError)(nil); errors.As(m.err, &unsupported) {
			t.links++
			continue
		}
		if _, twice := t.shapes[m.name]; twice {
			m.err = formatErrorf(a.memberPath(m), "tar: the archive holds this image twice")
		}
		if m.err != nil {
			return nil, m.err
		}
		if buf, err = a.head(m, buf[:0]); err != nil {
			return nil, err
		}
		if t.shapes[m.name], err = r.stat(buf, a.memberPath(m)); err != nil {
			return nil, err
		}
		t.names = append(t.names, m.name)
	}
	if len(t.names) == 0 {
		return nil, r.noImages("tar", location)
	}
	slices.Sort(t.names)
	t.top, t.others, t.other = topFolder(t.names), a.others, a.other
	return t, nil
}

// head appends so much of a member to buf as its header takes.
func (a *archive) head(m member, buf []byte) ([]byte, error) {
	buf, err := readExactly(a.tar, buf, min(m.size, headBytes))
	if err == nil && m.size > headBytes && !bytes.HasPrefix(buf, []byte(pngMagic)) {
		buf, err = readExactly(a.tar, buf, m.size-headBytes)
	}
	if err != nil {
		err = a.fault("read tar", err)
	}
	return buf, err
}

// topFolder returns the one folder that all names lie in, with its slash, if each
// lies in a folder in that, else "".
func topFolder(names []string) string {
	first, _, _ := strings.Cut(names[0], "/")
	for _, n := range names {
		dir, rest, _ := strings.Cut(n, "/")
		if dir != first || !strings.Contains(rest, "/") {
			return ""
		}
	}
	return first + "/"
}
