package api

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DeleteTopics, versions 1 to 6: deletes topics by name or, from 6, by id.
//
//   - delete.topic.enable=false refuses every topic, from version 3 with
//     TOPIC_DELETION_DISABLED (KIP-322).
//   - Its partitions count against the client's quota, which refuses from 5 on (KIP-599).
//   - A topic that is named twice, also once by name and once by id, is deleted not at all.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a *API) deleteTopics(r *server.Request) error {
	var req wire.DeleteTopicsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	if r.Header.Version < 6 {
		req.Topics = make([]wire.DeleteTopicsRequestTopic, 0, len(req.TopicNames))
		for i := range req.TopicNames {
			req.Topics = append(req.Topics, wire.DeleteTopicsRequestTopic{Name: &req.TopicNames[i]})
		}
	}
	var disabled error
	if !a.o.Node().DeleteTopicEnable {
		disabled = kafka.TopicDeletionDisabled
		if r.Header.Version < 3 {
			disabled = kafka.InvalidRequest
		}
	}
	r.Go(func() {
		ctx, cancel := context.WithTimeout(r.Ctx, time.Duration(max(req.TimeoutMs, 0))*time.Millisecond)
		defer cancel()
		reply(r, a.deleteAll(ctx, r, &req, disabled, mayMutate(a.o.Quotas, r, 5)))
	})
	return nil
}

// deleteAll deletes what passes the checks, and answers in the order of the request. What
// is named more than once is answered once.
func (a *API) deleteAll(ctx context.Context, r *server.Request, req *wire.DeleteTopicsRequest, refused error, charge controller.Charge) *wire.DeleteTopicsResponse {
	img := a.o.Cluster.Image()
	var resp wire.DeleteTopicsResponse
	resp.Default()
	said := make(map[string]int)           // by words of the request
	meant := make(map[*metadata.Topic]int) // by topics, each wording counting once
	for i := range req.Topics {
		asked := &req.Topics[i]
		if said[wording(asked)]++; said[wording(asked)] == 1 {
			meant[findTopic(img, asked)]++
		}
	}
	var ids []kafka.UUID
	var place []int // of ids, in the answer
	for i := range req.Topics {
		asked := &req.Topics[i]
		out, t := wire.DeleteTopicsResponseTopic{Name: asked.Name, TopicID: asked.TopicID}, findTopic(img, asked)
		err := refused
		switch n := said[wording(asked)]; {
		case n == 0, t != nil && meant[t] == 0:
			continue // answered with its first mention
		case err != nil:
		case asked.Name == nil == asked.TopicID.IsZero():
			err = fmt.Errorf("give either a name or an id: %w", kafka.InvalidRequest)
		case n > 1:
			said[wording(asked)] = 0
			err = fmt.Errorf("named more than once: %w", kafka.InvalidRequest)
		case t == nil && asked.Name != nil:
			err = cmp.Or(a.by(r).deleteTopic(kafka.OpDescribe, *asked.Name), error(kafka.UnknownTopicOrPartition))
		case t == nil:
			err = kafka.UnknownTopicID
		case asked.Name == nil && a.by(r).deleteTopic(kafka.OpDescribe, t.Name) != nil:
			err = kafka.TopicAuthorizationFailed // which does not tell the name
		case meant[t] > 1:
			meant[t] = 0
			out.Name, out.TopicID = &t.Name, t.ID
			err = fmt.Errorf("%q is named by its name and by its id: %w", t.Name, kafka.InvalidRequest)
		default:
			out.Name = &t.Name
			if err = a.by(r).deleteTopic(kafka.OpDelete, t.Name); err != nil {
				break // without the id, which tells that there is such a topic
			}
			out.TopicID = t.ID
			if err = charge(len(t.Partitions)); err == nil {
				ids, place = append(ids, t.ID), append(place, len(resp.Responses))
			}
		}
		out.ErrorCode, out.ErrorMessage = a.failure(err)
		resp.Responses = append(resp.Responses, out)
	}
	if len(ids) == 0 {
		return &resp
	}
	for i, err := range a.o.Cluster.DeleteTopics(ctx, ids) {
		out := &resp.Responses[place[i]]
		out.ErrorCode, out.ErrorMessage = a.failure(err)
		a.by(r).did(err, "topic", *out.Name, "id", ids[i])
	}
	return &resp
}

// wording is how an entry of the request names its topic; entries that name none, or name
// it twice over, have one each.
func wording(asked *wire.DeleteTopicsRequestTopic) string {
	switch {
	case asked.Name != nil && asked.TopicID.IsZero():
		return "name " + *asked.Name
	case asked.Name == nil && !asked.TopicID.IsZero():
		return "id " + asked.TopicID.String()
	}
	return fmt.Sprintf("%p", asked)
}

// findTopic is the topic that an entry of the request means, nil for none.
func findTopic(img *metadata.Image, asked *wire.DeleteTopicsRequestTopic) *metadata.Topic {
	switch {
	case asked.Name != nil && asked.TopicID.IsZero():
		return img.Topic(*asked.Name)
	case asked.Name == nil && !asked.TopicID.IsZero():
		return img.TopicByID(asked.TopicID)
	}
	return nil
}
