package buckets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/nlnctl/nlnctl/dataset"
	"gocloud.dev/blob"
)

// A server speaks S3's protocol, and counts.
type server struct {
	query  string // that a URL needs to reach it
	lists  atomic.Int64
	busy   atomic.Int64 // requests for objects at work
	most   atomic.Int64 // of them at the same time
	delay  atomic.Int64 // of each, in nanoseconds
	refuse atomic.Bool  // all access
}

// serve starts a server with the bucket "pictures".
func serve(t testing.TB) *server {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("pictures"); err != nil {
		t.Fatal(err)
	}
	s := new(server)
	fake := gofakes3.New(backend).Server()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.refuse.Load():
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
			return
		case r.URL.Query().Has("list-type"):
			s.lists.Add(1)
		case r.Method == http.MethodGet:
			n := s.busy.Add(1)
			defer s.busy.Add(-1)
			for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
			}
			time.Sleep(time.Duration(s.delay.Load()))
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	alone(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	s.query = "?region=eu-west-1&use_path_style=true&endpoint=" + h.URL
	return s
}

// alone takes away what this machine may know of clouds.
func alone(t testing.TB) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST",
		"AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
}

// picture returns a PNG of 3x2 pixels of one value.
func picture(t testing.TB, v uint8) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 3, 2))
	for i := range img.Pix {
		img.Pix[i] = v
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// put writes objects.
func put(t testing.TB, url string, objects map[string][]byte) {
	t.Helper()
	b, err := blob.OpenBucket(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for key, data := range objects {
		if err := b.WriteAll(t.Context(), key, data, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// each returns the same objects at several URLs, with the folder "set" below them.
func each(t *testing.T, objects map[string][]byte) map[string]string {
	s := serve(t)
	keys := map[string][]byte{"settled.png": picture(t, 99), "other/x.png": picture(t, 98)}
	for key, data := range objects {
		keys["set/"+key] = data
	}
	put(t, "s3://pictures"+s.query, keys)
	dir := t.TempDir()
	put(t, "file://"+dir+"?metadata=skip&no_tmp_dir=1", keys)
	return map[string]string{"s3": "s3://pictures/set" + s.query, "file": "file://" + dir + "/set"}
}

var reading = dataset.Reading{OpenStore: Open}

// The objects below a URL are the set that the folder of the same files is.
func TestBucketIsTheFolder(t *testing.T) {
	objects := map[string][]byte{"good/b.png": picture(t, 1), "good/deep/a.png": picture(t, 2), "bad/ä b+c.png": picture(t, 3),
		"readme.txt": []byte("x"), ".cache/x.png": picture(t, 9)}
	dir := filepath.Join(t.TempDir(), "set")
	for name, data := range objects {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := dataset.Open("folder:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	for scheme, url := range each(t, objects) {
		sp, err := reading.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		have, want := sp.Train, folder.Train
		if sp.Kind != scheme || !sp.Single() || !slices.Equal(have.Names, want.Names) || !slices.Equal(have.Labels, want.Labels) ||
			!slices.Equal(have.Classes, want.Classes) || !bytes.Equal(have.Pix, want.Pix) || have.Scale != want.Scale {
			t.Errorf("%s: %+v, want %+v", url, have, want)
		}
		if n := sp.Notes(); len(n) != 1 || !strings.Contains(n[0], "readme.txt") {
			t.Errorf("%s: notes %q", url, n)
		}
	}
}

// lines goes through a stream: each file's name without what stands in front of
// "set", and its length or what is wrong.
func lines(t *testing.T, r dataset.Reading, url string) (all []string, err error) {
	t.Helper()
	s, err := r.Stream(t.Context(), url)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for f, err := range s.Files(t.Context()) {
		if err != nil {
			return all, err
		}
		data, err := f.Bytes()
		_, name, _ := strings.Cut(f.Name, "/set/")
		if err != nil {
			all = append(all, fmt.Sprintf("%s: %T", name, err))
		} else {
			all = append(all, fmt.Sprintf("%s %d", name, len(data)))
		}
		f.Done()
	}
	return all, nil
}

func TestStream(t *testing.T) {
	objects := map[string][]byte{"b.png": []byte("12"), "a/c.jpg": []byte("1"), "empty.png": nil, "large.png": make([]byte, 3<<20), "z.txt": nil, "a.png": []byte("123"), "a.png.png": []byte("1234")}
	for _, url := range each(t, objects) {
		all, err := lines(t, reading, url)
		slices.Sort(all) // "a.png" and "a/c.jpg" stand in another order in a folder
		if want := []string{"a.png 3", "a.png.png 4", "a/c.jpg 1", "b.png 2", "empty.png 0", "large.png 3145728"}; err != nil || !slices.Equal(all, want) {
			t.Errorf("%s: %q, %v", url, all, err)
		}
		r := reading
		r.Limits.Bytes, r.Exclude = 3<<20-1, []string{"a/**", "b*", "a.png.*"}
		if all, err := lines(t, r, url); err != nil || !slices.Equal(all, []string{"a.png 3", "empty.png 0", "large.png: *dataset.TooLargeError"}) {
			t.Errorf("%s: %q, %v with a limit and a glob", url, all, err)
		}
		bare, query, _ := strings.Cut(url, "?")
		if all, err := lines(t, reading, bare+"/a.png?"+query); err != nil || !slices.Equal(all, []string{"a.png 3"}) {
			t.Errorf("%s: %q, %v for one image", url, all, err)
		}
		if sp, err := reading.Open(bare + "/nothing/?" + query); err == nil || !strings.Contains(err.Error(), "no image files") && !strings.Contains(err.Error(), "no bucket") {
			t.Errorf("%s: %v, %v of a prefix without images", url, sp, err)
		}
	}
}

// A bucket of many pages is listed as far as it is gone through, in the order of the
// keys, and several objects are read at the same time.
func TestListIsLazy(t *testing.T) {
	s := serve(t)
	objects := map[string][]byte{}
	const n = 2300
	for i := range n {
		objects[fmt.Sprintf("set/%05d.png", i)] = []byte{byte(i)}
	}
	put(t, "s3://pictures"+s.query, objects)
	stream, err := reading.Stream(t.Context(), "s3://pictures/set"+s.query)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if s.lists.Load() != 0 {
		t.Errorf("%d lists before the first is needed", s.lists.Load())
	}
	i := 0
	for f, err := range stream.Files(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("s3://pictures/set/%05d.png", i); f.Name != want {
			t.Fatalf("file %d is %s, want %s", i, f.Name, want)
		}
		if page := int64(i/1000 + 1); s.lists.Load() > page {
			t.Fatalf("%d pages listed after %d files", s.lists.Load(), i)
		}
		if i%100 == 0 {
			if data, err := f.Bytes(); err != nil || !bytes.Equal(data, []byte{byte(i)}) {
				t.Fatalf("%s: %v, %v", f.Name, data, err)
			}
		}
		f.Done()
		i++
	}
	if i != n || stream.Readers < 8 {
		t.Errorf("%d files, want %d; %d readers", i, n, stream.Readers)
	}
}

func TestReadsInParallel(t *testing.T) {
	s := serve(t)
	objects := map[string][]byte{}
	for i := range 200 {
		objects[fmt.Sprintf("%03d.png", i)] = picture(t, uint8(i))
	}
	put(t, "s3://pictures"+s.query, objects)
	s.delay.Store(int64(5 * time.Millisecond)) // so that the others are asked for meanwhile, however busy the machine
	sp, err := reading.Open("s3://pictures/" + s.query)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if sp.Train.Image(i)[0] != uint8(i) {
			t.Fatalf("image %d has value %d", i, sp.Train.Image(i)[0])
		}
	}
	if m := s.most.Load(); m < 2 || m > 16 {
		t.Errorf("%d objects were read at the same time", m)
	}
}

// What is wrong is said with what mends it.
func TestErrors(t *testing.T) {
	s := serve(t)
	put(t, "s3://pictures"+s.query, map[string][]byte{"a.png": picture(t, 1)})
	explained := func(name, url, says, fix string) {
		t.Helper()
		_, err := lines(t, reading, url)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), says) || !strings.Contains(e.Hint(), fix) {
			t.Errorf("%s: error %v, want one with %q and a hint with %q", name, err, says, fix)
		}
		if _, err := reading.Open(url); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v of Open, want one with %q", name, err, says)
		}
	}
	explained("no bucket", "s3://nowhere/x"+s.query, "there is no bucket nowhere", "check its name")
	explained("no folder", "file:///no/such/folder", "there is no bucket /no/such/folder", "check its name")
	s.refuse.Store(true)
	explained("refused", "s3://pictures/"+s.query, "access is denied", "credentials")
	s.refuse.Store(false)
	alone(t)
	explained("no credentials", "s3://pictures/"+s.query, "no credentials", "AWS_ACCESS_KEY_ID")
	explained("no account", "azblob://container/x", "no credentials", "AZURE_STORAGE_ACCOUNT")
	explained("no credentials at Google", "gs://bucket/x", "no credentials", "GOOGLE_APPLICATION_CREDENTIALS")
	if _, err := Open(t.Context(), "gopher://bucket/x"); err == nil || !strings.Contains(err.Error(), "built without the driver for gopher://") {
		t.Errorf("another scheme: %v", err)
	}
	if all, err := lines(t, reading, "s3://pictures/"+s.query+"&anonymous=true"); err != nil || len(all) != 1 {
		t.Errorf("anonymous: %q, %v", all, err)
	}
	for url, says := range map[string]string{"s3:x": "two slashes", "s3:///x": "no bucket", "s3://": "no location", "gs://b/x?nosuch=1": "nosuch"} {
		if _, err := lines(t, reading, url); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one with %q", url, err, says)
		}
	}
	if _, err := dataset.Open("s3://pictures/x"); !errors.Is(err, dataset.ErrNoStore) {
		t.Errorf("a Reading without stores: %v", err)
	}
}

// The end of the context ends a stream.
func TestCancel(t *testing.T) {
	s := serve(t)
	put(t, "s3://pictures"+s.query, map[string][]byte{"a.png": nil, "b.png": nil})
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := reading.Stream(ctx, "s3://pictures"+s.query)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	cancel()
	for f, err := range stream.Files(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v after the end", f, err)
		}
	}
}
