package judge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
)

// step is one answer of a script, or what came in its place.
type step struct {
	name   string
	fields map[string]string // path of the field → its value, made comparable
	order  []string          // the paths as they came

	key    int16         // of the request that was asked, noKey where the connection is what counts
	answer kmsg.Response // what fields was made of, nil where it was something else
	take   taker         // how they were made
	afloat bool          // of the side, when it was made
}

// taker takes an answer apart.
type taker func(*fields, kmsg.Response)

// noKey is the key of steps that are about no API.
const noKey int16 = -1

// side is one broker as one script sees it: it remembers every answer.
type side struct {
	addr   string
	sasl   string // the listener of those that log in, where there is one
	name   string // of the script; its topics start with it
	base   int64  // the time of the records that the scripts write, in ms, the same on both sides
	steps  []step
	ids    map[[16]byte]string // topic ids seen, with the topic's name
	seen   map[string]int      // step names, to tell repeated ones apart
	asked  map[int16]int       // requests by key, those that set the scene among them
	afloat bool                // offsets count as there or not there: they depend on what was accepted before
	broken error               // why the script could not go on
}

// giveUp ends a script: what it stands on failed. It is recovered in run.
type giveUp struct{ error }

func (s *side) must(err error) {
	if err != nil {
		panic(giveUp{err})
	}
}

// topic is a name that belongs to this script alone.
func (s *side) topic(name string) string { return s.name + "." + name }

// record adds a step.
func (s *side) record(name string, f *fields) {
	if n := s.seen[name]; n > 0 {
		s.seen[name]++
		name = fmt.Sprintf("%s (%d)", name, n+1)
	} else {
		s.seen[name] = 1
	}
	s.steps = append(s.steps, step{name: name, fields: f.values, order: f.order, key: noKey, afloat: s.afloat})
}

// note records a step with one value.
func (s *side) note(name, value string) {
	f := newFields(s)
	f.put("outcome", value)
	s.record(name, f)
}

// conn is one connection of a script, opened when first used and again after a close.
type conn struct {
	s           *side
	clientID    string
	correlation int32
	addr        string         // of the listener
	by          sasl.Mechanism // how it logs in; nil: it does not
	nc          net.Conn
}

func (s *side) conn() *conn { return &conn{s: s, clientID: "judge", addr: s.addr} }

// admin is a connection that may do everything.
func (s *side) admin() *conn {
	if s.sasl == "" {
		return s.conn()
	}
	return s.as(superUser)
}

func (c *conn) open() net.Conn {
	if c.nc != nil {
		return c.nc
	}
	nc, err := net.DialTimeout("tcp", c.addr, 5*time.Second)
	c.s.must(err)
	c.nc = nc
	if c.by != nil {
		c.s.must(c.login())
	}
	return c.nc
}

func (c *conn) close() {
	if c.nc != nil {
		c.nc.Close()
		c.nc = nil
	}
}

// patience is how long an answer may take that nobody delays on purpose.
const patience = time.Minute

var errClosed = errors.New("closed")

// exchange sends a frame's content and reads the next answer's; errClosed when the broker
// closes the connection instead.
func (c *conn) exchange(frame []byte) ([]byte, error) {
	c.send(frame)
	return c.receive(patience)
}

// send writes bytes as they are. A broker that has closed is found out by receive.
func (c *conn) send(frame []byte) {
	_, _ = c.open().Write(frame)
}

// receive reads one frame; os.ErrDeadlineExceeded when none comes in time.
func (c *conn) receive(wait time.Duration) ([]byte, error) {
	nc := c.open()
	c.s.must(nc.SetReadDeadline(time.Now().Add(wait)))
	var size [4]byte
	if _, err := io.ReadFull(nc, size[:]); err != nil {
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			return nil, err
		}
		c.close()
		return nil, errClosed
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(nc, body)
	c.s.must(err)
	return body, nil
}

// frame is a request as it goes over the wire.
func (c *conn) frame(version int16, req kmsg.Request) []byte {
	req.SetVersion(version)
	c.correlation++
	c.s.asked[req.Key()]++
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(c.clientID)).AppendRequest(nil, req, c.correlation)
}

