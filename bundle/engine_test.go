package bundle

import (
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/engine"
	"github.com/nlnctl/nlnctl/internal/coretest"
	"github.com/nlnctl/nlnctl/nln"
)

// A bundle that is opened scores with an engine as without, mapped tables and all.
func TestEngine(t *testing.T) {
	set := images(t, 5)
	b := fit(t, nln.CacheUint8)
	path := filepath.Join(t.TempDir(), "b.nln")
	if err := b.Save(path, false); err != nil {
		t.Fatal(err)
	}
	before := torch.LiveHandles()
	c, err := Open(path, coretest.Device(t))
	if err != nil {
		t.Fatal(err)
	}
	if c.Engine == nil {
		if err := c.UseEngine(); err != nil || c.Engine == nil {
			t.Fatalf("no engine: %v, %v", err, c.OnHost)
		}
	}
	want, err1 := b.Scorer.PartsAll(t.Context(), set)
	got, err2 := c.Scorer.PartsAll(t.Context(), set)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for i := range want.Recon {
		if d := math.Abs(got.Recon[i] - want.Recon[i]); d > engine.Tolerance*want.Recon[i] {
			t.Errorf("image %d: %v, want %v", i, got.Recon[i], want.Recon[i])
		}
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if n := torch.LiveHandles(); n != before {
		t.Errorf("%d objects of the core live, %d before", n, before)
	}
}

// What an engine is not for is scored by the host.
func TestNoEngine(t *testing.T) {
	b := fit(t, nln.CacheNone)
	if err := b.UseEngine(); err != nil || b.Engine != nil || !errors.Is(b.OnHost, engine.ErrUnable) {
		t.Errorf("engine %v, error %v, reason %v", b.Engine, err, b.OnHost)
	}
	if _, err := b.Scorer.PartsAll(t.Context(), images(t, 1)); err != nil {
		t.Error(err)
	}
}

func TestOpenOnNoDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.nln")
	if err := fit(t, nln.CacheUint8).Save(path, false); err != nil {
		t.Fatal(err)
	}
	before := torch.LiveHandles()
	none := errors.New("no such device")
	if _, err := OpenOn(path, func() (torch.Device, error) { return torch.CPU, none }); !errors.Is(err, none) {
		t.Errorf("error %v", err)
	}
	if n := torch.LiveHandles(); n != before {
		t.Errorf("%d objects of the core live, %d before", n, before)
	}
}
