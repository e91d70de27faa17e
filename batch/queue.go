package batch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"golang.org/x/sys/unix"
)

// defaultPrefix is what the subjects, the stream and the buckets of a queue begin with.
const defaultPrefix = "nln"

// How long a request to the queue may take, and an acknowledgement.
const (
	requestTime = 10 * time.Second
	ackTime     = 2 * time.Second
)

// A Queue says which shards wait for a worker, and which are in work. Several plans
// share one. It may be used from several goroutines.
//
// It is a stream of NATS JetStream with a message for each shard, its subject
// PREFIX.PLAN.SHARD, and a consumer for each plan.
type Queue struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	where    string // for errors
	prefix   string
	replicas int
	shut     func() error // of the server, where it is in this process
	url      string       // of the server, where EmbedShared opened it
	token    string       // that it wants
}

// Embed opens a queue that lies in a folder, which it makes, and is of this process
// alone: its server runs within, and no port is opened. What it is told is on disk
// before it is believed. The error wraps ErrLocked where another process has it open.
func Embed(dir string) (*Queue, error) { return embedServer(dir, serverOptions(dir)) }

// EmbedShared is Embed for further processes on this machine: the server opens a port
// of the loopback interface, and wants a token. See Shared.
func EmbedShared(dir string) (*Queue, error) {
	o := serverOptions(dir)
	o.DontListen, o.Host, o.Port = false, "127.0.0.1", server.RANDOM_PORT
	o.Authorization = rand.Text()
	return embedServer(dir, o)
}

// Shared returns the URL of a queue that EmbedShared opened and the token by which to
// log in, as in QueueOptions.
func (q *Queue) Shared() (url, token string) { return q.url, q.token }

func embedServer(dir string, o *server.Options) (*Queue, error) {
	fail := func(err error) (*Queue, error) {
		return nil, fmt.Errorf("batch: open queue %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail(err)
	}
	lock, err := atomicfile.OpenLocked(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fail(fmt.Errorf("%w: wait for its end, or give another folder", ErrLocked))
	}
	if err != nil {
		return fail(err)
	}
	s, err := startServer(o)
	if err != nil {
		lock.Close()
		return fail(err)
	}
	shut := func() error {
		s.Shutdown()
		s.WaitForShutdown()
		return lock.Close()
	}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.Name("nlnctl"), nats.MaxReconnects(-1), nats.Token(o.Authorization), silence)
	if err != nil {
		return fail(errors.Join(err, shut()))
	}
	q, err := newQueue(nc, dir, defaultPrefix, 1)
	if err != nil {
		nc.Close()
		return fail(errors.Join(err, shut()))
	}
	q.shut = shut
	if !o.DontListen {
		q.url, q.token = s.ClientURL(), o.Authorization
	}
	return q, nil
}

// silence keeps package nats from printing errors of connections, which requests
// return as well.
var silence = nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

func serverOptions(dir string) *server.Options {
	return &server.Options{
		ServerName:             "nlnctl",
		DontListen:             true,
		NoSigs:                 true,
		NoLog:                  true,
		NoSystemAccount:        true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               dir,
		SyncAlways:             true, // the default is every two minutes
		JetStreamMaxMemory:     64 << 20,
	}
}

// lastWords keeps what a server says as it fails, and prints nothing.
type lastWords struct {
	mu   sync.Mutex
	text string
}

func (l *lastWords) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = fmt.Sprintf(format, v...)
}
func (l *lastWords) Errorf(string, ...any)  {}
func (l *lastWords) Warnf(string, ...any)   {}
func (l *lastWords) Noticef(string, ...any) {}
func (l *lastWords) Debugf(string, ...any)  {}
func (l *lastWords) Tracef(string, ...any)  {}

func (l *lastWords) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

