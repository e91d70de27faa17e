// Nlnctl finds novel images by Nearest Latent Neighbours; see package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/nlnctl/nlnctl/cli"
)

var version string // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(cli.Run(ctx, cli.Env{Stdout: os.Stdout, Stderr: os.Stderr, Version: version}, os.Args[1:]))
}
