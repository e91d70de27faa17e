package dataset

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// An archive may come through a pipe, be larger than memory, and never end.
func TestStreamPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no pipes here: ", err)
	}
	const images, size = 200, 1 << 20 // 200 MB
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wrote := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err == nil {
			w := tar.NewWriter(f)
			body := append(encodePNG(t, greyRamp(3, 2)), make([]byte, size)...)[:size]
			for i := range images {
				if err = w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d.png", i), Size: size, Mode: 0o600}); err == nil {
					_, err = w.Write(body)
				}
				if err != nil {
					break
				}
			}
			w.Flush() // and no end
		}
		wrote <- err
		<-ctx.Done()
		f.Close()
	}()
	s, err := Reading{}.Stream(ctx, "tar:"+pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, most := 0, uint64(0)
	for f, err := range s.Files(ctx) {
		if err != nil {
			if n != images || !errors.Is(err, context.Canceled) {
				t.Errorf("after %d images: %v", n, err)
			}
			break
		}
		if data, err := f.Bytes(); err != nil || len(data) != size || f.Name != fmt.Sprintf("%s!%d.png", pipe, n) {
			t.Fatalf("%s: %d bytes, %v", f.Name, len(data), err)
		}
		f.Done()
		if n++; n%20 == 0 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
		if n == images {
			if err := <-wrote; err != nil {
				t.Error(err)
			}
			go cancel() // while the next member is waited for
		}
	}
	if n != images || most > 20*size {
		t.Errorf("%d images, %d bytes of memory", n, most)
	}
	if _, err := Open("tar:" + pipe); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a pipe is read as a set: %v", err)
	}
}
