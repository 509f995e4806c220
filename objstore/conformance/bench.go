package conformance

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
)

// cannedEnv makes a benchmark serve another one, which runs in another process, until its input ends:
// so that the CPU of the client is measured alone.
const cannedEnv = "VARVE_CANNED_SERVER"

// cannedSize, in bytes, is that of each object that the canned server gives.
const cannedSize = 8 << 20

// canned answers every put with success and every get with the bytes of its range, at the price
// of net/http alone.
func canned(put http.HandlerFunc) *httptest.Server {
	content := make([]byte, cannedSize)
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			io.Copy(io.Discard, r.Body)
			put(w, r)
			return
		}
		span := cmp.Or(r.Header.Get("x-ms-range"), r.Header.Get("Range"))
		first, last, _ := strings.Cut(strings.TrimPrefix(span, "bytes="), "-")
		from, _ := strconv.Atoi(first)
		to, err := strconv.Atoi(last)
		if err != nil {
			to = len(content) - 1
		}
		h := w.Header()
		h.Set("ETag", `"e1"`)
		h.Set("X-Goog-Generation", "1")
		h.Set("Content-Length", strconv.Itoa(to-from+1))
		h.Set("Content-Range", "bytes "+first+"-"+strconv.Itoa(to)+"/"+strconv.Itoa(len(content)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(content[from : to+1])
	}))
}

// elsewhere runs the benchmark that calls it again, in a process of its own that serves, and returns
// the URL it serves at. In that process it serves, and returns "" at the end.
func elsewhere(b *testing.B, put http.HandlerFunc) string {
	b.Helper()
	if os.Getenv(cannedEnv) != "" {
		s := canned(put)
		defer s.Close()
		os.Stderr.WriteString(s.URL + "\n")
		io.Copy(io.Discard, os.Stdin)
		return ""
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^"+b.Name()+"$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), cannedEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	at, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(at)
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// compare runs ours and bare in turns, some of each, and reports the client's CPU-seconds per GB
// of either and their quotient.
func compare(b *testing.B, size, turn int, bare, ours func() error) {
	b.Helper()
	var took [2]time.Duration
	sides := [2]func() error{bare, ours}
	run := func(n int) {
		for side, do := range sides {
			begun := cpu()
			for range n {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
			took[side] += cpu() - begun
		}
	}
	run(2) // connections, and credentials
	took = [2]time.Duration{}
	b.SetBytes(int64(2 * size * turn))
	for b.Loop() {
		run(turn)
	}
	gb := float64(b.N) * float64(size*turn) / 1e9
	b.ReportMetric(took[0].Seconds()/gb, "bare-cpu-s/GB")
	b.ReportMetric(took[1].Seconds()/gb, "ours-cpu-s/GB")
	b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "ours/bare")
}

// BenchSize, in bytes, is the size of the objects that RunClient puts: all of them zeros.
const BenchSize = 64 << 20

// BenchBig, in bytes, is the size of the one object of RunMemory.
const BenchBig = 1 << 30

// BenchPart, in bytes, is the size of the parts in which RunMemory puts it.
const BenchPart = 32 << 20

// RunClient compares the client's CPU-seconds per GB with those of bare net/http, in turns, against a canned
// server in another process: what is above it is the SDK's and ours. put answers an upload that has been read.
func RunClient(b *testing.B, put http.HandlerFunc, open func(endpoint string) (objstore.Bucket, error)) {
	b.Helper()
	at := elsewhere(b, put)
	if at == "" {
		return
	}
	store, err := open(at)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	source := objstore.Bytes(make([]byte, BenchSize))
	body, get := make([]byte, BenchSize), make([]byte, cannedSize)
	barePut := func() error {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPut, at, bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	bareGet := func(n int) func() error {
		return func() error {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, at, nil)
			if err != nil {
				return err
			}
			req.Header.Set("Range", "bytes=0-"+strconv.Itoa(n-1))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.ReadFull(resp.Body, get[:n])
			return err
		}
	}
	ranged := func(n int) func() error {
		return func() error {
			_, err := store.GetRange(b.Context(), "k", 0, get[:n], "")
			return err
		}
	}
	b.Run("put-64MiB", func(b *testing.B) {
		compare(b, BenchSize, 1, barePut, func() error {
			_, err := store.Put(b.Context(), "k", source, objstore.PutOpts{})
			return err
		})
	})
	b.Run("get-8MiB", func(b *testing.B) { compare(b, 8<<20, 4, bareGet(8<<20), ranged(8<<20)) })
	b.Run("get-1MiB", func(b *testing.B) { compare(b, 1<<20, 16, bareGet(1<<20), ranged(1<<20)) })
}

// zeros is a source of nothing else, which costs no memory.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// held is the memory that the Go runtime has from the system, without what it has given back.
func held() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// most runs do and returns by how much the memory that is held grew in the meantime, at most.
func most(b *testing.B, do func() error) float64 {
	b.Helper()
	debug.FreeOSMemory() // else what was there before is taken for nothing
	before := held()
	peak, done, looked := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(looked)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				peak = max(peak, held())
				return
			case <-tick.C:
				peak = max(peak, held())
			}
		}
	}()
	err := do()
	close(done)
	<-looked
	if err != nil {
		b.Fatal(err)
	}
	return float64(peak-before) / (1 << 20)
}

// RunMemory uploads one object of BenchBig bytes in parts, and reads a thousand pieces of 1 MiB at once, and fails when the
// first takes more memory than two parts or the second more than 1.2 GiB, the thousand buffers included.
func RunMemory(b *testing.B, put http.HandlerFunc, open func(endpoint string) (objstore.Bucket, error)) {
	b.Helper()
	at := elsewhere(b, put)
	if at == "" {
		return
	}
	store, err := open(at)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	within := func(b *testing.B, limitMiB float64, do func() error) {
		for b.Loop() {
			mib := most(b, do)
			b.ReportMetric(mib, "MiB")
			if mib > limitMiB {
				b.Errorf("it took %.0f MiB, and %.0f are allowed", mib, limitMiB)
			}
		}
	}
	b.Run("put-1GiB", func(b *testing.B) {
		within(b, 2*BenchPart>>20, func() error {
			_, err := store.Put(b.Context(), "k", objstore.Source{R: zeros{}, Size: BenchBig}, objstore.PutOpts{PartSize: BenchPart, Parallel: 2})
			return err
		})
	})
	b.Run("get-1000x1MiB", func(b *testing.B) { within(b, 1.2*1024, func() error { return thousand(b.Context(), store) }) })
}

// thousand reads as many pieces at once, each into a buffer of its own.
func thousand(ctx context.Context, store objstore.Bucket) error {
	const n = 1000
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { _, errs[i] = store.GetRange(ctx, "k", 0, make([]byte, 1<<20), "") })
	}
	all.Wait()
	return errors.Join(errs...)
}
