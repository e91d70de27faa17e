package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
)

const (
	// parquetGroup is how many rows a row group has: readers take a group at a
	// time, and the writer keeps the columns of one in memory, compressed.
	parquetGroup = 64 << 10
	// parquetRows is how many rows are handed over at a time.
	parquetRows = 512
)

// A parquetRow is a row as it stands in a Parquet file: the same columns as in
// JSON, of which those that a row does not have are null.
type parquetRow struct {
	Image          string   `json:"image" parquet:"image"`
	Status         string   `json:"status" parquet:"status,dict"`
	Reason         *string  `json:"reason" parquet:"reason"`
	Recon          *float64 `json:"recon" parquet:"recon"`
	Error          *float64 `json:"error" parquet:"error"`
	Distance       *float64 `json:"distance" parquet:"distance"`
	Local          *float64 `json:"local" parquet:"local"`
	LocalP         *float64 `json:"local_p" parquet:"local_p"`
	Score          *float64 `json:"score" parquet:"score"`
	P              *float64 `json:"p" parquet:"p"`
	Novel          *bool    `json:"novel" parquet:"novel"`
	Threshold      *float64 `json:"threshold" parquet:"threshold"`
	Neighbors      []int64  `json:"neighbors" parquet:"neighbors,optional,list"`
	NeighborImages []string `json:"neighbor_images" parquet:"neighbor_images,optional,list"`
	Within         *int64   `json:"within" parquet:"within"`
	Regions        []region `json:"regions" parquet:"regions,optional,list"`
	Model          string   `json:"model" parquet:"model,dict"`
}

// parquetSchema is the version of the columns, kept with a file as the value of
// parquetSchemaKey. It changes when a column goes or means something else, not when one
// is added.
const (
	parquetSchemaKey = "nlnctl.rows"
	parquetSchema    = "1"
)

func newParquetWriter(w io.Writer) *parquet.GenericWriter[parquetRow] {
	return parquet.NewGenericWriter[parquetRow](w, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(parquetGroup),
		parquet.KeyValueMetadata(parquetSchemaKey, parquetSchema))
}

// parquetRowWriter writes rows to a Parquet file as they come. What is written is nothing
// before close.
type parquetRowWriter struct {
	w    *parquet.GenericWriter[parquetRow]
	some []parquetRow
}

func newParquetRows(w io.Writer) *parquetRowWriter {
	return &parquetRowWriter{newParquetWriter(w), make([]parquetRow, 0, parquetRows)}
}

func (*parquetRowWriter) begin() error { return nil }

func (p *parquetRowWriter) put(r *row) error {
	out := parquetRow{Image: r.Image, Status: r.Status, Model: r.Model}
	if r.Reason != "" {
		out.Reason = new(string)
		*out.Reason = r.Reason
	}
	if n := r.numbers; n != nil {
		v := *n // the row is used again
		out.Recon, out.Error, out.Distance, out.Local, out.LocalP, out.Score, out.P = &v.Recon, &v.Error, &v.Distance, &v.Local, &v.LocalP, &v.Score, &v.P
		out.Novel, out.Threshold, out.Regions = &v.Novel, v.Threshold, v.Regions
		out.Neighbors, out.NeighborImages = slices.Clone(v.Neighbors), slices.Clone(v.NeighborImages)
		if v.Within != nil {
			within := int64(*v.Within)
			out.Within = &within
		}
	}
	if p.some = append(p.some, out); len(p.some) < parquetRows {
		return nil
	}
	return p.flushRows()
}

func (p *parquetRowWriter) flushRows() error {
	_, err := p.w.Write(p.some)
	p.some = p.some[:0]
	if err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// flush does nothing: columns are written in groups.
func (*parquetRowWriter) flush() error { return nil }

// close writes what is left and the end of the file.
func (p *parquetRowWriter) close() error {
	if err := p.flushRows(); err != nil {
		return err
	}
	if err := p.w.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// writeParquet writes rows, JSON lines, as a Parquet file compressed by zstd.
func writeParquet(ctx context.Context, w io.Writer, rows io.Reader) error {
	p := newParquetWriter(w)
	d := json.NewDecoder(bufio.NewReaderSize(rows, 1<<20))
	some := make([]parquetRow, 0, parquetRows)
	for more := true; more; {
		var row parquetRow
		switch err := d.Decode(&row); err {
		case nil:
			some = append(some, row)
		case io.EOF:
			more = false
		default:
			return fmt.Errorf("rows for Parquet: %w", err)
		}
		if len(some) < parquetRows && more {
			continue
		}
		if _, err := p.Write(some); err != nil {
			return fmt.Errorf("write Parquet: %w", err)
		}
		some = some[:0]
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := p.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}
