package cli

import (
	"fmt"

	ucli "github.com/urfave/cli/v2"
)

// Both shells ask the program itself what can follow.
const (
	bashCompletion = `_nlnctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ $cur == -* ]] && words+=("$cur")
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _nlnctl nlnctl
`
	zshCompletion = `#compdef nlnctl
_nlnctl() {
  local -a found
  local cur=${words[CURRENT]}
  if [[ $cur == -* ]]; then
    found=(${(f)"$(${words[1,CURRENT-1]} ${cur} --generate-bash-completion 2>/dev/null)"})
  else
    found=(${(f)"$(${words[1,CURRENT-1]} --generate-bash-completion 2>/dev/null)"})
  fi
  compadd -- ${found%%:*} || _files
}
if [[ $funcstack[1] == _nlnctl ]]; then
  _nlnctl # a file in fpath, which is read when it is called
else
  compdef _nlnctl nlnctl
fi
`
)

func completionCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "completion",
		Usage:     "print a script that completes commands and options in a shell",
		UsageText: "nlnctl completion bash|zsh|fish",
		Description: `   bash: source <(nlnctl completion bash)
   zsh:  source <(nlnctl completion zsh)
   fish: nlnctl completion fish | source`,
		Action: func(c *ucli.Context) error {
			if c.NArg() != 1 {
				return badUsage(c, "have %d shells, want one of: bash, zsh, fish", c.NArg())
			}
			script := ""
			switch c.Args().First() {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				var err error
				if script, err = c.App.ToFishCompletion(); err != nil {
					return err
				}
			default:
				return badUsage(c, "unknown shell %q, want one of: bash, zsh, fish", c.Args().First())
			}
			_, err := fmt.Fprint(env.Stdout, script)
			return err
		},
	}
}
