package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A goPackage is what "go list" says about one that is linked into the program.
type goPackage struct {
	ImportPath, Dir string
	Module          *struct {
		Path, Version, Dir string
		Main               bool
	}
}

// licences returns the licence texts of what is linked into the program and, as a part
// of it, into the core, by module@version/file: those in the root of each module and in
// the folders between it and a package that is used, where other people's code lies.
func licences() (map[string][]byte, error) {
	packages, err := listDeps("./cmd/nlnctl")
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
	modules := map[string]bool{}
	for _, p := range packages {
		if p.Module == nil || p.Module.Main {
			continue
		}
		module := p.Module.Path + "@" + p.Module.Version
		modules[module] = true
		if err := climb(found, module, p.Module.Dir, p.Dir); err != nil {
			return nil, err
		}
	}
	for name := range found {
		before, after, _ := strings.Cut(name, "@")
		version, _, _ := strings.Cut(after, "/")
		delete(modules, before+"@"+version)
	}
	if len(modules) > 0 {
		return nil, fmt.Errorf("no licence was found in %q", slices.Sorted(maps.Keys(modules)))
	}
	root, err := goRoot()
	if err != nil {
		return nil, err
	}
	if err := climb(found, "go", root, root); err != nil {
		return nil, err
	}
	// FAISS is linked into the core as an archive, where the distribution has it as one.
	text, err := os.ReadFile("/usr/share/doc/libfaiss-dev/copyright")
	if err == nil {
		found["faiss/copyright"] = text
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return found, nil
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|copyright)s?([._-].*)?$`)

// notLicence are files of that name that hold code.
var notLicence = regexp.MustCompile(`(?i)\.(go|s|c|h|py|sh|json|ya?ml)$`)

// climb adds the licence files of dir and the folders above it, up to root.
func climb(found map[string][]byte, module, root, dir string) error {
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, dir)
		if err != nil || strings.HasPrefix(rel, "..") {
			return fmt.Errorf("%s is not in %s", dir, root)
		}
		for _, e := range entries {
			name := filepath.Join(module, rel, e.Name())
			if found[name] != nil || !e.Type().IsRegular() || !licenceFile.MatchString(e.Name()) || notLicence.MatchString(e.Name()) {
				continue
			}
			if found[name], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
		if dir == root {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

func listDeps(pkg string) ([]goPackage, error) {
	out, err := goCommand("list", "-deps", "-json=ImportPath,Dir,Module", pkg)
	if err != nil {
		return nil, err
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

func goRoot() (string, error) {
	out, err := goCommand("env", "GOROOT")
	return strings.TrimSpace(string(out)), err
}

// goCommand runs the go command of the repository, in its root.
func goCommand(args ...string) ([]byte, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(root, "hack/go.sh"), args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// repository returns the folder with go.mod, this one or one above it.
func repository() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod here or above")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
