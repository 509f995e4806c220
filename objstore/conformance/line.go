package conformance

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Line runs one behaviour on a server. Where the table of servers has a gap for it, it must
// fail: a server that learns something fails the run too, until the table says so.
func (s Server) Line(t *testing.T, name string, run func(testing.TB)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		if why, racy := s.Racy[name]; racy {
			if mustFail(t, run) != nil {
				t.Logf("passes this time; a known gap of %s: %s", s.Name, why)
			}
			return
		}
		why, gap := s.Gaps[name]
		if !gap {
			t.Cleanup(func() {
				if s.listed() && t.Skipped() != s.absent(name) {
					t.Errorf("skipped: %v, and the table of servers has it the other way: correct objstore/conformance/servers.go", t.Skipped())
				}
			})
			run(t)
			return
		}
		if err := mustFail(t, run); err != nil {
			t.Errorf("%s is listed with a gap here (%s), and %v: correct objstore/conformance/servers.go", s.Name, why, err)
			return
		}
		t.Logf("a known gap of %s: %s", s.Name, why)
	})
}

// sub is t.Run, for a line that may be run by a recorder.
func sub(t testing.TB, name string, run func(testing.TB)) {
	t.Helper()
	if real, ok := t.(*testing.T); ok {
		real.Run(name, func(t *testing.T) { run(t) })
		return
	}
	run(t)
}

// recorder takes failures without failing the test.
type recorder struct {
	testing.TB
	mu struct {
		sync.Mutex
		failures []string
		skipped  bool
	}
}

// mustFail runs a line that is expected to fail; nil says that it did.
func mustFail(t *testing.T, run func(testing.TB)) error {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { // a Fatal ends its goroutine
		defer close(done)
		run(r)
	}()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.mu.failures) > 0:
		t.Logf("fails, as the table says: %s", strings.Join(r.mu.failures, "; "))
		return nil
	case r.mu.skipped:
		return fmt.Errorf("the line does not apply to it")
	}
	return fmt.Errorf("it passes")
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.failures) < 3 {
		r.mu.failures = append(r.mu.failures, s)
	}
}

// Error implements testing.TB.
func (r *recorder) Error(args ...any) { r.note(fmt.Sprint(args...)) }

// Errorf implements testing.TB.
func (r *recorder) Errorf(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (r *recorder) Fatal(args ...any) { r.note(fmt.Sprint(args...)); runtime.Goexit() }

// Fatalf implements testing.TB.
func (r *recorder) Fatalf(format string, args ...any) {
	r.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// Skip implements testing.TB.
func (r *recorder) Skip(args ...any) {
	r.mu.Lock()
	r.mu.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}
