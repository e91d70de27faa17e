// Command schema prints the JSON Schema that ../schema.json holds: that of the
// kinds of Kubernetes, KEDA and Prometheus' operator that are in ../../kubernetes.
// It reads their own Go types and KEDA's own definition, which take too long to
// compile for a test. To write it anew, in an empty folder:
//
//	go mod init schema
//	go get k8s.io/api@v0.37.2 sigs.k8s.io/yaml@v1.6.0 \
//		github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring@v0.95.2
//	go mod download github.com/kedacore/keda/v2@v2.21.0
//	cp .../deploy/testdata/schema/main.go . && go mod tidy
//	go run . $(go env GOMODCACHE)/github.com/kedacore/keda/v2@v2.21.0/config/crd/bases/keda.sh_scaledobjects.yaml
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// A node is a schema.
type node map[string]any

// kinds are those that manifests may have, by group, version and name.
var kinds = map[string]any{
	"apps.v1.Deployment":                  appsv1.Deployment{},
	"batch.v1.Job":                        batchv1.Job{},
	"v1.ConfigMap":                        corev1.ConfigMap{},
	"v1.Namespace":                        corev1.Namespace{},
	"v1.Secret":                           corev1.Secret{},
	"v1.Service":                          corev1.Service{},
	"v1.ServiceAccount":                   corev1.ServiceAccount{},
	"monitoring.coreos.com.v1.PodMonitor": monitoringv1.PodMonitor{},
}

// known are the types that write themselves in JSON in their own way.
var known = map[reflect.Type]node{
	reflect.TypeFor[resource.Quantity]():  {"type": []string{"string", "number"}, "pattern": `^[+-]?[0-9.]+([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$`},
	reflect.TypeFor[intstr.IntOrString](): {"type": []string{"string", "integer"}},
	reflect.TypeFor[metav1.Time]():        {"type": "string"},
	reflect.TypeFor[metav1.MicroTime]():   {"type": "string"},
	reflect.TypeFor[metav1.Duration]():    {"type": "string"},
	reflect.TypeFor[metav1.FieldsV1]():    {"type": "object"},
	reflect.TypeFor[[]byte]():             {"type": "string", "contentEncoding": "base64"},
}

var (
	defs  = map[string]node{}
	enums = map[string]map[string][]string{} // package -> type -> values
)

func main() {
	log.SetFlags(0)
	for name, v := range kinds {
		defs[name] = of(reflect.TypeOf(v))
	}
	defs["keda.sh.v1alpha1.ScaledObject"] = keda(os.Args[1])
	fmt.Println(`{"$schema":"https://json-schema.org/draft/2020-12/schema",`)
	fmt.Println(`"$comment":"written by schema/main.go from k8s.io/api v0.37.2, KEDA v2.21.0 and Prometheus' operator v0.95.2 (all Apache-2.0)",`)
	fmt.Println(`"$defs":{`)
	names := slices.Sorted(maps.Keys(defs))
	for i, name := range names {
		b, err := json.Marshal(defs[name])
		if err != nil {
			log.Fatal(err)
		}
		end := ","
		if i == len(names)-1 {
			end = "}}"
		}
		fmt.Printf("%q:%s%s\n", name, b, end)
	}
}

// of returns the schema of t, and adds those that it refers to to defs.
func of(t reflect.Type) node {
	if n, ok := known[t]; ok {
		return n
	}
	switch t.Kind() {
	case reflect.Pointer:
		return of(t.Elem())
	case reflect.Bool:
		return node{"type": "boolean"}
	case reflect.Int32, reflect.Int64, reflect.Int, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return node{"type": "integer"}
	case reflect.Float64:
		return node{"type": "number"}
	case reflect.String:
		if values := enumOf(t); len(values) > 0 {
			return node{"enum": values}
		}
		return node{"type": "string"}
	case reflect.Slice:
		return node{"type": "array", "items": of(t.Elem())}
	case reflect.Map:
		return node{"type": "object", "additionalProperties": of(t.Elem())}
	case reflect.Struct:
		name := strings.ReplaceAll(strings.TrimPrefix(t.PkgPath(), "k8s.io/"), "/", ".") + "." + t.Name()
		name = strings.TrimPrefix(name, "github.com.prometheus-operator.prometheus-operator.pkg.apis.")
		if _, ok := defs[name]; !ok {
			n := node{"type": "object", "additionalProperties": false}
			defs[name] = n
			fields, required := map[string]node{}, []string{}
			structure(t, fields, &required)
			n["properties"] = fields
			if slices.Sort(required); len(required) > 0 {
				n["required"] = required
			}
		}
		return node{"$ref": "#/$defs/" + name}
	}
	log.Fatalf("no schema for %v", t)
	return nil
}

// structure adds the fields of t but for a status, which clusters write. A field
// without omitempty must be there.
func structure(t reflect.Type, fields map[string]node, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() || name == "status" && f.Type.Kind() == reflect.Struct {
			continue
		}
		if name == "" {
			inner := f.Type
			for inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			structure(inner, fields, required)
			continue
		}
		fields[name] = of(f.Type)
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// enumOf returns the constants of a type that its source marks as +enum.
func enumOf(t reflect.Type) []string {
	pkg := t.PkgPath()
	if pkg == "" {
		return nil
	}
	if enums[pkg] == nil {
		enums[pkg] = readEnums(pkg)
	}
	return enums[pkg][t.Name()]
}

func readEnums(pkg string) map[string][]string {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", pkg).Output()
	if err != nil {
		log.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "*types.go"))
	if err != nil {
		log.Fatal(err)
	}
	marked, values := map[string]bool{}, map[string][]string{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			log.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					marked[s.Name.Name] = marked[s.Name.Name] || strings.Contains(g.Doc.Text()+s.Doc.Text(), "+enum")
				case *ast.ValueSpec:
					id, ok := s.Type.(*ast.Ident)
					if !ok || len(s.Values) != 1 {
						continue
					}
					if lit, ok := s.Values[0].(*ast.BasicLit); ok {
						if v, err := strconv.Unquote(lit.Value); err == nil {
							values[id.Name] = append(values[id.Name], v)
						}
					}
				}
			}
		}
	}
	maps.DeleteFunc(values, func(name string, _ []string) bool { return !marked[name] })
	return values
}

// keda returns the schema in a custom resource definition, made strict.
func keda(file string) node {
	b, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(b, &crd); err != nil {
		log.Fatal(err)
	}
	root := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	strict(root)
	fields := root["properties"].(map[string]any)
	fields["metadata"] = of(reflect.TypeFor[metav1.ObjectMeta]())
	delete(fields, "status")
	return root
}

// strict refuses what is not named, and leaves out descriptions.
func strict(n map[string]any) {
	if _, ok := n["description"].(string); ok {
		delete(n, "description")
	}
	if n["x-kubernetes-int-or-string"] == true {
		n["type"] = []string{"string", "integer"}
		delete(n, "anyOf")
	}
	maps.DeleteFunc(n, func(k string, _ any) bool { return strings.HasPrefix(k, "x-kubernetes-") || k == "format" })
	if props, ok := n["properties"].(map[string]any); ok {
		n["additionalProperties"] = false
		for _, p := range props {
			strict(p.(map[string]any))
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if m, ok := n[key].(map[string]any); ok {
			strict(m)
		}
	}
}
