package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listDir returns a folder with grey images, masks and a list of some text.
func listDir(t testing.TB, name, text string) (file string) {
	t.Helper()
	dir := t.TempDir()
	for i, n := range []string{"a.png", "deep/b.png", "c.png", "d.png"} {
		writeGrey(t, filepath.Join(dir, "images", filepath.FromSlash(n)), uint8(i+1))
	}
	mask := image.NewGray(image.Rect(0, 0, 3, 2))
	mask.Pix[4] = 1
	writeFile(t, filepath.Join(dir, "masks", "c.png"), encodePNG(t, mask))
	file = filepath.Join(dir, name)
	writeFile(t, file, []byte(text))
	return file
}

const (
	oneCSV = "path,label,mask\nimages/c.png,crack,masks/c.png\nimages/a.png,good,\n\n\"images/deep/b.png\",bent,\n"
	// The same images, in JSON.
	oneJSONL = `{"path": "images/c.png", "label": "crack", "mask": "masks/c.png"}
{"path":"images/a.png","label":"good","mask":null}

{"label":"bent","path":"images/deep/b.png"}`
)

func TestOpenList(t *testing.T) {
	for name, text := range map[string]string{"x.csv": oneCSV, "X.CSV": "\ufeff" + strings.ReplaceAll(oneCSV, "\n", "\r\n"), "x.jsonl": oneJSONL} {
		file := listDir(t, name, text)
		for _, spec := range []string{"list:" + file, file} {
			sp, err := Open(spec)
			if err != nil {
				t.Fatal(name, err)
			}
			s := sp.Test
			if !sp.Single() || sp.Kind != "list" || !slices.Equal(s.Names, []string{"images/c.png", "images/a.png", "images/deep/b.png"}) || s.Scale != Scale255 {
				t.Errorf("%s: single %v, kind %s, names %q", name, sp.Single(), sp.Kind, s.Names)
			}
			if !slices.Equal(s.Classes, []string{"good", "bent", "crack"}) || !slices.Equal(s.Labels, []int{2, 0, 1}) {
				t.Errorf("%s: classes %q, labels %v", name, s.Classes, s.Labels)
			}
			if s.Image(0)[0] != 3 || s.Image(1)[0] != 1 || s.Image(2)[0] != 2 {
				t.Errorf("%s: pixels %v", name, s.Pix)
			}
			if !bytes.Equal(s.Masks[0], []byte{0, 0, 0, 0, 1, 0}) || s.Masks[1] != nil || s.Masks[2] != nil {
				t.Errorf("%s: masks %v", name, s.Masks)
			}
			task, err := sp.Task(Defects, "")
			if err != nil || !slices.Equal(task.Inliers, []int{1}) || !slices.Equal(task.Novel, []bool{true, false, true}) {
				t.Errorf("%s: task %+v, %v", name, task, err)
			}
		}
	}
}

func TestListSplits(t *testing.T) {
	const text = "label,split,path,lighting\nnormal,train,images/a.png,x\n,test,images/c.png,y\n,test,images/d.png,x\nnormal,train,images/deep/b.png,\n"
	file := listDir(t, "x.csv", text)
	sp, err := Open("list:" + file)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sp.Train.Names, []string{"images/a.png", "images/deep/b.png"}) || !slices.Equal(sp.Train.Labels, []int{0, 0}) {
		t.Errorf("train %q, %v", sp.Train.Names, sp.Train.Labels)
	}
	if !slices.Equal(sp.Test.Names, []string{"images/c.png", "images/d.png"}) || sp.Test.Labels != nil || sp.Test.Masks != nil || sp.Single() {
		t.Errorf("test %q, %v", sp.Test.Names, sp.Test.Labels)
	}
	if notes := sp.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "lighting mean nothing") {
		t.Errorf("notes %q", notes)
	}
	paths, err := Reading{}.ListFiles(file)
	if want := []string{filepath.Join(filepath.Dir(file), "images", "c.png"), filepath.Join(filepath.Dir(file), "images", "d.png")}; err != nil || !slices.Equal(paths, want) {
		t.Errorf("files %q, %v, want %q", paths, err, want)
	}
	if sp, err = (Reading{Exclude: []string{"images/?.png"}}).Open("list:" + file); err != nil || sp.Test != nil || sp.Train.Len() != 1 {
		t.Errorf("train images alone: %+v, %v", sp, err)
	}
	if _, err := (Reading{Exclude: []string{"images/?.png"}}).ListFiles(file); err == nil || !strings.Contains(err.Error(), "split test") {
		t.Errorf("no test images to score: %v", err)
	}
}

