package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func topicTrimCommand() *cobra.Command {
	var cf clientFlags
	var partition int32
	var before string
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use: "trim NAME --partition N --before OFFSET --yes", Short: "Delete the records of a partition below an offset, local and remote",
		Long: "Delete the records of a partition below an offset, local and remote. They cannot be read from then on;\n" +
			"their space is freed by the next rounds of retention.",
		Example: "  varve topic trim orders --partition 0 --before 120000 --dry-run\n  varve topic trim orders --partition 0 --before end --yes",
		Args:    exactArgs(1, "one topic name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := trimOffset(before)
			if err != nil {
				return err
			}
			if partition < 0 {
				return fmt.Errorf("%w: name the partition with --partition N", errUsage)
			}
			if !yes && !dryRun {
				return fmt.Errorf("%w: what is trimmed cannot be read again; add --yes to do it, or --dry-run to see how much it is", errUsage)
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			if dryRun {
				return showTrim(cmd, adm, kadm.Offset{Topic: args[0], Partition: partition, At: at})
			}
			what := fmt.Sprintf("trimming partition %d of %s", partition, args[0])
			offsets := kadm.Offsets{}
			offsets.AddOffset(args[0], partition, at, -1)
			res, err := adm.DeleteRecords(cmd.Context(), offsets)
			if err != nil {
				return explain(what, err, "")
			}
			p, ok := res.Lookup(args[0], partition)
			if !ok {
				return explain(what, kerr.UnknownTopicOrPartition, "")
			}
			if p.Err != nil {
				return explain(what, p.Err, "")
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "partition %d of %s starts at offset %d\n", partition, args[0], p.LowWatermark)
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().Int32Var(&partition, "partition", -1, "partition `N`")
	cmd.Flags().StringVar(&before, "before", "", "first `OFFSET` to keep, or end")
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say how many offsets would go, and change nothing")
	return cmd
}

// showTrim says what a deletion of the records below an offset would do.
func showTrim(cmd *cobra.Command, adm *kadm.Client, to kadm.Offset) error {
	what := fmt.Sprintf("trimming partition %d of %s", to.Partition, to.Topic)
	var at [2]int64
	for i, list := range []func(context.Context, ...string) (kadm.ListedOffsets, error){adm.ListStartOffsets, adm.ListEndOffsets} {
		listed, err := list(cmd.Context(), to.Topic)
		if err != nil {
			return explain(what, err, "")
		}
		o, ok := listed.Lookup(to.Topic, to.Partition)
		if !ok {
			o.Err = kerr.UnknownTopicOrPartition
		}
		if o.Err != nil {
			return explain(what, o.Err, "")
		}
		at[i] = o.Offset
	}
	if to.At < 0 {
		to.At = at[1]
	}
	if to.At > at[1] {
		return explain(what, kerr.OffsetOutOfRange, "")
	}
	fmt.Fprintln(cmd.ErrOrStderr(), done(true, fmt.Sprintf("trimmed partition %d of %s, which then starts at offset %d instead of %d", to.Partition, to.Topic, max(at[0], to.At), at[0])))
	return nil
}

// trimOffset is the offset of --before; -1 stands for the end in the protocol.
func trimOffset(s string) (int64, error) {
	if s == "end" {
		return -1, nil
	}
	at, err := strconv.ParseInt(s, 10, 64)
	if err != nil || at < 0 {
		return 0, fmt.Errorf("%w: --before takes an offset, or end, not %q", errUsage, s)
	}
	return at, nil
}
