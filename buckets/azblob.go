//go:build !noazblob

package buckets

import (
	"context"
	"errors"
	"net/url"
	"os"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob"
)

func init() { openers["azblob"] = openAzure }

// openAzure says what is missing where no account is named.
func openAzure(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	account := u.Query().Get("storage_account")
	for _, name := range []string{"AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING"} {
		account += os.Getenv(name)
	}
	if account == "" {
		return nil, &Error{"no credentials", credentials["azblob"], errors.New("no storage account is named")}
	}
	return blob.OpenBucket(ctx, u.String())
}
