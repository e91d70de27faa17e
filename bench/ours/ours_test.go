package main

import (
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/dataset"
)

func TestPicture(t *testing.T) {
	// Two rows, two columns; moved right by one, the left column is repeated.
	img := picture([]float32{0, 1, .2, .4}, dataset.Shape{C: 1, H: 2, W: 2}, 1, 0).(*image.Gray)
	for i, want := range []uint8{0, 0, 51, 51} {
		if img.Pix[i] != want {
			t.Fatalf("pixels %v", img.Pix)
		}
	}
	colour := picture([]float32{1, 0, .2}, dataset.Shape{C: 3, H: 1, W: 1}, 0, 0).(*image.NRGBA)
	for i, want := range []uint8{255, 0, 51, 255} {
		if colour.Pix[i] != want {
			t.Fatalf("pixels %v", colour.Pix)
		}
	}
}

// Files that are written are decoded to what they were made of.
func TestStagesDecode(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "p")
	if err := workload.WriteJSON(filepath.Join(dir, workload.MetaFile), workload.Meta{Shape: [3]int{1, 4, 4}, Queries: 2}); err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 32)
	for i := range x {
		x[i] = float32(i*8) / 255
	}
	if err := workload.WriteFloats(dir, workload.QueryFile, x); err != nil {
		t.Fatal(err)
	}
	if err := writePictures(dir, out, 30); err != nil {
		t.Fatal(err)
	}
	names, err := dataset.ImageFiles(out)
	if err != nil || len(names) != 30 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	pix, err := stages{pictures: out, threads: 2}.decode(names, dataset.Shape{C: 1, H: 4, W: 4}, dataset.Reading{})
	if err != nil {
		t.Fatal(err)
	}
	const still = 24 * 16 // image 24, moved by 24/2 = 12, the middle of 0..24
	for i := range 16 {
		if pix[still+i] != uint8(i*8) {
			t.Fatalf("image 24 is %v", pix[still:still+16])
		}
	}
	if _, err := (stages{dir: dir, pictures: out, threads: 1, passes: 1}).run(t.Context()); err == nil {
		t.Error("stages without a bundle")
	}
}

func TestReadRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows")
	const line = `{"image":"a<b.png","status":"ok","recon":0.1,"error":0.2,"distance":0.3,"local":1,"local_p":0.5,"score":0.4,"p":0.25,"novel":false,"threshold":null,"neighbors":[1],"neighbor_images":["x"],"model":"m"}` + "\n"
	os.WriteFile(path, []byte(line+line), 0o644)
	rows, err := readRows(path)
	if err != nil || len(rows) != 2 || rows[1].Score != .4 {
		t.Errorf("%+v, %v", rows, err)
	}
	os.WriteFile(path, []byte(`{"image":"a","status":"ok","more":1}`+"\n"), 0o644)
	if _, err := readRows(path); err == nil {
		t.Error("an unknown field: no error")
	}
}

func TestCycle(t *testing.T) {
	c := cycle{rows: []float32{0, 1, 2, 3, 4, 5}, dim: 2}
	for i, want := range []float32{0, 4, 0} {
		n := 2 - i%2
		if got := c.next(n); got[0] != want || len(got) != 2*n {
			t.Errorf("part %d: %v, want from %v on", i, got, want)
		}
	}
}
