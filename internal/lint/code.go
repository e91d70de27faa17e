package lint

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// vague are names that say nothing about what a package is for.
var vague = []string{"util", "utils", "common", "helper", "helpers", "misc"}

var namesRule = rule{
	name: "names",
	why:  "a package is named after what it is for; what has one user lives beside it",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			name := f.syntax.Name.Name
			if slices.Contains(vague, name) {
				report(f.path, t.line(f.syntax.Name.Pos()), "package name %s", name)
			} else if base := path.Base(f.dir); slices.Contains(vague, base) {
				report(f.path, 0, "folder name %s", base)
			}
		}
	},
}

var finalizerRule = rule{
	name: "finalizer",
	why: "a finalizer runs late or never, and native memory needs an owner who closes it; " +
		"runtime.AddCleanup may report what was left open",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			for _, c := range calls(f) {
				if c.pkg == "runtime" && c.name == "SetFinalizer" {
					report(f.path, t.line(c.node.Pos()), "runtime.SetFinalizer")
				}
			}
		}
	},
}

// enders end the program at once.
var enders = map[string][]string{
	"os":  {"Exit"},
	"log": {"Fatal", "Fatalf", "Fatalln"},
}

var exitRule = rule{
	name: "exit",
	why: "only a main package, TestMain and examples may end the program: anywhere else it skips the deferred " +
		"calls of all callers and cannot be tested; return an error",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			if f.syntax.Name.Name == "main" {
				continue
			}
			for _, c := range calls(f) {
				if slices.Contains(enders[c.pkg], c.name) && !(f.test && mayEnd(c.function)) {
					report(f.path, t.line(c.node.Pos()), "%s.%s", c.pkg, c.name)
				}
			}
		}
	},
}

// mayEnd says whether a function of a test file may end the program.
func mayEnd(function string) bool {
	return function == "TestMain" || strings.HasPrefix(function, "Example")
}

// marks are notes to oneself. The pattern is in two parts so as not to match here.
var marks = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

var marksRule = rule{
	name: "marks",
	why:  "a note about what is not done yet is lost in the code: do it, or say in the doc comment what does not work",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			for _, group := range f.syntax.Comments {
				for _, c := range group.List {
					if m := marks.FindString(c.Text); m != "" {
						report(f.path, t.line(c.Pos()), "%s in a comment", m)
					}
				}
			}
		}
	},
}

// A call is the use of a function of an imported package.
type call struct {
	pkg, name string // import path and function
	function  string // the top-level function it stands in, "" outside
	node      ast.Node
}

// calls returns the uses in f of names of imported packages.
func calls(f *file) []call {
	local := map[string]string{} // name in this file -> import path
	for _, spec := range f.syntax.Imports {
		name := path.Base(importPath(spec))
		if spec.Name != nil {
			name = spec.Name.Name
		}
		local[name] = importPath(spec)
	}
	var found []call
	for _, decl := range f.syntax.Decls {
		function := ""
		if fn, ok := decl.(*ast.FuncDecl); ok {
			function = fn.Name.Name
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && local[x.Name] != "" {
					found = append(found, call{local[x.Name], sel.Sel.Name, function, sel})
				}
			}
			return true
		})
	}
	return found
}
