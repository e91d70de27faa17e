package lint

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"path"
	"slices"
	"strings"
)

const (
	maxFileLines     = 600
	maxFunctionLines = 90
)

// documented are the folders that other programs import: each exported name in
// them has a comment.
var documented = []string{"nln", "dataset"}

var gofmtRule = rule{
	name: "gofmt",
	why:  "one layout for all code; run gofmt -w on the file",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			if want, err := format.Source(f.src); err != nil || !bytes.Equal(want, f.src) {
				report(f.path, firstDifference(f.src, want), "not as gofmt would write it")
			}
		}
	},
}

// firstDifference returns the first line in which a differs from b.
func firstDifference(a, b []byte) int {
	x, y := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range min(len(x), len(y)) {
		if !bytes.Equal(x[i], y[i]) {
			return i + 1
		}
	}
	return min(len(x), len(y))
}

var packageCommentRule = rule{
	name: "package-comment",
	why:  `a reader who opens the folder must learn there what it is for: "// Package name does ..." above a package clause`,
	check: func(t *tree, report reporter) {
		comment := map[string]string{} // folder -> its package comment
		first := map[string]*file{}
		for f := range t.goFiles {
			if f.test {
				continue
			}
			if first[f.dir] == nil {
				first[f.dir] = f
			}
			comment[f.dir] += f.syntax.Doc.Text()
		}
		for dir, f := range first {
			name := f.syntax.Name.Name
			switch text := comment[dir]; {
			case strings.TrimSpace(text) == "":
				report(f.path, 0, "package %s has no package comment", name)
			case name != "main" && !strings.HasPrefix(text, "Package "+name+" "):
				report(f.path, 0, "the comment of package %s does not begin with %q", name, "Package "+name)
			}
		}
	},
}

var exportedRule = rule{
	name: "exported",
	why:  "other programs import this package, and its comments are their manual: say what it is, with shapes, units and order",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			if f.test || !listed(documented, f.dir) {
				continue
			}
			for _, decl := range f.syntax.Decls {
				for _, id := range undocumented(decl) {
					report(f.path, t.line(id.Pos()), "exported %s has no comment", id.Name)
				}
			}
		}
	},
}

// undocumented returns the exported names that decl declares without a comment.
func undocumented(decl ast.Decl) []*ast.Ident {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && receiverExported(d) && !ofErrors(d) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		var names []*ast.Ident
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				// A comment above a group of types is about none of them.
				if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				// One comment may stand above a whole group of constants.
				if d.Doc == nil && s.Doc == nil && s.Comment == nil {
					names = append(names, exportedOf(s.Names)...)
				}
			}
		}
		return names
	}
	return nil
}

func exportedOf(ids []*ast.Ident) []*ast.Ident {
	return slices.DeleteFunc(slices.Clone(ids), func(id *ast.Ident) bool { return !id.IsExported() })
}

// ofErrors says whether fn is a method by which errors are used; what these do is
// the same for all.
func ofErrors(fn *ast.FuncDecl) bool {
	return fn.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "Is"}, fn.Name.Name)
}

// receiverExported says whether fn is a function, or a method of an exported type.
func receiverExported(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return true
	}
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

var fileSizeRule = rule{
	name: "file-size",
	why:  "a file is read in one go: split it by what it is about",
	check: func(t *tree, report reporter) {
		for _, f := range t.files {
			if n := bytes.Count(f.src, []byte("\n")); n > maxFileLines && !f.generated {
				report(f.path, 0, "%s has %d lines, at most %d are allowed", path.Base(f.path), n, maxFileLines)
			}
		}
	},
}

var functionSizeRule = rule{
	name: "function-size",
	why:  "a function fits on a screen: give its steps names",
	check: func(t *tree, report reporter) {
		for f := range t.goFiles {
			if f.test || f.generated {
				continue
			}
			for _, decl := range f.syntax.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if n := lines(t.fset, fn); n > maxFunctionLines {
					report(f.path, t.line(fn.Pos()), "function %s has %d lines, at most %d are allowed",
						fn.Name.Name, n, maxFunctionLines)
				}
			}
		}
	},
}

func lines(fset *token.FileSet, n ast.Node) int {
	return fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1
}
