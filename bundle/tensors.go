package bundle

import (
	"fmt"
	"os"
	"strings"

	"github.com/nlnctl/nlnctl/internal/safetensors"
	"github.com/nlnctl/nlnctl/nln"
)

// Names of tensors in the file of tables: the features of neighbours that have
// names of their own. What a network makes of reconstructions is called
// "reconstructions." and the network's name.
const (
	reconTensor   = "reconstructions"
	latentTensor  = "latents"
	spacingTensor = "spacing" // nln.Kept.Spacing
)

// Names of tensors in the calibration file; each space has two of its own, with
// its name added.
const (
	calibRecon    = "recon"
	calibDistance = "distance"
	calibSpacing  = "spacing"
	calibIDs      = "ids"
	calibDist     = "neighbor_distance"
	calibError    = "error."
	calibOwn      = "own."
)

func tensorName(f nln.Feature) string {
	switch {
	case f.Of == nln.OfLatent:
		return latentTensor
	case f.Network == "":
		return reconTensor
	}
	return reconTensor + "." + f.Network
}

func featureOf(tensor string) (nln.Feature, bool) {
	name, network, ok := strings.Cut(tensor, ".")
	switch {
	case name == reconTensor && ok == (network != ""):
		return nln.Feature{Of: nln.OfReconstruction, Network: network}, true
	case tensor == latentTensor:
		return nln.Feature{Of: nln.OfLatent}, true
	}
	return nln.Feature{}, false
}

// tableTensors returns the file of what is kept of n indexed images.
func tableTensors(kept nln.Kept, n int) *safetensors.File {
	f := &safetensors.File{Tensors: []safetensors.Tensor{
		{Name: spacingTensor, DType: safetensors.F32, Shape: []int{n, len(kept.Spacing) / n}, Data: safetensors.Bytes(kept.Spacing)},
	}}
	addTables(f, kept.Tables, tensorName)
	return f
}

// addTables adds tables to a file, those of bytes and some others of bytes last, or they
// would leave the rest unaligned.
func addTables(f *safetensors.File, tables []*nln.Table, name func(nln.Feature) string, bytes ...safetensors.Tensor) {
	for _, table := range tables {
		t := safetensors.Tensor{Name: name(table.Feature), Shape: []int{table.Len(), table.F}}
		if table.Kind == nln.CacheUint8 {
			t.DType, t.Data = safetensors.U8, table.U8
			bytes = append(bytes, t)
		} else {
			t.DType, t.Data = safetensors.F32, safetensors.Bytes(table.F32)
			f.Tensors = append(f.Tensors, t)
		}
	}
	f.Tensors = append(f.Tensors, bytes...)
}

// keptOf returns what the files of a bundle keep for scoring in some spaces: of
// tables its content, of which the result's tables are a part, and of calib the
// path.
func keptOf(tables []byte, calib string, spaces []string) (kept nln.Kept, err error) {
	file, err := safetensors.Parse(tables)
	if err == nil {
		err = tablesOf(file, &kept)
	}
	if err != nil {
		return kept, fmt.Errorf("%s: %w: %w", tablesFile, ErrDamaged, err)
	}
	if file, err = readTensors(calib); err == nil {
		kept.Calibration, err = calibrationOf(file, spaces)
	}
	if err != nil {
		return kept, fmt.Errorf("%s: %w: %w", calibrationFile, ErrDamaged, err)
	}
	return kept, nil
}

// tablesOf takes what is kept of the indexed images out of a file, with which the
// tables share memory.
func tablesOf(file *safetensors.File, kept *nln.Kept) error {
	for _, t := range file.Tensors {
		if t.Name == spacingTensor && t.DType == safetensors.F32 {
			kept.Spacing = t.Floats32()
			continue
		}
		feature, ok := featureOf(t.Name)
		if !ok {
			return fmt.Errorf("unknown tensor %q", t.Name)
		}
		if len(t.Shape) != 2 {
			return fmt.Errorf("tensor %q has the shape %v, want rows and columns", t.Name, t.Shape)
		}
		table := &nln.Table{Feature: feature, F: t.Shape[1]}
		switch t.DType {
		case safetensors.U8:
			table.Kind, table.U8 = nln.CacheUint8, t.Data
		case safetensors.F32:
			table.Kind, table.F32 = nln.CacheFloat32, t.View32()
		default:
			return fmt.Errorf("tensor %q has type %s, want U8 or F32", t.Name, t.DType)
		}
		kept.Tables = append(kept.Tables, table)
	}
	return nil
}

func calibrationTensors(p nln.Parts) *safetensors.File {
	n := p.Len()
	matrix := []int{n, p.K}
	f := &safetensors.File{Tensors: []safetensors.Tensor{
		{Name: calibRecon, DType: safetensors.F64, Shape: []int{n}, Data: safetensors.Bytes(p.Recon)},
		{Name: calibDistance, DType: safetensors.F64, Shape: matrix, Data: safetensors.Bytes(p.Distance)},
		{Name: calibSpacing, DType: safetensors.F64, Shape: matrix, Data: safetensors.Bytes(p.Spacing)},
		{Name: calibIDs, DType: safetensors.I64, Shape: matrix, Data: safetensors.Bytes(p.IDs)},
		{Name: calibDist, DType: safetensors.F32, Shape: matrix, Data: safetensors.Bytes(p.Dist)},
	}}
	for _, s := range p.Spaces {
		f.Tensors = append(f.Tensors,
			safetensors.Tensor{Name: calibError + s.Space, DType: safetensors.F64, Shape: matrix, Data: safetensors.Bytes(s.Mean)},
			safetensors.Tensor{Name: calibOwn + s.Space, DType: safetensors.F64, Shape: []int{n}, Data: safetensors.Bytes(s.Own)})
	}
	return f
}

// calibrationOf takes the parts of the calibration images in some spaces out of
// a file.
func calibrationOf(file *safetensors.File, spaces []string) (p nln.Parts, err error) {
	ids, err := file.Get(calibIDs, safetensors.I64)
	if err != nil {
		return p, err
	}
	if len(ids.Shape) == 2 {
		p.K = ids.Shape[1]
	}
	dist, err := file.Get(calibDist, safetensors.F32)
	if err != nil {
		return p, err
	}
	p.IDs, p.Dist = ids.Ints(), dist.Floats32()
	floats := func(name string) (v []float64) {
		t, e := file.Get(name, safetensors.F64)
		if e != nil {
			err = e
			return nil
		}
		return t.Floats64()
	}
	p.Recon, p.Distance, p.Spacing = floats(calibRecon), floats(calibDistance), floats(calibSpacing)
	if len(p.Recon) > 0 { // an uncalibrated scorer has no parts in any space
		for _, name := range spaces {
			p.Spaces = append(p.Spaces, nln.ErrorTerm{Space: name, Mean: floats(calibError + name), Own: floats(calibOwn + name)})
		}
	}
	if err != nil {
		return p, err
	}
	return p, p.Check()
}

func readTensors(path string) (*safetensors.File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return safetensors.Parse(b)
}
