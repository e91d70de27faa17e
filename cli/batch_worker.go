package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nlnctl/nlnctl/batch"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	ucli "github.com/urfave/cli/v2"
)

// natsFlags are how a NATS server is reached.
func natsFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "nats", EnvVars: []string{"NATS_URL"}, Usage: "the `URL` of a NATS server with JetStream, or several, with commas between"},
		&ucli.StringFlag{Name: "nats-user", EnvVars: []string{"NATS_USER"}, Usage: "log in as `NAME`"},
		&ucli.StringFlag{Name: "nats-password", EnvVars: []string{"NATS_PASSWORD"}, Usage: "with the password `TEXT`"},
		&ucli.StringFlag{Name: "nats-token", EnvVars: []string{"NATS_TOKEN"}, Usage: "log in with the token `TEXT`"},
		&ucli.StringFlag{Name: "nats-nkey", EnvVars: []string{"NATS_NKEY"}, Usage: "log in with the NKey seed in `FILE`"},
		&ucli.StringFlag{Name: "nats-creds", EnvVars: []string{"NATS_CREDS"}, Usage: "log in with the credentials in `FILE`"},
		&ucli.StringFlag{Name: "nats-ca", EnvVars: []string{"NATS_CA"}, Usage: "trust the certificates in `FILE`"},
		&ucli.StringFlag{Name: "nats-cert", EnvVars: []string{"NATS_CERT"}, Usage: "show the certificate in `FILE`"},
		&ucli.StringFlag{Name: "nats-key", EnvVars: []string{"NATS_KEY"}, Usage: "whose key is in `FILE`"},
		&ucli.IntFlag{Name: "nats-replicas", Value: 1, Usage: "keep the queue on `N` servers, where it is made"},
	}
}

// connect connects to the server that the options name.
func connect(c *ucli.Context) (*batch.Queue, error) {
	if c.String("nats") == "" {
		return nil, badUsage(c, "--nats is missing: the URL of a NATS server")
	}
	return batch.Connect(c.Context, batch.QueueOptions{URL: c.String("nats"), Name: "nlnctl " + c.Command.Name, User: c.String("nats-user"), Password: c.String("nats-password"),
		Token: c.String("nats-token"), NKey: c.String("nats-nkey"), Creds: c.String("nats-creds"), CA: c.String("nats-ca"), Cert: c.String("nats-cert"), Key: c.String("nats-key"),
		Replicas: c.Int("nats-replicas")})
}

func logFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "log-format", Value: "text", Usage: "log what happens to shards as `text|json`"}
}

// newLog returns a log on stderr, in the form that the options ask for.
func newLog(c *ucli.Context, stderr io.Writer, m *meter) *slog.Logger {
	level := slog.LevelInfo
	if c.Bool("quiet") {
		level = slog.LevelWarn
	}
	w := writerFunc(func(p []byte) (int, error) {
		m.clear()
		return stderr.Write(p)
	})
	if c.String("log-format") == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A progress follows the events of a worker.
type workProgress struct {
	plan  *batch.Plan // nil: of any
	log   *slog.Logger
	meter *meter
	start time.Time
	done  int
	total batch.Counts
}

func newProgress(p *batch.Plan, log *slog.Logger, m *meter) *workProgress {
	return &workProgress{plan: p, log: log, meter: m, start: time.Now()}
}

// event logs what happened to a shard and counts it.
func (p *workProgress) event(e batch.Event) {
	attrs := []any{"plan", short(e.Plan), "shard", e.Shard, "try", e.Try}
	switch e.Kind {
	case batch.Started:
		return
	case batch.Done, batch.GaveUp:
		p.done++
		p.total.Rows, p.total.Bad, p.total.Novel = p.total.Rows+e.Counts.Rows, p.total.Bad+e.Counts.Bad, p.total.Novel+e.Counts.Novel
		attrs = append(attrs, "images", e.Counts.Rows, "bad", e.Counts.Bad, "novel", e.Counts.Novel, "seconds", e.Took.Seconds())
	}
	counters.observe(e)
	if e.Err != nil {
		attrs = append(attrs, "err", e.Err)
	}
	switch e.Kind {
	case batch.Failed, batch.GaveUp, batch.Trouble:
		p.log.Warn(string(e.Kind), attrs...)
	default:
		p.log.Info(string(e.Kind), attrs...)
	}
	if p.plan != nil {
		rate := float64(p.total.Rows) / time.Since(p.start).Seconds()
		p.meter.show("%d shards done, %d images, %.0f images/s, %v left at most", p.done, p.total.Rows, rate, remaining(time.Since(p.start), p.done, p.plan.Shards))
	}
}

func short(id string) string { return id[:min(len(id), 16)] }

// workMetrics are what a worker tells Prometheus.
type workMetrics struct {
	shards  *prometheus.CounterVec
	images  *prometheus.CounterVec
	seconds prometheus.Histogram
}

var counters = &workMetrics{
	shards: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nlnctl_shards_total", Help: "Shards by what came of them."}, []string{"result"}),
	images: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nlnctl_images_total", Help: "Images in finished shards by what came of them."}, []string{"result"}),
	seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "nlnctl_shard_seconds", Help: "Seconds that finished shards took.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 13)}),
}

func (m *workMetrics) observe(e batch.Event) {
	m.shards.WithLabelValues(string(e.Kind)).Inc()
	if e.Kind == batch.Done || e.Kind == batch.GaveUp {
		m.images.WithLabelValues("ok").Add(float64(e.Counts.OK - e.Counts.Novel))
		m.images.WithLabelValues("novel").Add(float64(e.Counts.Novel))
		m.images.WithLabelValues("bad").Add(float64(e.Counts.Bad))
		m.seconds.Observe(e.Took.Seconds())
	}
}

// serveMetrics serves /metrics and /healthz at an address until ctx ends.
func serveMetrics(ctx context.Context, addr string, log *slog.Logger) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(counters.shards, counters.images, counters.seconds)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("--metrics: %w", err)
	}
	log.Info("metrics", "address", l.Addr().String())
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { s.Close() })
	go s.Serve(l)
	return nil
}

