package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// image is what all manifests name; kustomize puts the version.
const image = "ghcr.io/nlnctl/nlnctl"

// manifests are the files of kubernetes/ that a cluster takes, by path: not Helm's
// values nor kustomize's own files nor patches, which are no whole objects.
func manifests(t *testing.T) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir("kubernetes", func(name string, d fs.DirEntry, err error) error {
		base := filepath.Base(name)
		if err != nil || d.IsDir() || base == "kustomization.yaml" || base == "nats-values.yaml" {
			return err
		}
		b, err := os.ReadFile(name)
		found[name] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// documents returns those of a YAML file, as encoding/json would decode them.
func documents(t *testing.T, name string, text []byte) []map[string]any {
	t.Helper()
	var all []map[string]any
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var v map[string]any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, plain.(map[string]any))
	}
}

// schemas returns what checks an object by the schema of its kind.
func schemas(t *testing.T) func(object map[string]any) error {
	t.Helper()
	b, err := os.ReadFile("testdata/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	return func(object map[string]any) error {
		version, _ := object["apiVersion"].(string)
		kind, _ := object["kind"].(string)
		s, err := c.Compile("schema.json#/$defs/" + strings.ReplaceAll(version, "/", ".") + "." + kind)
		if err != nil {
			return err
		}
		return s.Validate(object)
	}
}

// TestManifests checks each object by the types that its kind has in Kubernetes, KEDA
// and Prometheus' operator; what they do not know is refused.
func TestManifests(t *testing.T) {
	check := schemas(t)
	kinds := map[string]int{}
	for name, text := range manifests(t) {
		for _, object := range documents(t, name, text) {
			if err := check(object); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			kinds[object["kind"].(string)]++
		}
	}
	for _, kind := range []string{"Namespace", "ServiceAccount", "Secret", "Deployment", "Job", "ScaledObject", "PodMonitor"} {
		if kinds[kind] == 0 {
			t.Errorf("there is no %s", kind)
		}
	}
}

// TestSchemaRefuses checks that the schema is strict enough to be of use.
func TestSchemaRefuses(t *testing.T) {
	check := schemas(t)
	worker := string(manifests(t)["kubernetes/base/worker.yaml"])
	job := string(manifests(t)["kubernetes/shards/job.yaml"])
	scaler := string(manifests(t)["kubernetes/keda/scaledobject.yaml"])
	for _, c := range []struct{ text, old, new string }{
		{worker, "readinessProbe:", "readynessProbe:"},
		{worker, "containerPort: 9090", `containerPort: "9090"`},
		{worker, "          image: ghcr", "          imageName: ghcr"},
		{worker, "        - name: worker\n          image", "        - image"}, // required
		{worker, "memory: 4Gi", "memory: 4 Gi"},
		{worker, "type: RuntimeDefault", "type: Default"},
		{job, "completionMode: Indexed", "completionMode: indexed"},
		{job, "backoffLimitPerIndex: 3", `backoffLimitPerIndex: "3"`},
		{scaler, "maxReplicaCount: 32", "maxReplicas: 32"},
		{scaler, "scaleTargetRef:", "scaleTarget:"},
	} {
		text := strings.Replace(c.text, c.old, c.new, 1)
		if text == c.text {
			t.Errorf("nothing says %q", c.old)
			continue
		}
		if err := check(documents(t, c.new, []byte(text))[0]); err == nil {
			t.Errorf("%q in place of %q is taken", c.new, c.old)
		}
	}
}

// A kustomization has the fields that ours use.
type kustomization struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Namespace  string
	Resources  []string
	Images     []struct {
		Name   string
		NewTag string `yaml:"newTag"`
	}
	Patches            []struct{ Path string }
	ConfigMapGenerator []struct {
		Name     string
		Literals []string
	} `yaml:"configMapGenerator"`
}

