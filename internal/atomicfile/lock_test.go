package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// One at a time has the lock, however many ask, and nothing is left of it.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	var holders, held atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				unlock, err := Lock(path)
				if errors.Is(err, ErrLocked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d have the lock", n)
				}
				held.Add(1)
				holders.Add(-1)
				if err := unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if held.Load() == 0 {
		t.Error("nobody ever had the lock")
	}
	alone(t, dir)
	unlock, err := Lock(path + "/") // the same
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	// What a process leaves that was killed is no lock.
	os.WriteFile(filepath.Join(dir, ".b.lock"), nil, 0o644)
	if unlock, err = Lock(path); err != nil {
		t.Fatal(err)
	}
	unlock()
	alone(t, dir)
}

func TestOpenLocked(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	f, err := OpenLocked(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("rows")
	if _, err := OpenLocked(path, os.O_RDWR); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("second: %v", err)
	}
	target := filepath.Join(dir, "g")
	os.WriteFile(target, []byte("old"), 0o600)
	if err := Publish(f, target); err != nil || read(t, target) != "rows" {
		t.Errorf("published %q, %v", read(t, target), err)
	}
	alone(t, dir, "g")
	f.Close()
	if _, err := OpenLocked(path, os.O_RDWR); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".b.123.tmp", ".b.c.123.tmp", ".b.123.tmp.old", ".b.x.tmp", "b", ".b.lock"} {
		os.WriteFile(filepath.Join(dir, name), nil, 0o644)
	}
	os.MkdirAll(filepath.Join(dir, ".b.77.tmp", "deep"), 0o755)
	if err := Sweep(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	alone(t, dir, ".b.123.tmp.old", ".b.c.123.tmp", ".b.lock", ".b.x.tmp", "b")
}
