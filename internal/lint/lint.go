// Package lint keeps the rules of this repository that no compiler and no
// general linter knows: who may import whom, where C code may stand, how long a
// file may grow. [Check] reads a source tree and returns what breaks a rule; the
// tests of the package run it over the repository, so that "go test ./..." is
// enough to see a broken rule. To change a rule, change its table here and say
// why in the same commit.
package lint

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A Finding is one place that breaks a rule.
type Finding struct {
	Rule string // its name
	File string // relative to the root of the tree, with slashes
	Line int    // 0 where the file as a whole is meant
	What string // what is wrong there
	Why  string // the reason of the rule, and what to do instead
}

// String returns the finding in one line, which begins as compilers' messages do.
func (f Finding) String() string {
	place := f.File
	if f.Line > 0 {
		place = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s: %s [%s: %s]", place, f.What, f.Rule, f.Why)
}

// A rule is one check over a whole tree.
type rule struct {
	name, why string
	check     func(t *tree, report reporter)
}

// A reporter notes that the file at a line breaks the rule being checked.
type reporter func(file string, line int, format string, args ...any)

var rules = []rule{
	arrowsRule, cgoRule, pureRule,
	namesRule, finalizerRule, exitRule, marksRule,
	gofmtRule, packageCommentRule, exportedRule, fileSizeRule, functionSizeRule,
}

// Check applies all rules to the Go module whose root is fsys and returns the
// findings ordered by place. It leaves out testdata, what make builds, hidden
// folders and nested modules. The error is of a tree that cannot be read, such
// as one with a Go file that does not parse.
func Check(fsys fs.FS) ([]Finding, error) {
	t, err := load(fsys)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, r := range rules {
		r.check(t, func(file string, line int, format string, args ...any) {
			found = append(found, Finding{r.name, file, line, fmt.Sprintf(format, args...), r.why})
		})
	}
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Rule, b.Rule))
	})
	return found, nil
}

// A tree is the source of a module.
type tree struct {
	module string // its path
	fset   *token.FileSet
	files  []*file // Go and native sources, by path
}

// A file is a source file. syntax is nil for native ones.
type file struct {
	path, dir string // dir is "" for the root
	src       []byte
	syntax    *ast.File
	test      bool
	generated bool
}

var sourceExtensions = []string{".go", ".c", ".cc", ".h"}

func load(fsys fs.FS) (*tree, error) {
	mod, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return nil, fmt.Errorf("lint: read the module's path: %w", err)
	}
	t := &tree{fset: token.NewFileSet()}
	for line := range strings.Lines(string(mod)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			t.module = name
		}
	}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && leftOut(fsys, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains(sourceExtensions, path.Ext(name)) {
			return nil
		}
		return t.add(fsys, name)
	})
	if err != nil {
		return nil, fmt.Errorf("lint: read the sources: %w", err)
	}
	return t, nil
}

func leftOut(fsys fs.FS, dir string) bool {
	base := path.Base(dir)
	if base == "testdata" || base[0] == '.' || base[0] == '_' || dir == "build" {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil
}

func (t *tree) add(fsys fs.FS, name string) error {
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	f := &file{path: name, dir: path.Dir(name), src: src}
	if f.dir == "." {
		f.dir = ""
	}
	if path.Ext(name) == ".go" {
		if f.syntax, err = parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		f.test = strings.HasSuffix(name, "_test.go")
		f.generated = ast.IsGenerated(f.syntax)
	} else {
		first, _, _ := bytes.Cut(src, []byte("\n"))
		f.generated = bytes.Contains(first, []byte("Code generated"))
	}
	t.files = append(t.files, f)
	return nil
}

// goFiles calls yield for each Go file.
func (t *tree) goFiles(yield func(*file) bool) {
	for _, f := range t.files {
		if f.syntax != nil && !yield(f) {
			return
		}
	}
}

// line returns the line of pos in its file.
func (t *tree) line(pos token.Pos) int { return t.fset.Position(pos).Line }
