package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// What stands in a Parquet file is what stands in the JSON rows: the library reads
// it back by the file's own schema, without knowing of our rows, and the values
// are those that encoding/json finds.
func TestParquetIsTheRows(t *testing.T) {
	const rows, seed = 2000, 5
	rng := rand.New(rand.NewPCG(seed, 0))
	var lines bytes.Buffer
	out := &jsonRows{w: &lines}
	for i := range rows {
		r := &row{Image: fmt.Sprintf("a/%d Grüße.png", i), Status: statusOK, Model: "digest"}
		if rng.IntN(5) > 0 {
			r.numbers = &numbers{Recon: rng.NormFloat64(), Error: rng.Float64(), Score: -rng.ExpFloat64(), P: rng.Float64(), Novel: rng.IntN(2) == 0,
				Neighbors: []int64{}, NeighborImages: []string{}}
			for range rng.IntN(4) {
				r.Neighbors, r.NeighborImages = append(r.Neighbors, rng.Int64()), append(r.NeighborImages, fmt.Sprint(rng.Int64()))
			}
			if rng.IntN(2) == 0 {
				threshold, within := rng.NormFloat64(), rng.IntN(9)
				r.Threshold, r.Within = &threshold, &within
			}
		} else {
			r.Status, r.Reason = statusUnreadable, "gone"
		}
		if err := out.put(r); err != nil {
			t.Fatal(err)
		}
	}
	var file bytes.Buffer
	if err := writeParquet(t.Context(), &file, bytes.NewReader(lines.Bytes())); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string]bool{}
	for _, field := range f.Schema().Fields() {
		columns[field.Name()] = true
	}
	for _, name := range csvHeader {
		if !columns[name] {
			t.Errorf("no column %q", name)
		}
	}
	if len(columns) != len(csvHeader) {
		t.Errorf("columns %v, want %q", columns, csvHeader)
	}
	for _, c := range f.Metadata().RowGroups[0].Columns {
		if c.MetaData.Codec != parquet.Zstd.CompressionCodec() {
			t.Errorf("column %q is compressed by %v", c.MetaData.PathInSchema, c.MetaData.Codec)
		}
	}
	read := parquet.NewGenericReader[parquetRow](bytes.NewReader(file.Bytes()))
	defer read.Close()
	text := bufio.NewScanner(&lines)
	some := make([]parquetRow, 100)
	n := 0
	for {
		k, err := read.Read(some)
		for _, have := range some[:k] {
			if !text.Scan() {
				t.Fatalf("more than %d rows", n)
			}
			var want parquetRow
			if err := json.Unmarshal(text.Bytes(), &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(have, want) {
				a, _ := json.Marshal(have)
				t.Fatalf("seed %d, row %d: %s, want %s", seed, n, a, text.Bytes())
			}
			n++
		}
		clear(some)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != rows {
		t.Errorf("%d rows, want %d", n, rows)
	}
	if err := writeParquet(t.Context(), io.Discard, bytes.NewReader([]byte("{\"image\":1}\n"))); err == nil {
		t.Error("rows that are none: no error")
	}
}
