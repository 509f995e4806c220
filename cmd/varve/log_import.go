package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
)

func logImportCommand() *cobra.Command {
	var opts logdir.ImportOptions
	var all bool
	cmd := &cobra.Command{
		Use: "import DIR TOPIC-PARTITION | import DIR --all --from KAFKA-DIR", Short: "Take over the files of partitions that Apache Kafka wrote",
		Long: "Take over the segment files of a partition that Apache Kafka, or another Varve, wrote. The topic is created here first,\n" +
			"and both brokers are stopped in order. The files are copied from --from, or were copied into the partition's directory\n" +
			"before (*.log, *.snapshot; this directory keeps its own partition.metadata). All of them are read and must be sound;\n" +
			"indexes are built anew. Leader epochs are those of one cluster: they are set to 0, unless the topic was created by\n" +
			"'varve topic adopt' and has the id that it has there.\n" +
			"With --all every partition in --from, a log directory of Kafka, is taken over; __cluster_metadata stays behind.",
		Example: "  varve log import /var/lib/varve/log orders-0 --from /kafka-logs/orders-0\n  varve log import /var/lib/varve/log --all --from /kafka-logs",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case !all:
				return partitionArgs(cmd, args)
			case len(args) != 1 || opts.From == "":
				return fmt.Errorf("%w: with --all, name a log directory here and one of Kafka's with --from", errUsage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o, err := openOffline(cmd, args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, o.Close()) }()
			p := startProgress(cmd.ErrOrStderr(), "%d bytes read")
			defer p.end()
			opts.Seen = func(n int64) { p.n.Add(n) }
			if all {
				return importAll(cmd.OutOrStdout(), o, opts)
			}
			tp, _ := commitlog.ParseDirName(args[1])
			return importOne(cmd.OutOrStdout(), o, tp, opts)
		},
	}
	cmd.Flags().StringVar(&opts.From, "from", "", "copy the files from this partition `DIRECTORY`, with --all from this log directory")
	cmd.Flags().BoolVar(&opts.Compacted, "compacted", false, "the topic has cleanup.policy=compact: offsets may be missing (of internal topics they always may)")
	cmd.Flags().BoolVar(&all, "all", false, "all partitions in --from")
	return cmd
}

func importOne(w io.Writer, o *logdir.Offline, tp kafka.TopicPartition, opts logdir.ImportOptions) error {
	opts.Compacted = opts.Compacted || strings.HasPrefix(tp.Topic, "__")
	got, err := o.Import(tp, opts)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return fmt.Errorf("%w ('varve topic create', 'varve topic adopt')", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %d segments, %d batches, %d records, offsets %d to %d\n",
		tp, got.Report.Segments, got.Report.Batches, got.Report.Records, got.State.LocalStart, got.State.End-1)
	return nil
}

// metadataTopic is Kafka's metadata log: of another format, and of another cluster.
const metadataTopic = "__cluster_metadata"

// importAll takes over what has ever had a record in a log directory of Kafka. Before anything
// is changed every partition must have its place here.
func importAll(w io.Writer, o *logdir.Offline, opts logdir.ImportOptions) error {
	entries, err := os.ReadDir(opts.From)
	if err != nil {
		return err
	}
	var found []kafka.TopicPartition
	var missing []string
	held := 0
	for _, e := range entries {
		tp, ok := commitlog.ParseDirName(e.Name())
		if !ok || !e.IsDir() || tp.Topic == metadataTopic {
			continue
		}
		if used, err := everUsed(filepath.Join(opts.From, e.Name())); err != nil {
			return err
		} else if !used {
			continue
		}
		switch there, used := o.Holds(tp); {
		case !there:
			missing = append(missing, tp.String())
		case used:
			held++
			fmt.Fprintf(w, "%s: has records here already, which stay as they are\n", tp)
		default:
			found = append(found, tp)
		}
	}
	switch {
	case len(missing) > 0:
		return fmt.Errorf("nothing was imported: there is no partition here for %s; create their topics with 'varve topic adopt' while both brokers run, "+
			"and stop both in order", strings.Join(missing, ", "))
	case len(found)+held == 0:
		return fmt.Errorf("%s holds no partition with records: want a directory of Kafka's log.dirs", opts.From)
	}
	for _, tp := range found {
		one := opts
		one.From = filepath.Join(opts.From, tp.String())
		if err := importOne(w, o, tp, one); err != nil {
			return err
		}
	}
	return nil
}

// everUsed says whether a partition has, or has had, a record.
func everUsed(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		base, suffix, ok := commitlog.ParseSegmentName(e.Name())
		if !ok || suffix != ".log" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return false, err
		}
		if base > 0 || info.Size() > 0 {
			return true, nil
		}
	}
	return false, nil
}