func startServer(o *server.Options) (*server.Server, error) {
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	words := new(lastWords)
	s.SetLogger(words, false, false)
	s.Start()
	// What would end a server that is a program comes back here.
	if words.last() == "" && s.JetStreamEnabled() && s.ReadyForConnections(time.Minute) {
		return s, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, fmt.Errorf("its server does not start: %s: move the folder away, what has no result is queued again", cmp.Or(words.last(), "no reason is given"))
}

// QueueOptions says where a NATS server is and how it is logged in to.
type QueueOptions struct {
	URL                   string // such as nats://HOST:4222; several have commas between them
	Name                  string // of the connection; empty: nlnctl
	User, Password, Token string
	NKey                  string // file with the seed of an NKey
	Creds                 string // file with credentials
	CA, Cert, Key         string // PEM files for TLS
	Prefix                string // of subjects, stream and buckets; empty: nln
	Replicas              int    // of what has to be created; 0: 1
}

// Connect opens the queue of a NATS server with JetStream. A connection that breaks
// later is made again.
func Connect(ctx context.Context, o QueueOptions) (*Queue, error) {
	where := redacted(o.URL)
	fail := func(err error) (*Queue, error) {
		return nil, fmt.Errorf("batch: connect to queue %s: %w", where, err)
	}
	if o.URL == "" {
		return nil, errors.New("batch: connect to queue: no URL is given, such as nats://HOST:4222")
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if strings.ContainsAny(o.Prefix, ".*> \t/\\") {
		return fail(fmt.Errorf("the prefix %q has a dot, a star, a space or a slash", o.Prefix))
	}
	options, err := o.nats()
	if err != nil {
		return fail(err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(max(time.Until(deadline), time.Millisecond)))
	}
	nc, err := nats.Connect(o.URL, options...)
	if err != nil {
		return fail(fmt.Errorf("%w: check the URL and the login", err))
	}
	where = nc.ConnectedUrlRedacted()
	q, err := newQueue(nc, where, o.Prefix, max(o.Replicas, 1))
	if err == nil {
		err = q.ensure(ctx)
	}
	if err != nil {
		nc.Close()
		return fail(err)
	}
	return q, nil
}

func (o QueueOptions) nats() ([]nats.Option, error) {
	if o.Name == "" {
		o.Name = "nlnctl"
	}
	options := []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.Timeout(5 * time.Second),
		nats.ReconnectWait(time.Second), nats.ReconnectJitter(time.Second, time.Second),
		silence,
		nats.IgnoreAuthErrorAbort(),
	}
	if o.User != "" || o.Password != "" {
		options = append(options, nats.UserInfo(o.User, o.Password))
	}
	if o.Token != "" {
		options = append(options, nats.Token(o.Token))
	}
	if o.NKey != "" {
		nkey, err := nats.NkeyOptionFromSeed(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("read NKey seed %s: %w", o.NKey, err)
		}
		options = append(options, nkey)
	}
	if o.Creds != "" {
		if _, err := os.Stat(o.Creds); err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		options = append(options, nats.UserCredentials(o.Creds))
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, errors.New("a certificate and its key belong together: give both files")
	}
	if o.Cert != "" {
		options = append(options, nats.ClientCert(o.Cert, o.Key))
	}
	return options, nil
}

// redacted returns the URLs of servers without passwords.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, text := range list {
		if u, err := url.Parse(strings.TrimSpace(text)); err == nil {
			list[i] = u.Redacted()
		} else {
			list[i] = "(not a URL)"
		}
	}
	return strings.Join(list, ",")
}

func newQueue(nc *nats.Conn, where, prefix string, replicas int) (*Queue, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(8*window), jetstream.WithPublishAsyncTimeout(requestTime))
	if err != nil {
		return nil, err
	}
	return &Queue{nc: nc, js: js, where: where, prefix: prefix, replicas: replicas}, nil
}

// Close closes the connection, and ends the server where it is in this process.
func (q *Queue) Close() error {
	q.nc.Close()
	if q.shut == nil {
		return nil
	}
	shut := q.shut
	q.shut = nil
	return shut()
}

func (q *Queue) stream() string              { return q.prefix + "-shards" }
func (q *Queue) subjects(plan string) string { return q.prefix + "." + plan + ".*" }
func (q *Queue) subject(plan string, shard int) string {
	return fmt.Sprintf("%s.%s.%d", q.prefix, plan, shard)
}

// consumerName returns the name of a plan's consumer.
func consumerName(plan string) string { return "plan-" + plan }

// planOf returns whose consumer a name is.
func planOf(consumer string) (string, bool) { return strings.CutPrefix(consumer, "plan-") }

