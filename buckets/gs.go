//go:build !nogs

package buckets

import (
	"context"
	"net/url"
	"os"

	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
)

func init() { openers["gs"] = openGoogle }

// openGoogle does what gcsblob's own opener does, which prints to standard output
// where there are no credentials, and tries to do without.
func openGoogle(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	q := u.Query()
	opener := gcsblob.URLOpener{Client: gcp.NewAnonymousHTTPClient(gcp.DefaultTransport())}
	if q.Get("anonymous") != "true" && q.Get("access_id") != "-" && os.Getenv("STORAGE_EMULATOR_HOST") == "" {
		found, err := gcp.DefaultCredentials(ctx)
		if err != nil {
			return nil, &Error{"no credentials", credentials["gs"], err}
		}
		if opener.Client, err = gcp.NewHTTPClient(gcp.DefaultTransport(), found.TokenSource); err != nil {
			return nil, err
		}
	}
	return opener.OpenBucketURL(ctx, u)
}
