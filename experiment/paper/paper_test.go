package paper

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
)

// find returns a cell of a table by the beginning of its row, joined by semicolons, and
// the name of its column.
func find(t *testing.T, r *Report, name, row, column string) string {
	t.Helper()
	for _, table := range r.Tables() {
		if table.Name != name {
			continue
		}
		at := -1
		for i, c := range table.Columns {
			if c.name() == column {
				at = i
			}
		}
		if at < 0 {
			t.Fatalf("%s has no column %q", name, column)
		}
		for _, x := range table.Rows {
			if x.Section == "" && strings.HasPrefix(strings.Join(x.Cells, ";")+";", row+";") {
				return x.Cells[at]
			}
		}
		t.Fatalf("%s has no row %q", name, row)
	}
	t.Fatalf("no table %s", name)
	return ""
}

// TestReport makes a whole report of cells whose values have a formula, and looks up
// numbers that the formula gives by hand.
func TestReport(t *testing.T) {
	r, err := Make(fakeRecords(), fakePictures(), Options{Title: "<Title> & more", Budget: "50% of a_budget"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ table, row, column, want string }{
		// L = 64, K = 3, alpha 0.7: 0.9, less 0.0225 for the classes, more 0.0012 for the seeds.
		{"table1-aurocs", "MNIST;AE", "tuned on test: NLN", "0.879 ± 0.002"},
		{"table1-choices", "MNIST;AE", "NLN, tuned on test: alpha (error)", "0.7"},
		{"table1-choices", "MNIST;AE", "NLN, tuned on test: 1 − alpha (distance)", "0.3"},
		{"table1-choices", "MNIST;AE", "NLN, left-out class, most chosen: alpha (error)", "0.6"},
		{"table1-choices", "MNIST;AE", "NLN, left-out class, most chosen: classes", "10 of 10"},
		// L = 16: 0.85, less 0.001 times 4.5, less 0.0213.
		{"table1-aurocs", "MNIST;AE", "tuned on test: recon.", "0.824 ± 0.002"},
		// L = 32, K = 3, alpha 0.8 where the best is 0.6: 0.9 - 0.02 - 0.004 - 0.0213.
		{"table1-aurocs", "MNIST;AE", "held out, fixed: NLN", "0.855 ± 0.002"},
		{"table1-aurocs", "MNIST;AE", "held out, fixed: recon.", "0.814 ± 0.002"},
		{"table1", "MNIST;AE", "published", "9.80"},
		{"table1", "MNIST;AE", "tuned on test: of NLN", "6.20 ± 0.01"}, // 100 (1 - 0.8242/0.8787)
		{"table1", "MNIST;AE", "tuned on test: of recon.", "6.61 ± 0.01"},
		{"table1", "CIFAR-10;AE", "held out, fixed: of NLN", "4.32 (4 of 10)"}, // 100 (1 - 0.831/0.8685)
		{"table1", "MNIST;VAE", "tuned on test: of NLN", missing},
		{"table1", "F-MNIST;AE", "published", "11.52"},
		{"table1", "F-MNIST;AE", "tuned on test: of NLN", missing},
		{"table1-tests", "MNIST;AE", "fixed: better", "10 of 10"},
		{"table1-tests", "MNIST;AE", "fixed: p", "0.002"},
		{"table1-tests", "CIFAR-10;AE", "fixed: p", "0.12"}, // 2/2^4
		{"table1-tests", "CIFAR-10;AE", "fixed: 95 % interval", missing},
		// AE-con, L = 32, K = 2, alpha 1: 0.9 - 0.02 - 0.004 - 0.009 - 0.0213 + 0.012.
		{"table3", "the published model, L, K and alpha", "MNIST", "0.858 ± 0.002"},
		// The same with alpha 0: 0.049 instead of 0.009.
		{"table3", "the same, alpha flipped", "MNIST", "0.818 ± 0.002"},
		{"table3", "the published model, L, K and alpha", "F-MNIST", missing},
		{"table3", "reconstruction error, AE", "CIFAR-10", "0.831 (4 of 10)"},
		{"table3", "local, AE", "MNIST", "0.824 ± 0.002"},
		{"table3", "DKNN [18]", "MNIST", "0.791"},
		{"table4", "CBiGAN [37]", "MNIST", missing},
		{"table4", "CBiGAN [37]", "MVTec-AD", "0.770"},
		// L = 128, K = 1, alpha 0.8: 0.9 - 0.02 - 0.008 - 0.004 + 0.009, less 0.005 times the mean of 0, 5 and 11.
		{"table4", "NLN, AE-res", "MVTec-AD", "0.850 (3 of 15)"},
		{"table5", "screw", "run here: NLN", "0.835"},
		{"table5", "screw", "run here: NLN, alpha flipped", "0.827"},
		{"table5", "screw", "run here: less the published", "−0.135, not reproduced"},
		{"table5", "wood", "run here: NLN", missing},
		{"table5", "mean of objects that ran (2 of 10)", "quoted from the paper: Ours", "0.96"},
		{"table5", "mean of objects that ran (2 of 10)", "run here: NLN", "0.850 (2 of 10)"},
		{"table6", "MNIST;published", "L_con", "0.913"},
		{"table6", "MNIST;over the test images", "L_NLN", "0.826 ± 0.002"},
		{"table6", "MNIST;less the published", "L_NLN", "+0.004, reproduced"},
		{"table6-classes", "MNIST;3;over the test images", "L_recon", "0.835 ± 0.002"},
	} {
		if got := find(t, r, c.table, c.row, c.column); got != c.want {
			t.Errorf("%s, %s, %s: %q, want %q", c.table, c.row, c.column, got, c.want)
		}
	}
	dir := filepath.Join(t.TempDir(), "new", "report")
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, r, dir)
}

