package broker_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// exchangeIn asks this binary, once it is started again, to be the clients of a benchmark: its
// value is the broker's address, how many exchanges are wanted, and a frame for each connection.
const exchangeIn = "VARVE_BENCH_EXCHANGE"

// TestMain runs the tests, or the clients of a benchmark of the process that started this one.
func TestMain(m *testing.M) {
	if what := os.Getenv(exchangeIn); what != "" {
		if err := exchangeAsked(strings.Fields(what)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func exchangeAsked(what []string) error {
	n, err := strconv.Atoi(what[1])
	if err != nil {
		return err
	}
	var conns sync.WaitGroup
	errs := make([]error, len(what)-2)
	for i, text := range what[2:] {
		conns.Go(func() { errs[i] = exchange(what[0], text, (n+i)/len(errs)) })
	}
	conns.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// exchange sends one frame n times over a connection of its own, each after the answer to the one before.
func exchange(addr, text string, n int) error {
	frame, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	buf := make([]byte, 64<<10)
	for range n {
		if _, err := nc.Write(frame); err != nil {
			return err
		}
		if err := skipAnswer(nc, buf); err != nil {
			return err
		}
	}
	return nil
}

// exchangeAll has clients in a process of their own send one frame after the other, on conns
// connections, until b.N are answered, and reports the processor time that this process, which
// is the broker, took for each.
func exchangeAll(b *testing.B, addr string, conns int, frame func(conn int) []byte) {
	b.Helper()
	b.ResetTimer()
	b.ReportMetric(float64(exchangeSome(b, addr, conns, b.N, frame))/float64(b.N)/1000, "cpu-µs/op")
}

// exchangeSome does that n times, and answers the processor time of all of them in ns.
func exchangeSome(b *testing.B, addr string, conns, n int, frame func(conn int) []byte) int64 {
	b.Helper()
	what := []string{addr, strconv.Itoa(n)}
	for i := range conns {
		what = append(what, base64.StdEncoding.EncodeToString(frame(i)))
	}
	clients := exec.Command(os.Args[0])
	clients.Env = append(os.Environ(), exchangeIn+"="+strings.Join(what, " "))
	before := processCPU(b)
	if out, err := clients.CombinedOutput(); err != nil {
		b.Fatalf("the clients: %v\n%s", err, out)
	}
	return processCPU(b) - before
}
