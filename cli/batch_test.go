package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/nats-io/nats-server/v2/server"
)

// arrowRows reads the image and status columns of a Parquet file by another library
// than the one that wrote it.
func arrowRows(t *testing.T, path string) (images, statuses []string) {
	t.Helper()
	f, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if v := f.MetaData().KeyValueMetadata().FindValue(parquetSchemaKey); v == nil || *v != parquetSchema {
		t.Errorf("%s: version of the columns is %v", path, v)
	}
	for g := range f.NumRowGroups() {
		group := f.RowGroup(g)
		for name, dst := range map[string]*[]string{"image": &images, "status": &statuses} {
			at := f.MetaData().Schema.ColumnIndexByName(name)
			col, err := group.Column(at)
			if err != nil {
				t.Fatal(err)
			}
			r, ok := col.(*file.ByteArrayColumnChunkReader)
			if !ok {
				t.Fatalf("%s: %s is a %T", path, name, col)
			}
			*dst = append(*dst, byteArrays(t, r, group.NumRows())...)
		}
	}
	return images, statuses
}

// batchRows returns how often each image has a row in an output.
func batchRows(t *testing.T, output string) map[string]int {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(output, "results", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, p := range parts {
		images, _ := arrowRows(t, p)
		for _, im := range images {
			rows[im]++
		}
	}
	return rows
}

// natsServer is a server with JetStream in this process, on a port.
func natsServer(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return s.ClientURL()
}

// Two real workers, one of which is killed in the middle of a shard, score every image
// exactly once, and say how they are doing.
func TestWorkersKilled(t *testing.T) {
	t.Chdir(t.TempDir())
	url := natsServer(t)
	inProcess(t, "data", "synth", "-o", "parts", "--size", "28", "--train", "30", "--test", "7")
	inProcess(t, "train", "--data", "mvtec:parts", "--steps", "2", "--batch", "8", "--quiet", "-o", "b.nln")
	// The same pictures again and again: small shards that take a while.
	const images, size = 6000, 1500
	var list strings.Builder
	list.WriteString("image\n")
	if err := os.Mkdir("many", 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range images {
		name := fmt.Sprintf("many/%05d.png", i)
		if err := os.Link("parts/test/good/000.png", name); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&list, name)
	}
	if err := os.WriteFile("list.csv", []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	said := inProcess(t, "batch", "submit", "-m", "b.nln", "--input", "list.csv", "-o", "out", "--shard-size", fmt.Sprint(size), "--nats", url)
	if !strings.Contains(said, "6000 images or archives in 4 shards, 4 queued") {
		t.Errorf("submit said %s", said)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	worker := func(stderr *watched, args ...string) *exec.Cmd {
		return &exec.Cmd{Path: exe, Args: append([]string{"nlnctl", "worker", "--nats", url, "--threads", "1", "--lease", "3s"}, args...), Env: os.Environ(), Stderr: stderr}
	}
	first := worker(&watched{})
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	// It is killed once it has a shard.
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if strings.Contains(inProcessOut(t, "batch", "status", "out", "--nats", url), " 1 in work") {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatal("the worker takes no shard")
		}
	}
	first.Process.Kill()
	first.Wait()
	stderr := &watched{}
	second := worker(stderr, "--metrics", "127.0.0.1:0", "--log-format", "json")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	defer second.Process.Kill()
	inProcess(t, "batch", "watch", "out", "--nats", url, "--every", "200ms")
	checkMetrics(t, stderr)
	// A plan that is cancelled is dropped; submitted again, it is done.
	again := []string{"batch", "submit", "-m", "b.nln", "--input", "list.csv", "-o", "out2", "--shard-size", "500", "--nats", url}
	inProcess(t, again...)
	inProcess(t, "batch", "cancel", "out2", "--nats", url)
	if said := inProcessOut(t, "batch", "status", "out2", "--nats", url); !strings.Contains(said, "cancelled") {
		t.Errorf("a cancelled plan has the status\n%s", said)
	}
	inProcess(t, again...)
	inProcess(t, "batch", "watch", "out2", "--nats", url, "--every", "200ms")
	if rows := batchRows(t, "out2"); len(rows) != images {
		t.Errorf("%d images have rows after a plan was cancelled and taken up, want %d", len(rows), images)
	}
	second.Process.Signal(syscall.SIGTERM)
	if err := second.Wait(); err != nil {
		t.Errorf("told to end, the worker ended with %v:\n%s", err, stderr)
	}
	rows := batchRows(t, "out")
	if len(rows) != images {
		t.Errorf("%d images have rows, want %d", len(rows), images)
	}
	for name, n := range rows {
		if n != 1 {
			t.Fatalf("%s has %d rows", name, n)
		}
	}
}

// inProcessOut is inProcess for what is written to standard output.
func inProcessOut(t *testing.T, args ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Cmd{Path: exe, Args: append([]string{"nlnctl"}, args...), Env: os.Environ()}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nlnctl %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

var metricsAt = regexp.MustCompile(`"address":"([^"]+)"`)

func checkMetrics(t *testing.T, stderr *watched) {
	t.Helper()
	m := metricsAt.FindStringSubmatch(stderr.String())
	if m == nil {
		t.Fatalf("no address of metrics in:\n%s", stderr)
	}
	res, err := http.Get("http://" + m[1] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Contains(text, []byte(`nlnctl_shards_total{result="done"}`)) || !bytes.Contains(text, []byte("nlnctl_shard_seconds_count")) {
		t.Errorf("%v, metrics:\n%s", err, text)
	}
	if !strings.Contains(stderr.String(), `"msg":"done"`) {
		t.Errorf("no shard in the log:\n%s", stderr)
	}
}

// byteArrays reads so many values of a column.
func byteArrays(t *testing.T, r *file.ByteArrayColumnChunkReader, n int64) []string {
	t.Helper()
	values := make([]parquet.ByteArray, n)
	defs := make([]int16, n)
	var all []string
	for r.HasNext() {
		total, _, err := r.ReadBatch(n, values, defs, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values[:total] {
			all = append(all, string(v))
		}
	}
	return all
}
