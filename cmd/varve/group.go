package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func groupCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "group", Short: "List, describe, seek, export, import and delete consumer groups, and see their lag"}
	cmd.AddCommand(groupListCommand(), groupDescribeCommand(), groupLagCommand(), groupSeekCommand(), groupExportCommand(), groupImportCommand(), groupDeleteCommand())
	return cmd
}

// groupRow is one group in listings.
type groupRow struct {
	Name         string `json:"name"`
	State        string `json:"state"`
	ProtocolType string `json:"protocol_type"`
	Coordinator  int32  `json:"coordinator"`
}

func groupListCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "list", Short: "List groups", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			groups, err := adm.ListGroups(cmd.Context())
			if err != nil {
				return explain("listing groups", err, "")
			}
			rows := []groupRow{}
			for _, g := range groups.Sorted() {
				rows = append(rows, groupRow{g.Group, g.State, g.ProtocolType, g.Coordinator})
			}
			return out.print(cmd.OutOrStdout(), rows, "NAME STATE TYPE COORDINATOR", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", r.Name, r.State, r.ProtocolType, r.Coordinator)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

// groupDetail is what describe prints.
type groupDetail struct {
	Name        string           `json:"name"`
	State       string           `json:"state"`
	Protocol    string           `json:"protocol"`
	Coordinator int32            `json:"coordinator"`
	TotalLag    int64            `json:"total_lag"`
	Partitions  []groupPartition `json:"partitions"`
}

type groupPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"` // -1: none is committed
	End       int64  `json:"end_offset"`
	Lag       int64  `json:"lag"` // -1: not known
	Member    string `json:"member"`
	ClientID  string `json:"client_id"`
}

func groupDescribeCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "describe NAME", Short: "Show a group's state, members, offsets and lag", Args: exactArgs(1, "one group name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			d, err := describeGroup(cmd.Context(), adm, args[0])
			if err != nil {
				return explain("describing group "+args[0], err, "")
			}
			return out.print(cmd.OutOrStdout(), d, "", func(w io.Writer) { d.table(w) })
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

func describeGroup(ctx context.Context, adm *kadm.Client, name string) (*groupDetail, error) {
	lags, err := adm.Lag(ctx, name)
	if err != nil {
		return nil, err
	}
	g := lags[name]
	if err := g.Error(); err != nil {
		return nil, err
	}
	d := &groupDetail{Name: name, State: g.State, Protocol: g.Protocol, Coordinator: g.Coordinator.NodeID, TotalLag: g.Lag.Total(), Partitions: []groupPartition{}}
	for _, l := range g.Lag.Sorted() {
		p := groupPartition{Topic: l.Topic, Partition: l.Partition, Offset: l.Commit.At, End: l.End.Offset, Lag: l.Lag}
		if l.Member != nil {
			p.Member, p.ClientID = l.Member.MemberID, l.Member.ClientID
		}
		d.Partitions = append(d.Partitions, p)
	}
	if d.State == "Dead" && len(d.Partitions) == 0 { // how the older protocol says that there is none
		return nil, kerr.GroupIDNotFound
	}
	return d, nil
}

func (d *groupDetail) table(w io.Writer) {
	fmt.Fprintf(w, "group\t%s\nstate\t%s\nprotocol\t%s\ncoordinator\t%d\nlag\t%d\n\nTOPIC\tPARTITION\tOFFSET\tEND\tLAG\tMEMBER\n", d.Name, d.State, d.Protocol, d.Coordinator, d.TotalLag)
	for _, p := range d.Partitions {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", p.Topic, p.Partition, p.Offset, p.End, p.Lag, p.Member)
	}
}

// seekRow is one offset that seek commits.
type seekRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"` // -1: none was committed
	To        int64  `json:"to"`
}

