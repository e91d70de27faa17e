package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/models"
)

func TestLossList(t *testing.T) {
	for want, losses := range map[string][]models.Loss{
		"recon 0.25": {{Name: "recon", Value: .25}},
		"recon 0.1, kl 3, discriminator 0.5": {
			{Name: "vae", Value: 103}, {Name: "vae/recon", Value: .1}, {Name: "vae/kl", Value: 3}, {Name: "discriminator", Value: .5},
		},
		"": nil,
	} {
		if got := lossList(losses); got != want {
			t.Errorf("losses %v are shown as %q, want %q", losses, got, want)
		}
	}
}

func TestRemaining(t *testing.T) {
	for _, c := range []struct {
		elapsed     time.Duration
		done, total int
		want        time.Duration
	}{{10 * time.Second, 5, 20, 30 * time.Second}, {time.Minute, 4, 4, 0}, {time.Second, 0, 9, 0}, {1400 * time.Millisecond, 1, 2, time.Second}} {
		if got := remaining(c.elapsed, c.done, c.total); got != c.want {
			t.Errorf("%d of %d done after %v: %v left, want %v", c.done, c.total, c.elapsed, got, c.want)
		}
	}
}

// A log has a row of means for every so many steps, however long the training
// and whether or not it was interrupted.
func TestTrainingLog(t *testing.T) {
	const steps = 1200 // three a row
	add := func(l *trainingLog, step int) {
		v := float64(step)
		l.add(models.Progress{Step: step, Steps: steps, Epoch: 1 + step/500, Losses: []models.Loss{{Name: "a", Value: v}, {Name: "a/b", Value: -v}}})
	}
	whole, cut := new(trainingLog), new(trainingLog)
	for step := 1; step <= steps; step++ {
		add(whole, step)
		add(cut, step)
		if step == 700 { // in the middle of a row
			note, err := cut.note()
			if err != nil {
				t.Fatal(err)
			}
			cut = new(trainingLog)
			if err := cut.recall(note); err != nil {
				t.Fatal(err)
			}
		}
	}
	var a, b bytes.Buffer
	if err := whole.writeCSV(&a); err != nil {
		t.Fatal(err)
	}
	if err := cut.writeCSV(&b); err != nil {
		t.Fatal(err)
	}
	if a.String() != b.String() {
		t.Error("an interrupted training has another log")
	}
	rows := strings.Split(strings.TrimSpace(a.String()), "\n")
	if len(rows) != 401 || rows[0] != "step,epoch,a,a/b" || rows[1] != "3,1,2,-2" || rows[400] != "1200,3,1199,-1199" {
		t.Errorf("%d rows, %q, %q to %q", len(rows), rows[0], rows[1], rows[len(rows)-1])
	}
	for _, note := range []string{"", "[]", `{"Curves":[{"Name":"a","Values":[1]}],"Sums":[0]}`, `{"Curves":[{"Name":"a"}]}`} {
		if err := new(trainingLog).recall(note); err == nil {
			t.Errorf("note %q: no error", note)
		}
	}
}
