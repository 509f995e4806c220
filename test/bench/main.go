// Command bench compares Varve with Apache Kafka and with a floor program on one machine,
// in one run, interleaved. Broker CPU seconds per GB come first, because machines are noisy.
//
//	go run ./test/bench run [flags]     start the peers, run the workloads, print the table
//	go run ./test/bench floor ADDR DIR  the floor: receive, check the CRC, append; answer fetches by sendfile
//
// The generator is raw: batches are encoded before the clock starts, requests are
// pipelined, and what is fetched is counted and thrown away, so that the broker is what
// is measured. Every fetch checks that it got the bytes that it asked for.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: bench run [flags] | bench floor ADDR DIR")
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "floor":
		err = floorMain(os.Args[2:])
	case "run":
		err = runMain(os.Args[2:])
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options of 'bench run'.
type options struct {
	varve, jars, work string
	pairs, starts     int
	gib               float64
	only              string
}

func runMain(args []string) error {
	var o options
	fs := flag.NewFlagSet("run", flag.ExitOnError)
	fs.StringVar(&o.varve, "varve", "bin/varve", "the varve binary")
	fs.StringVar(&o.jars, "jars", "", "directory of Apache Kafka's jars; empty: run without Kafka")
	fs.StringVar(&o.work, "work", "", "directory for logs; empty: a temporary one")
	fs.IntVar(&o.pairs, "pairs", 4, "A-B-B-A pairs per workload")
	fs.IntVar(&o.starts, "starts", 5, "starts of Varve to time, and runs of its demo; of Kafka at most two; 0: the workloads only")
	fs.Float64Var(&o.gib, "gib", 1, "GiB per produce sample; a fetch sample reads twice as much")
	fs.StringVar(&o.only, "only", "", "run only the workloads whose name holds this; \"none\": none")
	_ = fs.Parse(args)
	return run(o)
}
