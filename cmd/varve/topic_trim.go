package main

import (
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
	cmd := &cobra.Command{
		Use: "trim NAME --partition N --before OFFSET", Short: "Delete the records of a partition below an offset, local and remote",
		Long: "Delete the records of a partition below an offset, local and remote. They cannot be read from then on;\n" +
			"their space is freed by the next rounds of retention.",
		Example: "  varve topic trim orders --partition 0 --before 120000\n  varve topic trim orders --partition 0 --before end",
		Args:    exactArgs(1, "one topic name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := trimOffset(before)
			if err != nil {
				return err
			}
			if partition < 0 {
				return fmt.Errorf("%w: name the partition with --partition N", errUsage)
			}
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
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
	return cmd
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
