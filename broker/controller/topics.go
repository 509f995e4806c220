package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// maxPartitionsPerRequest is what the partitions of one CreateTopics stay below, as in Kafka.
const maxPartitionsPerRequest = 10_000

// NewTopic is a topic to create.
type NewTopic struct {
	Name              string
	Partitions        int32 // -1 is the default
	ReplicationFactor int16 // -1 is the default
	// Assignments names the brokers of each partition, preferred leader first. Partitions and
	// ReplicationFactor must be -1 then.
	Assignments map[int32][]int32
	Config      map[string]string
	// Charge is asked when nothing else is in the way; nil means free.
	Charge Charge
	// Origin says that the topic comes from another cluster; nil for one that is new.
	Origin *Origin
}

// Charge is asked whether so many partitions may be created; its error is why not.
type Charge func(partitions int) error

func (c Charge) take(partitions int) error {
	if c == nil {
		return nil
	}
	return c(partitions)
}

// TopicResult is what became of a NewTopic: the topic as it is (as it would be, when it was
// only validated), or why not. Err wraps a kafka.Error.
type TopicResult struct {
	Topic *metadata.Topic
	Err   error
}

// CreateTopics creates what can be created of topics, all in one entry; with validateOnly it
// says what would happen and writes nothing. Results are in the order of topics. When it
// returns, the topics are in the image and every watcher has seen them.
func (c *Controller) CreateTopics(ctx context.Context, topics []NewTopic, validateOnly bool) []TopicResult {
	results := make([]TopicResult, len(topics))
	var would *metadata.Image
	img, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		records := c.planTopics(img, topics, results)
		would = records.img
		if validateOnly {
			return nil, nil
		}
		return records.all, nil
	})
	if validateOnly {
		img = would
	}
	for i := range results {
		switch {
		case results[i].Err != nil:
		case err != nil:
			results[i] = TopicResult{Err: err}
		default:
			results[i].Topic = img.Topic(topics[i].Name)
		}
	}
	if !validateOnly && slices.ContainsFunc(topics, func(t NewTopic) bool { return t.Origin != nil }) {
		c.settleOrigins(ctx, topics, results)
	}
	return results
}

// plan is an image that changes are tried on before they are proposed, so that what the
// proposer accepts is what the log will accept.
type plan struct {
	img *metadata.Image
	all []metadata.Record
}

func (p *plan) try(records ...metadata.Record) error {
	next, _, err := p.img.Apply(p.img.Version()+1, records)
	if err != nil {
		return err
	}
	p.img = next
	p.all = append(p.all, records...)
	return nil
}

// planTopics decides topic by topic; a topic that fails does not keep the others from being created.
func (c *Controller) planTopics(img *metadata.Image, topics []NewTopic, results []TopicResult) plan {
	p := plan{img: img}
	seen := make(map[string]int, len(topics))
	for _, t := range topics {
		seen[t.Name]++
	}
	place := newPlacement(img, c.opts.Dirs)
	tooMany := c.tooManyPartitions(topics)
	for i, t := range topics {
		if tooMany != nil {
			results[i].Err = tooMany
			continue
		}
		if seen[t.Name] > 1 {
			results[i].Err = fmt.Errorf("topic '%s' is named more than once in the request: %w", t.Name, kafka.InvalidRequest)
			continue
		}
		records, err := c.planTopic(&p, place, t)
		if err == nil {
			err = t.Charge.take(len(records) - 1)
		}
		if err == nil {
			err = p.try(records...)
		}
		results[i].Err = err
	}
	return p
}

// tooManyPartitions refuses a request as a whole, with all of its topics, whatever else is
// wrong with them. Source: ReplicationControlManager.validateTotalNumberOfPartitions.
func (c *Controller) tooManyPartitions(topics []NewTopic) error {
	total := 0
	for _, t := range topics {
		switch defaults, _ := c.opts.Defaults(); {
		case len(t.Assignments) > 0:
			total += len(t.Assignments)
		case t.Partitions == -1:
			total += int(defaults)
		default:
			total += int(t.Partitions)
		}
	}
	if total >= maxPartitionsPerRequest {
		return fmt.Errorf("the request asks for %d partitions, a request may ask for %d: %w", total, maxPartitionsPerRequest-1, kafka.PolicyViolation)
	}
	return nil
}

