package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/nln"
)

// A Cut says above which score an image is novel: by a false-positive rate, or by
// hand.
type Cut struct {
	FPR       float64  `json:"fpr"`
	Threshold *float64 `json:"threshold,omitempty"` // set by hand, in place of the rate
}

// Cut returns what p says of the threshold.
func (p Policy) Cut() Cut { return Cut{p.FPR, p.Threshold} }

// Scoring returns the policy that a scorer of the bundle has.
func (p Policy) Scoring() nln.Policy { return p.config(true).Policy }

// set changes the threshold and keeps what it was at first; with that it is as if
// it had never been changed.
func (p *Policy) set(c Cut) {
	first := p.Cut()
	if p.Trained != nil {
		first = *p.Trained
	}
	p.FPR, p.Threshold, p.Trained = c.FPR, c.Threshold, &first
	if c.FPR == first.FPR && (c.Threshold == nil) == (first.Threshold == nil) && (c.Threshold == nil || *c.Threshold == *first.Threshold) {
		p.Trained = nil
	}
}

// ReadCalibration returns the manifest of the bundle in a directory, its digest and
// the parts of its calibration images, after checking every file. It needs no
// native core. A bundle without calibration images is an error.
func ReadCalibration(path string) (Manifest, string, nln.Parts, error) {
	m, digest, err := ReadManifest(path)
	if err != nil {
		return m, "", nln.Parts{}, err
	}
	file, err := readTensors(filepath.Join(path, calibrationFile))
	if err != nil {
		return m, "", nln.Parts{}, fmt.Errorf("bundle: %s: %s: %w: %w", path, calibrationFile, ErrDamaged, err)
	}
	parts, err := calibrationOf(file, m.Policy.Spaces)
	if err != nil {
		return m, "", nln.Parts{}, fmt.Errorf("bundle: %s: %s: %w: %w", path, calibrationFile, ErrDamaged, err)
	}
	if parts.Len() == 0 {
		return m, "", nln.Parts{}, fmt.Errorf("bundle: %s has no calibration images, by which a threshold is set: train it anew", path)
	}
	return m, digest, parts, nil
}

// SetCut changes the threshold of the bundle in a directory, and nothing else: a
// new manifest takes the place of the old one, at once. With a nil cut the
// threshold becomes that of the training again, and the manifest what it was. Where
// another program is changing the bundle the error wraps atomicfile.ErrLocked.
func SetCut(path string, cut *Cut) (err error) {
	unlock, err := atomicfile.Lock(path)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	m, _, err := ReadManifest(path)
	if err != nil {
		return err
	}
	if err := atomicfile.Sweep(filepath.Join(path, manifestFile)); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	switch {
	case cut != nil:
		m.Policy.set(*cut)
	case m.Policy.Trained != nil:
		m.Policy.set(*m.Policy.Trained)
	}
	if err := m.write(path); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// write makes m the manifest of the bundle in dir.
func (m *Manifest) write(dir string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, manifestFile), func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}
