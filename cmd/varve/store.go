package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/check"
	"github.com/varve-io/varve/objstore/open"
)

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Try an object store before brokers depend on it"}
	cmd.AddCommand(storeCheckCommand(), storeBenchCommand(), storeLifecycleCommand())
	return cmd
}

// errUnusable is the exit of a check that found a broken promise.
var errUnusable = errors.New("this store can not hold Varve's data")

func storeCheckCommand() *cobra.Command {
	var out output
	var o check.Options
	cmd := &cobra.Command{
		Use: "check URL", Short: "Find out what a store can do, and whether Varve may use it",
		Long: "Writes, reads, races and deletes small objects below a prefix of its own, removes them, and\n" +
			"says for each thing that a broker relies on whether it holds. Exit code 1: do not use it.",
		Example: "  varve store check 's3://bucket/prefix?region=eu-central-1'\n  varve store check --large -o json gs://bucket",
		Args:    exactArgs(1, "URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := open.Open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			o.Prefix = "varve-check-" + objstore.NewToken()
			o.Progress = func(l check.Line) { fmt.Fprintf(cmd.ErrOrStderr(), "%-32s %s\n", l.Trial, l.Verdict) }
			report := check.Run(cmd.Context(), b, o)
			err = out.print(cmd.OutOrStdout(), report, "TRIAL VERDICT MS DETAIL", func(w io.Writer) {
				for _, l := range report.Lines {
					fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\n", l.Trial, l.Verdict, l.Millis, strings.Join(slices.DeleteFunc([]string{l.Detail, l.Advice}, func(s string) bool { return s == "" }), "; "))
				}
			})
			if err == nil && !report.Usable {
				err = errUnusable
			}
			return err
		},
	}
	out.add(cmd)
	cmd.Flags().BoolVar(&o.Large, "large", false, "try conditions on objects that go up in parts too (30 MiB of traffic)")
	cmd.Flags().BoolVar(&o.Classes, "classes", false, "try each storage class with a tiny object (clouds charge a minimum time for cold ones)")
	return cmd
}

// benchRow is one kind of request of 'store bench'.
type benchRow struct {
	Request   string  `json:"request"`
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"`
	MBPerSec  float64 `json:"mb_per_second"`
	P50Millis float64 `json:"p50_ms"`
	P99Millis float64 `json:"p99_ms"`
	MaxMillis float64 `json:"max_ms"`
}

// storeBench is one measurement of a store.
type storeBench struct {
	b           objstore.Bucket
	prefix      string
	size, part  int64
	concurrency int
	seconds     float64
}

func storeBenchCommand() *cobra.Command {
	var out output
	s := storeBench{}
	cmd := &cobra.Command{
		Use: "bench URL", Short: "Measure puts, ranged gets and first bytes of a store",
		Example: "  varve store bench 's3://bucket/prefix?region=eu-central-1' --size 67108864 --concurrency 8",
		Args:    exactArgs(1, "URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.size < 1 || s.part < 1 || s.part > s.size || s.concurrency < 1 || s.seconds <= 0 {
				return fmt.Errorf("%w: --size, --range, --concurrency and --seconds are above 0, and --range is at most --size", errUsage)
			}
			var err error
			if s.b, err = open.Open(cmd.Context(), args[0]); err != nil {
				return err
			}
			defer s.b.Close()
			s.prefix = "varve-bench-" + objstore.NewToken()
			rows, err := s.run(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), rows, "REQUEST COUNT REQ/S MB/S P50-MS P99-MS MAX-MS", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\n", r.Request, r.Count, r.PerSecond, r.MBPerSec, r.P50Millis, r.P99Millis, r.MaxMillis)
				}
			})
		},
	}
	out.add(cmd)
	cmd.Flags().Int64Var(&s.size, "size", 8<<20, "bytes of each object")
	cmd.Flags().Int64Var(&s.part, "range", 1<<20, "bytes of each ranged get")
	cmd.Flags().IntVar(&s.concurrency, "concurrency", 4, "requests at once")
	cmd.Flags().Float64Var(&s.seconds, "seconds", 5, "seconds for each kind of request")
	return cmd
}

func (s *storeBench) run(ctx context.Context, chatter io.Writer) (rows []benchRow, err error) {
	content := make([]byte, s.size)
	rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	src := objstore.Bytes(content)
	defer func() {
		var keys []string
		for a, lerr := range objstore.All(context.WithoutCancel(ctx), s.b, s.prefix+"/", "") {
			if lerr == nil {
				keys = append(keys, a.Key)
			}
		}
		if derr := s.b.Delete(context.WithoutCancel(ctx), keys...); derr != nil && err == nil {
			err = fmt.Errorf("removing what was written below %s: %w", s.prefix, derr)
		}
	}()
	for _, kind := range []struct {
		name  string
		bytes int64
		do    func(i int) error
	}{
		{"put", s.size, func(i int) error {
			_, err := s.b.Put(ctx, fmt.Sprintf("%s/%d", s.prefix, i%64), src, objstore.PutOpts{})
			return err
		}},
		{"ranged get", s.part, func(i int) error {
			at := int64(i) * s.part % (s.size - s.part + 1)
			_, err := s.b.GetRange(ctx, s.prefix+"/0", at, make([]byte, s.part), "")
			return err
		}},
		{"first byte", 1, func(int) error {
			_, err := s.b.GetRange(ctx, s.prefix+"/0", 0, make([]byte, 1), "")
			return err
		}},
	} {
		fmt.Fprintf(chatter, "%s for %.0f s …\n", kind.name, s.seconds)
		row, err := s.measure(kind.name, kind.bytes, kind.do)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// measure repeats a request from several goroutines until the time is over; the first failure
// ends it.
func (s *storeBench) measure(name string, bytes int64, do func(i int) error) (benchRow, error) {
	var mu sync.Mutex
	var took []float64
	var failed error
	next := 0
	begun := time.Now()
	end := begun.Add(time.Duration(s.seconds * float64(time.Second)))
	var wg sync.WaitGroup
	for range s.concurrency {
		wg.Go(func() {
			for time.Now().Before(end) {
				mu.Lock()
				i, stop := next, failed != nil
				next++
				mu.Unlock()
				if stop {
					return
				}
				at := time.Now()
				err := do(i)
				mu.Lock()
				if took = append(took, time.Since(at).Seconds()*1000); err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	wall := time.Since(begun).Seconds()
	if failed != nil {
		return benchRow{}, fmt.Errorf("%s: %w", name, failed)
	}
	slices.Sort(took)
	n := len(took)
	return benchRow{
		Request: name, Count: n, PerSecond: float64(n) / wall, MBPerSec: float64(n) * float64(bytes) / 1e6 / wall,
		P50Millis: took[n/2], P99Millis: took[n*99/100], MaxMillis: took[n-1],
	}, nil
}
