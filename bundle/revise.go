package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/nln"
)

// An Edit says how the images that count as normal were changed after the training.
type Edit struct {
	Time     time.Time `json:"time"`
	Program  string    `json:"program"`
	Added    int       `json:"added,omitempty"` // images indexed anew
	Removed  int       `json:"removed,omitempty"`
	Previous string    `json:"previous"` // digest of the bundle before
}

// A Revision is what becomes of a bundle whose model stays and whose indexed images
// change.
type Revision struct {
	Scorer *nln.Scorer // of Index
	Index  *faissindex.Index
	Search Index   // what the manifest says of Index
	Train  []Image // by id in Index
	Edit   Edit    // Previous is filled in
}

// versionsEnding is of the directory beside a bundle that has earlier versions of
// it, each a bundle under the first digits of its digest. Files that are the same
// are the same on disk.
const (
	versionsEnding = ".versions"
	versionDigits  = 16
)

// Revise puts a revision in the place of the bundle at path, which b was opened
// from: at every moment there is the one or the other. The last keep versions
// before it are kept for Rollback, and older ones removed. The caller has locked
// path by atomicfile.Lock since before b was opened.
func (b *Bundle) Revise(path string, r Revision, keep int) error {
	if err := b.revise(path, r, keep); err != nil {
		return fmt.Errorf("bundle: change %s: %w", path, err)
	}
	return nil
}

func (b *Bundle) revise(path string, r Revision, keep int) error {
	if len(r.Train) != r.Index.Len() || !r.Search.fits(r.Index) {
		return fmt.Errorf("%d names of %d indexed images, an index of kind %s and a manifest that says: %v", len(r.Train), r.Index.Len(), r.Index.Kind(), r.Search)
	}
	if err := atomicfile.Sweep(path); err != nil {
		return err
	}
	if err := replaceable(path); err != nil {
		return err
	}
	if _, digest, err := readManifest(path); err != nil || digest != b.Digest {
		return fmt.Errorf("it is not the bundle any more that was opened, %.*s but %.*s (%v)", versionDigits, b.Digest, versionDigits, digest, err)
	}
	if keep > 0 {
		if err := keepVersion(path, b.Digest, &b.Manifest); err != nil {
			return err
		}
	}
	r.Edit.Previous = b.Digest
	m := b.Manifest
	m.Edits = append(slices.Clone(m.Edits), r.Edit)
	if err := atomicfile.WriteDir(path, true, func(dir string) error { return r.fill(dir, path, &m) }); err != nil {
		return err
	}
	return prune(path, m.Edits, keep)
}

// fill writes the revision of the bundle at old, whose manifest is m, to dir.
func (r *Revision) fill(dir, old string, m *Manifest) error {
	kept := r.Scorer.Kept()
	changed := map[string]func(io.Writer) error{
		tablesFile:      tableTensors(kept, r.Index.Len()).Write,
		calibrationFile: calibrationTensors(kept.Calibration).Write,
		trainFile:       func(w io.Writer) error { return writeTrain(w, r.Train) },
		indexFile:       nil,
	}
	trained := m.Policy.Trained
	m.Policy, m.Index = policyOf(r.Scorer.Config()), r.Search
	m.Policy.Trained = trained
	m.Data.Indexed, m.Pixels = r.Index.Len(), kept.Pixels
	files := map[string]File{}
	for name, f := range m.Files {
		if _, ok := changed[name]; !ok {
			if err := linkFile(filepath.Join(old, name), filepath.Join(dir, name)); err != nil {
				return err
			}
			files[name] = f
		}
	}
	for name, write := range changed {
		path := filepath.Join(dir, name)
		var err error
		if write == nil {
			err = r.Index.Write(path)
		} else {
			err = atomicfile.Write(path, write)
		}
		if err == nil {
			files[name], err = describe(path)
		}
		if err != nil {
			return err
		}
	}
	m.Files = files
	return m.write(dir)
}

// linkFile gives a file that is never written to another name, or copies it where
// there can be no second name.
func linkFile(old, path string) error {
	if os.Link(old, path) == nil {
		return nil
	}
	f, err := os.Open(old)
	if err != nil {
		return err
	}
	defer f.Close()
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}

