package bundle

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/engine"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/internal/mapped"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// A Bundle is a trained model, its index and its calibration, ready to score.
type Bundle struct {
	Manifest Manifest
	Digest   string // of the manifest, which holds the digests of the other files; set by Open
	Train    []Image
	Model    *models.Autoencoder
	Index    *faissindex.Index
	Scorer   *nln.Scorer // of Model and Index

	// Engine computes the parts of Scorer's scores on the model's device; see UseEngine.
	// Without one OnHost may say why there is none where one was asked for.
	Engine *engine.Engine
	OnHost error

	// Held is what is kept of the calibration images, so that what is indexed can
	// be changed later. Open leaves it where it is, see ReadHeld.
	Held *nln.Held

	// Extra are further files that Save writes and nothing reads, by name, such
	// as a log of the training.
	Extra map[string]func(io.Writer) error

	mapped *mapped.File // of the tables of kept; nil unless Open made the bundle
	kept   nln.Kept
}

// An Image names an indexed image; its place in Bundle.Train is its id.
type Image struct{ Name, Class string }

// Close frees the model and the index and unmaps the tables, which leaves a
// scorer without rows: no scoring may be under way, and later it is an error, or
// a panic where a row is asked for. Close may be called again.
func (b *Bundle) Close() error {
	var errs []error
	if b.Engine != nil {
		errs = append(errs, b.Engine.Close())
	}
	if b.Model != nil {
		errs = append(errs, b.Model.Close())
	}
	if b.Index != nil {
		errs = append(errs, b.Index.Close())
	}
	if b.mapped != nil {
		for _, t := range b.kept.Tables {
			t.U8, t.F32 = nil, nil
		}
		errs = append(errs, b.mapped.Close())
	}
	return errors.Join(errs...)
}

// MappedBytes returns the size of the file that the tables are mapped from, 0
// unless Open made the bundle. Scoring brings what it looks at into memory.
func (b *Bundle) MappedBytes() int64 {
	if b.mapped == nil {
		return 0
	}
	return int64(len(b.mapped.Data))
}

// Save writes the bundle to the directory path, whole or not at all. A bundle
// that is there already is replaced if replace is set, and otherwise an error
// that wraps atomicfile.ErrExists; anything else there is never replaced.
func (b *Bundle) Save(path string, replace bool) error {
	if err := CheckTarget(path, replace); err != nil {
		return err
	}
	if len(b.Train) != b.Index.Len() {
		return fmt.Errorf("bundle: %d names of %d indexed images", len(b.Train), b.Index.Len())
	}
	if !b.Manifest.Index.fits(b.Index) {
		return fmt.Errorf("bundle: an index of kind %s, and a manifest that says: %v", b.Index.Kind(), b.Manifest.Index)
	}
	unlock, err := atomicfile.Lock(path)
	if err == nil {
		err = errors.Join(atomicfile.WriteDir(path, replace, b.fill), unlock())
	}
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// CheckTarget returns the error that Save to path would give because of what is
// there, so that a long training need not be done first.
func CheckTarget(path string, replace bool) error {
	// Nothing shows better than trying whether a directory can be made there.
	probe, err := os.MkdirTemp(filepath.Dir(filepath.Clean(path)), ".nlnctl.*.tmp")
	if err != nil {
		return fmt.Errorf("bundle: %s cannot be written: %w", path, err)
	}
	if err := os.Remove(probe); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !replace {
		return fmt.Errorf("bundle: %s: %w", path, atomicfile.ErrExists)
	}
	if err := replaceable(path); err != nil {
		return fmt.Errorf("bundle: %s is not replaced: %w", path, err)
	}
	return nil
}

// replaceable returns an error unless path is a bundle and holds nothing else.
func replaceable(path string) error {
	m, _, err := readManifest(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotABundle, err)
	}
	if err := m.complete(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotABundle, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ours := m.Files[e.Name()]; !ours && e.Name() != manifestFile && !atomicfile.IsLeftover(e.Name(), manifestFile) {
			return fmt.Errorf("it holds %s, which is no part of the bundle: move it away first", e.Name())
		}
	}
	return nil
}

