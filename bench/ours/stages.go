package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/pictures"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// stages are the parts of scoring files, one after the other.
type stages struct {
	dir      string // the folder with the bundle
	passes   int    // over the files
	pictures string // the folder of image files
	rows     string // what scoring them wrote
	threads  int
}

// run measures each stage alone, with all that the stages before it made in
// memory already.
func (s stages) run(ctx context.Context) (found []workload.Stage, err error) {
	names, err := dataset.ImageFiles(s.pictures)
	if err == nil && len(names) == 0 {
		err = errors.New("no images")
	}
	if err != nil {
		return nil, fmt.Errorf("stages: %s: %w", s.pictures, err)
	}
	names = slices.Repeat(names, s.passes)
	b, err := bundle.Open(filepath.Join(s.dir, workload.BundleDir), torch.CPU)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	scorer := b.Scorer
	set := &dataset.Set{Name: "files", Size: scorer.Shape(), Scale: dataset.Scale255}
	var reading dataset.Reading
	if b.Manifest.Data.Resize {
		reading = dataset.Reading{Rows: set.Size.H, Columns: set.Size.W, Decoder: pictures.Vips{}}
	}
	if err := stage(&found, "decode", func() (err error) { set.Pix, err = s.decode(names, set.Size, reading); return err }); err != nil {
		return found, err
	}
	if err := stage(&found, "encode, search and compare", func() error { return scoreAll(ctx, scorer, set) }); err != nil {
		return found, err
	}
	rows, err := readRows(s.rows)
	if err != nil {
		return found, fmt.Errorf("stages: %s: %w", s.rows, err)
	}
	return found, stage(&found, "write", func() error { return writeRows(s.rows+".again", rows) })
}

// stage measures f.
func stage(found *[]workload.Stage, name string, f func() error) error {
	start, cpu := time.Now(), cpuSeconds()
	err := f()
	*found = append(*found, workload.Stage{Name: name, Seconds: time.Since(start).Seconds(), CPU: cpuSeconds() - cpu})
	return err
}

// cpuSeconds returns the processor time of this process so far.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// decode reads all files.
func (s stages) decode(names []string, size dataset.Shape, reading dataset.Reading) ([]uint8, error) {
	pix := make([]uint8, len(names)*size.Len())
	errs := make([]error, s.threads)
	var next atomic.Int64
	var wg sync.WaitGroup
	for t := range s.threads {
		wg.Go(func() {
			r := dataset.ImageReader{Reading: reading}
			for i := int(next.Add(1)) - 1; i < len(names); i = int(next.Add(1)) - 1 {
				if err := r.Read(pix[i*size.Len():(i+1)*size.Len()], filepath.Join(s.pictures, names[i]), size); err != nil {
					errs[t] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return pix, errors.Join(errs...)
}

func scoreAll(ctx context.Context, s *nln.Scorer, set *dataset.Set) error {
	var scores []nln.Score
	pix := make([]float32, batch*set.Size.Len())
	for lo := 0; lo < set.Len(); lo += batch {
		ids := numbers(lo, min(lo+batch, set.Len()))
		var err error
		if scores, err = s.Score(ctx, set.Gather(ids, pix[:len(ids)*set.Size.Len()]), scores[:0]); err != nil {
			return err
		}
	}
	return nil
}

// A row is a line that nlnctl score writes, for which this is the literal form.
type row struct {
	Image          string   `json:"image"`
	Status         string   `json:"status"`
	Recon          float64  `json:"recon"`
	Error          float64  `json:"error"`
	Distance       float64  `json:"distance"`
	Local          float64  `json:"local"`
	LocalP         float64  `json:"local_p"`
	Score          float64  `json:"score"`
	P              float64  `json:"p"`
	Novel          bool     `json:"novel"`
	Threshold      *float64 `json:"threshold"`
	Neighbors      []int64  `json:"neighbors"`
	NeighborImages []string `json:"neighbor_images"`
	Model          string   `json:"model"`
}

// readRows reads the lines of a file, and makes sure that writing them again
// gives the same bytes: else it would not be the same work.
func readRows(path string) ([]row, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var rows []row
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var r row
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	var again bytes.Buffer
	if err := encodeRows(&again, rows); err != nil {
		return nil, err
	}
	if !bytes.Equal(again.Bytes(), data) {
		return nil, errors.New("rows written again differ: the command writes other fields than this program knows")
	}
	return rows, nil
}

func writeRows(path string, rows []row) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	if err := errors.Join(encodeRows(w, rows), w.Flush(), f.Sync()); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func encodeRows(w io.Writer, rows []row) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, r := range rows {
		if err := e.Encode(r); err != nil {
			return err
		}
	}
	return nil
}
