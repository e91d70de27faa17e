package cli

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
)

// A doneRow is what is needed of a row that was written.
type doneRow struct {
	image      string
	bad, novel bool
}

// isOf says whether the row is of the image of a name. JSON cannot hold all names
// that files may have: a byte that is no text is U+FFFD there.
func (d doneRow) isOf(name string) bool {
	return d.image == name || d.image == string([]rune(name))
}

func (d doneRow) count(sum *tally) {
	sum.total++
	if d.bad {
		sum.bad++
	}
	if d.novel {
		sum.novel++
	}
}

// A rowScanner reads rows back, in order.
type rowScanner interface {
	// next returns the next row, io.EOF where no whole one is left. Whatever
	// else cannot be read is another error.
	next() (doneRow, error)
	offset() int64 // where the next row begins
}

// newRowScanner reads rows of a form from the beginning of f.
func newRowScanner(f *os.File, rows form) (rowScanner, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if rows != formCSV {
		return &jsonScanner{r: bufio.NewReaderSize(f, 1<<16)}, nil
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size()-1); err != nil {
		return nil, err
	}
	s := &csvScanner{r: csv.NewReader(bufio.NewReaderSize(f, 1<<16)), size: st.Size(), ended: last[0] == '\n'}
	s.r.FieldsPerRecord, s.r.ReuseRecord = len(csvHeader), true
	return s, nil
}

// A jsonScanner reads JSON lines.
type jsonScanner struct {
	r  *bufio.Reader
	at int64
	n  int // rows read
}

func (s *jsonScanner) offset() int64 { return s.at }

func (s *jsonScanner) next() (d doneRow, err error) {
	line, err := s.r.ReadBytes('\n')
	if err != nil {
		return d, err // io.EOF, perhaps with the beginning of a row
	}
	var row struct {
		Image, Status *string
		Novel         bool
	}
	if err := json.Unmarshal(line, &row); err != nil {
		return d, fmt.Errorf("row %d: %w", s.n+1, err)
	}
	if row.Image == nil || row.Status == nil {
		return d, fmt.Errorf("row %d has no image or no status: %s", s.n+1, bytes.TrimSpace(line))
	}
	s.n++
	s.at += int64(len(line))
	return doneRow{*row.Image, *row.Status != statusOK, row.Novel}, nil
}

// A csvScanner reads CSV. The last row may be cut anywhere: in a quoted field,
// which then has no end, between fields, or in its last field.
type csvScanner struct {
	r     *csv.Reader
	size  int64 // of the file
	ended bool  // the file ends with the end of a line
	at    int64
}

func (s *csvScanner) offset() int64 { return s.at }

func (s *csvScanner) next() (d doneRow, err error) {
	if s.at == 0 {
		header, err := s.read()
		if err != nil {
			return d, err
		}
		if !slices.Equal(header, csvHeader) {
			return d, fmt.Errorf("its columns are %q, want %q", header, csvHeader)
		}
	}
	rec, err := s.read()
	if err != nil {
		return d, err
	}
	return doneRow{rec[0], rec[1] != statusOK, rec[slices.Index(csvHeader, "novel")] == "true"}, nil
}

// read returns the next record, io.EOF where no whole one is left.
func (s *csvScanner) read() ([]string, error) {
	rec, err := s.r.Read()
	if end := s.r.InputOffset(); end >= s.size && (err != nil || !s.ended) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	s.at = s.r.InputOffset()
	return rec, nil
}
