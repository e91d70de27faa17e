// Package bundle keeps everything that scoring needs in one directory: the
// model's weights, the index of normal latents, the tables of what the indexed
// images are compared by, the calibration, and a manifest that says where they
// come from. docs/format/bundle.md describes the files.
package bundle

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// Format is the version of the layout that this package writes and reads.
const Format = 1

// Names of the files of a bundle.
const (
	manifestFile    = "manifest.json"
	weightsFile     = "weights.safetensors"
	indexFile       = "index.faiss"
	tablesFile      = "tables.safetensors"
	calibrationFile = "calibration.safetensors"
	trainFile       = "train.csv"
)

// A Manifest says what a bundle is and where it comes from.
type Manifest struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Program string    `json:"program"` // that wrote the bundle, with its version

	Model      models.Config   `json:"model"`
	Parameters int             `json:"parameters"`
	Training   models.Result   `json:"training"`
	Data       Data            `json:"data"`
	Policy     Policy          `json:"policy"`
	Patched    *nln.Patched    `json:"patched,omitempty"`   // where the model takes patches of images
	Pixels     *nln.Pixels     `json:"pixels,omitempty"`    // of the maps of calibration images
	Index      Index           `json:"index"`               // how it is searched
	Libraries  json.RawMessage `json:"libraries,omitempty"` // of the core that trained it
	Edits      []Edit          `json:"edits,omitempty"`     // of what is indexed, since the training

	Files map[string]File `json:"files"`
}

// Data says which images a bundle was made from.
type Data struct {
	Source      string           `json:"source"`            // as it was given, such as "mnist:DIR"
	Include     []string         `json:"include,omitempty"` // globs that chose among its image files
	Exclude     []string         `json:"exclude,omitempty"`
	Protocol    dataset.Protocol `json:"protocol"` // which of them were normal
	Class       string           `json:"class,omitempty"`
	Scale       dataset.Scale    `json:"scale"`             // of pixels to [0, 1]
	Resize      bool             `json:"resize,omitempty"`  // image files of any size are resized to the model's shape
	Decoder     string           `json:"decoder,omitempty"` // of the image files that package dataset leaves to others
	Augment     string           `json:"augment,omitempty"` // of patches, see dataset.Augments
	Indexed     int              `json:"indexed"`           // images or patches trained on and indexed
	Calibration int              `json:"calibration"`       // normal images held out
}

// Policy is nln.Policy and the parts of nln.Config that scoring uses.
type Policy struct {
	K         int      `json:"k"`
	Alpha     float64  `json:"alpha"`
	Space     string   `json:"space"`            // of the error term, one of Spaces
	Radius    float64  `json:"radius,omitempty"` // of neighbours, 0: any
	Metric    string   `json:"metric"`           // of the distance term
	Normalise string   `json:"normalise"`        // of both terms before they are added; absent: "minmax"
	Rank      string   `json:"rank"`             // score that verdicts go by: "total", "local" or "product"
	Local     Local    `json:"local"`
	FPR       float64  `json:"fpr"`
	Threshold *float64 `json:"threshold,omitempty"` // fixed by hand; else it follows from FPR
	Trained   *Cut     `json:"trained,omitempty"`   // FPR and Threshold at first, where they were set anew since
	Spaces    []string `json:"spaces"`              // kept, in order
	MaxK      int      `json:"max_k"`
	Batch     int      `json:"batch"`
	Cache     string   `json:"cache,omitempty"` // "none" where reconstructions are not kept; else the tables say
}

// Index is faissindex.Choice. A manifest of a time before there was a choice has
// none: the index is exact.
type Index faissindex.Choice

// String says it in a line.
func (x Index) String() string { return faissindex.Choice(x).String() }

// fits says whether that is said of idx.
func (x Index) fits(idx *faissindex.Index) bool {
	return cmp.Or(x.Kind, faissindex.Exact) == idx.Kind()
}

// Local is nln.Local.
type Local struct {
	K     int     `json:"k"`
	Power float64 `json:"power"`
}