// linkBundle gives the files of the bundle at old, whose manifest is m, second names
// in dir.
func linkBundle(old, dir string, m *Manifest) error {
	for name := range m.Files {
		if err := linkFile(filepath.Join(old, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return linkFile(filepath.Join(old, manifestFile), filepath.Join(dir, manifestFile))
}

func versionPath(path, digest string) string {
	return filepath.Join(filepath.Clean(path)+versionsEnding, digest[:versionDigits])
}

// keepVersion makes sure that the bundle at path is among its versions.
func keepVersion(path, digest string, m *Manifest) error {
	version := versionPath(path, digest)
	if _, have, err := ReadManifest(version); err == nil && have == digest {
		return nil
	}
	if err := os.RemoveAll(version); err != nil { // what a removal left that was ended in the middle
		return err
	}
	if err := os.MkdirAll(filepath.Dir(version), 0o755); err != nil {
		return err
	}
	if err := atomicfile.Sweep(version); err != nil {
		return err
	}
	return atomicfile.WriteDir(version, false, func(dir string) error { return linkBundle(path, dir, m) })
}

// prune removes the versions that are not among the last keep before the present
// one, and the directory where none is left.
func prune(path string, edits []Edit, keep int) error {
	dir := filepath.Clean(path) + versionsEnding
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var stay []string
	for _, e := range edits[max(0, len(edits)-keep):] {
		stay = append(stay, filepath.Base(versionPath(path, e.Previous)))
	}
	for _, e := range entries {
		if !slices.Contains(stay, e.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if len(stay) == 0 {
		return os.Remove(dir)
	}
	return nil
}

// A Version is an earlier state of a bundle that is kept.
type Version struct {
	Path     string
	Digest   string
	Manifest Manifest
}

// Versions returns the versions that are kept of the bundle at path, those with the
// fewest edits first. A damaged one is left out.
func Versions(path string) ([]Version, error) {
	entries, err := os.ReadDir(filepath.Clean(path) + versionsEnding)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	var all []Version
	for _, e := range entries {
		v := Version{Path: filepath.Join(filepath.Clean(path)+versionsEnding, e.Name())}
		if v.Manifest, v.Digest, err = ReadManifest(v.Path); err == nil && strings.HasPrefix(v.Digest, e.Name()) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b Version) int { return len(a.Manifest.Edits) - len(b.Manifest.Edits) })
	return all, nil
}

// ErrNoVersion is wrapped by the error of Rollback where the version is not kept.
var ErrNoVersion = errors.New("no such version is kept")

// Rollback puts the version before the last edit, or the one whose digest begins
// with to, in the place of the bundle at path, whole as it was, and returns its
// digest. The present one stays among the versions until the next Revise. Where
// another program is changing the bundle the error wraps atomicfile.ErrLocked.
func Rollback(path, to string) (digest string, err error) {
	unlock, err := atomicfile.Lock(path)
	if err != nil {
		return "", fmt.Errorf("bundle: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := atomicfile.Sweep(path); err != nil {
		return "", fmt.Errorf("bundle: %w", err)
	}
	m, now, err := ReadManifest(path)
	if err != nil {
		return "", err
	}
	if to == "" {
		if len(m.Edits) == 0 {
			return "", fmt.Errorf("bundle: %s is as it was trained: %w", path, ErrNoVersion)
		}
		to = m.Edits[len(m.Edits)-1].Previous
	}
	versions, err := Versions(path)
	if err != nil {
		return "", err
	}
	versions = slices.DeleteFunc(versions, func(v Version) bool { return !strings.HasPrefix(v.Digest, to) })
	if len(versions) != 1 {
		return "", fmt.Errorf("bundle: %s: %w, but %d of digest %.*s", path, ErrNoVersion, len(versions), versionDigits, to)
	}
	v := versions[0]
	if v.Digest == now {
		return now, nil
	}
	if err := replaceable(path); err != nil {
		return "", fmt.Errorf("bundle: %s: %w", path, err)
	}
	if err := keepVersion(path, now, &m); err != nil {
		return "", fmt.Errorf("bundle: keep %s: %w", path, err)
	}
	if err := atomicfile.WriteDir(path, true, func(dir string) error { return linkBundle(v.Path, dir, &v.Manifest) }); err != nil {
		return "", fmt.Errorf("bundle: %w", err)
	}
	return v.Digest, nil
}
