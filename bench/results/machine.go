package results

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Machine is what something was measured on.
type Machine struct {
	Processor  string  `json:"processor"`
	Processors int     `json:"processors"` // logical, that this process may use
	Vectors    string  `json:"vectors"`    // the widest instructions
	MemoryGB   float64 `json:"memory_gb"`
	System     string  `json:"system"`
	Go         string  `json:"go"`
}

// ThisMachine describes the machine; what the system does not tell is empty.
func ThisMachine() Machine {
	m := Machine{Processors: runtime.NumCPU(), Go: runtime.Version()}
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	m.Processor, m.Vectors = processor(string(cpu))
	if os, err := os.ReadFile("/etc/os-release"); err == nil {
		m.System = strings.Trim(field(string(os), "PRETTY_NAME", "="), `"`)
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryGB = float64(info.Totalram) * float64(info.Unit) / 1e9
	}
	return m
}

// processor reads the text of /proc/cpuinfo. A virtual machine may hide the
// model's name, which family and model tell then.
func processor(text string) (name, vectors string) {
	name = fmt.Sprintf("%s (%s, family %s, model %s)", field(text, "model name", ":"),
		field(text, "vendor_id", ":"), field(text, "cpu family", ":"), field(text, "model", ":"))
	flags := " " + field(text, "flags", ":") + " "
	for _, v := range []string{"avx512_vnni", "avx512f", "avx2", "sse2"} {
		if strings.Contains(flags, " "+v+" ") {
			return name, v
		}
	}
	return name, ""
}

// field returns what the first line of a name holds.
func field(text, name, separator string) string {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, separator)
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// NewStamp begins the stamp of a run by a command.
func NewStamp(command string) Stamp {
	s := Stamp{Date: time.Now().UTC().Format("2006-01-02"), Command: command, Machine: ThisMachine(), Libraries: map[string]string{}}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		s.Commit = strings.TrimSpace(string(out))
	}
	return s
}
