package main

import (
	"errors"
	"fmt"
	"sort"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// edits are the changes of settings that flags ask for.
type edits struct {
	set, unset, add, remove []string
	dryRun                  bool
}

func (e *edits) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&e.set, "set", nil, "set `NAME=VALUE`, repeatable")
	cmd.Flags().StringArrayVar(&e.unset, "delete", nil, "give the setting `NAME` its default again, repeatable")
	cmd.Flags().StringArrayVar(&e.add, "append", nil, "append to a list, `NAME=ITEM`, repeatable")
	cmd.Flags().StringArrayVar(&e.remove, "subtract", nil, "take out of a list, `NAME=ITEM`, repeatable")
	cmd.Flags().BoolVar(&e.dryRun, "dry-run", false, "have it checked, and change nothing")
}

// configs are the changes as the protocol has them.
func (e *edits) configs() ([]kadm.AlterConfig, error) {
	var list []kadm.AlterConfig
	for _, part := range []struct {
		op    kadm.IncrementalOp
		pairs []string
	}{{kadm.SetConfig, e.set}, {kadm.AppendConfig, e.add}, {kadm.SubtractConfig, e.remove}} {
		kv, err := keyValues(part.pairs)
		if err != nil {
			return nil, err
		}
		for name, value := range kv {
			list = append(list, kadm.AlterConfig{Op: part.op, Name: name, Value: value})
		}
	}
	for _, name := range e.unset {
		list = append(list, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: say what to change with --set NAME=VALUE, --delete NAME, --append NAME=ITEM or --subtract NAME=ITEM", errUsage)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

// done is what to say of a change.
func done(dryRun bool, what string) string {
	if dryRun {
		return "would have " + what + " (dry run: nothing was changed)"
	}
	return what
}

// firstAltered is the outcome for the one resource that was altered.
func firstAltered(res kadm.AlterConfigsResponses, err error) (message string, _ error) {
	if err != nil {
		return "", err
	}
	if len(res) == 0 {
		return "", errors.New("the cluster gave no answer")
	}
	return res[0].ErrMessage, res[0].Err
}

func topicAlterCommand() *cobra.Command {
	var cf clientFlags
	var e edits
	cmd := &cobra.Command{
		Use: "alter NAME", Short: "Change the settings of a topic, at once", Args: exactArgs(1, "one topic name"),
		Example: "  varve topic alter orders --set retention.ms=86400000 --append cleanup.policy=compact\n  varve topic alter orders --delete retention.ms --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			configs, err := e.configs()
			if err != nil {
				return err
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			alter := adm.AlterTopicConfigs
			if e.dryRun {
				alter = adm.ValidateAlterTopicConfigs
			}
			if message, err := firstAltered(alter(cmd.Context(), configs, args[0])); err != nil {
				return explain("altering topic "+args[0], err, message)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(e.dryRun, fmt.Sprintf("changed %d setting(s) of topic %s", len(configs), args[0])))
			return nil
		},
	}
	cf.add(cmd)
	e.flags(cmd)
	return cmd
}

func topicAddPartitionsCommand() *cobra.Command {
	var cf clientFlags
	var total int
	var dryRun bool
	cmd := &cobra.Command{
		Use: "add-partitions NAME --total N", Short: "Add partitions to a topic", Args: exactArgs(1, "one topic name"),
		Long: "Add partitions to a topic. They are never taken away again, and records with a key may go to another\n" +
			"partition from then on.",
		Example: "  varve topic add-partitions orders --total 12 --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			if total < 1 {
				return fmt.Errorf("%w: say how many partitions the topic is to have with --total N", errUsage)
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			update := adm.UpdatePartitions
			if dryRun {
				update = adm.ValidateUpdatePartitions
			}
			what := "adding partitions to topic " + args[0]
			res, err := update(cmd.Context(), total, args[0])
			if err != nil {
				return explain(what, err, "")
			}
			if r := res[args[0]]; r.Err != nil {
				return explain(what, r.Err, r.ErrMessage)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(dryRun, fmt.Sprintf("brought topic %s to %d partitions", args[0], total)))
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().IntVar(&total, "total", 0, "how many partitions the topic is to have, `N`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "have it checked, and change nothing")
	return cmd
}