// checkFiles reads all that a report wrote.
func checkFiles(t *testing.T, r *Report, dir string) {
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, table := range r.Tables() {
		rows, err := csv.NewReader(bytes.NewReader(read(table.Name + ".csv"))).ReadAll()
		if err != nil || len(rows) < 2 {
			t.Errorf("%s.csv: %d rows, %v", table.Name, len(rows), err)
		}
	}
	rows, err := csv.NewReader(bytes.NewReader(read("results.csv"))).ReadAll()
	if err != nil || len(rows) < len(fakeRecords()) {
		t.Errorf("results.csv: %d rows, %v", len(rows), err)
	}
	for _, name := range []string{"figure1", "figure3", "figure4", "figure5", "figure6"} {
		img, err := png.Decode(bytes.NewReader(read(name + ".png")))
		if err != nil {
			t.Fatalf("%s.png: %v", name, err)
		}
		colours := map[any]bool{}
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				colours[img.At(x, y)] = true
			}
		}
		if img.Bounds().Dx() < 300 || len(colours) < 10 {
			t.Errorf("%s.png: %v with %d colours", name, img.Bounds(), len(colours))
		}
		wellFormed(t, name+".svg", read(name+".svg"))
	}
	page := read("report.html")
	wellFormed(t, "report.html", bytes.ReplaceAll(page, []byte("<!DOCTYPE html>"), nil))
	for _, banned := range []string{"<script", "http://", "<Title>", "ZgotmplZ"} {
		if bytes.Contains(bytes.ReplaceAll(page, []byte("http://www.w3.org"), nil), []byte(banned)) {
			t.Errorf("report.html has %q", banned)
		}
	}
	for name, want := range map[string]string{
		"report.tex": `50\% of a\_budget`, "report.md": `50% of a\_budget`, "report.html": "50% of a_budget",
	} {
		if !bytes.Contains(read(name), []byte(want)) {
			t.Errorf("%s does not have the budget %q", name, want)
		}
	}
}

func wellFormed(t *testing.T, name string, data []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(data))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Errorf("%s is not well formed: %v", name, err)
			return
		}
	}
}

// TestSame makes sure that nothing of a report hangs on the order of a map.
func TestSame(t *testing.T) {
	var first []file
	for i := range 2 {
		r, err := Make(fakeRecords(), nil, Options{Artefacts: []string{"table1", "table3", "table6", "figure6"}})
		if err != nil {
			t.Fatal(err)
		}
		files, err := r.render()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = files
			continue
		}
		for j, f := range files {
			var a, b bytes.Buffer
			if err := first[j].write(&a); err != nil {
				t.Fatal(err)
			}
			if err := f.write(&b); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Errorf("%s differs between two calls", f.name)
			}
		}
	}
}

