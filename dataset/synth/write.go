package synth

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
)

// markerFile lies in each folder that this package has written. It says what
// made the set, and that its files are no one's own.
const markerFile = "synth.json"

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".synth-"

// A marker is the content of markerFile. Format changes when the same options
// no longer give the same pixels.
type marker struct {
	Format  int    `json:"format"`
	Layout  string `json:"layout"` // "idx" or "mvtec"
	Options any    `json:"options"`
}

const markerFormat = 1

// WriteIDX makes the set of o and writes it to dir as gzip IDX files under
// MNIST's official names, so that mnist:dir opens it: two files if there are
// no test images, else four. The option Channels must be 1, as IDX files of
// images have no colour.
//
// Dir is made if need be. A folder that is not empty is refused, unless all
// that it holds is a set that WriteIDX wrote, whose files are then replaced one
// by one, each whole. Nothing is ever deleted.
func WriteIDX(dir string, o Options) error {
	if o.Channels == 3 {
		return fmt.Errorf("synth: idx files hold one channel, have 3")
	}
	sp, err := Generate(o)
	if err != nil {
		return err
	}
	files := make(map[string][]byte)
	for prefix, s := range map[string]*dataset.Set{"train": sp.Train, "t10k": sp.Test} {
		if s == nil {
			continue
		}
		var images, labels bytes.Buffer
		if err := dataset.WriteIDX(&images, s.Pix, s.Size); err != nil {
			return fmt.Errorf("synth: %w", err)
		}
		if err := dataset.WriteIDXLabels(&labels, s.Labels); err != nil {
			return fmt.Errorf("synth: %w", err)
		}
		files[prefix+"-images-idx3-ubyte.gz"] = zipped(images.Bytes())
		files[prefix+"-labels-idx1-ubyte.gz"] = zipped(labels.Bytes())
	}
	return writeFiles(dir, marker{markerFormat, "idx", o}, files)
}

// zipped compresses in memory, which cannot fail. No time or name is stored.
func zipped(data []byte) []byte {
	var buf bytes.Buffer
	w, _ := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	w.Write(data)
	w.Close()
	return buf.Bytes()
}

// WriteMVTec makes the set of o and writes it to dir, which becomes one
// category, as PNG files in the layout of MVTec AD: train/good, test/good,
// test/KIND for each of [Defects], ground_truth/KIND/NNN_mask.png, and
// test/class-N for novel classes, without masks. mvtec:dir opens it. What is
// said of dir at [WriteIDX] holds here too.
func WriteMVTec(dir string, o InspectionOptions) error {
	sp, err := GenerateInspection(o)
	if err != nil {
		return err
	}
	files := make(map[string][]byte)
	for _, s := range []*dataset.Set{sp.Train, sp.Test} {
		if s == nil {
			continue
		}
		for i := range s.Len() {
			name := s.ImageName(i)
			if files[name], err = encodePNG(s.Image(i), s.Size); err != nil {
				return fmt.Errorf("synth: encode %s: %w", name, err)
			}
			if s.Masks[i] == nil {
				continue
			}
			rest := strings.TrimPrefix(name, "test/")
			name = "ground_truth/" + strings.TrimSuffix(rest, ".png") + "_mask.png"
			if files[name], err = encodePNG(s.Masks[i], dataset.Shape{C: 1, H: s.Size.H, W: s.Size.W}); err != nil {
				return fmt.Errorf("synth: encode %s: %w", name, err)
			}
		}
	}
	return writeFiles(dir, marker{markerFormat, "mvtec", o}, files)
}

// encodePNG encodes planar pixels, grey or RGB.
func encodePNG(pix []uint8, size dataset.Shape) ([]byte, error) {
	n := size.H * size.W
	var img image.Image
	if size.C == 1 {
		img = &image.Gray{Pix: pix, Stride: size.W, Rect: image.Rect(0, 0, size.W, size.H)}
	} else {
		m := image.NewRGBA(image.Rect(0, 0, size.W, size.H))
		for i := range n {
			m.Pix[4*i], m.Pix[4*i+1], m.Pix[4*i+2], m.Pix[4*i+3] = pix[i], pix[n+i], pix[2*n+i], 0xff
		}
		img = m
	}
	var buf bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestCompression}
	err := enc.Encode(&buf, img)
	return buf.Bytes(), err
}

