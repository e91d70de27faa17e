package lint

import (
	"cmp"
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

// arrows says which packages of this module a package may import. The row of a
// folder holds for those below it, which may import each other as well. What
// lies in internal/ may be imported by all.
//
// The order is that of docs/architecture.md: the command line on top, then
// whole jobs, then the bundle, then models and indexes, then the algorithm, then
// data. The native core is known to models, engine and the indexes; a bundle is opened
// onto one of its devices, and the command line reports on it and hands its
// decoder to dataset, and buckets as well.
var arrows = map[string][]string{
	"cmd/nlnctl": {"cli"},
	"cli": {
		"experiment", "batch", "serve", "report", "bundle", "recipe",
		"models", "engine", "faissindex", "nln", "dataset", "buckets", "cgo/torch", "cgo/pictures",
	},
	"experiment": {"report", "recipe", "models", "faissindex", "nln", "dataset", "cgo/torch"},
	"batch":      {"bundle", "models", "faissindex", "nln", "dataset", "buckets"},
	"serve":      {"bundle", "models", "faissindex", "nln", "dataset"},
	"bundle":     {"models", "engine", "faissindex", "nln", "dataset", "cgo/torch"},
	"report":     {"nln", "dataset"},
	"recipe":     {"models", "faissindex", "nln", "dataset"},
	"models":     {"cgo/torch", "nln", "dataset"},
	"engine":     {"cgo/torch", "nln", "dataset"},
	"faissindex": {"cgo/faiss", "cgo/search", "nln", "dataset"},
	"torchindex": {"cgo/torch", "nln", "dataset"},
	"cgo/torch":  {"cgo/internal"},
	"cgo/faiss":  {"cgo/internal"},
	"cgo/search": {"cgo/internal"},
	// implements an interface of package dataset
	"cgo/pictures": {"cgo/internal", "dataset"},

	"buckets":           {"dataset"}, // implements an interface of it
	"nln":               {"dataset"},
	"dataset":           {},
	"cgo/internal":      {},
	"internal":          {},
	"internal/coretest": {"cgo/torch", "nln"},
	"hack":              {},
	"hack/pack":         {"cli"},          // writes the manual and the completions
	"deploy":            {"cli", "batch"}, // examples, checked against the program
	"bench": {
		"experiment", "batch", "serve", "report", "bundle", "recipe",
		"models", "engine", "faissindex", "torchindex", "nln", "dataset", "cgo",
	},
}

// testArrows says what test files may import beyond arrows.
var testArrows = map[string][]string{
	"faissindex": {"cgo/torch"},            // counts the core's live handles
	"engine":     {"models", "faissindex"}, // what it computes with
}

// pure are the folders that must build and test without a C compiler.
var pure = []string{"nln", "dataset"}

var arrowsRule = rule{
	name: "arrows",
	why: "imports go one way, from the command line down to the data, so that each layer can be read, " +
		"tested and replaced without those above it; the table is in internal/lint/imports.go",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			from, known := row(f.dir)
			if !known {
				report(f.path, 0, "folder %q has no row in the table of imports", f.dir)
				continue
			}
			for _, imp := range t.imports(f) {
				if mayImport(from, imp.dir) || f.test && listed(testArrows[from], imp.dir) {
					continue
				}
				report(f.path, imp.line, "%s imports %s, but may import only these of this module: %s",
					f.dir, imp.dir, cmp.Or(strings.Join(arrows[from], ", "), "none"))
			}
		}
	},
}

var cgoRule = rule{
	name: "cgo",
	why:  `what says import "C" stands in cgo/, so that all else can be read without knowing C and builds without it`,
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			if line := t.importsC(f); line > 0 && !within(f.dir, "cgo") {
				report(f.path, line, `import "C" outside cgo/`)
			}
		}
	},
}

var pureRule = rule{
	name: "pure",
	why:  "the algorithm and the data sets are pure Go: they build and test in seconds, on any machine, with CGO_ENABLED=0",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			if !listed(pure, f.dir) {
				continue
			}
			for _, imp := range t.imports(f) {
				if way := t.wayToC(imp.dir, nil); way != nil {
					report(f.path, imp.line, "%s reaches C code through %s", f.dir, strings.Join(way, " -> "))
				}
			}
		}
	},
}

// An imported package of this module.
type imported struct {
	dir  string // "" for the module's root
	line int
}

// imports returns the packages of this module that f imports.
func (t *tree) imports(f *file) []imported {
	var found []imported
	for _, spec := range f.syntax.Imports {
		name := importPath(spec)
		if name != t.module && !strings.HasPrefix(name, t.module+"/") {
			continue
		}
		dir := strings.TrimPrefix(strings.TrimPrefix(name, t.module), "/")
		found = append(found, imported{dir, t.line(spec.Pos())})
	}
	return found
}

// importsC returns the line on which f imports "C", 0 if it does not.
func (t *tree) importsC(f *file) int {
	for _, spec := range f.syntax.Imports {
		if importPath(spec) == "C" {
			return t.line(spec.Pos())
		}
	}
	return 0
}

// wayToC returns the packages that lead from dir to one that imports "C", both
// included, or nil. seen are those on the way to dir.
func (t *tree) wayToC(dir string, seen []string) []string {
	if slices.Contains(seen, dir) {
		return nil
	}
	seen = append(slices.Clip(seen), dir)
	for f := range t.goFiles {
		if f.dir != dir || f.test {
			continue
		}
		if t.importsC(f) > 0 {
			return seen
		}
		for _, imp := range t.imports(f) {
			if way := t.wayToC(imp.dir, seen); way != nil {
				return way
			}
		}
	}
	return nil
}

// row returns the folder whose row of arrows holds for dir.
func row(dir string) (string, bool) {
	for d := dir; d != "." && d != ""; d = path.Dir(d) {
		if _, ok := arrows[d]; ok {
			return d, true
		}
	}
	return "", false
}

func mayImport(from, dir string) bool {
	if within(dir, from) || within(dir, "internal") && dir != "internal/lint" {
		return true
	}
	return listed(arrows[from], dir)
}

// listed says whether dir is one of folders or lies below one.
func listed(folders []string, dir string) bool {
	return slices.ContainsFunc(folders, func(d string) bool { return within(dir, d) })
}

// within says whether dir is root or lies below it.
func within(dir, root string) bool {
	return dir == root || strings.HasPrefix(dir, root+"/")
}

func importPath(spec *ast.ImportSpec) string {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value
	}
	return name
}
