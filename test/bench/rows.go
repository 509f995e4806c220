package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/batch"
)

// section is one table of the report.
type section struct {
	id     string
	header []string
}

var sections = []section{
	{"start", []string{"start", "ApiVersions, ms", "first acknowledged Produce, ms", "first fetched record, ms"}},
	{"demo", []string{"from exec to exit", "s", "largest RSS, MiB"}},
	{"idle", []string{"idle", "RSS, MiB", "CPU, ms/s"}},
	{"connections", []string{"idle connections", "RSS without, MiB", "each of 1,000, KiB", "each of 10,000, KiB"}},
	{"partitions", []string{"5,000 partitions, a record each", "RSS, MiB", "descriptors of logs", "maps", "idle CPU, ms/s",
		"created until all answer, s", "clean restart until all answer, s", "the same after kill -9, s"}},
	{"recovery", []string{"50 partitions, kill -9 right after the last record", "ApiVersions, s", "all partitions answer, s", "CPU-s until then",
		"a record of each fetched, s", "clean restart until all answer, s"}},
	{"throughput", []string{"workload", "Varve CPU-s/GB · MB/s", "Kafka CPU-s/GB · MB/s", "floor CPU-s/GB · MB/s",
		"Varve ÷ Kafka CPU", "Varve ÷ floor CPU", "A/A"}},
	{"client", []string{"franz-go, 1 KiB records", "Varve MB/s · broker CPU-s/GB", "Kafka MB/s · broker CPU-s/GB", "client CPU-s/GB",
		"Varve ÷ Kafka MB/s", "Varve ÷ Kafka CPU", "A/A"}},
	{"latency", []string{"open loop, 1 KiB records", "Varve p50 · p99 · p99.9, ms", "Kafka p50 · p99 · p99.9, ms",
		"Varve ÷ Kafka p50", "Varve ÷ Kafka p99", "A/A p50"}},
	{"cold", []string{"cold local catch-up beside a producer", "Varve p99 before · during, ms · consumer MB/s", "Kafka p99 before · during, ms · consumer MB/s",
		"Varve during ÷ before", "Kafka during ÷ before", "A/A p99 before"}},
	{"transactions", []string{"10 partitions, 20 MB/s, a commit every 100 ms", "broker CPU-s/GB, with", "without", "with ÷ without", "A/A"}},
}

// row is one line of the report. Its id begins with the workload's letter and number.
type row struct {
	id      string
	section string
	quick   bool
	run     func(*session) ([]result, error)
}

// rows is everything that can be measured, in the order of the report.
func rows() []row {
	list := []row{
		{"C1-start", "start", true, starts},
		{"C1-demo", "demo", true, demo},
		{"C2-5GB", "recovery", false, recovery},
		{"M1-idle", "idle", true, idle},
		{"M1-connections", "connections", true, connections},
		{"M1-5000", "partitions", false, manyPartitions},
	}
	for _, w := range []workload{
		{"P1-1MB", "produce 1 MB batches, 1 KiB records", 1_000_000, 1024, batch.None, 5, 0, 1, false},
		{"P1-1MB-100B", "produce 1 MB batches, 100 B records", 1_000_000, 100, batch.None, 5, 0, 0.5, false},
		{"P2-64K", "produce 64 KB batches", 64_000, 1024, batch.None, 5, 0, 0.5, false},
		{"P2-16K", "produce 16 KB batches, 16 in flight", 16_000, 1024, batch.None, 16, 0, 0.25, false},
		{"P2-4K", "produce 4 KB batches, 16 in flight", 4_000, 512, batch.None, 16, 0, 0.0625, false},
		{"P3-lz4", "produce 1 MB batches of log lines, lz4", 1_000_000, 1024, batch.LZ4, 5, 0, 2, true},
		{"P3-zstd", "produce 1 MB batches of log lines, zstd", 1_000_000, 1024, batch.Zstd, 5, 0, 2, true},
		{"P3-lz4-noise", "produce 1 MB batches of noise, lz4", 1_000_000, 1024, batch.LZ4, 5, 0, 1, false},
		{"P3-zstd-noise", "produce 1 MB batches of noise, zstd", 1_000_000, 1024, batch.Zstd, 5, 0, 0.5, false},
		{"F1-4MB", "fetch 4 MB of 1 MB batches", 1_000_000, 1024, batch.None, 5, 4_000_000, 1, false},
		{"F1-64K", "fetch 4 MB of 64 KB batches", 64_000, 1024, batch.None, 5, 4_000_000, 0.5, false},
		{"F1-64K-small", "fetch 64 KB of 64 KB batches", 64_000, 1024, batch.None, 5, 65_536, 0.5, false},
		{"F1-16K-small", "fetch 16 KB of 16 KB batches", 16_000, 1024, batch.None, 16, 16_384, 0.25, false},
	} {
		quick := w.id == "P1-1MB" || w.id == "P2-16K" || w.id == "F1-4MB"
		list = append(list, row{w.id, "throughput", quick, w.run})
	}
	for _, c := range []clientLoad{
		{"P4-1p", "produce, 1 partition, not idempotent", 1, false, nil},
		{"P5-1p", "produce, 1 partition, idempotent", 1, true, nil},
		{"P4-16p", "produce, 16 partitions, not idempotent", 16, false, nil},
		{"P5-16p", "produce, 16 partitions, idempotent", 16, true, nil},
		{"L2-max", "produce, 64 partitions, every batch durable", 64, true, durable},
	} {
		list = append(list, row{c.id, "client", false, c.run})
	}
	for _, l := range []openLoop{
		{id: "L1-100", name: "produce to fetch, 100/s", rate: 100, partitions: 1, connections: 1},
		{id: "L1-1000", name: "produce to fetch, 1,000/s", rate: 1000, partitions: 1, connections: 1},
		{id: "L1-10000", name: "produce to fetch, 10,000/s", rate: 10000, partitions: 1, connections: 1},
		{id: "L2-1p", name: "durable acknowledgement, 1,000/s, 1 partition", rate: 1000, partitions: 1, connections: 1, acks: true, configs: durable},
		{id: "L2-64p", name: "durable acknowledgement, 1,000/s, 64 partitions", rate: 1000, partitions: 64, connections: 16, acks: true, configs: durable},
	} {
		list = append(list, row{l.id, "latency", l.id == "L1-1000", l.run})
	}
	list = append(list, row{"F2-cold", "cold", false, coldCatchUp})
	return append(list, row{"P5-txn", "transactions", false, transactions})
}

// durable is what each broker calls an acknowledgement that waits for the disk.
var durable = map[string]map[string]string{"varve": {"varve.durability": "group"}, "kafka": {"flush.messages": "1"}}

// chosen is the rows that a list of beginnings names.
func chosen(names string) ([]row, error) {
	var out []row
	for _, r := range rows() {
		for name := range strings.SplitSeq(names, ",") {
			if name == "all" || name == "quick" && r.quick || name == r.id || name != "" && !isRow(name) && strings.HasPrefix(r.id, name) {
				out = append(out, r)
				break
			}
		}
	}
	if len(out) == 0 {
		var ids []string
		for _, r := range rows() {
			ids = append(ids, r.id)
		}
		return nil, fmt.Errorf("no row begins with %q; there are %s", names, strings.Join(ids, ", "))
	}
	return out, nil
}

// isRow says whether a row has this very name, which then means it alone.
func isRow(name string) bool {
	return slices.ContainsFunc(rows(), func(r row) bool { return r.id == name })
}