// planTopic is the records that create a topic. It checks in the order in which Kafka does.
func (c *Controller) planTopic(p *plan, place *placement, t NewTopic) ([]metadata.Record, error) {
	if err := metadata.ValidateTopicName(t.Name); err != nil {
		return nil, err
	}
	id, exists, err := t.identity(p.img)
	if err != nil || exists {
		return nil, err
	}
	record := metadata.TopicRecord{Name: t.Name, ID: id, Version: 1, Config: maps.Clone(t.Config)}
	probe := plan{img: p.img}
	if err := probe.try(record); err != nil { // exists, or collides
		return nil, err
	}
	if err := c.validateConfig(t.Config); err != nil {
		return nil, err
	}
	replicas, err := c.replicas(place, t)
	if err != nil {
		return nil, err
	}
	records := make([]metadata.Record, 0, 1+len(replicas))
	records = append(records, record)
	for i, r := range replicas {
		partition, err := place.partition(r)
		if err != nil {
			return nil, err
		}
		records = append(records, metadata.PartitionRecord{TopicID: record.ID, Index: int32(i), Partition: partition})
	}
	return records, nil
}

func (c *Controller) validateConfig(config map[string]string) error {
	err := c.opts.ValidateConfig(config)
	if err != nil && kafka.Code(err) == kafka.UnknownServerError {
		return fmt.Errorf("%w: %w", err, kafka.InvalidConfig)
	}
	return err
}

// replicas is the brokers of each partition: those that the request names, or chosen ones.
func (c *Controller) replicas(place *placement, t NewTopic) ([][]int32, error) {
	if len(t.Assignments) > 0 {
		switch {
		case t.ReplicationFactor != -1:
			return nil, fmt.Errorf("topic '%s' names its replicas: the replication factor must be -1 then: %w", t.Name, kafka.InvalidRequest)
		case t.Partitions != -1:
			return nil, fmt.Errorf("topic '%s' names its replicas: the number of partitions must be -1 then: %w", t.Name, kafka.InvalidRequest)
		}
		return place.assigned(t.Assignments)
	}
	partitions, factor := c.opts.Defaults()
	switch {
	case t.ReplicationFactor < -1 || t.ReplicationFactor == 0:
		return nil, fmt.Errorf("replication factor must be larger than 0, or -1 to use the default value: %w", kafka.InvalidReplicationFactor)
	case t.Partitions < -1 || t.Partitions == 0:
		return nil, fmt.Errorf("number of partitions must be larger than 0, or -1 to use the default value: %w", kafka.InvalidPartitions)
	}
	if t.Partitions != -1 {
		partitions = t.Partitions
	}
	if t.ReplicationFactor != -1 {
		factor = t.ReplicationFactor
	}
	return place.spread(partitions, factor)
}

// DeleteTopics deletes what can be deleted of ids, all in one entry. The errors are in the
// order of ids: nil, or a wrapped kafka.Error. When it returns, every watcher has seen it.
func (c *Controller) DeleteTopics(ctx context.Context, ids []kafka.UUID) []error {
	errs := make([]error, len(ids))
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		p := plan{img: img}
		for i, id := range ids {
			records := []metadata.Record{metadata.RemoveTopicRecord{TopicID: id}}
			if t := img.TopicByID(id); t != nil && strings.EqualFold(strings.TrimSpace(t.Config["remote.storage.enable"]), "true") { // as broker/config reads it
				records = append(records, metadata.PurgeRecord{TopicID: id, Name: t.Name})
			}
			errs[i] = p.try(records...)
		}
		return p.all, nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// TopicPurged records that no object of a deleted topic is left in the object store.
func (c *Controller) TopicPurged(ctx context.Context, id kafka.UUID) error {
	_, err := c.change(ctx, func(*metadata.Image) ([]metadata.Record, error) {
		return []metadata.Record{metadata.PurgeRecord{TopicID: id, Done: true}}, nil
	})
	return err
}
