package buckets

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pageSize is how many objects the servers here list at once.
const pageSize = 3

// page returns the keys of a page that begin with prefix and come behind after, and
// what the next page is asked for by, "" if there is none.
func page(objects map[string][]byte, prefix, after string) (keys []string, next string) {
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if strings.HasPrefix(key, prefix) && key > after {
			if len(keys) == pageSize {
				return keys, keys[pageSize-1]
			}
			keys = append(keys, key)
		}
	}
	return keys, ""
}

// google speaks so much of the protocol of Google Cloud Storage as is needed to list
// and read the bucket "pictures".
func google(objects map[string][]byte) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /storage/v1/b/{bucket}/o", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("bucket") != "pictures" {
			http.Error(w, `{"error":{"code":404,"message":"The specified bucket does not exist.","errors":[{"reason":"notFound"}]}}`, http.StatusNotFound)
			return
		}
		keys, next := page(objects, r.FormValue("prefix"), r.FormValue("pageToken"))
		items := []map[string]string{}
		for _, k := range keys {
			items = append(items, map[string]string{"kind": "storage#object", "bucket": "pictures", "name": k, "size": strconv.Itoa(len(objects[k]))})
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"kind": "storage#objects", "items": items, "nextPageToken": next})
	})
	mux.HandleFunc("GET /pictures/{key...}", func(w http.ResponseWriter, r *http.Request) { serveObject(w, r, objects[r.PathValue("key")]) })
	return mux
}

// azure does the same for the container "pictures" of the account "acc" of Azure Blob
// Storage.
func azure(objects map[string][]byte) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /acc/{container}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		if r.PathValue("container") != "pictures" {
			w.Header().Set("x-ms-error-code", "ContainerNotFound")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>ContainerNotFound</Code><Message>no such container</Message></Error>`)
			return
		}
		keys, next := page(objects, r.FormValue("prefix"), r.FormValue("marker"))
		fmt.Fprint(w, `<?xml version="1.0"?><EnumerationResults ContainerName="pictures"><Blobs>`)
		for _, k := range keys {
			var name bytes.Buffer
			xml.EscapeText(&name, []byte(k))
			fmt.Fprintf(w, `<Blob><Name>%s</Name><Properties><Last-Modified>%s</Last-Modified><Etag>x</Etag><Content-Length>%d</Content-Length></Properties></Blob>`,
				name.String(), time.Unix(1e9, 0).UTC().Format(http.TimeFormat), len(objects[k]))
		}
		fmt.Fprintf(w, `</Blobs><NextMarker>%s</NextMarker></EnumerationResults>`, next)
	})
	mux.HandleFunc("/acc/pictures/{key...}", func(w http.ResponseWriter, r *http.Request) {
		if s := r.Header.Get("x-ms-range"); s != "" {
			r.Header.Set("Range", s)
		}
		serveObject(w, r, objects[r.PathValue("key")])
	})
	return mux
}

func serveObject(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("Content-Type", "image/png")
	http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(data))
}

// The drivers of the other clouds list all pages and read.
func TestOtherClouds(t *testing.T) {
	objects := map[string][]byte{"set/.x.png": nil, "settled.png": nil}
	want := []string{}
	for i := range 3*pageSize + 1 {
		name := fmt.Sprintf("%02d/ä b.png", i)
		objects["set/"+name] = picture(t, uint8(i))
		want = append(want, fmt.Sprintf("%s %d", name, len(objects["set/"+name])))
	}
	alone(t)
	gs, az := httptest.NewServer(google(objects)), httptest.NewServer(azure(objects))
	defer gs.Close()
	defer az.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(gs.URL, "http://"))
	t.Setenv("AZURE_STORAGE_ACCOUNT", "acc")
	t.Setenv("AZURE_STORAGE_KEY", "a2V5")
	query := "?protocol=http&localemu=true&domain=" + strings.TrimPrefix(az.URL, "http://")
	for _, c := range []struct{ url, nowhere string }{
		{"gs://pictures/set", "gs://nowhere/set"},
		{"azblob://pictures/set" + query, "azblob://nowhere/set" + query},
	} {
		if have, err := lines(t, reading, c.url); err != nil || !slices.Equal(have, want) {
			t.Errorf("%s: %q, %v, want %q", c.url, have, err, want)
		}
		sp, err := reading.Open(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		for i := range sp.Train.Len() {
			if sp.Train.Labels[i] != i || sp.Train.Image(i)[5] != uint8(i) {
				t.Errorf("%s: image %d has label %d and value %d", c.url, i, sp.Train.Labels[i], sp.Train.Image(i)[5])
			}
		}
		if _, err := lines(t, reading, c.nowhere); err == nil || !strings.Contains(err.Error(), "there is no bucket nowhere") {
			t.Errorf("%s: %v", c.nowhere, err)
		}
	}
}
