package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
)

// What the other cluster may hand out between this verb and its end: leader epochs of a
// partition, and producer ids.
const (
	epochsToCome      = 1000
	producerIDsToCome = 1_000_000_000
)

func topicAdoptCommand() *cobra.Command {
	var cf clientFlags
	source := clientFlags{}
	cmd := &cobra.Command{
		Use: "adopt --source HOST:PORT [NAME...]", Short: "Create the topics of an Apache Kafka, for its files to be imported",
		Long: "Create topics as another cluster has them: with their ids, numbers of partitions and own settings, leader epochs and producer\n" +
			"ids that go on above its own. Without names all topics are created, __consumer_offsets and __transaction_state too, so that\n" +
			"groups and transactions can move along. This cluster is new, or at least has no topics of these names. What follows:\n" +
			"stop the clients and both brokers in order, 'varve log import DIR --all --from KAFKA-DIR', start this broker.",
		Example: "  varve topic adopt --source kafka-1:9092",
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(source.brokers) == 0 {
				return fmt.Errorf("%w: name the cluster that the topics come from with --source HOST:PORT", errUsage)
			}
			theirs, err := source.client(cmd.Context())
			if err != nil {
				return err
			}
			defer theirs.Close()
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return adoptTopics(cmd.Context(), cmd.ErrOrStderr(), theirs, adm, names)
		},
	}
	cf.add(cmd)
	cmd.Flags().StringSliceVar(&source.brokers, "source", nil, "brokers of the cluster that the topics come from, `HOST:PORT`[,…]")
	return cmd
}

// adoptTopics creates what theirs has. A topic that was adopted already is none to fail for.
func adoptTopics(ctx context.Context, w io.Writer, theirs *kgo.Client, here *kadm.Client, names []string) error {
	from := kadm.NewClient(theirs)
	topics, err := from.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return explain("listing the topics of the source", err, "")
	}
	ids, err := producerIDs(ctx, theirs)
	if err != nil {
		return err
	}
	for _, t := range topics.Sorted() {
		if len(names) == 0 && notToMove(t.Topic) {
			continue
		}
		if t.Err != nil {
			return explain("topic "+t.Topic+" of the source", t.Err, "")
		}
		settings, err := ownSettings(ctx, from, t.Topic)
		if err != nil {
			return explain("reading the settings of topic "+t.Topic+" of the source", err, "")
		}
		epoch := int32(0)
		for _, p := range t.Partitions {
			epoch = max(epoch, p.LeaderEpoch)
		}
		id := kafka.UUID(t.ID).String()
		settings["varve.adopt.id"] = &id
		settings["varve.adopt.leader.epoch"] = new(strconv.Itoa(int(epoch) + epochsToCome))
		settings["varve.adopt.producer.ids"] = new(strconv.FormatInt(ids, 10))
		res, err := here.CreateTopic(ctx, int32(len(t.Partitions)), -1, settings, t.Topic)
		if err != nil {
			return explain("creating topic "+t.Topic, err, res.ErrMessage)
		}
		fmt.Fprintf(w, "adopted topic %s with %d partition(s), id %s\n", t.Topic, res.NumPartitions, id)
	}
	return nil
}

// notToMove says of a topic whether it holds what only its own cluster understands.
func notToMove(topic string) bool {
	return slices.Contains([]string{"__share_group_state", "__remote_log_metadata", metadataTopic}, topic)
}

// ownSettings is what was set for a topic itself.
func ownSettings(ctx context.Context, adm *kadm.Client, topic string) (map[string]*string, error) {
	res, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := map[string]*string{}
	for _, r := range res {
		if r.Err != nil {
			return nil, r.Err
		}
		for _, c := range r.Configs {
			if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
				out[c.Key] = c.Value
			}
		}
	}
	return out, nil
}

// producerIDs is above all producer ids that the cluster has handed out, or will before it ends.
func producerIDs(ctx context.Context, cl *kgo.Client) (int64, error) {
	top := int64(0)
	brokers := cl.DiscoveredBrokers() // those of the metadata: each has a block of its own
	if len(brokers) == 0 {
		return 0, errors.New("the source names no brokers")
	}
	for _, b := range brokers {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.ProducerID, req.ProducerEpoch = -1, -1
		resp, err := b.Request(ctx, req)
		if err != nil {
			return 0, fmt.Errorf("asking a broker of the source for a producer id: %w", err)
		}
		got := resp.(*kmsg.InitProducerIDResponse)
		if got.ErrorCode != 0 {
			return 0, fmt.Errorf("a broker of the source gives no producer id: %w", kafka.Error(got.ErrorCode))
		}
		top = max(top, got.ProducerID)
	}
	return top + producerIDsToCome, nil
}