// ensure makes the stream and the buckets where they are not there. A server that
// lost all it had gets them again.
func (q *Queue) ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	want := jetstream.StreamConfig{
		Name:        q.stream(),
		Description: "shards that wait for a worker or are in work",
		Subjects:    []string{q.prefix + ".*.*"},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    q.replicas,
		// One message a shard: to queue what is queued is refused. Message IDs are
		// no substitute: they also refuse what was done and has lost its result.
		MaxMsgsPerSubject:    1,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
	}
	s, err := q.js.Stream(ctx, q.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = q.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // by another that is faster
			s, err = q.js.Stream(ctx, q.stream())
		}
	}
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("%w: start nats-server with -js", err)
	}
	if err != nil {
		return fmt.Errorf("make stream %s: %w", q.stream(), err)
	}
	have := s.CachedInfo().Config
	if have.MaxMsgsPerSubject != 1 || !have.DiscardNewPerSubject || have.Discard != jetstream.DiscardNew || have.Retention != jetstream.WorkQueuePolicy {
		return fmt.Errorf("stream %s is not as this program makes it: choose another prefix, or remove it", q.stream())
	}
	if _, err := q.workers(ctx); err != nil {
		return err
	}
	_, err = q.returned(ctx)
	return err
}

// workers is where workers say that they live.
func (q *Queue) workers(ctx context.Context) (jetstream.KeyValue, error) {
	return q.bucket(ctx, jetstream.KeyValueConfig{
		Bucket: q.prefix + "-workers", Description: "what workers say of themselves", TTL: silent, Storage: jetstream.MemoryStorage, Replicas: q.replicas,
	})
}

// returned is where it stands how often a shard was handed back for no fault of its own.
func (q *Queue) returned(ctx context.Context) (jetstream.KeyValue, error) {
	return q.bucket(ctx, jetstream.KeyValueConfig{
		Bucket: q.prefix + "-returned", Description: "how often shards were handed back", TTL: 30 * 24 * time.Hour, Storage: jetstream.FileStorage, Replicas: q.replicas,
	})
}

func (q *Queue) bucket(ctx context.Context, want jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	kv, err := q.js.KeyValue(ctx, want.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = q.js.CreateKeyValue(ctx, want)
		if errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = q.js.KeyValue(ctx, want.Bucket)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make bucket %s: %w", want.Bucket, err)
	}
	return kv, nil
}

// consumer opens the consumer of a plan and makes it where it is not there. A lease
// that is not zero becomes that of the plan.
func (q *Queue) consumer(ctx context.Context, plan string, lease time.Duration) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	c, err := q.js.Consumer(ctx, q.stream(), consumerName(plan))
	if err == nil && (lease == 0 || c.CachedInfo().Config.AckWait == lease) {
		return c, nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	if lease == 0 {
		lease = defaultLease
	}
	return q.js.CreateOrUpdateConsumer(ctx, q.stream(), jetstream.ConsumerConfig{
		Durable:       consumerName(plan),
		FilterSubject: q.subjects(plan),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       lease,
		MaxDeliver:    -1, // workers count, and write rows for what failed too often
		MaxAckPending: -1,
		Replicas:      q.replicas,
	})
}

// Clear removes what the queue holds of a plan, as when it is done. Results stay.
func (q *Queue) Clear(ctx context.Context, p *Plan) error {
	if err := q.clear(ctx, p.ID); err != nil {
		return fmt.Errorf("batch: clear plan %s from queue %s: %w", p.ID, q.where, err)
	}
	return nil
}

func (q *Queue) clear(ctx context.Context, plan string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	s, err := q.js.Stream(ctx, q.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(q.subjects(plan))); err != nil {
		return err
	}
	if err := s.DeleteConsumer(ctx, consumerName(plan)); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	return nil
}

// Cancel marks a plan as cancelled, and takes it from the queue. Workers leave its
// shards within a quarter of a minute.
func (q *Queue) Cancel(ctx context.Context, st *Store, p *Plan) error {
	if err := MarkCancelled(ctx, st, p); err != nil {
		return err
	}
	return q.Clear(ctx, p)
}
