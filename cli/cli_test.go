package cli

import (
	"context"
	"os"
	"os/signal"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nlnctl": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		context.AfterFunc(ctx, stop)
		os.Exit(Run(ctx, Env{Stdout: os.Stdout, Stderr: os.Stderr, Version: "test"}, os.Args[1:]))
	}})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("NLN_CORE", os.Getenv("NLN_CORE"))
			e.Setenv("NLN_DATA", os.Getenv("NLN_DATA"))
			return nil
		},
		Condition: func(cond string) (bool, error) { return cond == "data" && os.Getenv("NLN_DATA") != "", nil },
	})
}