// parse reads the content of an answer's frame, and wants no byte more or less than its fields take.
func parse(body []byte, version int16, resp kmsg.Response) error {
	if len(body) < 5 {
		return fmt.Errorf("an answer of %d bytes", len(body))
	}
	body = body[4:]
	if resp.SetVersion(version); resp.IsFlexible() && resp.Key() != 18 {
		if body[0] != 0 {
			return fmt.Errorf("%d tags in the header, where no broker sends any", body[0])
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return err
	}
	if n := len(resp.AppendTo(nil)); n != len(body) {
		return fmt.Errorf("%d bytes, and the fields of version %d take %d", len(body), version, n)
	}
	return nil
}

// answers parses the answer to the request with that correlation id.
func answers(body []byte, correlation int32, version int16, resp kmsg.Response) error {
	if len(body) >= 4 && int32(binary.BigEndian.Uint32(body)) != correlation {
		return fmt.Errorf("correlation id %d, want %d", int32(binary.BigEndian.Uint32(body)), correlation)
	}
	return parse(body, version, resp)
}

// try sends a request and returns the answer, nil when the connection was closed instead.
func (c *conn) try(version int16, req kmsg.Request) kmsg.Response {
	c.open() // which may log in, and count what it sends
	body, err := c.exchange(c.frame(version, req))
	if errors.Is(err, errClosed) {
		return nil
	}
	c.s.must(err)
	resp := req.ResponseKind()
	if err := answers(body, c.correlation, version, resp); err != nil {
		c.s.must(fmt.Errorf("the answer to key %d v%d does not parse: %w", req.Key(), version, err))
	}
	return resp
}

// ask sends a request and records the answer under a name.
func (c *conn) ask(name string, version int16, req kmsg.Request) kmsg.Response {
	resp := c.try(version, req)
	c.s.answered(fmt.Sprintf("v%d %s", version, name), resp)
	c.s.steps[len(c.s.steps)-1].key = req.Key()
	return resp
}

// answered records an answer, nil for a closed connection.
func (s *side) answered(name string, resp kmsg.Response) {
	if resp == nil {
		s.note(name, "closed")
		return
	}
	s.taken(name, resp, (*fields).message)
}

// taken records an answer as take sees it.
func (s *side) taken(name string, resp kmsg.Response, take taker) {
	f := newFields(s)
	take(f, resp)
	s.record(name, f)
	last := &s.steps[len(s.steps)-1]
	last.key, last.answer, last.take = resp.Key(), resp, take
}

// create makes a topic that a script needs, and waits until the broker serves it.
func (s *side) create(name string, partitions int32, configs ...string) [16]byte {
	c := s.admin()
	defer c.close()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for i := 0; i+1 < len(configs); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
	}
	req.Topics = append(req.Topics, t)
	resp, ok := c.try(7, req).(*kmsg.CreateTopicsResponse)
	if !ok {
		s.must(errClosed)
	}
	if code := resp.Topics[0].ErrorCode; code != 0 {
		s.must(fmt.Errorf("creating %s: %w: %s", name, kerr.ErrorForCode(code), deref(resp.Topics[0].ErrorMessage)))
	}
	id := resp.Topics[0].TopicID
	s.ids[id] = name
	s.await(name)
	return id
}

// await waits until Metadata shows every partition of a topic with a leader.
func (s *side) await(name string) {
	c := s.admin()
	defer c.close()
	s.poll(name+" has leaders", func() bool {
		t, ok := s.look(c, name)
		if !ok || t.ErrorCode != 0 {
			return false
		}
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 || p.Leader < 0 {
				return false
			}
		}
		s.ids[t.TopicID] = name
		return s.serves(c, name, int32(len(t.Partitions)))
	})
}

// serves says whether the broker leads the partitions of a topic, which it may learn a
// moment after Metadata shows them.
func (s *side) serves(c *conn, name string, partitions int32) bool {
	for p := range partitions {
		resp, ok := c.try(7, listOffsets(name, p, -1)).(*kmsg.ListOffsetsResponse)
		if !ok || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			return false
		}
	}
	return true
}

// awaitGone waits until Metadata does not show a topic any more.
func (s *side) awaitGone(name string) {
	c := s.conn()
	defer c.close()
	s.poll(name+" is gone", func() bool {
		t, ok := s.look(c, name)
		return ok && t.ErrorCode == kerr.UnknownTopicOrPartition.Code
	})
}

// look asks Metadata for one topic without creating it.
func (s *side) look(c *conn, name string) (kmsg.MetadataResponseTopic, bool) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &name
	req.Topics = append(req.Topics, t)
	resp, ok := c.try(12, req).(*kmsg.MetadataResponse)
	if !ok || len(resp.Topics) != 1 {
		return kmsg.MetadataResponseTopic{}, false
	}
	return resp.Topics[0], true
}

// poll asks until the answer is yes.
func (s *side) poll(what string, done func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(end) {
			s.must(fmt.Errorf("not within %v: %s", patience, what))
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return "<null>"
	}
	return *s
}

// run runs a script on one side.
func (s *side) run(script func(*side)) {
	defer func() {
		if r := recover(); r != nil {
			g, ok := r.(giveUp)
			if !ok {
				panic(r)
			}
			s.broken = g.error
		}
	}()
	script(s)
}
