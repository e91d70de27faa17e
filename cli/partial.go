package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"golang.org/x/sys/unix"
)

// Rows for FILE stand in FILE.partial until all are there. What the rows depend on
// beside the images, FILE.partial.json, stands beside it, so that a run that was
// ended at any moment can go on with the very next batch.
const (
	partialEnding = ".partial"
	aboutEnding   = ".partial.json"
)

// A partial holds the rows of a run that is not done.
type partial struct {
	file  *os.File     // locked while it is open
	about string       // path of what is said of the run
	rows  rowScanner   // rows of an earlier run that have not been looked at; nil: none
	begin func() error // writes what stands before the first row
}

// outputFile scores what args name into the regular file path.
func (r *run) outputFile(ctx context.Context, path string, f form, args []string) error {
	p, err := r.openPartial(path, f, args)
	if err != nil {
		return err
	}
	defer p.file.Close()
	r.partial = p
	if err := r.scoreAll(ctx, args); err != nil {
		return r.leave(p, err)
	}
	if err := p.ended(); err != nil {
		return err
	}
	if err := p.publish(ctx, path, f); err != nil {
		return r.leave(p, err)
	}
	return nil
}

// openPartial makes the file of rows for path, or opens that of an earlier run to
// go on there.
func (r *run) openPartial(path string, f form, args []string) (_ *partial, err error) {
	p := &partial{about: path + aboutEnding}
	name := path + partialEnding
	p.file, err = atomicfile.OpenLocked(name, os.O_RDWR|os.O_CREATE)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &hintedError{fmt.Errorf("%s is in use by another run", name), "wait for it, or write to another file"}
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.file.Close()
		}
	}()
	st, err := p.file.Stat()
	if err != nil {
		return nil, err
	}
	r.rowsTo(p.file, f.journal())
	p.begin = r.rows.begin
	about := r.about(f, args)
	switch {
	case st.Size() == 0:
		if r.resume {
			r.meter.say("%s is not there: beginning anew", name)
		}
		text, err := json.MarshalIndent(about, "", "  ")
		if err == nil {
			err = atomicfile.Write(p.about, func(w io.Writer) error {
				_, err := w.Write(append(text, '\n'))
				return err
			})
		}
		if err != nil {
			return nil, err
		}
		return p, p.begin()
	case !r.resume:
		return nil, &hintedError{fmt.Errorf("%s has the rows of a run that did not end", name), "pass --resume to go on there, or delete it to begin anew"}
	}
	if err := sameRun(p.about, about); err != nil {
		return nil, &hintedError{fmt.Errorf("%s is of another run: %w", name, err), "repeat the command that began it, or delete it to begin anew"}
	}
	p.rows, err = newRowScanner(p.file, f.journal())
	return p, err
}

// about returns what the rows depend on beside the images.
func (r *run) about(f form, args []string) map[string]string {
	policy, threshold := r.scorer.Config().Policy, "by rate"
	if policy.Threshold != nil {
		threshold = strconv.FormatFloat(*policy.Threshold, 'g', -1, 64)
		policy.Threshold = nil
	}
	device := "" // as in files of before there were others
	if r.device != torch.CPU.String() {
		device = r.device
	}
	return map[string]string{
		"device":    device,
		"model":     r.bundle.Digest,
		"policy":    fmt.Sprintf("%+v", policy),
		"threshold": threshold,
		"limits":    fmt.Sprintf("%+v", r.reading.Limits),
		"form":      string(f.journal()),
		"inputs":    fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(args, "\x00")))),
	}
}

// sameRun returns an error unless the file at path says what about does.
func sameRun(path string, about map[string]string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var was map[string]string
	if err := json.Unmarshal(text, &was); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var other []string
	for key, now := range about {
		if was[key] != now {
			other = append(other, key)
		}
	}
	if slices.Sort(other); other != nil {
		return fmt.Errorf("it had another %s", strings.Join(other, ", another "))
	}
	return nil
}

// skip returns how many of the images have their rows already, in whole batches of
// size: what is scored in other batches may differ in the last digits. It adds
// these rows to sum. The rows must be those of the images, in order.
func (p *partial) skip(names iter.Seq2[string, error], size int, sum *tally) (n int, err error) {
	if p.rows == nil {
		return 0, nil
	}
	mark, before := p.rows.offset(), *sum
	for name, err := range names {
		if err != nil {
			return 0, err
		}
		if n%size == 0 {
			mark, before = p.rows.offset(), *sum
		}
		row, err := p.rows.next()
		if err == io.EOF {
			*sum = before
			return n - n%size, p.goOn(mark)
		}
		if err == nil && !row.isOf(name) {
			err = fmt.Errorf("row %d is of %s, and the image there is %s now", sum.total+1, row.image, name)
		}
		if err != nil {
			return 0, p.unfit(err)
		}
		row.count(sum)
		n++
	}
	return n, nil
}

// goOn makes the next row stand at an offset.
func (p *partial) goOn(at int64) error {
	p.rows = nil
	if err := p.file.Truncate(at); err != nil {
		return err
	}
	if _, err := p.file.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if at == 0 {
		return p.begin()
	}
	return nil
}

// ended makes sure that no row of an earlier run is left when all images have
// theirs.
func (p *partial) ended() error {
	if p.rows == nil {
		return nil
	}
	at := p.rows.offset()
	switch row, err := p.rows.next(); {
	case err == io.EOF:
		return p.goOn(at)
	case err != nil:
		return p.unfit(err)
	default:
		return p.unfit(fmt.Errorf("it has a row of %s, behind those of all images", row.image))
	}
}

// unfit is the error of rows that do not belong to the images.
func (p *partial) unfit(err error) error {
	return &hintedError{fmt.Errorf("%s does not fit: %w", p.file.Name(), err), "delete it to begin anew"}
}

// publish makes the output at path of the rows, which are whole.
func (p *partial) publish(ctx context.Context, path string, f form) error {
	if f != f.journal() {
		err := atomicfile.Write(path, func(w io.Writer) error {
			if _, err := p.file.Seek(0, io.SeekStart); err != nil {
				return err
			}
			return writeParquet(ctx, w, p.file)
		})
		if err != nil {
			return err
		}
		return p.remove()
	}
	if err := atomicfile.Publish(p.file, path); err != nil {
		return err
	}
	return removed(p.about)
}

// leave ends a run that failed and says how to go on. What has no row goes.
func (r *run) leave(p *partial, err error) error {
	if p.rows == nil && r.total == 0 {
		return errors.Join(err, p.remove())
	}
	how := "repeat the command with --resume to go on from " + p.file.Name()
	if first := hint(err); first != "" {
		how = first + "; " + how
	}
	return &hintedError{err, how}
}

func (p *partial) remove() error {
	return errors.Join(removed(p.file.Name()), removed(p.about))
}

// removed removes a file if it is there.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
