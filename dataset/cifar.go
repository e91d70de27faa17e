package dataset

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// cifarClasses names the ten classes of CIFAR-10 in the order of their labels.
var cifarClasses = []string{
	"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
}

const (
	cifarBatches = 5 // training batches of the whole set
	cifarRecord  = 1 + 3*32*32
	cifarDir     = "cifar-10-batches-bin"
	cifarArchive = "cifar-10-binary.tar.gz"

	// maxCIFARRecords bounds one batch, ten times over the official size, so
	// that a small hostile archive cannot unpack without end.
	maxCIFARRecords = 100_000
)

var cifarShape = Shape{C: 3, H: 32, W: 32}

// ReadCIFAR reads one batch file of CIFAR-10's binary version: records of a
// label byte, 0 to 9, and 3072 bytes of pixels, the planes R, G, B of 32 rows
// of 32. Any whole number of records from 1 to 100,000 is accepted. The name
// is used in errors alone.
func ReadCIFAR(r io.Reader, name string) (pix []uint8, labels []int, err error) {
	return readCIFAR(r, name, maxCIFARRecords)
}

// readCIFAR refuses a batch of more than most records, having read one more.
func readCIFAR(r io.Reader, name string, most int) (pix []uint8, labels []int, err error) {
	br := bufio.NewReaderSize(r, 1<<20)
	record := make([]byte, cifarRecord)
	for {
		n, err := io.ReadFull(br, record)
		switch {
		case err == io.EOF && len(labels) == 0:
			return nil, nil, formatErrorf(name, "cifar-10: the batch is empty")
		case err == io.EOF:
			return pix, labels, nil
		case n > 0 && err == io.ErrUnexpectedEOF:
			return nil, nil, formatErrorf(name, "cifar-10: cut short: record %d has %d of %d bytes", len(labels), n, cifarRecord)
		case err != nil:
			return nil, nil, readError(name, "read batch", err)
		case record[0] > 9:
			return nil, nil, formatErrorf(name, "cifar-10: record %d has label %d, want 0 to 9", len(labels), record[0])
		case len(labels) == most:
			return nil, nil, &TooLargeError{
				Path: name,
				Have: fmt.Sprintf("more than %d records in one batch", most),
				Max:  fmt.Sprint(most),
			}
		}
		labels = append(labels, int(record[0]))
		pix = append(pix, record[1:]...)
	}
}

// A cifarParts collects batches: 1 to 5 for training, 0 for the test batch.
type cifarParts struct {
	pix    [cifarBatches + 1][]uint8
	labels [cifarBatches + 1][]int
}

// cifarBatch returns the number of the batch that a file name stands for.
func cifarBatch(base string) (int, bool) {
	if base == "test_batch.bin" {
		return 0, true
	}
	for b := 1; b <= cifarBatches; b++ {
		if base == fmt.Sprintf("data_batch_%d.bin", b) {
			return b, true
		}
	}
	return 0, false
}

func (p *cifarParts) read(b int, r io.Reader, name string) error {
	if p.labels[b] != nil {
		return formatErrorf(name, "cifar-10: the archive holds this batch twice")
	}
	pix, labels, err := ReadCIFAR(r, name)
	p.pix[b], p.labels[b] = pix, labels
	return err
}

// splits joins the batches in their official order, whatever order they were
// read in, and notes which are missing.
func (p *cifarParts) splits(location string) (*Splits, error) {
	var missing []string
	train := &Set{Name: "cifar-10/train", Size: cifarShape, Classes: cifarClasses}
	for b := 1; b <= cifarBatches; b++ {
		if p.labels[b] == nil {
			missing = append(missing, fmt.Sprintf("data_batch_%d.bin", b))
		}
		train.Pix = append(train.Pix, p.pix[b]...)
		train.Labels = append(train.Labels, p.labels[b]...)
	}
	sp := &Splits{Kind: "cifar-10"}
	if len(missing) < cifarBatches {
		sp.Train = train
		if len(missing) > 0 {
			train.Notes = []string{fmt.Sprintf("cifar-10: training batches missing from %s: %s; the training set has %d images",
				location, strings.Join(missing, ", "), train.Len())}
		}
	}
	if p.labels[0] != nil {
		sp.Test = &Set{Name: "cifar-10/test", Size: cifarShape, Classes: cifarClasses, Pix: p.pix[0], Labels: p.labels[0]}
	}
	switch {
	case sp.Train == nil && sp.Test == nil:
		return nil, fmt.Errorf("dataset: cifar-10: %s holds neither data_batch_1.bin to data_batch_5.bin nor test_batch.bin (the binary version is needed)", location)
	case sp.Test == nil:
		train.Notes = append(train.Notes, "cifar-10: test_batch.bin is missing from "+location)
	case sp.Train == nil:
		sp.Test.Notes = []string{"cifar-10: all training batches are missing from " + location}
	}
	return sp, nil
}

