package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errUnhealthy is the end of a command that has found something wrong, and has said what.
var errUnhealthy = errors.New("not healthy")

// finding is one thing that was looked at.
type finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"` // ok, warning or bad
	Detail  string `json:"detail"`
	Advice  string `json:"advice"`
}

// Verdicts of findings.
const (
	verdictOK      = "ok"
	verdictWarning = "warning"
	verdictBad     = "bad"
)

// printFindings prints findings; a bad one makes the exit code 3.
func printFindings(cmd *cobra.Command, out *output, list []finding) error {
	err := out.print(cmd.OutOrStdout(), list, "CHECK VERDICT DETAIL", func(w io.Writer) {
		for _, f := range list {
			text := f.Detail
			if f.Advice != "" {
				text += ": " + f.Advice
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", f.Check, f.Verdict, text)
		}
	})
	for _, f := range list {
		if err == nil && f.Verdict == verdictBad {
			err = fmt.Errorf("%w: %s", errUnhealthy, f.Check)
		}
	}
	return err
}

func clusterHealthCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "health", Short: "Say whether every partition has a leader and all of its replicas; exit code 3 if not", Args: exactArgs(0, "no arguments"),
		Example: "  varve cluster health || page-somebody\n  varve cluster health -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			m, err := adm.Metadata(cmd.Context())
			if err != nil {
				return explain("reading the cluster's metadata", err, "")
			}
			return printFindings(cmd, &out, health(&m))
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

// health looks at the metadata of a cluster.
func health(m *kadm.Metadata) []finding {
	offline, under, dirs, total := 0, 0, 0, 0
	example := ""
	for _, t := range m.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			total++
			switch {
			case p.Leader < 0:
				offline++
				example = fmt.Sprintf(", such as %s-%d", p.Topic, p.Partition)
			case len(p.ISR) < len(p.Replicas):
				under++
			}
			dirs += len(p.OfflineReplicas)
		}
	}
	list := []finding{{"controller", verdictOK, fmt.Sprintf("broker %d", m.Controller), ""}}
	if m.Controller < 0 {
		list[0] = finding{"controller", verdictBad, "none", "no topic can be created or moved; look at 'varve cluster quorum' and the brokers' logs"}
	}
	add := func(check string, n int, verdict, detail, advice string) {
		if n == 0 {
			verdict, advice = verdictOK, ""
		}
		list = append(list, finding{check, verdict, fmt.Sprintf("%d of %d partitions%s", n, total, detail), advice})
	}
	add("partitions without a leader", offline, verdictBad, example, "they can be neither written nor read; start the brokers that hold them")
	add("partitions that lack replicas", under, verdictWarning, "", "a broker is down or behind; see 'varve topic describe'")
	add("replicas on disks that are offline", dirs, verdictBad, "", "see 'varve log dirs'")
	return list
}

// quorumInfo is the state of the metadata log.
type quorumInfo struct {
	Leader        int32         `json:"leader"`
	Epoch         int32         `json:"epoch"`
	HighWatermark int64         `json:"high_watermark"`
	Replicas      []quorumVoter `json:"replicas"`
}

type quorumVoter struct {
	ID   int32  `json:"id"`
	Role string `json:"role"` // leader, voter or observer
	End  int64  `json:"end_offset"`
	Lag  int64  `json:"lag"`
}

func clusterQuorumCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "quorum", Short: "Show who leads the metadata log, and how far each voter has it", Args: exactArgs(0, "no arguments"),
		Example: "  varve cluster quorum\n  varve cluster quorum -o yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := cf.client(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			req := kmsg.NewPtrDescribeQuorumRequest()
			req.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
			resp, err := req.RequestWith(cmd.Context(), cl)
			if err == nil {
				err = kerr.ErrorForCode(resp.ErrorCode)
			}
			if err == nil && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1) {
				err = kerr.UnknownServerError
			}
			if err != nil {
				return explain("describing the quorum", err, "")
			}
			q := quorumOf(&resp.Topics[0].Partitions[0])
			return out.print(cmd.OutOrStdout(), q, "", func(w io.Writer) {
				fmt.Fprintf(w, "leader\t%d\nepoch\t%d\nhigh watermark\t%d\n\nID\tROLE\tEND\tLAG\n", q.Leader, q.Epoch, q.HighWatermark)
				for _, r := range q.Replicas {
					fmt.Fprintf(w, "%d\t%s\t%d\t%d\n", r.ID, r.Role, r.End, r.Lag)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

func quorumOf(p *kmsg.DescribeQuorumResponseTopicPartition) quorumInfo {
	q := quorumInfo{Leader: p.LeaderID, Epoch: p.LeaderEpoch, HighWatermark: p.HighWatermark, Replicas: []quorumVoter{}}
	add := func(role string, list []kmsg.DescribeQuorumResponseTopicPartitionReplicaState) {
		for _, r := range list {
			v := quorumVoter{ID: r.ReplicaID, Role: role, End: r.LogEndOffset, Lag: max(0, p.HighWatermark-r.LogEndOffset)}
			if r.ReplicaID == p.LeaderID {
				v.Role = "leader"
			}
			q.Replicas = append(q.Replicas, v)
		}
	}
	add("voter", p.CurrentVoters)
	add("observer", p.Observers)
	return q
}
