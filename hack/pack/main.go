// Command pack makes what goes with the program where it is installed, and archives.
//
//	pack share VERSION EPOCH DIR   completions, manual pages and licences below DIR
//	pack tar EPOCH DIR FILE        the folder DIR as FILE.tar.gz
//
// EPOCH is the time, in seconds since 1970, that pages and archives bear. The same input
// gives the same bytes.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nlnctl/nlnctl/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "share":
		t, err := epoch(args[2])
		if err != nil {
			return err
		}
		return share(args[1], t, args[3])
	case len(args) == 4 && args[0] == "tar":
		t, err := epoch(args[1])
		if err != nil {
			return err
		}
		return archive(t, args[2], args[3])
	}
	return fmt.Errorf("usage: pack share VERSION EPOCH DIR, or pack tar EPOCH DIR FILE")
}

func epoch(seconds string) (time.Time, error) {
	n, err := strconv.ParseInt(seconds, 10, 64)
	return time.Unix(n, 0).UTC(), err
}

// completions are the places where the shells look, below share.
var completions = map[string]string{
	"bash": "bash-completion/completions/nlnctl",
	"zsh":  "zsh/site-functions/_nlnctl",
	"fish": "fish/vendor_completions.d/nlnctl.fish",
}

// share replaces dir by all that belongs below PREFIX/share.
func share(version string, t time.Time, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for shell, name := range completions {
		var out, errs bytes.Buffer
		if cli.Run(context.Background(), cli.Env{Stdout: &out, Stderr: &errs}, []string{"completion", shell}) != 0 {
			return fmt.Errorf("completion for %s: %s", shell, errs.String())
		}
		if err := write(filepath.Join(dir, name), out.Bytes()); err != nil {
			return err
		}
	}
	for name, text := range cli.Manual(version, t.Format(time.DateOnly)) {
		if err := write(filepath.Join(dir, "man/man1", name), text); err != nil {
			return err
		}
	}
	licences, err := licences()
	if err != nil {
		return err
	}
	for name, text := range licences {
		if err := write(filepath.Join(dir, "doc/nlnctl/licences", name), text); err != nil {
			return err
		}
	}
	return nil
}

func write(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}
