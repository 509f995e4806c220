package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/fault/proxy"
	"github.com/varve-io/varve/objstore/retry"
)

// stormShort is how long a storm lasts unless VARVE_STORM says otherwise, as "10m".
const stormShort = 4 * time.Second

// seal puts the checksum of b before it.
func seal(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, objstore.Castagnoli)), b...)
}

func unseal(p []byte) ([]byte, bool) {
	if len(p) < 4 || crc32.Checksum(p[4:], objstore.Castagnoli) != binary.BigEndian.Uint32(p) {
		return nil, false
	}
	return p[4:], true
}

// weather is every fault at once: each request meets one with a chance of one in five.
func (target Target) weather(p *proxy.Proxy, seed uint64) []proxy.Rule {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	chance := func(match func(*http.Request) bool) func(*http.Request) bool {
		return func(r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			return match(r) && rng.IntN(40) == 0
		}
	}
	any := func(*http.Request) bool { return true }
	get := method(http.MethodGet)
	rules := []proxy.Rule{
		{Match: chance(any), Do: proxy.Status(503)},
		{Match: chance(any), Do: proxy.Status(429)},
		{Match: chance(any), Do: proxy.Status(500)},
		{Match: chance(any), Do: proxy.Reset()},
		{Match: chance(any), Do: proxy.LoseReply()},
		{Match: chance(any), Do: p.Stall()},
		{Match: chance(get), Do: proxy.ResetBody(20)},
		{Match: chance(get), Do: proxy.Truncate(20)},
		{Match: chance(get), Do: p.StallBody(20)},
		{Match: chance(func(r *http.Request) bool { return get(r) && strings.Contains(r.URL.String(), "storm") && !isList(r) }), Do: proxy.FlipReply()},
	}
	if target.Checked {
		rules = append(rules, proxy.Rule{Match: chance(func(r *http.Request) bool { return isPut(r) && !target.Complete(r) }), Do: proxy.FlipRequest()})
	}
	return rules
}

// isList tells the request of a list, whose answer carries no checksum that could be checked.
func isList(r *http.Request) bool {
	q := r.URL.Query()
	return q.Has("list-type") || q.Get("comp") == "list" || strings.HasSuffix(r.URL.Path, "/o")
}

// attempt is one append to the shared object: a line that is unique, and what became of it.
type attempt struct {
	line string
	// seen is what the writer had read before; acked says that he was told of success, and
	// maybe that nobody could tell.
	seen         int
	acked, maybe bool
}

// storm has writers append to one object by compare-and-swap while everything goes wrong, and
// others upload. At the end each acknowledged append is there once, in an order in which all
// that a writer had seen comes before what he appended; no failed one is there; each
// acknowledged upload is whole; and all of them have come back in time.
func (target Target) storm(t *testing.T, p *proxy.Proxy) {
	length := stormShort
	if v := os.Getenv("VARVE_STORM"); v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatalf("VARVE_STORM is a duration, as 10m: %v", err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	p.Set()
	limits := retry.Limits{ReadFirstByte: 500 * time.Millisecond, WriteFirstByte: time.Second, Stall: 500 * time.Millisecond}
	prefix := newPrefix()
	b := target.Open(t, p.URL, prefix, limits, faultPolicy)
	defer b.Close()
	const counter, writers, uploaders = "storm/counter", 4, 2
	if _, err := b.Put(t.Context(), counter, objstore.Bytes(seal(nil)), objstore.PutOpts{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	p.Set(target.weather(p, seed)...)
	end := time.Now().Add(length)
	// What hangs is canceled here, and found by its error.
	ctx, cancel := context.WithDeadlineCause(t.Context(), end.Add(2*faultPolicy.Deadline), errors.New("it hangs"))
	defer cancel()
	histories := make([][]attempt, writers)
	stored := make([]map[string]uint64, uploaders)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() { histories[w] = appendLines(ctx, b, counter, w, end) })
	}
	for u := range uploaders {
		wg.Go(func() { stored[u] = uploadMany(ctx, b, u, end) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatalf("the storm did not end: %v", context.Cause(ctx))
	}
	requests := p.Seen()
	p.Set()
	// In calm weather, with time to find connections that work.
	calm := faultPolicy
	calm.Attempts, calm.Base, calm.Cap = 10, 100*time.Millisecond, time.Second
	b = target.Open(t, p.URL, prefix, retry.Limits{ReadFirstByte: time.Minute, WriteFirstByte: time.Minute, Stall: time.Minute}, calm)
	defer b.Close()
	final, _, err := whole(t.Context(), b, counter)
	if err != nil {
		t.Fatal(err)
	}
	appends := judge(t, string(final), histories)
	kept := 0
	for _, of := range stored {
		for key, seed := range of {
			kept++
			(&env{Bucket: b, ctx: t.Context()}).want(t, key, payload(seed, uploads[1].size))
		}
	}
	t.Logf("%d requests, %d appends and %d uploads acknowledged", requests, appends, kept)
	if appends == 0 {
		t.Error("nothing was appended: the storm has shown nothing")
	}
}

func appendLines(ctx context.Context, b objstore.Bucket, key string, writer int, end time.Time) []attempt {
	var history []attempt
	for i := 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
		old, a, err := whole(ctx, b, key)
		if err != nil {
			continue
		}
		at := attempt{line: fmt.Sprintf("%d.%d\n", writer, i), seen: len(old)}
		_, err = b.Put(ctx, key, objstore.Bytes(seal(append(bytes.Clone(old), at.line...))), objstore.PutOpts{IfVersion: a.Version})
		at.acked, at.maybe = err == nil, errors.Is(err, objstore.ErrAmbiguous) || errors.Is(err, objstore.ErrCanceled)
		history = append(history, at)
	}
	return history
}

func uploadMany(ctx context.Context, b objstore.Bucket, uploader int, end time.Time) map[string]uint64 {
	stored := make(map[string]uint64)
	for i := 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
		key, seed := fmt.Sprintf("storm/upload-%d-%d", uploader, i), uint64(uploader)<<32|uint64(i)
		src := objstore.Bytes(payload(seed, uploads[1].size))
		if _, err := b.Put(ctx, key, src, objstore.PutOpts{IfAbsent: true, PartSize: partSize}); err == nil {
			stored[key] = seed
		}
	}
	return stored
}

// judge holds what is stored against what the writers were told, and returns how many appends
// were acknowledged.
func judge(t testing.TB, final string, histories [][]attempt) (acked int) {
	t.Helper()
	places := make(map[string][]int)
	for at := 0; at < len(final); {
		line, _, _ := strings.Cut(final[at:], "\n")
		places[line+"\n"] = append(places[line+"\n"], at)
		at += len(line) + 1
	}
	for _, history := range histories {
		for _, a := range history {
			n := len(places[a.line])
			switch {
			case a.acked && n != 1:
				t.Errorf("append %q was acknowledged and is there %d times", a.line, n)
			case !a.acked && !a.maybe && n != 0:
				t.Errorf("append %q has failed and is there", a.line)
			case n > 1:
				t.Errorf("append %q is there %d times", a.line, n)
			case n == 1 && places[a.line][0] != a.seen:
				t.Errorf("append %q stands at %d, and its writer had seen %d bytes: another's was lost or undone", a.line, places[a.line][0], a.seen)
			}
			if a.acked {
				acked++
			}
		}
	}
	return acked
}
