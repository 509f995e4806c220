package main

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varve-io/varve/broker/kafka"
)

func topicCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "topic", Short: "Create, list, describe, alter, trim and delete topics"}
	cmd.AddCommand(topicCreateCommand(), topicAdoptCommand(), topicListCommand(), topicDescribeCommand(), topicAlterCommand(), topicAddPartitionsCommand(), topicTrimCommand(), topicDeleteCommand())
	return cmd
}

func topicCreateCommand() *cobra.Command {
	var cf clientFlags
	var partitions int32
	var factor int16
	var configs []string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a topic", Args: exactArgs(1, "one topic name"),
		Example: "  varve topic create orders --partitions 3 --config remote.storage.enable=true --config local.retention.ms=3600000",
		RunE: func(cmd *cobra.Command, args []string) error {
			kv, err := keyValues(configs)
			if err != nil {
				return err
			}
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			res, err := adm.CreateTopic(cmd.Context(), partitions, factor, kv, args[0])
			if err != nil {
				return explain("creating topic "+args[0], err, res.ErrMessage)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "created topic %s with %d partition(s), id %s\n", args[0], res.NumPartitions, kafka.UUID(res.ID))
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().Int32Var(&partitions, "partitions", -1, "number of partitions; -1 takes the broker's num.partitions")
	cmd.Flags().Int16Var(&factor, "replication-factor", -1, "replicas of each partition; -1 takes the broker's default")
	cmd.Flags().StringArrayVar(&configs, "config", nil, "topic setting `NAME=VALUE`, repeatable")
	return cmd
}

// keyValues splits NAME=VALUE flags.
func keyValues(list []string) (map[string]*string, error) {
	kv := map[string]*string{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%w: --config takes NAME=VALUE, not %q", errUsage, s)
		}
		kv[k] = &v
	}
	return kv, nil
}

// topicRow is one topic in listings.
type topicRow struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Internal   bool   `json:"internal"`
}

func topicListCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "list", Short: "List topics", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			topics, err := adm.ListTopicsWithInternal(cmd.Context())
			if err != nil {
				return explain("listing topics", err, "")
			}
			rows := []topicRow{}
			for _, t := range topics.Sorted() {
				rows = append(rows, topicRow{t.Topic, kafka.UUID(t.ID).String(), len(t.Partitions), t.Partitions.NumReplicas(), t.IsInternal})
			}
			return out.print(cmd.OutOrStdout(), rows, "NAME PARTITIONS REPLICAS ID", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", r.Name, r.Partitions, r.Replicas, r.ID)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

// topicDetail is what describe prints.
type topicDetail struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Partitions []partitionDetail `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

type partitionDetail struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Start       int64   `json:"start_offset"`
	End         int64   `json:"end_offset"`
}

func topicDescribeCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "describe NAME", Short: "Show a topic's partitions and its own settings", Args: exactArgs(1, "one topic name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			d, err := describeTopic(cmd.Context(), adm, args[0])
			if err != nil {
				return explain("describing topic "+args[0], err, "")
			}
			return out.print(cmd.OutOrStdout(), d, "", func(w io.Writer) { d.table(w) })
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

func describeTopic(ctx context.Context, adm *kadm.Client, name string) (*topicDetail, error) {
	topics, err := adm.ListTopicsWithInternal(ctx, name)
	if err != nil {
		return nil, err
	}
	t := topics[name]
	if t.Err != nil {
		return nil, t.Err
	}
	starts, err := adm.ListStartOffsets(ctx, name)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &topicDetail{Name: name, ID: kafka.UUID(t.ID).String(), Configs: map[string]string{}}
	for _, p := range t.Partitions.Sorted() {
		start, _ := starts.Lookup(name, p.Partition)
		end, _ := ends.Lookup(name, p.Partition)
		d.Partitions = append(d.Partitions, partitionDetail{p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, start.Offset, end.Offset})
	}
	configs, err := adm.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, r := range configs {
		for _, c := range r.Configs {
			if c.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
				d.Configs[c.Key] = c.MaybeValue()
			}
		}
	}
	return d, nil
}

func (d *topicDetail) table(w io.Writer) {
	fmt.Fprintf(w, "topic\t%s\nid\t%s\n", d.Name, d.ID)
	names := make([]string, 0, len(d.Configs))
	for k := range d.Configs {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		fmt.Fprintf(w, "%s\t%s\n", k, d.Configs[k])
	}
	fmt.Fprintln(w, "\nPARTITION\tLEADER\tEPOCH\tREPLICAS\tISR\tSTART\tEND")
	for _, p := range d.Partitions {
		fmt.Fprintf(w, "%d\t%d\t%d\t%v\t%v\t%d\t%d\n", p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, p.Start, p.End)
	}
}

func topicDeleteCommand() *cobra.Command {
	var cf clientFlags
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use: "delete NAME --yes", Short: "Delete a topic and its data, local and remote", Args: exactArgs(1, "one topic name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !dryRun {
				return fmt.Errorf("%w: deleting %s removes all of its data; add --yes to do it, or --dry-run to see how much it is", errUsage, args[0])
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			what := "deleting topic " + args[0]
			topics, err := adm.ListTopics(cmd.Context(), args[0])
			if err == nil {
				err = topics[args[0]].Err
			}
			if err != nil {
				return explain(what, err, "")
			}
			if !dryRun {
				if res, err := adm.DeleteTopic(cmd.Context(), args[0]); err != nil {
					return explain(what, err, res.ErrMessage)
				}
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(dryRun, fmt.Sprintf("deleted topic %s with %d partition(s)", args[0], len(topics[args[0]].Partitions))))
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be deleted, and change nothing")
	return cmd
}