// Paths may be absolute, labels numbers, and a list may have nothing but paths.
func TestListForms(t *testing.T) {
	dir := t.TempDir()
	writeGrey(t, filepath.Join(dir, "a.png"), 7)
	file := listDir(t, "x.jsonl", fmt.Sprintf("{\"path\": %q, \"label\": 3}\n{\"path\": \"./images/../images/a.png\", \"label\": 10}\n", filepath.Join(dir, "a.png")))
	sp, err := Open(file)
	if err != nil || sp.Train.Image(0)[0] != 7 || !slices.Equal(sp.Train.Classes, []string{"10", "3"}) || !slices.Equal(sp.Train.Labels, []int{1, 0}) {
		t.Errorf("%+v, %v", sp, err)
	}
	if _, err := sp.Task(Defects, ""); err == nil || !strings.Contains(err.Error(), "a class good or normal") {
		t.Errorf("defects without a normal class: %v", err)
	}
	sp, err = Open("list:" + listDir(t, "x.csv", "PATH \nimages/a.png\n"))
	if err != nil || sp.Train.Labels != nil || sp.Train.Classes != nil || sp.Train.Masks != nil {
		t.Errorf("%+v, %v", sp, err)
	}
}

func TestListErrors(t *testing.T) {
	const head = "path,label,mask,split\n"
	for _, c := range []struct{ name, text, says string }{
		{"x.csv", "", "the list is empty"},
		{"x.csv", head, "holds no image files"},
		{"x.csv", "images/a.png,good\n", `line 1: no column "path"; the first line has to name the columns`},
		{"x.csv", "file,label\nimages/a.png,good\n", `is "file,label"`},
		{"x.csv", "path,label,path\na,b,c\n", `line 1: column "path" is there twice`},
		{"x.csv", head + "images/a.png,good,,\nimages/c.png,good\n", "line 3: another number of columns"},
		{"x.csv", head + "images/a.png,\"go\"od,,\n", `line 2: column 17: extraneous or missing " in quoted-field`},
		{"x.csv", head + ",good,,\n", `line 2: no value for "path"`},
		{"x.csv", head + "images/a.png,good,,\n\nimages/gone.png,good,,\n", "line 4: dataset: read image: open "},
		{"x.csv", head + "images/a.png,good,,\nimages/c.png,,,\n", `line 3: no value for "label", line 2 has one`},
		{"x.csv", head + "images/a.png,,,\nimages/c.png,,,\nimages/d.png,bad,,\n", `line 2: no value for "label", line 4 has one`},
		{"x.csv", head + "images/a.png,good,,dev\n", `line 2: split is "dev", want train or test`},
		{"x.csv", head + "images/a.png,good,,train\nimages/c.png,good,,\n", `line 3: split is "", in line 2 it is "train"`},
		{"x.csv", head + "images/a.png,good,masks/gone.png,\n", "line 2: mask: dataset: read image: open "},
		{"x.csv", head + "images/a.png,good,x.csv,\n", "line 2: mask: "},
		{"x.csv", head + "x.csv,good,,\n", "line 2: dataset: "},
		{"x.jsonl", "\n\n", "the list is empty"},
		{"x.jsonl", "{\"path\":\"images/a.png\"}\n{\"path\":", "line 2: no JSON object: unexpected end"},
		{"x.jsonl", `["images/a.png"]`, "line 1: no JSON object"},
		{"x.jsonl", `{"path":"images/a.png","label":["x"]}`, `line 1: "label" is ["x"], want a text`},
		{"x.jsonl", `{"file":"images/a.png"}`, `line 1: no value for "path"`},
		{"x.jsonl", "{}\n" + strings.Repeat(" ", maxListLine), "line 2: longer than"},
		{"x.txt", "images/a.png\n", "neither in .csv nor in .jsonl"},
	} {
		file := listDir(t, c.name, c.text)
		_, err := Open("list:" + file)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: error %v, want one with %q", c.text[:min(len(c.text), 80)], err, c.says)
		}
	}
	file := listDir(t, "x.csv", "path\nimages/gone.png\n")
	if _, err := Open(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is not there: %v", err)
	}
	if _, err := Open("list:" + filepath.Join(filepath.Dir(file), "gone.csv")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a list that is not there: %v", err)
	}
}

// Whatever a list holds, it is refused with an error or its rows have paths.
func FuzzList(f *testing.F) {
	f.Add(true, []byte(oneCSV))
	f.Add(false, []byte(oneJSONL))
	f.Add(true, []byte("path,label\n\"a\nb\",x\n"))
	f.Add(false, []byte(`{"path":"a","split":"test"}`+"\n"+`{"path":"b","split":"train"}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, csv bool, text []byte) {
		file := filepath.Join(dir, "x.jsonl")
		if csv {
			file = filepath.Join(dir, "x.csv")
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := readList(file, Reading{})
		if err != nil {
			if !strings.Contains(err.Error(), file) {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		last := 0
		for _, row := range l.rows {
			if row.path == "" || row.line <= last {
				t.Errorf("row %+v behind line %d", row, last)
			}
			last = row.line
		}
		train, test, split := l.splits()
		if split && len(train)+len(test) != len(l.rows) {
			t.Errorf("%d and %d of %d rows", len(train), len(test), len(l.rows))
		}
	})
}
