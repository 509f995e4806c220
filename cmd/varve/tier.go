package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func tierCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tier", Short: "See how topics lie across local disks and the object store"}
	cmd.AddCommand(tierStatusCommand())
	return cmd
}

// tierRow says which offsets of a partition lie where. Remote holds [Start, RemoteEnd),
// the local disk [LocalStart, End); they overlap.
type tierRow struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	Start      int64  `json:"start_offset"`
	LocalStart int64  `json:"local_start_offset"`
	RemoteEnd  int64  `json:"remote_end_offset"`
	End        int64  `json:"end_offset"`
}

// band draws the strata: '▒' remote only, '▓' in both layers, '█' local only.
func (r tierRow) band(width int) string {
	span := r.End - r.Start
	if span <= 0 {
		return ""
	}
	out := make([]rune, width)
	for i := range out {
		off := r.Start + span*int64(i)/int64(width)
		switch {
		case off < r.LocalStart:
			out[i] = '▒'
		case off < r.RemoteEnd:
			out[i] = '▓'
		default:
			out[i] = '█'
		}
	}
	return string(out)
}

func tierStatusCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "status [TOPIC]", Short: "Show which offsets lie on local disks and which in the object store",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%w: %s takes at most one topic name", errUsage, cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			rows, err := tierStatus(cmd.Context(), adm, args...)
			if err != nil {
				return explain("tier status", err, "")
			}
			return out.print(cmd.OutOrStdout(), rows, "TOPIC PARTITION START LOCAL REMOTE-END END STRATA", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", r.Topic, r.Partition, r.Start, r.LocalStart, r.RemoteEnd, r.End, r.band(24))
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

// tierStatus asks the four special offsets of KIP-405 and KIP-1005 of each partition.
func tierStatus(ctx context.Context, adm *kadm.Client, topics ...string) ([]tierRow, error) {
	rows := []tierRow{}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	if err := starts.Error(); err != nil {
		return nil, err
	}
	local, err1 := adm.ListLocalLogStartOffsets(ctx, topics...)
	remote, err2 := adm.ListLatestRemoteOffsets(ctx, topics...)
	ends, err3 := adm.ListEndOffsets(ctx, topics...)
	if err := errors.Join(err1, err2, err3, local.Error(), remote.Error(), ends.Error()); err != nil {
		return nil, err
	}
	for _, start := range starts.Offsets().Sorted() {
		l, _ := local.Lookup(start.Topic, start.Partition)
		r, _ := remote.Lookup(start.Topic, start.Partition)
		e, _ := ends.Lookup(start.Topic, start.Partition)
		rows = append(rows, tierRow{start.Topic, start.Partition, start.At, l.Offset, r.Offset + 1, e.Offset})
	}
	return rows, nil
}