func (b *Bundle) fill(dir string) error {
	kept := b.Scorer.Kept()
	files := map[string]func(io.Writer) error{
		weightsFile:     b.Model.Save,
		tablesFile:      tableTensors(kept, b.Index.Len()).Write,
		calibrationFile: calibrationTensors(kept.Calibration).Write,
		trainFile:       func(w io.Writer) error { return writeTrain(w, b.Train) },
	}
	if b.Held != nil {
		files[heldFile] = heldTensors(b.Held).Write
	}
	for name, write := range b.Extra {
		if files[name] != nil || name == indexFile || name == manifestFile || name == heldFile || !isName(name) {
			return fmt.Errorf("extra file %q has a name that cannot be", name)
		}
		files[name] = write
	}
	for name, write := range files {
		if err := atomicfile.Write(filepath.Join(dir, name), write); err != nil {
			return err
		}
	}
	if err := b.Index.Write(filepath.Join(dir, indexFile)); err != nil {
		return err
	}
	m := b.Manifest
	m.Format = Format
	m.Model, m.Parameters = b.Model.Config(), b.Model.Parameters()
	m.Policy, m.Pixels, m.Patched = policyOf(b.Scorer.Config()), kept.Pixels, nil
	if p := b.Scorer.Config().Patched; p != (nln.Patched{}) {
		m.Patched = &p
	}
	m.Data.Indexed, m.Data.Calibration = b.Index.Len(), kept.Calibration.Len()
	m.Files = map[string]File{}
	files[indexFile] = nil
	for name := range files {
		f, err := describe(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		m.Files[name] = f
	}
	return m.write(dir)
}

// Open returns the bundle in a directory, on dev, after checking every file
// against the manifest, during which it loads the native core. The tables stay in
// their file, which is mapped: see package mapped for what that means to a
// bundle that is changed while it is open. Where another has taken its place
// meanwhile, that one is opened. On a CUDA device it has an engine where it can. The
// caller closes it.
func Open(path string, dev torch.Device) (*Bundle, error) {
	return OpenOn(path, func() (torch.Device, error) { return dev, nil })
}

// OpenOn is Open on a device that is asked for once the core is loaded.
func OpenOn(path string, device func() (torch.Device, error)) (*Bundle, error) {
	for tries := 1; ; tries++ {
		b, err := openFiles(path, device)
		if err == nil && b.stands(path) {
			return b, nil
		}
		b.Close()
		if tries == openTries || b.Digest == "" || b.stands(path) {
			return nil, cmp.Or(err, fmt.Errorf("bundle: %s is replaced again and again", path))
		}
	}
}

// openTries is how many times in a row a bundle may be replaced while it is opened:
// each takes a change of what is indexed.
const openTries = 5

// stands says whether b, as far as it was opened, is still the bundle at path.
func (b *Bundle) stands(path string) bool {
	_, digest, err := readManifest(path)
	return err != nil || digest == b.Digest
}

// openFiles is Open once. Its bundle is to be closed, also after an error.
func openFiles(path string, device func() (torch.Device, error)) (*Bundle, error) {
	loaded := make(chan error, 1)
	go func() { loaded <- torch.Load() }()
	b, err := readContents(path)
	if e := <-loaded; e != nil {
		return b, e // it stands in the way of all bundles
	}
	if err != nil {
		return b, fmt.Errorf("bundle: %s: %w", path, err)
	}
	dev, err := device()
	if err != nil {
		return b, err
	}
	if err = b.assemble(path, dev); err == nil && dev != torch.CPU {
		err = b.UseEngine()
	}
	if err != nil {
		return b, fmt.Errorf("bundle: %s: %w", path, err)
	}
	return b, nil
}

// UseEngine has the parts of scores computed by an engine on the model's device. What
// an engine is not for is computed by the host, with the model on its device, and the
// exact search of FAISS on a CUDA device where the core has that; OnHost says why.
func (b *Bundle) UseEngine() (err error) {
	if kind := b.Index.Kind(); kind != faissindex.Exact {
		b.OnHost = fmt.Errorf("the index is of kind %s, which is searched on the processor", kind)
		return nil
	}
	b.Engine, err = engine.New(b.Scorer, engine.Options{})
	if err == nil {
		b.Scorer = b.Scorer.WithEngine(b.Engine)
		return nil
	}
	if !errors.Is(err, engine.ErrUnable) {
		return err
	}
	b.OnHost = err
	if dev := b.Model.Device(); dev != torch.CPU {
		if err := b.Index.UseGPU(int(dev)); err != nil && !errors.Is(err, torch.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// readContents checks the files of a bundle and reads those that need no core.
// The result is to be closed, also after an error.
func readContents(path string) (b *Bundle, err error) {
	b = &Bundle{}
	if b.Manifest, b.Digest, err = readManifest(path); err != nil {
		return b, err
	}
	// The same open file is checked and mapped, whatever becomes of its name.
	tables, err := os.Open(filepath.Join(path, tablesFile))
	if err != nil {
		return b, fmt.Errorf("%s: %w: %w", tablesFile, ErrDamaged, err)
	}
	defer tables.Close()
	if err := b.Manifest.verify(path, map[string]*os.File{tablesFile: tables}); err != nil {
		return b, err
	}
	if b.mapped, err = mapped.New(tables); err != nil {
		return b, fmt.Errorf("%s: %w", tablesFile, err)
	}
	if b.kept, err = keptOf(b.mapped.Data, filepath.Join(path, calibrationFile), b.Manifest.Policy.Spaces); err != nil {
		return b, err
	}
	if b.Train, err = readTrain(filepath.Join(path, trainFile)); err != nil {
		return b, fmt.Errorf("%s: %w", trainFile, err)
	}
	return b, nil
}

// assemble gives the core what it is to hold and puts the scorer together.
func (b *Bundle) assemble(path string, dev torch.Device) error {
	weights, err := os.Open(filepath.Join(path, weightsFile))
	if err != nil {
		return err
	}
	defer weights.Close()
	if b.Model, err = models.Load(weights, dev); err != nil {
		return fmt.Errorf("%s: %w", weightsFile, err)
	}
	if b.Index, err = faissindex.Read(filepath.Join(path, indexFile)); err != nil {
		return fmt.Errorf("%s: %w", indexFile, err)
	}
	if b.Model.Config() != b.Manifest.Model || len(b.Train) != b.Index.Len() || b.Index.Dim() != b.Model.LatentDim() || !b.Manifest.Index.fits(b.Index) {
		return fmt.Errorf("%w: its files do not belong together", ErrDamaged)
	}
	b.kept.Pixels = b.Manifest.Pixels
	b.Scorer, err = scorerOf(b.Model, b.Index, b.kept, b.Manifest, b.Train)
	return err
}

// scorerOf puts a scorer together with what a bundle keeps.
func scorerOf(m nln.Model, idx nln.Index, kept nln.Kept, man Manifest, train []Image) (*nln.Scorer, error) {
	cfg := man.Policy.config(kept.Calibration.Len() > 0)
	if man.Patched != nil {
		cfg.Patched, cfg.Sources = *man.Patched, sourcesOf(train)
	}
	s, err := nln.NewScorer(m, idx, kept, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return s, nil
}

// sourcesOf numbers the images that patches are of, by their names.
func sourcesOf(train []Image) []int64 {
	numbers := map[string]int64{}
	sources := make([]int64, len(train))
	for i, im := range train {
		name := im.Source()
		n, ok := numbers[name]
		if !ok {
			n = int64(len(numbers))
			numbers[name] = n
		}
		sources[i] = n
	}
	return sources
}

// Source returns the name of the image that a patch of the name is of, see
// dataset.Patches.Name.
func (im Image) Source() string {
	if at := strings.LastIndexByte(im.Name, '@'); at >= 0 {
		return im.Name[:at]
	}
	return im.Name
}

// ReadManifest returns the manifest of the bundle in a directory and its
// digest, after checking every file against it. It needs no native core.
func ReadManifest(path string) (Manifest, string, error) {
	for tries := 1; ; tries++ {
		m, digest, err := readManifest(path)
		if err == nil {
			if err = m.verify(path, nil); err == nil {
				return m, digest, nil
			}
			if b := (&Bundle{Digest: digest}); tries < openTries && !b.stands(path) {
				continue // its files were those of another one
			}
		}
		return m, "", fmt.Errorf("bundle: %s: %w", path, err)
	}
}

func writeTrain(w io.Writer, images []Image) error {
	c := csv.NewWriter(w)
	c.Write([]string{"name", "class"})
	for _, im := range images {
		c.Write([]string{im.Name, im.Class})
	}
	c.Flush()
	return c.Error()
}

func readTrain(path string) ([]Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := csv.NewReader(f)
	c.FieldsPerRecord = 2
	c.ReuseRecord = true
	var images []Image
	for line := 0; ; line++ {
		rec, err := c.Read()
		if err == io.EOF {
			return images, nil
		}
		if err != nil {
			return nil, err
		}
		if line > 0 {
			images = append(images, Image{rec[0], rec[1]})
		}
	}
}
