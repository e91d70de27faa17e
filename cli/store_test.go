package cli

import (
	"context"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/rogpeppe/go-internal/testscript"
	"gocloud.dev/blob"
)

// startStore starts a server that speaks S3's protocol for a script, with the bucket
// "pictures" and credentials for it. $S3 is what a URL needs to reach it.
func startStore(e *testscript.Env) error {
	backend := s3mem.New()
	if err := backend.CreateBucket("pictures"); err != nil {
		return err
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	e.Defer(server.Close)
	e.Setenv("S3", "?region=eu-west-1&use_path_style=true&endpoint="+server.URL)
	e.Setenv("AWS_ACCESS_KEY_ID", "id")
	e.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return nil
}

// upload copies the files of a folder to a prefix of the bucket: upload DIR PREFIX.
func upload(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: upload DIR PREFIX")
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		if os.Getenv(name) == "" {
			os.Setenv(name, ts.Getenv(name)) // the driver looks nowhere else
		}
	}
	dir := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := blob.OpenBucket(context.Background(), "s3://pictures"+ts.Getenv("S3"))
		if err != nil {
			return err
		}
		defer b.Close()
		return b.WriteAll(context.Background(), args[1]+"/"+filepath.ToSlash(name), data, nil)
	}))
}
