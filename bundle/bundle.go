package bundle

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/internal/safetensors"
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
}

// An Image names an indexed image; its place in Bundle.Train is its id.
type Image struct{ Name, Class string }

// Close frees the model and the index. It may be called again.
func (b *Bundle) Close() error { return errors.Join(b.Model.Close(), b.Index.Close()) }

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
	err := atomicfile.WriteDir(path, replace, b.fill)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// CheckTarget returns the error that Save to path would give because of what is
// there, so that a long training need not be done first.
func CheckTarget(path string, replace bool) error {
	if _, err := os.Lstat(path); err != nil {
		if dir := filepath.Dir(filepath.Clean(path)); dir != "." {
			if _, err := os.Stat(dir); err != nil {
				return fmt.Errorf("bundle: %w: make the directory first", err)
			}
		}
		return nil
	}
	if !replace {
		return fmt.Errorf("bundle: %s: %w", path, atomicfile.ErrExists)
	}
	if _, _, err := readManifest(path); errors.Is(err, ErrNotABundle) {
		return fmt.Errorf("bundle: %s: %w, so it is not replaced: %w", path, ErrNotABundle, atomicfile.ErrExists)
	}
	return nil
}

func (b *Bundle) fill(dir string) error {
	calib, recon := b.Scorer.CalibrationParts(), b.Scorer.Recon()
	for name, write := range map[string]func(io.Writer) error{
		weightsFile:     b.Model.Save,
		reconFile:       reconTensors(recon).Write,
		calibrationFile: calibrationTensors(calib).Write,
		trainFile:       b.writeTrain,
	} {
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
	m.Policy = policyOf(b.Scorer.Config())
	m.Data.Indexed, m.Data.Calibration = b.Index.Len(), calib.Len()
	m.Files = map[string]File{}
	for _, name := range []string{weightsFile, indexFile, reconFile, calibrationFile, trainFile} {
		f, err := describe(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		m.Files[name] = f
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, manifestFile), func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// Open returns the bundle in a directory, on dev, after checking every file
// against the manifest. The caller closes it.
func Open(path string, dev torch.Device) (*Bundle, error) {
	b, err := open(path, dev)
	if err != nil {
		return nil, fmt.Errorf("bundle: %s: %w", path, err)
	}
	return b, nil
}

func open(path string, dev torch.Device) (_ *Bundle, err error) {
	b := &Bundle{}
	if b.Manifest, b.Digest, err = readManifest(path); err != nil {
		return nil, err
	}
	if err := b.Manifest.verify(path); err != nil {
		return nil, err
	}
	weights, err := os.Open(filepath.Join(path, weightsFile))
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	if b.Model, err = models.Load(weights, dev); err != nil {
		return nil, fmt.Errorf("%s: %w", weightsFile, err)
	}
	if b.Index, err = faissindex.Read(filepath.Join(path, indexFile)); err != nil {
		b.Model.Close()
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	if err := b.assemble(path); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// assemble reads the rest of the bundle and puts the scorer together.
func (b *Bundle) assemble(path string) error {
	recon, err := readRecon(filepath.Join(path, reconFile), b.Model.Shape().Len())
	if err != nil {
		return fmt.Errorf("%s: %w", reconFile, err)
	}
	calib, err := readCalibration(filepath.Join(path, calibrationFile))
	if err != nil {
		return fmt.Errorf("%s: %w", calibrationFile, err)
	}
	if b.Train, err = readTrain(filepath.Join(path, trainFile)); err != nil {
		return fmt.Errorf("%s: %w", trainFile, err)
	}
	if b.Model.Config() != b.Manifest.Model || len(b.Train) != b.Index.Len() || recon.Len() != b.Index.Len() ||
		b.Index.Dim() != b.Model.LatentDim() {
		return fmt.Errorf("%w: its files do not belong together", ErrDamaged)
	}
	b.Scorer, err = nln.NewScorer(b.Model, b.Index, recon, calib, b.Manifest.Policy.config(recon.Kind, calib.Len() > 0))
	return err
}

// ReadManifest returns the manifest of the bundle in a directory and its
// digest, after checking every file against it. It needs no native core.
func ReadManifest(path string) (Manifest, string, error) {
	m, digest, err := readManifest(path)
	if err == nil {
		err = m.verify(path)
	}
	if err != nil {
		return m, "", fmt.Errorf("bundle: %s: %w", path, err)
	}
	return m, digest, nil
}

func (b *Bundle) writeTrain(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write([]string{"name", "class"})
	for _, im := range b.Train {
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

const reconTensor = "reconstructions"

func reconTensors(r *nln.Recon) *safetensors.File {
	t := safetensors.Tensor{Name: reconTensor, Shape: []int{r.Len(), r.F}}
	if r.Kind == nln.CacheUint8 {
		t.DType, t.Data = safetensors.U8, r.U8
	} else {
		t.DType, t.Data = safetensors.F32, safetensors.Bytes(r.F32)
	}
	return &safetensors.File{Tensors: []safetensors.Tensor{t}}
}

func readRecon(path string, f int) (*nln.Recon, error) {
	file, err := readTensors(path)
	if err != nil {
		return nil, err
	}
	r := &nln.Recon{F: f}
	t, err := file.Get(reconTensor, safetensors.U8)
	if err == nil {
		r.Kind, r.U8 = nln.CacheUint8, t.Data
	} else if t, err = file.Get(reconTensor, safetensors.F32); err == nil {
		r.Kind, r.F32 = nln.CacheFloat32, t.Floats32()
	} else {
		return nil, err
	}
	if len(t.Shape) != 2 || t.Shape[1] != f {
		return nil, fmt.Errorf("%w: reconstructions of shape %v, want rows of %d", ErrDamaged, t.Shape, f)
	}
	return r, nil
}

func calibrationTensors(p nln.Parts) *safetensors.File {
	n := p.Len()
	matrix := []int{n, p.K}
	return &safetensors.File{Tensors: []safetensors.Tensor{
		{Name: "recon", DType: safetensors.F64, Shape: []int{n}, Data: safetensors.Bytes(p.Recon)},
		{Name: "error", DType: safetensors.F64, Shape: matrix, Data: safetensors.Bytes(p.Error)},
		{Name: "distance", DType: safetensors.F64, Shape: matrix, Data: safetensors.Bytes(p.Distance)},
		{Name: "ids", DType: safetensors.I64, Shape: matrix, Data: safetensors.Bytes(p.IDs)},
	}}
}

func readCalibration(path string) (p nln.Parts, err error) {
	file, err := readTensors(path)
	if err != nil {
		return p, err
	}
	for name, dst := range map[string]*[]float64{"recon": &p.Recon, "error": &p.Error, "distance": &p.Distance} {
		t, err := file.Get(name, safetensors.F64)
		if err != nil {
			return p, err
		}
		*dst = t.Floats64()
	}
	ids, err := file.Get("ids", safetensors.I64)
	if err != nil {
		return p, err
	}
	if p.IDs = ids.Ints(); len(ids.Shape) == 2 {
		p.K = ids.Shape[1]
	}
	if err := p.Check(); err != nil {
		return p, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return p, nil
}

func readTensors(path string) (*safetensors.File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return safetensors.Parse(b)
}
