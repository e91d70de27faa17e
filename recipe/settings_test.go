package recipe

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/models"
)

// Whatever a configuration file holds, it is refused with its name or gives
// settings that, printed and read again, are the same.
func FuzzReadConfig(f *testing.F) {
	for _, text := range []string{
		"", "# nothing", "latent: 8\nloss: bce\n", "latnet: 8", "latent: many", "latent:\n", "latent: 8\nlatent: 9", "a: 1\n---\nb: 2",
		"[1, 2]", "latent: &x 8\nbatch: *x", "? [a]\n: 1", "<<: {latent: 8}", "space: eq8\nmetric: l1mean", "radius: inf", "lr: .nan",
		"alpha: 0.25\nalpha_orientation: flipped", "seed: 18446744073709551615", "filters: ''", "scale: \"\"", "loss: !!int 5", "\xff\xfe", "latent: 8\x00",
		"space: \"a: b # c\"", "space: 'tr\"ue'", "epochs: 3", "neighbors: 40",
	} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	set := &dataset.Set{Size: dataset.Shape{C: 1, H: 28, W: 28}}
	f.Fuzz(func(t *testing.T, text []byte) {
		resolve := func(name string, text []byte) (*Settings, Request, error) {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			opt := Request{Preset: "fast", Arch: models.ArchAECon, File: path}
			s, _, err := opt.Resolve(set.Size)
			return s, opt, err
		}
		s, opt, err := resolve("first", text)
		if err != nil {
			if !strings.Contains(err.Error(), opt.File) && !strings.HasPrefix(err.Error(), "models: ") {
				t.Errorf("error does not name the file: %v", err)
			}
			return
		}
		var printed bytes.Buffer
		if err := opt.Print(&printed, set); err != nil {
			t.Fatal(err)
		}
		again, _, err := resolve("second", printed.Bytes())
		if err != nil {
			t.Fatalf("what was printed is refused: %v\n%s", err, &printed)
		}
		for i, a := range s.table() {
			b := again.table()[i]
			ours := a.archs == nil || strings.Contains(strings.Join(a.archs, " "), models.ArchAECon)
			if ours && a.String() != b.String() {
				t.Errorf("%s is %s, read again %s", a.name, a, b)
			}
		}
	})
}