func TestKustomizations(t *testing.T) {
	files, err := filepath.Glob("kubernetes/*/kustomization.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		var k kustomization
		strict(t, name, &k)
		if k.APIVersion != "kustomize.config.k8s.io/v1beta1" || k.Kind != "Kustomization" {
			t.Errorf("%s is a %s of %s", name, k.Kind, k.APIVersion)
		}
		taken := slices.Clone(k.Resources)
		for _, p := range k.Patches {
			taken = append(taken, p.Path)
		}
		used := false
		for _, r := range taken {
			file := filepath.Join(filepath.Dir(name), r)
			text, err := os.ReadFile(file)
			if info, statErr := os.Stat(file); statErr == nil && info.IsDir() {
				_, err = os.Stat(filepath.Join(file, "kustomization.yaml"))
				used = true // below it
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			used = used || bytes.Contains(text, []byte("image: "+image+":VERSION"))
		}
		if sets := len(k.Images) == 1 && k.Images[0].Name == image && k.Images[0].NewTag != ""; sets != used {
			t.Errorf("%s sets the image's version: %v, takes the image: %v", name, sets, used)
		}
		beside, err := filepath.Glob(filepath.Join(filepath.Dir(name), "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range beside {
			if base := filepath.Base(b); base != "kustomization.yaml" && !slices.Contains(taken, base) {
				t.Errorf("%s leaves out %s", name, base)
			}
		}
	}
}

// TestKustomizeBuild checks what kubectl makes of each folder.
func TestKustomizeBuild(t *testing.T) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed: the folders' own files are checked, not what kustomize makes of them")
	}
	check := schemas(t)
	files, err := filepath.Glob("kubernetes/*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		var stderr bytes.Buffer
		cmd := exec.Command(kubectl, "kustomize", filepath.Dir(name))
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("kubectl kustomize %s: %v: %s", filepath.Dir(name), err, stderr.String())
			continue
		}
		for _, object := range documents(t, name, out) {
			if err := check(object); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// strict decodes a YAML file into v and fails on fields that v does not have.
func strict(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// pods returns the pod templates of the manifests, by file.
func pods(t *testing.T) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for name, text := range manifests(t) {
		for _, object := range documents(t, name, text) {
			spec, _ := object["spec"].(map[string]any)
			if template, ok := spec["template"].(map[string]any); ok {
				found[name] = template["spec"].(map[string]any)
			}
		}
	}
	return found
}

// TestPodsAreConfined checks what the namespace's label restricted asks for, and that
// nothing can be written but in volumes.
func TestPodsAreConfined(t *testing.T) {
	found := pods(t)
	if len(found) != 3 {
		t.Errorf("%d pod templates, want 3", len(found))
	}
	for name, pod := range found {
		text, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`"runAsNonRoot":true`, `"readOnlyRootFilesystem":true`, `"allowPrivilegeEscalation":false`,
			`"drop":["ALL"]`, `"type":"RuntimeDefault"`, `"serviceAccountName":"nlnctl"`, `"mountPath":"/tmp"`,
			`"image":"` + image + `:VERSION"`, `"requests":{`, `"limits":{`,
		} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s has no %s", name, want)
			}
		}
	}
}

// TestNATSValues checks the chart's values by those of its keys, as of version 2.14.2,
// that we set.
func TestNATSValues(t *testing.T) {
	var v struct {
		Config struct {
			JetStream struct {
				Enabled   bool
				FileStore struct {
					Enabled bool
					PVC     struct {
						Enabled          bool
						Size             string
						StorageClassName *string `yaml:"storageClassName"`
					} `yaml:"pvc"`
				} `yaml:"fileStore"`
				MemoryStore struct{ Enabled bool } `yaml:"memoryStore"`
				Merge       map[string]any
			} `yaml:"jetstream"`
			Monitor struct {
				Enabled bool
				Port    int
			}
		}
		Container struct {
			Merge map[string]any
		}
		PodTemplate struct {
			ConfigChecksumAnnotation bool `yaml:"configChecksumAnnotation"`
		} `yaml:"podTemplate"`
		PromExporter struct{ Enabled bool } `yaml:"promExporter"`
		NATSBox      struct{ Enabled bool } `yaml:"natsBox"`
	}
	strict(t, "kubernetes/nats-values.yaml", &v)
	js := v.Config.JetStream
	if !js.Enabled || !js.FileStore.Enabled || !js.FileStore.PVC.Enabled {
		t.Errorf("JetStream is not kept in files: %+v", js)
	}
	if js.Merge["sync_interval"] != "always" {
		t.Errorf("sync_interval is %v, want always: an acknowledged message may be lost", js.Merge["sync_interval"])
	}
	if !v.Config.Monitor.Enabled || v.Config.Monitor.Port != 8222 {
		t.Errorf("the monitor, which KEDA reads, is %+v", v.Config.Monitor)
	}
}

