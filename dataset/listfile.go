package dataset

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// listColumns are the columns of a list that mean something.
var listColumns = []string{"path", "label", "mask", "split"}

// maxListLine bounds a line of a list in JSON lines.
const maxListLine = 1 << 20

// column returns the value of a row that belongs into a column, nil if the column
// means nothing; then its name is noted.
func (l *list) column(row *listRow, name string) *string {
	switch name {
	case "path":
		return &row.path
	case "label":
		return &row.label
	case "mask":
		return &row.mask
	case "split":
		return &row.split
	}
	const enough = 8 // names for a note
	if len(l.unknown) < enough && !slices.Contains(l.unknown, name) {
		l.unknown = append(l.unknown, name)
	}
	return nil
}

// open calls read with the content of the file, without a byte order mark.
func (l *list) open(read func(r io.Reader) error) error {
	f, err := os.Open(l.file)
	if err != nil {
		return fmt.Errorf("dataset: open list: %w", err)
	}
	defer f.Close()
	br := bufio.NewReaderSize(f, 1<<16)
	if head, _ := br.Peek(3); string(head) == "\ufeff" {
		br.Discard(3)
	}
	return read(br)
}

// readCSV reads rows from CSV.
func (l *list) readCSV() error {
	return l.open(func(r io.Reader) error {
		c := csv.NewReader(r)
		c.ReuseRecord = true
		head, err := c.Read()
		if err == io.EOF {
			return formatErrorf(l.file, "the list is empty")
		}
		if err != nil {
			return l.csvError(err)
		}
		names := slices.Clone(head)
		for i := range names {
			names[i] = strings.ToLower(strings.TrimSpace(names[i]))
			if slices.Contains(names[:i], names[i]) && slices.Contains(listColumns, names[i]) {
				return l.errorf(1, "column %q is there twice", names[i])
			}
		}
		if !slices.Contains(names, "path") {
			return l.errorf(1, "no column \"path\"; the first line has to name the columns, such as path,label,mask, and is %q", strings.Join(head, ","))
		}
		for {
			record, err := c.Read()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return l.csvError(err)
			}
			line, _ := c.FieldPos(0)
			row := listRow{line: line}
			for i, name := range names {
				if v := l.column(&row, name); v != nil {
					*v = strings.Clone(strings.TrimSpace(record[i]))
				}
			}
			l.rows = append(l.rows, row)
		}
	})
}

// csvError names the line that package csv found wrong.
func (l *list) csvError(err error) error {
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse) && parse.Err == csv.ErrFieldCount:
		return l.errorf(parse.Line, "another number of columns than the first line has")
	case errors.As(err, &parse):
		return l.errorf(parse.Line, "column %d: %w", parse.Column, parse.Err)
	}
	return fmt.Errorf("dataset: read list %s: %w", l.file, err)
}

// readJSONL reads rows from JSON lines, of which empty ones are passed over.
func (l *list) readJSONL() error {
	return l.open(func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxListLine)
		n := 0
		for lines.Scan() {
			n++
			text := bytes.TrimSpace(lines.Bytes())
			if len(text) == 0 {
				continue
			}
			var object map[string]json.RawMessage
			if err := json.Unmarshal(text, &object); err != nil {
				return l.errorf(n, "no JSON object: %w", err)
			}
			row := listRow{line: n}
			for name, raw := range object {
				v := l.column(&row, name)
				if v == nil {
					continue
				}
				var err error
				if *v, err = jsonText(raw); err != nil {
					return l.errorf(n, "%q is %s, want a text", name, raw)
				}
			}
			l.rows = append(l.rows, row)
		}
		switch err := lines.Err(); {
		case err == bufio.ErrTooLong:
			return l.errorf(n+1, "longer than %d bytes", maxListLine)
		case err != nil:
			return fmt.Errorf("dataset: read list %s: %w", l.file, err)
		case len(l.rows) == 0:
			return formatErrorf(l.file, "the list is empty")
		}
		return nil
	})
}

// jsonText returns a text or a number, which a label may well be, as text, and
// null as "".
func jsonText(raw json.RawMessage) (string, error) {
	var number json.Number
	if err := json.Unmarshal(raw, &number); err == nil && raw[0] != '"' {
		return number.String(), nil // "" for null
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err
}
