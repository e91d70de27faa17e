package batch

import (
	"net/http/httptest"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// fakeS3 returns the URL of a folder of a bucket.
func fakeS3(t *testing.T) string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("results"); err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(h.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
	return "s3://results/a/b?region=eu-west-1&use_path_style=true&endpoint=" + h.URL
}

// A plan in an object store goes from its listing to its end.
func TestS3(t *testing.T) {
	st, p := makePlan(t, fakeS3(t), 2500, 100)
	if q, err := MakePlan(t.Context(), st, p.Spec, names(2500), "test"); err != nil || q.ID != p.ID {
		t.Fatal(q, err)
	}
	q := embed(t, t.TempDir())
	if _, err := q.Run(t.Context(), st, p, WorkOptions{Open: opener(&stub{})}); err != nil {
		t.Fatal(err)
	}
	checkDone(t, st, p, 2500)
}