func policyOf(c nln.Config) Policy {
	cache := ""
	if c.Cache == nln.CacheNone {
		cache = string(c.Cache)
	}
	return Policy{Cache: cache, K: c.K, Alpha: c.Alpha, Space: c.Space, Radius: c.Radius, Metric: c.Metric, Normalise: c.Normalise,
		Rank: c.Rank, Local: Local(c.Local), FPR: c.FPR, Threshold: c.Threshold, Spaces: c.Spaces, MaxK: c.MaxK, Batch: c.Batch}
}

func (p Policy) config(calibrated bool) nln.Config {
	return nln.Config{
		Policy: nln.Policy{K: p.K, Alpha: p.Alpha, Space: p.Space, Radius: p.Radius, Metric: p.Metric, Normalise: p.Normalise,
			Rank: p.Rank, Local: nln.Local(p.Local), FPR: p.FPR, Threshold: p.Threshold},
		Cache: nln.Cache(p.Cache), Spaces: p.Spaces, MaxK: p.MaxK, Batch: p.Batch, Uncalibrated: !calibrated,
	}
}

// A File is what a manifest says of another file.
type File struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// ErrDamaged is wrapped by Open's error when a file of the bundle is missing,
// cut off or altered.
var ErrDamaged = errors.New("the bundle is damaged; copy it again from where it was made, or train it anew")

// ErrNotABundle is wrapped by Open's error when there is no manifest.
var ErrNotABundle = errors.New("not a bundle")

func describe(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	return describeOpen(f)
}

func describeOpen(f *os.File) (File, error) {
	h := sha256.New()
	// A large buffer: the sum takes no longer than a few calls to the system do.
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	return File{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// readManifest returns the manifest of the bundle in dir and its digest, which
// names the bundle's whole content.
func readManifest(dir string) (m Manifest, digest string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		if _, serr := os.Stat(dir); serr != nil {
			return m, "", fmt.Errorf("%w: %w", ErrNotABundle, serr)
		}
		return m, "", fmt.Errorf("%w: %w", ErrNotABundle, err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, "", fmt.Errorf("%s: %w: %w", manifestFile, ErrDamaged, err)
	}
	if m.Format != Format {
		return m, "", fmt.Errorf("%s: format %d, this program reads %d: use the version of nlnctl that wrote it (%s), or train it anew", manifestFile, m.Format, Format, m.Program)
	}
	sum := sha256.Sum256(text)
	return m, hex.EncodeToString(sum[:]), nil
}

// isName says whether name is one of a file in the bundle itself.
func isName(name string) bool {
	return name != "" && name == filepath.Base(name) && name != "." && name != ".."
}

// complete makes sure that the manifest names every file that a bundle has.
func (m *Manifest) complete() error {
	for _, name := range []string{weightsFile, indexFile, tablesFile, calibrationFile, trainFile} {
		if _, ok := m.Files[name]; !ok {
			return fmt.Errorf("%s: %w: it does not name %s", manifestFile, ErrDamaged, name)
		}
	}
	return nil
}

// verify makes sure that the files are what the manifest says; opened has those
// that are open already, by name. Several files are read at a time.
func (m *Manifest) verify(dir string, opened map[string]*os.File) error {
	if err := m.complete(); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(m.Files))
	for _, name := range names {
		if !isName(name) {
			return fmt.Errorf("%s: %w: it names %q", manifestFile, ErrDamaged, name)
		}
	}
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, name := range names {
		wg.Go(func() {
			turn <- struct{}{}
			errs[i] = m.verifyFile(dir, name, opened[name])
			<-turn
		})
	}
	wg.Wait()
	return cmp.Or(errs...) // the first by name
}

// verifyFile makes sure of one file, which is open unless f is nil.
func (m *Manifest) verifyFile(dir, name string, f *os.File) error {
	var have File
	var err error
	if f != nil {
		have, err = describeOpen(f)
	} else {
		have, err = describe(filepath.Join(dir, name))
	}
	want := m.Files[name]
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w: %w", name, ErrDamaged, err)
	case have.Bytes != want.Bytes:
		return fmt.Errorf("%s: %w: it has %d bytes, the manifest says %d", name, ErrDamaged, have.Bytes, want.Bytes)
	case have.SHA256 != want.SHA256:
		return fmt.Errorf("%s: %w: its SHA-256 is not the one in the manifest", name, ErrDamaged)
	}
	return nil
}
