package cli

import (
	ucli "github.com/urfave/cli/v2"
)

func dataCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:        "data",
		Usage:       "make data sets",
		UsageText:   "nlnctl data synth -o DIR [options]",
		Subcommands: []*ucli.Command{synthCommand(env)},
		Action:      subcommandHelp,
	}
}

// subcommandHelp is what a command does that has others below it.
func subcommandHelp(c *ucli.Context) error {
	if c.Args().Present() {
		return badUsage(c, "unknown command %q", c.Args().First())
	}
	return ucli.ShowSubcommandHelp(c)
}
