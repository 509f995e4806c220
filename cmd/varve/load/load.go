// Package load measures a Kafka-compatible cluster: what producers and consumers get out of it, how long a record takes
// from one to the other, and how fast its tiers are. All that is read is checked.
//
// Owns: the load of 'varve bench', its latencies, the temporary topic and group. Does not own: flags, tables, and how one
// connects, which the command line does. Concurrency: a Plan is one run and used once; each client of it has a goroutine
// of its own, and they meet in a meter and a log, which may be used from many.
package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Plan says what a run does. Zero values of Records, Duration and Rate are no limit.
type Plan struct {
	// Connect makes a client of the cluster.
	Connect func(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error)
	// Progress is told each second how things stand.
	Progress io.Writer

	// Topic is one that exists; "" is one that is made for the run and removed after it.
	Topic       string
	Partitions  int32
	Replication int16
	Configs     map[string]*string

	Records     int64
	Duration    time.Duration
	Rate        float64 // records per second, of all clients together; a record's latency begins when it was due
	Clients     int
	RecordBytes int
	Payload     Payload
	BatchBytes  int32
	Linger      time.Duration
	Codec       kgo.CompressionCodec
	Acks        kgo.Acks
	Idempotent  bool
	InFlight    int // requests in flight per broker, without Idempotent

	FetchBytes int32 // per partition and fetch
	InGroup    bool  // read as members of a temporary group

	SegmentBytes int64         // of Tier
	Patience     time.Duration // how long Tier waits for the cluster to move segments
	Reads        int           // point reads of Tier
}

// Latency is a distribution in milliseconds.
type Latency struct {
	P50  float64 `json:"p50_ms"`
	P95  float64 `json:"p95_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

// Row is the result of one phase of a run.
type Row struct {
	Phase      string   `json:"phase"`
	Records    int64    `json:"records"`
	Bytes      int64    `json:"bytes"`   // of values
	Seconds    float64  `json:"seconds"` // from the begin to the last record; in a group, from the first
	PerSecond  float64  `json:"records_per_second"`
	MBPerSec   float64  `json:"mb_per_second"` // 10⁶ bytes
	FirstMs    *float64 `json:"first_ms"`      // until the first record, or segment
	Latency    *Latency `json:"latency"`       // null where single records have none
	Errors     int64    `json:"errors"`
	Verified   int64    `json:"verified"` // records whose checksum and place were right
	Foreign    int64    `json:"foreign"`  // records of somebody else, of which only the place was checked
	FirstError string   `json:"first_error"`
}

// errInterrupted ends a run that was asked to stop; what was measured until then is valid.
var errInterrupted = errors.New("interrupted")

// cleanupLimit bounds how long a run that was interrupted removes what it made.
const cleanupLimit = 20 * time.Second

// run is a Plan under way.
type run struct {
	Plan
	id        uint64 // in each record, to know our own
	temporary bool
	origin    time.Time // the zero of the times in records
	cl        *kgo.Client
	adm       *kadm.Client
}

// start connects and makes the topic if there is to be one. close removes it, whatever became of ctx.
func (p Plan) start(ctx context.Context) (r *run, err error) {
	var id [8]byte
	rand.Read(id[:]) // never fails
	r = &run{Plan: p, id: binary.BigEndian.Uint64(id[:]), temporary: p.Topic == "", origin: time.Now()}
	if r.cl, err = p.Connect(ctx); err != nil {
		return nil, err
	}
	r.adm = kadm.NewClient(r.cl)
	if !r.temporary {
		topics, err := r.adm.ListTopics(ctx, r.Topic)
		if err == nil {
			err = topics.Error()
		}
		if err != nil {
			r.cl.Close()
			return nil, fmt.Errorf("topic %s: %w", r.Topic, err)
		}
		return r, nil
	}
	r.Topic = fmt.Sprintf("varve-bench-%016x", r.id)
	if _, err := r.adm.CreateTopic(ctx, p.Partitions, p.Replication, p.Configs, r.Topic); err != nil {
		if ctx.Err() != nil { // it may be there all the same
			err = errors.Join(err, r.remove(ctx))
		}
		r.cl.Close()
		return nil, fmt.Errorf("creating the temporary topic %s: %w", r.Topic, err)
	}
	fmt.Fprintf(p.Progress, "temporary topic %s, %d partition(s)\n", r.Topic, p.Partitions)
	return r, nil
}

func (r *run) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	if _, err := r.adm.DeleteTopic(ctx, r.Topic); err != nil {
		return fmt.Errorf("the temporary topic %s is left behind: %w", r.Topic, err)
	}
	return nil
}

// close ends the run and adds to its error what went wrong with that.
func (r *run) close(ctx context.Context, err *error) {
	if r.temporary {
		*err = errors.Join(*err, r.remove(ctx))
	}
	r.cl.Close()
}

// now is the time of the run, in nanoseconds; it never goes back.
func (r *run) now() int64 { return int64(time.Since(r.origin)) }

// clients connects as many clients as the plan has, and closes all when one fails.
func (r *run) clients(ctx context.Context, opts func(i int) []kgo.Opt) (list []*kgo.Client, closeAll func(), err error) {
	closeAll = func() {
		for _, cl := range list {
			cl.Close()
		}
	}
	for i := range max(1, r.Clients) {
		cl, err := r.Connect(ctx, opts(i)...)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		list = append(list, cl)
	}
	return list, closeAll, nil
}

// spans asks where each partition of the topic begins and ends.
func (r *run) spans(ctx context.Context) (map[int32]*span, error) {
	starts, err := r.adm.ListStartOffsets(ctx, r.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking where %s begins: %w", r.Topic, err)
	}
	ends, err := r.adm.ListEndOffsets(ctx, r.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking where %s ends: %w", r.Topic, err)
	}
	list := map[int32]*span{}
	starts.Each(func(o kadm.ListedOffset) {
		if end, ok := ends.Lookup(o.Topic, o.Partition); ok {
			list[o.Partition] = &span{next: o.Offset, end: end.Offset}
		}
	})
	return list, nil
}

// stopped turns the end of a context into the word for it.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return errInterrupted
	}
	return err
}
