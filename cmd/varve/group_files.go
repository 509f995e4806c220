package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupFile is what export writes and import reads.
type groupFile struct {
	Group   string        `json:"group"`
	Offsets []groupOffset `json:"offsets"`
}

type groupOffset struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	Offset      int64  `json:"offset"`
	LeaderEpoch int32  `json:"leader_epoch"` // -1: not known
	Metadata    string `json:"metadata"`
}

func groupExportCommand() *cobra.Command {
	var cf clientFlags
	cmd := &cobra.Command{
		Use: "export NAME", Short: "Print the offsets of a group as JSON, for 'group import'", Args: exactArgs(1, "one group name"),
		Example: "  varve group export billing > billing.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			commits, err := adm.FetchOffsets(cmd.Context(), args[0])
			if err == nil && len(commits) == 0 {
				err = kerr.GroupIDNotFound
			}
			if err != nil {
				return explain("exporting group "+args[0], err, "")
			}
			file := groupFile{Group: args[0], Offsets: []groupOffset{}}
			for _, o := range commits.Sorted() {
				if o.Err != nil {
					return explain("exporting group "+args[0], o.Err, "")
				}
				file.Offsets = append(file.Offsets, groupOffset{o.Topic, o.Partition, o.At, o.LeaderEpoch, o.Metadata})
			}
			form := output(formJSON)
			return form.print(cmd.OutOrStdout(), file, "", nil)
		},
	}
	cf.add(cmd)
	return cmd
}

func groupImportCommand() *cobra.Command {
	var cf clientFlags
	var out output
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use: "import NAME FILE", Short: "Set the offsets of a group that has no members to those of a file", Args: exactArgs(2, "a group name and a file, - for stdin"),
		Long: "Set the offsets of a group that has no members to those that 'group export' has printed. The group may have another\n" +
			"name. Offsets outside a partition become its start or its end; those of partitions that are not in the file stay.",
		Example: "  varve group import billing billing.json --dry-run\n  varve group export billing -b old:9092 | varve group import billing - -b new:9092 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !dryRun {
				return fmt.Errorf("%w: importing moves group %s; look at it with --dry-run, then say --yes", errUsage, args[0])
			}
			file, err := readGroupFile(args[1], cmd.InOrStdin())
			if err != nil {
				return err
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			what := "importing group " + args[0]
			offsets, rows := kadm.Offsets{}, []seekRow{}
			for _, o := range file.Offsets {
				targets, err := seekTargets(cmd.Context(), adm, args[0], o.Topic, o.Partition, fmt.Sprint(o.Offset))
				if err != nil {
					return explain(fmt.Sprintf("%s: partition %d of topic %s", what, o.Partition, o.Topic), err, "")
				}
				for _, row := range targets {
					epoch := o.LeaderEpoch
					if row.To != o.Offset {
						epoch = -1 // it is another record's
					}
					rows = append(rows, row)
					offsets.Add(kadm.Offset{Topic: row.Topic, Partition: row.Partition, At: row.To, LeaderEpoch: epoch, Metadata: o.Metadata})
				}
			}
			if !dryRun {
				if err := adm.CommitAllOffsets(cmd.Context(), args[0], offsets); err != nil {
					return explain(what, err, "")
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
	cmd.Flags().BoolVar(&yes, "yes", false, "really move the group")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the offsets, and change nothing")
	return cmd
}

func readGroupFile(path string, stdin io.Reader) (*groupFile, error) {
	b, err := io.ReadAll(stdin)
	if path != "-" {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	file := &groupFile{}
	if err := json.Unmarshal(b, file); err != nil {
		return nil, fmt.Errorf("%s is not what 'varve group export' prints: %w", path, err)
	}
	if len(file.Offsets) == 0 {
		return nil, errors.New(path + " has no offsets: write it with 'varve group export NAME'")
	}
	for _, o := range file.Offsets {
		if o.Topic == "" || o.Partition < 0 || o.Offset < 0 {
			return nil, fmt.Errorf("%s: partition %d of topic %q with offset %d cannot be", path, o.Partition, o.Topic, o.Offset)
		}
	}
	return file, nil
}
