package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// lagRow is how far a group is behind on a partition.
type lagRow struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"` // -1: none is committed
	End       int64  `json:"end_offset"`
	Lag       int64  `json:"lag"` // -1: not known
}

func groupLagCommand() *cobra.Command {
	var cf clientFlags
	var out output
	var watch bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use: "lag [NAME]", Short: "Show how far a group, or each group, is behind", Args: atMostOneGroup,
		Long: "Show how many records lie between what a group has committed and the end of each partition, for one group or for\n" +
			"all. A group whose members have not committed yet has offset -1 and counts from the start.",
		Example: "  varve group lag\n  varve group lag billing --watch --interval 5s\n  varve group lag -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval <= 0 {
				return fmt.Errorf("%w: --interval takes a time such as 2s, not %v", errUsage, interval)
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			show := func() error {
				rows, err := lagRows(cmd.Context(), adm, args)
				if err != nil {
					return explain("looking for the lag", err, "")
				}
				return out.print(cmd.OutOrStdout(), rows, "GROUP TOPIC PARTITION OFFSET END LAG", func(w io.Writer) {
					for _, r := range rows {
						fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", r.Group, r.Topic, r.Partition, r.Offset, r.End, r.Lag)
					}
				})
			}
			if !watch {
				return show()
			}
			return again(cmd.Context(), interval, show)
		},
	}
	cf.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again until interrupted; with -o json, one list after the other")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "how long --watch waits in between")
	return cmd
}

func atMostOneGroup(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%w: %s takes one group name, or none for all groups", errUsage, cmd.CommandPath())
	}
	return nil
}

// again does something now and after each interval, until ctx ends or it fails.
func again(ctx context.Context, interval time.Duration, do func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := do(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // it was to go on until now
		case <-tick.C:
		}
	}
}

// lagRows is the lag of the groups named, or of all, by group, topic and partition. Of all,
// those that are gone since they were listed are left out.
func lagRows(ctx context.Context, adm *kadm.Client, names []string) ([]lagRow, error) {
	all := len(names) == 0
	if all {
		listed, err := adm.ListGroups(ctx)
		if err != nil {
			return nil, err
		}
		names = listed.Groups()
	}
	rows := []lagRow{}
	if len(names) == 0 {
		return rows, nil
	}
	lags, err := adm.Lag(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, g := range lags.Sorted() {
		err := g.Error()
		if err == nil && g.State == "Dead" && len(g.Lag) == 0 { // how the older protocol says that there is none
			err = kerr.GroupIDNotFound
		}
		if all && errors.Is(err, kerr.GroupIDNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", g.Group, err)
		}
		for _, l := range g.Lag.Sorted() {
			rows = append(rows, lagRow{Group: g.Group, Topic: l.Topic, Partition: l.Partition, Offset: l.Commit.At, End: l.End.Offset, Lag: l.Lag})
		}
	}
	return rows, nil
}