func TestCompose(t *testing.T) {
	p := composeProject(t)
	worker, submit := p.Services["worker"], p.Services["submit"]
	if len(p.Services) != 3 || worker.Image != image+":VERSION" || submit.Image != worker.Image {
		t.Errorf("services %v, image %q", p.ServiceNames(), worker.Image)
	}
	for _, s := range []types.ServiceConfig{worker, submit} {
		if s.User != "1000:1000" || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s is run by %q without %q", s.Name, s.User, s.CapDrop)
		}
		if !s.ReadOnly || s.ContainerName != "" || len(s.Ports) != 0 {
			t.Errorf("%s: read-only %v, name %q, ports %v: more than one must fit a machine", s.Name, s.ReadOnly, s.ContainerName, s.Ports)
		}
		if s.DependsOn["nats"].Condition != types.ServiceConditionHealthy {
			t.Errorf("%s does not wait for nats", s.Name)
		}
	}
	if !slices.Contains(submit.Profiles, "submit") || !submit.HealthCheck.Disable {
		t.Error("submit starts with the workers, or is asked for its health")
	}
	// The server's own reader, which refuses unknown fields.
	o := new(server.Options)
	if err := o.ProcessConfigString(p.Configs["nats"].Content); err != nil {
		t.Fatal(err)
	}
	if !o.JetStream || !o.SyncAlways || o.StoreDir != "/data" || o.HTTPPort != 8222 {
		t.Errorf("JetStream %v, sync always %v, in %q, monitor at %d", o.JetStream, o.SyncAlways, o.StoreDir, o.HTTPPort)
	}
}

// TestComposeHealth runs what asks a worker for its health against servers that are well,
// that are not, and that are not there.
func TestComposeHealth(t *testing.T) {
	test := composeProject(t).Services["worker"].HealthCheck.Test
	if len(test) != 4 || test[0] != "CMD" || test[1] != "bash" {
		t.Fatalf("the check is %q", test)
	}
	for _, c := range []struct {
		status int
		well   bool
	}{{http.StatusOK, true}, {http.StatusServiceUnavailable, false}, {0, false}} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" {
				t.Errorf("it asks for %s", r.URL.Path)
			}
			w.WriteHeader(c.status)
		}))
		_, port, err := net.SplitHostPort(s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if c.status == 0 {
			s.Close()
		}
		script := strings.Replace(test[3], "/9090 ", "/"+port+" ", 1)
		out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
		if well := err == nil; well != c.well {
			t.Errorf("status %d: %v, %s", c.status, err, out)
		}
		s.Close()
	}
}

// TestComposeGPU checks what the overlay makes of the workers.
func TestComposeGPU(t *testing.T) {
	plain, gpu := composeProject(t), composeProject(t, "compose.gpu.yaml")
	a, b := plain.Services["worker"], gpu.Services["worker"]
	if b.Image != a.Image+"-cuda" {
		t.Errorf("the image is %s, beside %s", b.Image, a.Image)
	}
	i := slices.Index(b.Command, "--device")
	if i < 0 || b.Command[i+1] != "cuda" || !slices.Equal(slices.Delete(slices.Clone(b.Command), i, i+2), a.Command) {
		t.Errorf("the command is %q, beside %q", b.Command, a.Command)
	}
	if b.Deploy == nil || b.Deploy.Resources.Reservations == nil {
		t.Fatal("no GPU is reserved")
	}
	d := b.Deploy.Resources.Reservations.Devices
	if len(d) != 1 || d[0].Driver != "nvidia" || d[0].Count != 1 || !slices.Equal(d[0].Capabilities, []string{"gpu"}) {
		t.Errorf("reserved are %+v", d)
	}
	b.Image, b.Command, b.Deploy = a.Image, a.Command, a.Deploy
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the overlay changes more: %+v, was %+v", b, a)
	}
	if !reflect.DeepEqual(plain.Services["submit"], gpu.Services["submit"]) {
		t.Error("the overlay changes the submission")
	}
}

// composeProject loads compose.yaml and what lies over it as compose does, with all
// profiles.
func composeProject(t *testing.T, overlays ...string) *types.Project {
	t.Helper()
	var files []types.ConfigFile
	for _, name := range append([]string{"compose.yaml"}, overlays...) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, types.ConfigFile{Filename: name, Content: b})
	}
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  ".",
		ConfigFiles: files,
		Environment: types.Mapping{},
	}, loader.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
