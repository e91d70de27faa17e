package batch

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if text := os.Getenv("BATCH_TEST_ROLE"); text != "" {
		var j job
		if err := json.Unmarshal([]byte(text), &j); err != nil {
			panic(err)
		}
		if err := j.run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func (j job) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if j.Role == "server" {
		o := serverOptions(j.Dir)
		o.DontListen, o.Host, o.Port = false, "127.0.0.1", j.Port
		s, err := startServer(o)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		<-ctx.Done()
		s.Shutdown()
		s.WaitForShutdown()
		return nil
	}
	o := WorkOptions{Open: opener(j.Stub), Lease: j.Lease, MaxTries: j.Tries, Drain: j.Drain, Progress: func(e Event) {
		fmt.Println(time.Now().Format("05.000"), e.Kind, e.Shard, e.Try, e.Err)
	}}
	if j.Role == "run" {
		q, err := Embed(j.Dir)
		if err != nil {
			return err
		}
		defer q.Close()
		p, st, _, err := o.Open(ctx, j.Output)
		if err != nil {
			return err
		}
		defer st.Close()
		_, err = q.Run(ctx, st, p, o)
		return err
	}
	q, err := Connect(ctx, QueueOptions{URL: j.URL})
	if err != nil {
		return err
	}
	defer q.Close()
	if j.Limit > 0 {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: j.Limit, Max: j.Limit}); err != nil {
			return err
		}
	}
	return q.Work(ctx, o)
}

// A natsServer is a server in a process of its own, that may die and come back.
type natsServer struct {
	t    *testing.T
	dir  string
	port int
	url  string
	*child
}

func serve(t *testing.T) *natsServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	s := &natsServer{t: t, dir: t.TempDir(), port: port, url: fmt.Sprintf("nats://127.0.0.1:%d", port)}
	s.up()
	return s
}

func (s *natsServer) up() {
	s.t.Helper()
	s.child = start(s.t, job{Role: "server", Dir: s.dir, Port: s.port})
	until(s.t, "the server", func() bool {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (s *natsServer) kill() {
	s.Process.Signal(syscall.SIGKILL)
	s.wait(10 * time.Second)
}

func (s *natsServer) connect() *Queue {
	s.t.Helper()
	q, err := Connect(s.t.Context(), QueueOptions{URL: s.url})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { q.Close() })
	return q
}