// writeFiles writes files, named by slash-separated paths, under dir. The
// marker comes first: what an interrupted run leaves can be written over.
func writeFiles(dir string, m marker, files map[string][]byte) error {
	if err := checkTarget(dir, m, files); err != nil {
		return err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, markerFile), append(data, '\n')); err != nil {
		return err
	}
	for name, data := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			return fmt.Errorf("synth: %w", err)
		}
		if err := replaceFile(file, data); err != nil {
			return err
		}
	}
	return nil
}

// checkTarget refuses a folder that holds anything but a set of the same
// layout by this package, or files of such a set that would stay beside the new
// ones.
func checkTarget(dir string, m marker, files map[string][]byte) error {
	info, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return fmt.Errorf("synth: %w", err)
	case !info.IsDir():
		return fmt.Errorf("synth: %s is a file, want a folder", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	if len(entries) == 0 {
		return nil
	}
	var old marker
	data, err := os.ReadFile(filepath.Join(dir, markerFile))
	if err != nil || json.Unmarshal(data, &old) != nil {
		return fmt.Errorf("synth: %s is not empty and holds no synthetic set (no %s): name another folder", dir, markerFile)
	}
	if old.Layout != m.Layout {
		return fmt.Errorf("synth: %s holds a synthetic set of layout %s, not %s: name another folder", dir, old.Layout, m.Layout)
	}
	return fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("synth: %w", err)
		}
		if _, ours := files[name]; ours || d.IsDir() || name == markerFile || strings.HasPrefix(path.Base(name), tempPrefix) {
			return nil
		}
		return fmt.Errorf("synth: %s holds %s, which is not part of the new set and would be mixed with it: name another folder", dir, name)
	})
}

// replaceFile puts data at name, all of it or nothing.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	temp := f.Name()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf("synth: write %s: %w", name, err)
	}
	return nil
}

// cifarBatches is how many files CIFAR-10's training images are in.
const cifarBatches = 5

// WriteCIFAR makes the set of o and writes it to dir as CIFAR-10's binary version, so
// that cifar-10:dir opens it. The options Size and Channels must be 32 and 3, and there
// must be test images. What is said of dir at [WriteIDX] holds here too.
func WriteCIFAR(dir string, o Options) error {
	if o.Size != 32 || o.Channels != 3 {
		return fmt.Errorf("synth: cifar-10 files hold 3x32x32, have %dx%dx%d", o.Channels, o.Size, o.Size)
	}
	sp, err := Generate(o)
	if err != nil {
		return err
	}
	if sp.Test == nil || sp.Train.Len() < cifarBatches {
		return fmt.Errorf("synth: cifar-10 needs test images and at least %d training images", cifarBatches)
	}
	files := map[string][]byte{"test_batch.bin": records(sp.Test, 0, sp.Test.Len())}
	for b := range cifarBatches {
		n := sp.Train.Len()
		files[fmt.Sprintf("data_batch_%d.bin", b+1)] = records(sp.Train, b*n/cifarBatches, (b+1)*n/cifarBatches)
	}
	return writeFiles(dir, marker{markerFormat, "cifar-10", o}, files)
}

// records returns images lo up to, not including, hi as CIFAR-10 has them: the label,
// then the planes.
func records(s *dataset.Set, lo, hi int) (b []byte) {
	for i := lo; i < hi; i++ {
		b = append(b, byte(s.Labels[i]))
		b = append(b, s.Image(i)...)
	}
	return b
}

// WriteAll makes small sets of the kinds that the paper's experiments are on, below dir:
// mnist, fashion-mnist, cifar-10 and mvtec/symbols.
func WriteAll(dir string, seed uint64) error {
	grey, colour, parts := DefaultOptions(), DefaultOptions(), DefaultInspection()
	grey.TrainPerClass, grey.TestPerClass, grey.Seed = 200, 80, seed
	colour.TrainPerClass, colour.TestPerClass, colour.Seed = 200, 80, seed+1
	colour.Size, colour.Channels = 32, 3
	parts.Size, parts.Train, parts.Good, parts.Each, parts.Seed = 128, 40, 12, 4, seed+2
	err := WriteIDX(filepath.Join(dir, "mnist"), grey)
	if err == nil {
		grey.Seed = seed + 3
		err = WriteIDX(filepath.Join(dir, "fashion-mnist"), grey)
	}
	if err == nil {
		err = WriteCIFAR(filepath.Join(dir, "cifar-10"), colour)
	}
	if err == nil {
		err = WriteMVTec(filepath.Join(dir, "mvtec", "symbols"), parts)
	}
	return err
}
