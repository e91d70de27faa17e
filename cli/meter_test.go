package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	for _, c := range []struct {
		before, done, total int
		took                time.Duration
		want                string
	}{
		{0, 500, 2000, time.Second, "scored 500 of 2000 images, 500 images/s, 3s left"},
		{1000, 500, 2000, 2 * time.Second, "scored 1500 of 2000 images, 250 images/s, 2s left"},
		{0, 7, 7, time.Minute, "scored 7 of 7 images, 0 images/s, 0s left"},
	} {
		if got := progress(c.before, c.done, c.total, c.took); got != c.want {
			t.Errorf("progress %q, want %q", got, c.want)
		}
	}
}

// A terminal has one line that changes, a file plain lines now and then, and quiet
// nothing.
func TestMeter(t *testing.T) {
	for name, c := range map[string]struct {
		terminal, quiet bool
		want            string
	}{
		"terminal": {true, false, "begin\n\r\x1b[K1 of 2\r\x1b[K2 of 2\r\x1b[Kend\n"},
		"file":     {false, false, "begin\n1 of 2\n2 of 2\nend\n"},
		"quiet":    {true, true, ""},
	} {
		var out bytes.Buffer
		m := &meter{w: &out, terminal: c.terminal}
		if c.quiet {
			m.w = nil
		}
		m.say("begin")
		m.show("%d of 2", 1)
		m.show("too soon")
		m.last = time.Time{}
		m.show("%d of 2", 2)
		m.say("end")
		if out.String() != c.want {
			t.Errorf("%s: %q, want %q", name, out.String(), c.want)
		}
		if !c.terminal && strings.ContainsAny(out.String(), "\r\x1b") {
			t.Errorf("%s: %q has terminal codes", name, out.String())
		}
	}
}
