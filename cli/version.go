package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/nlnctl/nlnctl/cgo/torch"
	ucli "github.com/urfave/cli/v2"
)

// version returns the program's version, as well as it is known.
func (e Env) version() string {
	if e.Version != "" {
		return e.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}

func versionCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "version",
		Usage:     "print the versions of the program and of what it is built on",
		UsageText: "nlnctl version [--json]",
		Flags:     []ucli.Flag{jsonFlag("them")},
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			v := struct {
				Program string          `json:"nlnctl"`
				Go      string          `json:"go"`
				Core    string          `json:"core,omitempty"`
				Native  json.RawMessage `json:"native,omitempty"`
				Error   string          `json:"error,omitempty"`
			}{Program: env.version(), Go: runtime.Version()}
			info, err := torch.Info()
			if err != nil {
				v.Error = err.Error()
			} else {
				v.Native, v.Core = info, torch.CorePath()
			}
			if c.Bool("json") {
				return printJSON(env.Stdout, v)
			}
			fmt.Fprintf(env.Stdout, "nlnctl    %s\ngo        %s\n", v.Program, v.Go)
			if err != nil {
				fmt.Fprintf(env.Stdout, "core      not loaded: see \"nlnctl doctor\"\n")
				return nil
			}
			var n nativeInfo
			if err := json.Unmarshal(info, &n); err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "core      %s\nlibtorch  %s\nfaiss     %s\n", v.Core, n.Libtorch, n.FAISS)
			return nil
		},
	}
}

// nativeInfo is what the native core says of itself.
type nativeInfo struct {
	Libtorch     string             `json:"libtorch"`
	SIMD         string             `json:"simd"`
	BLAS         string             `json:"blas"`
	OneDNN       string             `json:"onednn"`
	CUDA         bool               `json:"cuda"`
	Devices      []torch.CUDADevice `json:"devices"` // none where the core was built without CUDA=1
	FAISS        string             `json:"faiss"`
	FAISSOptions string             `json:"faiss_options"`
	Threads      int                `json:"threads"` // the setting; what follows is what the libraries take

	OpenMPThreads   int    `json:"openmp_threads"`
	TorchThreads    int    `json:"torch_threads"`
	OpenBLASThreads int    `json:"openblas_threads"`
	OpenBLASKernels string `json:"openblas_kernels"` // "" where there is no OpenBLAS
	OpenBLASConfig  string `json:"openblas_config"`
}