// TestNothing makes a report without records, which says what each artefact needs.
func TestNothing(t *testing.T) {
	r, err := Make(nil, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(r.Absent()), len(Artefacts()); got != want || len(r.Tables()) != 0 {
		t.Errorf("%d absent, %d tables, want %d and 0", got, len(r.Tables()), want)
	}
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil || !strings.Contains(string(text), "needs cells of MVTec-AD") {
		t.Errorf("report.md: %v\n%s", err, text)
	}
}

// TestOneCell makes sure that a first cell is enough for a report.
func TestOneCell(t *testing.T) {
	rec := fakeRecord(experiment.Cell{Data: mnist, Protocol: dataset.MISO, Class: "4", Method: ae, Latent: 32})
	r, err := Make([]experiment.Record{rec}, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := find(t, r, "table1", "MNIST;AE", "held out, left-out class: of NLN"); got != missing {
		t.Errorf("left-out class of one class: %q", got)
	}
	if got := find(t, r, "table1-tests", "MNIST;AE", "fixed: p"); got != "1" {
		t.Errorf("p of one class: %q, want 1", got)
	}
	if err := r.Write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

func TestMakeRefuses(t *testing.T) {
	if _, err := Make(nil, nil, Options{Artefacts: []string{"figure2"}}); err == nil || !strings.Contains(err.Error(), `no artefact "figure2"`) {
		t.Errorf("figure2: %v", err)
	}
	e := fakePictures()[0]
	e.Images[0].ErrorMap = e.Images[0].ErrorMap[1:]
	if _, err := Make(nil, []experiment.Examples{e}, Options{}); err == nil || !strings.Contains(err.Error(), "have 783 values, want 784") {
		t.Errorf("a map that is too short: %v", err)
	}
}

func TestHeat(t *testing.T) {
	for v, want := range map[float64][3]uint8{
		-1: {0, 0, 0}, 0: {0, 0, 0}, .5: {191, 0, 0}, .75: {255, 128, 0}, 1: {255, 255, 255}, 9: {255, 255, 255},
	} {
		if c := heat(v); [3]uint8{c.R, c.G, c.B} != want {
			t.Errorf("heat(%v) is %v, want %v", v, c, want)
		}
	}
	s := dataset.Shape{C: 1, H: 1, W: 2}
	m := mapOf(s, []float32{3, 4}, nln.Range{Min: 2, Max: 6}, .25, .5)
	if a, b := m.RGBAAt(0, 0), m.RGBAAt(m.Bounds().Dx()-1, 0); a != heat(0) || b != heat(1) {
		t.Errorf("a quarter and half of the range are %v and %v, want the ends of the colours", a, b)
	}
	if flat := mapOf(s, []float32{3, 3}, nln.Range{Min: 3, Max: 3}, .35, .5); flat.RGBAAt(0, 0) != heat(0) {
		t.Error("an empty range is not black")
	}
}

func TestReduce(t *testing.T) {
	s := dataset.Shape{C: 3, H: 4 * cellPixels, W: 2 * cellPixels}
	pix := make([]float32, s.Len())
	for i := range pix {
		pix[i] = float32(i%2) * .5 // columns of 0 and 0.5
	}
	img := pictureOf(s, pix)
	if got := img.Bounds().Size(); got.Y != cellPixels || got.X != cellPixels/2 {
		t.Errorf("reduced to %v", got)
	}
	if c := img.RGBAAt(5, 5); math.Abs(float64(c.R)-64) > 1 {
		t.Errorf("the mean of 0 and 128 is %d", c.R)
	}
}

// Cells with settings of this program are in a table of their own, and in none of the
// paper's.
func TestBeyond(t *testing.T) {
	r, err := Make(fakeRecords(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const row = "MNIST MISO;AE, L = 32;views = 4, whiten = true"
	var recon float64 // of three classes
	for class := range 3 {
		recon += fakeRecon(experiment.Cell{Data: mnist, Protocol: dataset.MISO, Class: strconv.Itoa(class), Method: ae, Latent: 32}) / 3
	}
	for column, want := range map[string]float64{"recon.": recon, "distance, K = 5": recon - .05, "local, K = 10": recon + .01, "product, K = 5": recon + .02} {
		if got := find(t, r, "beyond", row, column); got != rate(want)+" (3 of 10)" {
			t.Errorf("%s: %q, want %s of 3 classes", column, got, rate(want))
		}
	}
	if got := find(t, r, "beyond-classes", "MNIST;2;"+strings.ReplaceAll(row, ";", ", "), "recon."); got != rate(fakeRecon(experiment.Cell{Data: mnist, Class: "2", Latent: 32, Method: ae})) {
		t.Errorf("class 2: %q", got)
	}
	var apart []experiment.Record
	for _, rec := range fakeRecords() {
		if rec.Cell.Settings == nil {
			apart = append(apart, rec)
		}
	}
	alone, err := Make(apart, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range alone.Tables() {
		i := slices.IndexFunc(r.Tables(), func(other Table) bool { return other.Name == table.Name })
		if i < 0 || !reflect.DeepEqual(r.Tables()[i], table) {
			t.Errorf("%s is another with cells of own settings beside", table.Name)
		}
	}
}
