package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func txnCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "txn", Short: "List, describe and abort transactions"}
	cmd.AddCommand(txnListCommand(), txnDescribeCommand(), txnAbortCommand())
	return cmd
}

// txnRow is one transactional id in listings.
type txnRow struct {
	TransactionalID string `json:"transactional_id"`
	State           string `json:"state"`
	ProducerID      int64  `json:"producer_id"`
	Coordinator     int32  `json:"coordinator"`
}

func txnListCommand() *cobra.Command {
	var cf clientFlags
	var out output
	var states []string
	var pattern string
	cmd := &cobra.Command{
		Use: "list", Short: "List transactional ids and the state of their transactions", Args: exactArgs(0, "no arguments"),
		Example: "  varve txn list --state Ongoing",
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			list, err := adm.ListTransactionsByTxPattern(cmd.Context(), nil, states, pattern)
			if err != nil {
				return explain("listing transactions", err, "")
			}
			rows := []txnRow{}
			for _, t := range list.Sorted() {
				rows = append(rows, txnRow{t.TxnID, t.State, t.ProducerID, t.Coordinator})
			}
			return out.print(cmd.OutOrStdout(), rows, "TRANSACTIONAL-ID STATE PRODUCER-ID COORDINATOR", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", r.TransactionalID, r.State, r.ProducerID, r.Coordinator)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in the `STATE`: Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort")
	cmd.Flags().StringVar(&pattern, "pattern", "", "only those whose whole id matches the regular `EXPRESSION` (RE2)")
	return cmd
}

// txnDetail is what describe prints.
type txnDetail struct {
	txnRow
	ProducerEpoch int16              `json:"producer_epoch"`
	TimeoutMs     int32              `json:"timeout_ms"`
	StartMs       int64              `json:"start_ms"` // -1 without a transaction
	Partitions    map[string][]int32 `json:"partitions"`
}

func txnDescribeCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "describe ID", Short: "Show the transaction of a transactional id", Args: exactArgs(1, "one transactional id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			t, err := describeTxn(cmd.Context(), adm, args[0])
			if err != nil {
				return explain("describing the transaction of "+args[0], err, "")
			}
			return out.print(cmd.OutOrStdout(), t, "", t.table)
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

func describeTxn(ctx context.Context, adm *kadm.Client, id string) (*txnDetail, error) {
	all, err := adm.DescribeTransactions(ctx, id)
	if err != nil {
		return nil, err
	}
	t, err := all.On(id, nil)
	if err = errors.Join(err, t.Err); err != nil {
		return nil, err
	}
	d := &txnDetail{
		txnRow: txnRow{id, t.State, t.ProducerID, t.Coordinator}, ProducerEpoch: t.ProducerEpoch, TimeoutMs: t.TimeoutMillis,
		StartMs: t.StartTimestamp, Partitions: map[string][]int32{},
	}
	for _, topic := range t.Topics.Sorted() {
		d.Partitions[topic.Topic] = topic.Partitions
	}
	return d, nil
}

func (d *txnDetail) table(w io.Writer) {
	fmt.Fprintf(w, "transactional id:\t%s\nstate:\t%s\nproducer:\t%d, epoch %d\ncoordinator:\t%d\ntime-out:\t%v\n",
		d.TransactionalID, d.State, d.ProducerID, d.ProducerEpoch, d.Coordinator, time.Duration(d.TimeoutMs)*time.Millisecond)
	if d.StartMs >= 0 {
		fmt.Fprintf(w, "began:\t%s\n", time.UnixMilli(d.StartMs).Format(time.RFC3339))
	}
	topics := make([]string, 0, len(d.Partitions))
	for t := range d.Partitions {
		topics = append(topics, t)
	}
	sort.Strings(topics)
	for _, t := range topics {
		fmt.Fprintf(w, "partitions of %s:\t%v\n", t, d.Partitions[t])
	}
}

func txnAbortCommand() *cobra.Command {
	var cf clientFlags
	var topic string
	var partition int32
	var start int64
	cmd := &cobra.Command{
		Use: "abort ID | abort --topic NAME --partition N --start-offset OFFSET", Short: "Abort a transaction and fence its producer",
		Long: "Abort the open transaction of a transactional id and fence its producer: what the producer sends from then on is refused.\n" +
			"A transaction that hangs in a partition, because its coordinator knows nothing of it, is named by its first offset there;\n" +
			"'kafka-transactions find-hanging' finds such ones.",
		Example: "  varve txn abort mover-1\n  varve txn abort --topic orders --partition 0 --start-offset 1200",
		RunE: func(cmd *cobra.Command, args []string) error {
			byID := topic == "" && partition < 0 && start < 0
			if byID && len(args) != 1 || !byID && (len(args) != 0 || topic == "" || partition < 0 || start < 0) {
				return fmt.Errorf("%w: %s takes one transactional id, or --topic, --partition and --start-offset", errUsage, cmd.CommandPath())
			}
			if byID {
				return abortID(cmd, &cf, args[0])
			}
			return abortHanging(cmd, &cf, topic, partition, start)
		},
	}
	cf.add(cmd)
	cmd.Flags().StringVar(&topic, "topic", "", "`NAME` of the topic in which a transaction hangs")
	asked(cmd, &cf, "topic", topicNames)
	cmd.Flags().Int32Var(&partition, "partition", -1, "partition `N`")
	cmd.Flags().Int64Var(&start, "start-offset", -1, "first `OFFSET` of the transaction")
	return cmd
}

// abortPause is how long abort waits for the coordinator to end the transaction.
const abortPause = 50 * time.Millisecond

// abortID takes the producer's place, at which its transaction is aborted. An id that does not
// exist is not created.
func abortID(cmd *cobra.Command, cf *clientFlags, id string) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), answerTimeout)
	defer cancel()
	cl, err := cf.client(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	what := "aborting the transaction of " + id
	before, err := describeTxn(ctx, kadm.NewClient(cl), id)
	if err != nil {
		return explain(what, err, "")
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &id, max(1, before.TimeoutMs)
	for {
		resp, err := req.RequestWith(ctx, cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		switch {
		case err == nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "the transaction of %s is aborted (it was %s), its producer is fenced\n", id, before.State)
			return nil
		case !errors.Is(err, kerr.ConcurrentTransactions):
			return explain(what, err, "")
		}
		select {
		case <-ctx.Done():
			return explain(what, fmt.Errorf("the transaction is being ended, but not every partition has its marker yet: %w", ctx.Err()), "")
		case <-time.After(abortPause):
		}
	}
}

// abortHanging writes the end of a transaction into one partition, without its coordinator.
func abortHanging(cmd *cobra.Command, cf *clientFlags, topic string, partition int32, start int64) error {
	adm, done, err := cf.admin(cmd.Context())
	if err != nil {
		return err
	}
	defer done()
	what := fmt.Sprintf("aborting the transaction at offset %d of partition %d of %s", start, partition, topic)
	where := kadm.TopicsSet{}
	where.Add(topic, partition)
	described, err := adm.DescribeProducers(cmd.Context(), where)
	if err != nil {
		return explain(what, err, "")
	}
	var found *kadm.DescribedProducer
	described.EachPartition(func(p kadm.DescribedProducersPartition) { err = errors.Join(err, p.Err) })
	described.EachProducer(func(p kadm.DescribedProducer) {
		if p.CurrentTxnStartOffset == start {
			found = &p
		}
	})
	if err != nil {
		return explain(what, err, "")
	}
	if found == nil {
		return fmt.Errorf("%s: no transaction begins there: see the open ones with 'kafka-transactions describe-producers'", what)
	}
	res, err := adm.WriteTxnMarkers(cmd.Context(), kadm.TxnMarkers{
		ProducerID: found.ProducerID, ProducerEpoch: found.ProducerEpoch, CoordinatorEpoch: max(0, found.CoordinatorEpoch), Topics: where,
	})
	if err != nil {
		return explain(what, err, "")
	}
	for _, byID := range res {
		for _, t := range byID.Topics {
			for _, p := range t.Partitions {
				err = errors.Join(err, p.Err)
			}
		}
	}
	if err != nil {
		return explain(what, err, "")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "the transaction of producer %d is aborted in partition %d of %s\n", found.ProducerID, partition, topic)
	return nil
}
