package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

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

// writeParquet writes rows, JSON lines, as a Parquet file compressed by zstd.
func writeParquet(ctx context.Context, w io.Writer, rows io.Reader) error {
	p := parquet.NewGenericWriter[parquetRow](w, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(parquetGroup))
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