// workFlags are how a worker works.
func workFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.BoolFlag{Name: "drain", Usage: "end when nothing is queued nor in work"},
		&ucli.DurationFlag{Name: "grace", Value: 20 * time.Second, Usage: "after a signal to end, go on with a shard for `TIME`"},
		&ucli.DurationFlag{Name: "lease", Value: time.Minute, Usage: "give a shard to another worker after `TIME` of silence; workers of a queue must agree"},
		&ucli.DurationFlag{Name: "shard-timeout", Value: time.Hour, Usage: "give a shard `TIME` at most"},
		&ucli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics and /healthz at `ADDR`, such as :9090; with --device cuda:all the ports that follow too"},
	}
}

func workerCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "worker",
		Usage:     "score the shards that batch submit queued",
		UsageText: "nlnctl worker --nats URL [options]",
		Description: `Takes a shard at a time, of any plan that is queued. A shard whose worker is silent for
--lease goes to another; one that fails five times gets rows that say so. On SIGTERM the
shard in work may go on for --grace, then it is handed back.`,
		Flags: append(append(natsFlags(), workFlags()...),
			append([]ucli.Flag{threadsFlag(), logFlag(), quietFlag()}, append(gangFlags(), limitFlags()...)...)...),
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			limits, err := limits(c)
			if err != nil {
				return err
			}
			if err := useCore(c); err != nil {
				return err
			}
			if c.String("device") == allDevices {
				return runGang(c.Context, c, env)
			}
			log := newLog(c, env.Stderr, &meter{})
			if addr := c.String("metrics"); addr != "" {
				if err := serveMetrics(c.Context, addr, log); err != nil {
					return err
				}
			}
			q, err := connect(c)
			if err != nil {
				return err
			}
			defer q.Close()
			err = q.Work(c.Context, batch.WorkOptions{Open: opener(c, limits, log), Drain: c.Bool("drain"), Grace: c.Duration("grace"), Lease: c.Duration("lease"), ShardTimeout: c.Duration("shard-timeout"),
				Progress: newProgress(nil, log, &meter{}).event})
			if errors.Is(err, context.Canceled) && c.Context.Err() != nil {
				return nil // it was told to end, and has handed back what it had
			}
			return err
		},
	}
}

// opener opens what the plan in an output needs, on the device that the options name.
func opener(c *ucli.Context, limits dataset.Reading, log *slog.Logger) func(ctx context.Context, output string) (*batch.Plan, *batch.Store, batch.Job, error) {
	return func(ctx context.Context, output string) (*batch.Plan, *batch.Store, batch.Job, error) {
		st, err := batch.OpenStore(ctx, output)
		if err != nil {
			return nil, nil, nil, err
		}
		p, err := batch.OpenPlan(ctx, st)
		if err != nil {
			return nil, nil, nil, errors.Join(err, st.Close())
		}
		j, err := openJob(ctx, st, p, limits, func() (torch.Device, error) { return useDevice(c) })
		if err != nil {
			return nil, nil, nil, errors.Join(err, st.Close())
		}
		attrs := []any{"plan", short(p.ID), "device", computedOn(c, j.bundle)}
		if j.bundle.OnHost != nil {
			attrs = append(attrs, "host", j.bundle.OnHost)
		}
		log.Info("opened", attrs...)
		return p, st, j, nil
	}
}

func shardCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "shard",
		Usage:     "score one shard of a plan by its number, without a queue",
		UsageText: "nlnctl shard --plan OUTPUT --index N [options]",
		Description: `For schedulers that number their tasks, such as a Kubernetes Indexed Job. A shard that
is done is not done again. "nlnctl batch watch OUTPUT" sums up.`,
		Flags: append([]ucli.Flag{
			&ucli.StringFlag{Name: "plan", Usage: "the `OUTPUT` of batch submit or run", Required: true},
			&ucli.IntFlag{Name: "index", EnvVars: []string{"JOB_COMPLETION_INDEX"}, Usage: "`N`, from 0", Required: true},
			threadsFlag(), quietFlag()}, append(deviceFlags(), limitFlags()...)...),
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			limits, err := limits(c)
			if err != nil {
				return err
			}
			if err := useCore(c); err != nil {
				return err
			}
			m := newMeter(c, env.Stderr)
			p, st, j, err := opener(c, limits, newLog(c, io.Discard, m))(c.Context, absolute(c.String("plan")))
			if err != nil {
				return err
			}
			defer st.Close()
			defer j.(*scoreJob).Close()
			n := c.Int("index")
			if n < 0 || n >= p.Shards {
				return badUsage(c, "--index is %d, want 0 to %d", n, p.Shards-1)
			}
			counts, did, err := batch.DoShard(c.Context, st, p, n, j)
			if err != nil {
				return err
			}
			if !did {
				m.say("shard %d is done already", n)
				return nil
			}
			m.say("shard %d: %d images, %d novel, %d without a score", n, counts.Rows, counts.Novel, counts.Bad)
			return nil
		},
	}
}
