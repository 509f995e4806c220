package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/inspect"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// partitionArgs are DIR and TOPIC-PARTITION.
func partitionArgs(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%w: name a log directory and a partition, as TOPIC-PARTITION", errUsage)
	}
	if _, ok := commitlog.ParseDirName(args[1]); !ok {
		return fmt.Errorf("%w: %q is no partition: write TOPIC-PARTITION, as its directory is called", errUsage, args[1])
	}
	return nil
}

func openOffline(cmd *cobra.Command, dir string) (*logdir.Offline, error) {
	return logdir.OpenOffline(vfs.OS(), dir, time.Now, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
}

func logRepairCommand() *cobra.Command {
	var accept string
	var dryRun, yes, compacted bool
	cmd := &cobra.Command{
		Use: "repair DIR TOPIC-PARTITION", Short: "Settle the damage of a partition's log: see it, and accept what is lost",
		Long: "Settle the damage of a partition's log while its broker is stopped. Without --accept-loss-of the damage is shown and\n" +
			"nothing is changed. What the object store holds needs no repair: the broker reads it from there.\n" +
			"With it, damaged segment files are set aside (*.quarantine-*), their good parts stay, and readers pass over the range.\n" +
			"What was lost is printed, and kept in varve-damage in the partition's directory.",
		Example: "  varve log repair /var/lib/varve/log orders-0\n  varve log repair /var/lib/varve/log orders-0 --accept-loss-of 1200..1249 --yes",
		Args:    partitionArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if accept == "" || dryRun || !yes {
				if err := showDamage(cmd.OutOrStdout(), args[0], args[1], compacted); err != nil || accept == "" || dryRun {
					return err
				}
				return fmt.Errorf("%w: nothing was changed; --yes accepts the loss of offsets %s for good", errUsage, accept)
			}
			from, last, err := offsetRange(accept)
			if err != nil {
				return err
			}
			return acceptLoss(cmd, args[0], args[1], from, last, compacted)
		},
	}
	cmd.Flags().StringVar(&accept, "accept-loss-of", "", "`FROM..TO`, the first and the last offset that are lost")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the damage and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "accept the loss")
	cmd.Flags().BoolVar(&compacted, "compacted", false, "the topic has cleanup.policy=compact: offsets may be missing")
	return cmd
}

// offsetRange reads FROM..TO.
func offsetRange(s string) (from, last int64, err error) {
	a, b, ok := strings.Cut(s, "..")
	from, err1 := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	if !ok || err1 != nil || err2 != nil || from < 0 || last < from {
		return 0, 0, fmt.Errorf("%w: --accept-loss-of takes FROM..TO, two offsets, not %q", errUsage, s)
	}
	return from, last, nil
}

func showDamage(w io.Writer, dir, partition string, compacted bool) error {
	r, err := inspect.Verify(vfs.OS(), filepath.Join(dir, partition), inspect.VerifyOptions{Compacted: compacted})
	if err != nil {
		return err
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w, f)
	}
	fmt.Fprintf(w, "%s holds offsets %d to %d, %d problems\n", partition, r.Start, r.End-1, r.Problems())
	return nil
}

func acceptLoss(cmd *cobra.Command, dir, partition string, from, last int64, compacted bool) (err error) {
	tp, _ := commitlog.ParseDirName(partition)
	o, err := openOffline(cmd, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	lost, left, err := o.Repair(tp, from, last+1, compacted)
	if err != nil {
		return err
	}
	for _, h := range lost {
		fmt.Fprintf(cmd.OutOrStdout(), "lost: %v\n", h)
	}
	for _, h := range left {
		fmt.Fprintf(cmd.ErrOrStderr(), "still damaged: %v\n", h)
	}
	return nil
}

func logDropCommand() *cobra.Command {
	var id string
	var yes bool
	cmd := &cobra.Command{
		Use: "drop DIR TOPIC-PARTITION --topic-id ID", Short: "Remove the log of a topic that was deleted while its broker was away",
		Long: "Remove the log of a topic that was deleted while its broker was away, for good. The broker is stopped; its log names such\n" +
			"logs, with their topic ids, at each start.",
		Args: partitionArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			topicID, err := kafka.ParseUUID(id)
			if err != nil {
				return fmt.Errorf("%w: name the topic with --topic-id, as the broker's log and 'varve log dump .../partition.metadata' do", errUsage)
			}
			if !yes {
				return fmt.Errorf("%w: nothing was changed; --yes removes %s in %s", errUsage, args[1], args[0])
			}
			tp, _ := commitlog.ParseDirName(args[1])
			o, err := openOffline(cmd, args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, o.Close()) }()
			if err := o.Drop(tp, topicID); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "dropped the log of %s\n", tp)
			return nil
		},
	}
	cmd.Flags().StringVar(&id, "topic-id", "", "`ID` of the topic")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove it")
	return cmd
}
