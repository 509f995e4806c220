package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// progressEvery is the time between two updates of a progress line.
const progressEvery = 500 * time.Millisecond

// progress shows a count while long work goes on: a line that is rewritten on a terminal,
// and the last word only anywhere else.
type progress struct {
	n      atomic.Int64
	w      io.Writer
	format string
	stop   chan struct{}
	done   sync.WaitGroup
}

// startProgress shows what n holds by format until end is called.
func startProgress(w io.Writer, format string) *progress {
	p := &progress{w: w, format: format, stop: make(chan struct{})}
	if terminal(w) {
		p.done.Go(p.show)
	}
	return p
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) show() {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			fmt.Fprint(p.w, "\r")
			return
		case <-tick.C:
			fmt.Fprintf(p.w, "\r"+p.format, p.n.Load())
		}
	}
}

// end prints the final count on a line of its own.
func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
	fmt.Fprintf(p.w, p.format+"\n", p.n.Load())
}
