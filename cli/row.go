package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Statuses of a row.
const (
	statusOK          = "ok"
	statusUnreadable  = "unreadable"  // missing, damaged, or not to be opened
	statusUnsupported = "unsupported" // a format this program does not read
	statusTooLarge    = "too-large"
	statusWrongSize   = "wrong-size" // not of the size that the model takes
)

// A row is what is written for an image. One whose status is not ok has no
// numbers. Its JSON is what encoding/json makes of it.
type row struct {
	Image  string `json:"image"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	*numbers
	Model string `json:"model"` // digest of the bundle
}

type numbers struct {
	Recon          float64  `json:"recon"`
	Error          float64  `json:"error"`
	Distance       float64  `json:"distance"`
	Local          float64  `json:"local"`
	LocalP         float64  `json:"local_p"` // p-value of Local
	Score          float64  `json:"score"`
	P              float64  `json:"p"` // of Score
	Novel          bool     `json:"novel"`
	Threshold      *float64 `json:"threshold"` // null where no score can be novel
	Neighbors      []int64  `json:"neighbors"`
	NeighborImages []string `json:"neighbor_images"`
	Within         *int     `json:"within,omitempty"`  // how many of them are within the radius; nil where there is none
	Regions        []region `json:"regions,omitempty"` // above the threshold of pixels, the largest first; of runs with heat maps
}

// A rowWriter writes rows in one form or another.
type rowWriter interface {
	begin() error // writes what stands before the first row
	put(*row) error
	flush() error // hands on what it holds back
}

// jsonRows writes JSON lines.
type jsonRows struct {
	w    io.Writer
	line []byte
}

func (*jsonRows) begin() error { return nil }

func (j *jsonRows) put(r *row) error {
	line, err := r.appendJSON(j.line[:0])
	if err != nil {
		return err
	}
	j.line = append(line, '\n')
	_, err = j.w.Write(j.line)
	return err
}

func (*jsonRows) flush() error { return nil }

// appendJSON appends the row to b as encoding/json encodes it without escaping
// HTML, in a fraction of the time: a row is written for each image, and that by
// one goroutine, for their order.
func (r *row) appendJSON(b []byte) ([]byte, error) {
	b = appendString(append(b, `{"image":`...), r.Image)
	b = appendString(append(b, `,"status":`...), r.Status)
	if r.Reason != "" {
		b = appendString(append(b, `,"reason":`...), r.Reason)
	}
	if r.numbers != nil {
		var err error
		if b, err = r.numbers.appendJSON(b); err != nil {
			return nil, fmt.Errorf("row of %s: %w", r.Image, err)
		}
	}
	b = appendString(append(b, `,"model":`...), r.Model)
	return append(b, '}'), nil
}

// appendJSON appends the numbers as members of an object that has some already.
func (n *numbers) appendJSON(b []byte) ([]byte, error) {
	for _, v := range []struct {
		key   string
		value float64
	}{{`,"recon":`, n.Recon}, {`,"error":`, n.Error}, {`,"distance":`, n.Distance}, {`,"local":`, n.Local}, {`,"local_p":`, n.LocalP}, {`,"score":`, n.Score}, {`,"p":`, n.P}} {
		if math.IsNaN(v.value) || math.IsInf(v.value, 0) {
			return nil, fmt.Errorf("%s is %v, which JSON cannot hold", strings.Trim(v.key, `,":`), v.value)
		}
		b = appendFloat(append(b, v.key...), v.value)
	}
	b = strconv.AppendBool(append(b, `,"novel":`...), n.Novel)
	b = append(b, `,"threshold":`...)
	if n.Threshold == nil {
		b = append(b, "null"...)
	} else {
		b = appendFloat(b, *n.Threshold)
	}
	b = appendList(append(b, `,"neighbors":`...), n.Neighbors, func(b []byte, id int64) []byte { return strconv.AppendInt(b, id, 10) })
	b = appendList(append(b, `,"neighbor_images":`...), n.NeighborImages, appendString)
	if n.Within != nil {
		b = strconv.AppendInt(append(b, `,"within":`...), int64(*n.Within), 10)
	}
	if n.Regions != nil {
		list, err := json.Marshal(n.Regions) // few, and finite as scores are
		if err != nil {
			return nil, fmt.Errorf("regions: %w", err)
		}
		b = append(append(b, `,"regions":`...), list...)
	}
	return b, nil
}

func appendList[T any](b []byte, list []T, item func([]byte, T) []byte) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = item(b, v)
	}
	return append(b, ']')
}

// appendFloat appends a finite number, in the shortest form that gives it back.
func appendFloat(b []byte, f float64) []byte {
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); n >= 4 && b[n-4] == 'e' && b[n-2] == '0' { // e-09 is e-9
		b = append(b[:n-2], b[n-1])
	}
	return b
}

// appendString appends a string. One with anything but plain ASCII in it is left
// to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			var text bytes.Buffer
			e := json.NewEncoder(&text)
			e.SetEscapeHTML(false)
			e.Encode(s) // a string into memory: there is no error
			return append(b, bytes.TrimRight(text.Bytes(), "\n")...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// csvRows writes CSV.
type csvRows struct{ *csv.Writer }

func newCSVRows(w io.Writer) csvRows { return csvRows{csv.NewWriter(w)} }

func (c csvRows) begin() error { return c.Write(csvHeader) }

func (c csvRows) put(r *row) error { return c.Write(r.fields()) }

func (c csvRows) flush() error {
	c.Flush()
	return c.Error()
}

var csvHeader = []string{"image", "status", "reason", "recon", "error", "distance", "local", "local_p", "score", "p", "novel", "threshold", "neighbors", "neighbor_images", "within", "regions", "model"}

// fields returns the row in the order of csvHeader; lists are separated by spaces
// (ids, and x, y, width and height of a region) and vertical bars (names, regions).
func (r *row) fields() []string {
	f := append(make([]string, 0, len(csvHeader)), r.Image, r.Status, r.Reason)
	if n := r.numbers; n != nil {
		for _, v := range []float64{n.Recon, n.Error, n.Distance, n.Local, n.LocalP, n.Score, n.P} {
			f = append(f, strconv.FormatFloat(v, 'g', -1, 64))
		}
		f = append(f, strconv.FormatBool(n.Novel), "")
		if n.Threshold != nil {
			f[len(f)-1] = strconv.FormatFloat(*n.Threshold, 'g', -1, 64)
		}
		ids := make([]string, len(n.Neighbors))
		for i, id := range n.Neighbors {
			ids[i] = strconv.FormatInt(id, 10)
		}
		f = append(f, strings.Join(ids, " "), strings.Join(n.NeighborImages, "|"), "")
		if n.Within != nil {
			f[len(f)-1] = strconv.Itoa(*n.Within)
		}
		boxes := make([]string, len(n.Regions))
		for i, r := range n.Regions {
			boxes[i] = fmt.Sprintf("%d %d %d %d", r.X, r.Y, r.Width, r.Height)
		}
		f = append(f, strings.Join(boxes, "|"))
	}
	for len(f) < len(csvHeader)-1 { // no numbers
		f = append(f, "")
	}
	return append(f, r.Model)
}
