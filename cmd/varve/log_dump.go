package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker/commitlog/inspect"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/vfs"
)

func logDumpCommand() *cobra.Command {
	var form output
	var o inspect.DumpOptions
	cmd := &cobra.Command{
		Use: "dump FILE...", Short: "Show what is in files of a log directory",
		Long: "Show what is in files of a log directory: .log, .index, .timeindex, .txnindex, .snapshot, leader-epoch-checkpoint,\n" +
			"partition.metadata, varve-damage, varve-log-dir-checkpoint and Kafka's offset checkpoints. Nothing is changed, so a\n" +
			"broker may be running. With -o json each line is an object.",
		Example: "  varve log dump /var/lib/varve/log/orders-0/00000000000000000000.log\n  varve log dump --records -o json /var/lib/varve/log/orders-0/*.log",
		Args: func(_ *cobra.Command, args []string) error {
			if !form.isTable() && form != formJSON {
				return fmt.Errorf("%w: -o is table or json here: the lines are not of one kind", errUsage)
			}
			if len(args) == 0 {
				return fmt.Errorf("%w: name at least one file", errUsage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := bufio.NewWriter(cmd.OutOrStdout())
			enc := json.NewEncoder(out)
			show := func(l inspect.Line) error {
				if form == "json" {
					return enc.Encode(l)
				}
				_, err := fmt.Fprintln(out, l)
				return err
			}
			var errs []error
			for _, path := range args {
				if form != "json" && len(args) > 1 {
					fmt.Fprintf(out, "== %s\n", path)
				}
				errs = append(errs, dumpFile(path, o, show))
			}
			return errors.Join(append(errs, out.Flush())...)
		},
	}
	form.add(cmd)
	cmd.Flags().Lookup("output").Usage = "output form, `table|json`: a line of text, or of JSON, for each entry"
	cmd.Flags().BoolVar(&o.Records, "records", false, "show the records of each batch as well")
	return cmd
}

func dumpFile(path string, o inspect.DumpOptions, show func(inspect.Line) error) error {
	if filepath.Base(path) == logdir.CheckpointName {
		entries, err := logdir.ReadCheckpoint(vfs.OS(), path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := show(e); err != nil {
				return err
			}
		}
		return nil
	}
	return inspect.Dump(vfs.OS(), path, o, show)
}
