package deploy_test

import (
	"bytes"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nlnctl/nlnctl/batch"
	"go.yaml.in/yaml/v3"
)

// A metricsTrigger has the metadata that KEDA v2.21's metrics-api scaler reads: the
// fields of metricsAPIScalerMetadata in its pkg/scalers/metrics_api_scaler.go.
type metricsTrigger struct {
	Target          string `yaml:"targetValue"`
	Activation      string `yaml:"activationTargetValue"`
	URL             string
	Format          string
	ValueLocation   string `yaml:"valueLocation"`
	UnsafeSSL       string `yaml:"unsafeSsl"`
	Aggregate       string `yaml:"aggregateFromKubeServiceEndpoints"`
	AggregationType string `yaml:"aggregationType"`
	Timeout         string
}

func scalerTrigger(t *testing.T) metricsTrigger {
	t.Helper()
	var s struct {
		Spec struct {
			ScaleTargetRef struct{ Name string } `yaml:"scaleTargetRef"`
			Triggers       []struct {
				Type     string
				Metadata yaml.Node
			}
		}
	}
	if err := yaml.Unmarshal(manifests(t)["kubernetes/keda/scaledobject.yaml"], &s); err != nil {
		t.Fatal(err)
	}
	if s.Spec.ScaleTargetRef.Name != "nlnctl-worker" || len(s.Spec.Triggers) != 1 || s.Spec.Triggers[0].Type != "metrics-api" {
		t.Fatalf("scales %q by %v", s.Spec.ScaleTargetRef.Name, s.Spec.Triggers)
	}
	b, err := yaml.Marshal(&s.Spec.Triggers[0].Metadata)
	if err != nil {
		t.Fatal(err)
	}
	var m metricsTrigger
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestScaler submits a plan to a server and reads the number of its shards from where
// KEDA reads it.
func TestScaler(t *testing.T) {
	m := scalerTrigger(t)
	if m.Format != "json" || m.Target != "1" {
		t.Errorf("the trigger is %+v", m)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	const shards = 7
	submit(t, s.ClientURL(), shards)

	u, err := url.Parse(m.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = s.MonitorAddr().String()
	r, err := http.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if got := locate(t, v, m.ValueLocation); got != shards {
		t.Errorf("at %s there is %v, want %d, in %s", m.ValueLocation, got, shards, text)
	}
}

// submit queues a plan of so many shards.
func submit(t *testing.T, servers string, shards int) {
	t.Helper()
	st, err := batch.OpenStore(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	spec := batch.Spec{Input: "in", Output: st.URL, Model: "m.nln", Digest: "d", ShardSize: 2, Kind: batch.Images}
	p, err := batch.MakePlan(t.Context(), st, spec, names(2*shards, sequential), "test")
	if err != nil {
		t.Fatal(err)
	}
	q, err := batch.Connect(t.Context(), batch.QueueOptions{URL: servers})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if n, err := q.Submit(t.Context(), st, p); n != shards || err != nil {
		t.Fatalf("%d shards were queued, want %d: %v", n, shards, err)
	}
}

// names yields n names.
func names(n int, name func(i int) string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range n {
			if !yield(name(i), nil) {
				return
			}
		}
	}
}

var named = regexp.MustCompile(`^#\(name=="([^"]+)"\)$`)

// locate follows a path of those that gjson, which KEDA uses, understands: keys,
// numbers and the first element of a name.
func locate(t *testing.T, v any, path string) any {
	t.Helper()
	for step := range strings.SplitSeq(path, ".") {
		switch w := v.(type) {
		case map[string]any:
			v = w[step]
		case []any:
			v = nil
			match := named.FindStringSubmatch(step)
			for i, e := range w {
				name, _ := e.(map[string]any)["name"].(string)
				if match != nil && name == match[1] || strconv.Itoa(i) == step {
					v = e
					break
				}
			}
		default:
			t.Fatalf("nothing is at %s of %s", step, path)
		}
	}
	n, _ := v.(float64)
	return int(n)
}