// openCIFAR reads CIFAR-10 from a folder of batch files, from one that holds
// cifar-10-batches-bin or the archive, or from the archive itself.
func openCIFAR(location string) (*Splits, error) {
	info, err := os.Stat(location)
	if err != nil {
		return nil, fmt.Errorf("dataset: open cifar-10: %w", err)
	}
	if !info.IsDir() {
		return openCIFARArchive(location)
	}
	for _, dir := range []string{location, filepath.Join(location, cifarDir)} {
		if hasCIFARBatch(dir) {
			return openCIFARDir(dir)
		}
	}
	archive := filepath.Join(location, cifarArchive)
	if isFile(archive) {
		return openCIFARArchive(archive)
	}
	return nil, fmt.Errorf("dataset: open cifar-10: %s holds no data_batch_*.bin or test_batch.bin, no %s and no %s",
		location, cifarDir, cifarArchive)
}

func hasCIFARBatch(dir string) bool {
	for b := range cifarBatches {
		if isFile(filepath.Join(dir, fmt.Sprintf("data_batch_%d.bin", b+1))) {
			return true
		}
	}
	return isFile(filepath.Join(dir, "test_batch.bin"))
}

func openCIFARDir(dir string) (*Splits, error) {
	var parts cifarParts
	for b := 0; b <= cifarBatches; b++ {
		name := fmt.Sprintf("data_batch_%d.bin", b)
		if b == 0 {
			name = "test_batch.bin"
		}
		file := filepath.Join(dir, name)
		err := readFile(file, func(f *os.File) error { return parts.read(b, f, file) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return parts.splits(dir)
}

func openCIFARArchive(file string) (*Splits, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("dataset: open cifar-10: %w", err)
	}
	defer f.Close()
	parts, err := readCIFARTar(f, file)
	if err != nil {
		return nil, err
	}
	return parts.splits(file)
}

// readCIFARTar reads the batches of a tar file, plain or gzip, wherever they
// lie in it. Nothing is unpacked to disk and other entries are passed over.
func readCIFARTar(r io.Reader, name string) (*cifarParts, error) {
	r, err := maybeGunzip(r, name)
	if err != nil {
		return nil, err
	}
	var parts cifarParts
	tr := tar.NewReader(r)
	for {
		head, err := tr.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, tar.ErrHeader) {
			return nil, formatErrorf(name, "read tar: %w", err)
		}
		if err != nil {
			return nil, readError(name, "read tar", err)
		}
		b, ok := cifarBatch(path.Base(head.Name))
		if !ok || head.Typeflag != tar.TypeReg {
			continue
		}
		if err := parts.read(b, tr, name+": "+head.Name); err != nil {
			return nil, err
		}
	}
	// The tar ends before the gzip does: read on, for its checksum.
	if _, err := io.Copy(io.Discard, io.LimitReader(r, 1<<30)); err != nil {
		return nil, readError(name, "read to the end", err)
	}
	return &parts, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// archiveHasCIFAR reports whether a tar file, plain or gzip, holds a batch. It
// stops at the first one and is silent about files of other kinds.
func archiveHasCIFAR(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	r, err := maybeGunzip(f, file)
	if err != nil {
		return false
	}
	const entries = 100 // to look at: the archive has 8
	tr := tar.NewReader(r)
	for range entries {
		head, err := tr.Next()
		if err != nil {
			return false
		}
		if _, ok := cifarBatch(path.Base(head.Name)); ok {
			return true
		}
	}
	return false
}