func groupSeekCommand() *cobra.Command {
	var cf clientFlags
	var out output
	var topic, to string
	var partition int32
	var dryRun bool
	cmd := &cobra.Command{
		Use: "seek NAME --topic TOPIC --to start|end|OFFSET|TIME", Short: "Set where a group that has no members goes on reading", Args: exactArgs(1, "one group name"),
		Long: "Set where a group that has no members goes on reading: the start or the end of the partitions, an offset, or\n" +
			"the first record of a time (RFC 3339). Offsets outside a partition become its start or its end.",
		Example: "  varve group seek billing --topic orders --to 2026-01-31T00:00:00Z --dry-run\n  varve group seek billing --topic orders --partition 3 --to 120000",
		RunE: func(cmd *cobra.Command, args []string) error {
			if topic == "" || to == "" {
				return fmt.Errorf("%w: name the topic with --topic and the place with --to", errUsage)
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			rows, err := seekTargets(cmd.Context(), adm, args[0], topic, partition, to)
			if err != nil {
				return explain("looking for the offsets of topic "+topic, err, "")
			}
			if !dryRun {
				offsets := kadm.Offsets{}
				for _, r := range rows {
					offsets.AddOffset(r.Topic, r.Partition, r.To, -1)
				}
				if err := adm.CommitAllOffsets(cmd.Context(), args[0], offsets); err != nil {
					return explain("moving group "+args[0], err, "")
				}
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(dryRun, fmt.Sprintf("moved group %s on %d partition(s)", args[0], len(rows))))
			return out.print(cmd.OutOrStdout(), rows, "TOPIC PARTITION FROM TO", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", r.Topic, r.Partition, r.From, r.To)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	cmd.Flags().StringVar(&topic, "topic", "", "the `TOPIC`")
	asked(cmd, &cf, "topic", topicNames)
	cmd.Flags().Int32Var(&partition, "partition", -1, "one partition `N`; default: all of the topic's")
	cmd.Flags().StringVar(&to, "to", "", "start, end, an offset, or a time such as 2026-01-31T00:00:00Z")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the offsets, and change nothing")
	return cmd
}

// seekTargets finds where a group stands on the partitions, and where it is to stand.
func seekTargets(ctx context.Context, adm *kadm.Client, group, topic string, partition int32, to string) ([]seekRow, error) {
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	place, err := seekPlace(ctx, adm, topic, to)
	if err != nil {
		return nil, err
	}
	now, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	rows := []seekRow{}
	for _, s := range starts.Offsets().Sorted() {
		if partition >= 0 && s.Partition != partition {
			continue
		}
		end, _ := ends.Lookup(topic, s.Partition)
		row := seekRow{Topic: topic, Partition: s.Partition, From: -1, To: place(s.Partition, s.At, end.Offset)}
		row.To = min(max(row.To, s.At), end.Offset)
		if o, ok := now.Lookup(topic, s.Partition); ok {
			row.From = o.At
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, kerr.UnknownTopicOrPartition
	}
	return rows, nil
}

// seekPlace reads --to: a function from a partition, its start and its end to an offset.
func seekPlace(ctx context.Context, adm *kadm.Client, topic, to string) (func(partition int32, start, end int64) int64, error) {
	switch to {
	case "start":
		return func(_ int32, start, _ int64) int64 { return start }, nil
	case "end":
		return func(_ int32, _, end int64) int64 { return end }, nil
	}
	if at, err := strconv.ParseInt(to, 10, 64); err == nil && at >= 0 {
		return func(int32, int64, int64) int64 { return at }, nil
	}
	at, err := time.Parse(time.RFC3339, to)
	if err != nil {
		return nil, fmt.Errorf("%w: --to takes start, end, an offset or a time such as 2026-01-31T00:00:00Z, not %q", errUsage, to)
	}
	found, err := adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
	if err != nil {
		return nil, err
	}
	return func(partition int32, _, end int64) int64 {
		if o, ok := found.Lookup(topic, partition); ok && o.Offset >= 0 {
			return o.Offset
		}
		return end
	}, nil
}

func groupDeleteCommand() *cobra.Command {
	var cf clientFlags
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use: "delete NAME --yes", Short: "Delete a group that has no members, with its offsets", Args: exactArgs(1, "one group name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !dryRun {
				return fmt.Errorf("%w: deleting %s forgets its offsets; add --yes to do it, or --dry-run to see them", errUsage, args[0])
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			d, err := describeGroup(cmd.Context(), adm, args[0])
			if err != nil {
				return explain("deleting group "+args[0], err, "")
			}
			if !dryRun {
				if _, err := adm.DeleteGroup(cmd.Context(), args[0]); err != nil {
					return explain("deleting group "+args[0], err, "")
				}
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(dryRun, fmt.Sprintf("deleted group %s with offsets of %d partition(s)", args[0], len(d.Partitions))))
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be deleted, and change nothing")
	return cmd
}
