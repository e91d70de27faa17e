package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
)

// literalJSON is what encoding/json writes for a row.
func literalJSON(r *row) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return b.Bytes(), err
}

func sameJSON(t *testing.T, r *row) {
	t.Helper()
	var b bytes.Buffer
	err := (&jsonRows{w: &b}).put(r)
	want, wantErr := literalJSON(r)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v, encoding/json: %v", err, wantErr)
	}
	if err == nil && !bytes.Equal(b.Bytes(), want) {
		t.Fatalf("row\n%swant\n%s", b.Bytes(), want)
	}
}

func TestRowJSONIsEncodingJSON(t *testing.T) {
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, 0))
	texts := []string{"", "a/b c.png", `quoted "x" \ back`, "<&>", "tab\t", "Grüße.png", "\u2028", "\xff\xfe", "\x7f", "日本"}
	text := func() string { return texts[rng.IntN(len(texts))] }
	floats := []float64{0, math.Copysign(0, -1), 1, -1, .1, 1e-6, 9.999e-7, 1e-7, 1.5e-9, 1e-10, 1e20, 1e21, 1.5e21, 1e100, 5e-324, math.MaxFloat64, -1e-9, 123456789}
	float := func() float64 {
		if rng.IntN(2) == 0 {
			return floats[rng.IntN(len(floats))]
		}
		return rng.NormFloat64() * math.Pow(10, float64(rng.IntN(60)-30))
	}
	for range 5000 {
		r := &row{Image: text(), Status: text(), Reason: text(), Model: text()}
		if rng.IntN(4) > 0 {
			n := &numbers{Recon: float(), Error: float(), Distance: float(), Local: float(), LocalP: float(), Score: float(), P: float(), Novel: rng.IntN(2) == 0}
			if rng.IntN(2) == 0 {
				threshold, within := float(), rng.IntN(9)
				n.Threshold, n.Within = &threshold, &within
			}
			if k := rng.IntN(5) - 1; k >= 0 {
				n.Neighbors, n.NeighborImages = []int64{}, []string{}
				for range k {
					n.Neighbors, n.NeighborImages = append(n.Neighbors, rng.Int64()-1<<62), append(n.NeighborImages, text())
				}
			}
			r.numbers = n
		}
		sameJSON(t, r)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		sameJSON(t, &row{numbers: &numbers{P: bad}})
	}
}

func FuzzRowJSON(f *testing.F) {
	f.Add("a.png", "why", 1e-7, int64(3))
	f.Fuzz(func(t *testing.T, name, reason string, v float64, id int64) {
		sameJSON(t, &row{Image: name, Status: statusOK, Reason: reason, Model: "m",
			numbers: &numbers{Recon: v, Threshold: &v, Neighbors: []int64{id}, NeighborImages: []string{name, reason}}})
	})
}

func BenchmarkRow(b *testing.B) {
	threshold := 0.81612345
	r := &row{Image: "new-parts/00/00017.png", Status: statusOK, Model: "6070f2ab6070f2ab6070f2ab6070f2ab6070f2ab6070f2ab6070f2ab6070f2ab",
		numbers: &numbers{Recon: .134123, Error: .13451, Distance: 12.0123, Local: .341, LocalP: .2, Score: .417, P: .429, Threshold: &threshold,
			Neighbors: []int64{19, 37, 52}, NeighborImages: []string{"mnist/train/19", "mnist/train/37", "mnist/train/52"}}}
	b.Run("appended", func(b *testing.B) {
		var line []byte
		for b.Loop() {
			line, _ = r.appendJSON(line[:0])
		}
	})
	b.Run("encoding", func(b *testing.B) {
		var buf bytes.Buffer
		e := json.NewEncoder(&buf)
		e.SetEscapeHTML(false)
		for b.Loop() {
			buf.Reset()
			e.Encode(r)
		}
	})
}
