// Command bench compares Varve with Apache Kafka and with a floor program on one machine,
// in one run, interleaved. Broker CPU seconds per GB come first, because machines are noisy.
//
//	bench run [flags]          start the peers, run the rows that RESULTS lacks, print the table
//	bench table RESULTS [SVG]  print the table of a finished run again, and draw it
//	bench scale [flags]        what many partitions cost one broker, idle and at restarts
//	bench direct [flags]       what an append of 1 MB and an answer cost, by page cache and by direct I/O
//	bench floor ADDR DIR       the floor: receive, check the CRC, append; answer fetches by sendfile
//
// The generator of most rows is raw: batches are encoded before the clock starts, requests are
// pipelined, and what is fetched is counted and thrown away, so that the broker is what
// is measured. Every row checks what it gets back.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: bench run [flags] | bench table RESULTS [SVG] | bench scale [flags] | bench direct [flags] | bench floor ADDR DIR")
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "floor":
		err = floorMain(os.Args[2:])
	case "run":
		err = runMain(os.Args[2:])
	case "scale":
		err = scaleMain(os.Args[2:])
	case "direct":
		err = directMain(os.Args[2:])
	case "table":
		err = tableMain(os.Args[2:])
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
	gib, seconds      float64
	rows, results     string
}

func runMain(args []string) error {
	var o options
	fs := flag.NewFlagSet("run", flag.ExitOnError)
	fs.StringVar(&o.varve, "varve", "bin/varve", "the varve binary")
	fs.StringVar(&o.jars, "jars", "", "directory of Apache Kafka's jars; empty: run without Kafka")
	fs.StringVar(&o.work, "work", "", "directory for logs; empty: a temporary one")
	fs.IntVar(&o.pairs, "pairs", 4, "A-B-B-A pairs per row")
	fs.IntVar(&o.starts, "starts", 5, "starts of Varve to time, and runs of its demo; of Kafka at most two")
	fs.Float64Var(&o.gib, "gib", 1, "GiB per produce sample; a fetch sample reads twice as much")
	fs.Float64Var(&o.seconds, "seconds", 10, "seconds per latency sample")
	fs.StringVar(&o.rows, "rows", "all", "\"all\", \"quick\", or the beginnings of row names, separated by commas")
	fs.StringVar(&o.results, "results", "", "file of results; rows that it holds are not run again")
	_ = fs.Parse(args)
	return run(o)
}

func tableMain(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Errorf("table takes RESULTS and, for a drawing, the name of an SVG file")
	}
	done, err := readResults(args[0])
	if err != nil {
		return err
	}
	printTables(os.Stdout, done)
	if len(args) == 2 {
		return os.WriteFile(args[1], draw(done), 0o644)
	}
	return nil
}
