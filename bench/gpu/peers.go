package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// peers is the Python process that does the same work.
type peers struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startPeers(dir string) (*peers, error) {
	cmd := exec.Command("python3", filepath.Join(dir, "gpu.py"))
	cmd.Stderr = os.Stderr
	// Its libraries are its own.
	for _, v := range os.Environ() {
		if len(v) < 16 || v[:16] != "LD_LIBRARY_PATH=" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &peers{cmd: cmd, in: in, lines: bufio.NewScanner(out)}
	return p, cmd.Start()
}

// ask returns the units a second that the peer gets done.
func (p *peers) ask(request map[string]any) (float64, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		return 0, err
	}
	if !p.lines.Scan() {
		return 0, errors.Join(errors.New("the peer has ended"), p.lines.Err())
	}
	var answer struct {
		Units, Seconds float64
		Error          string
	}
	if err := json.Unmarshal(p.lines.Bytes(), &answer); err != nil {
		return 0, fmt.Errorf("the peer said %q: %w", p.lines.Text(), err)
	}
	if answer.Error != "" {
		return 0, errors.New(answer.Error)
	}
	return answer.Units / answer.Seconds, nil
}

func (p *peers) close() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}
