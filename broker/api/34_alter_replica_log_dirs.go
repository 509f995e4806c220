package api

import (
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// AlterReplicaLogDirs, versions 1 and 2: has logs of this broker move to other log
// directories (KIP-113).
//
//   - The answer says that the moves have begun; DescribeLogDirs shows how far they are. A
//     move to where the log is ends one that is under way.
//   - A partition that is named in two directories moves to the last one.
//   - LOG_DIR_NOT_FOUND, KAFKA_STORAGE_ERROR while a directory is offline, and
//     INVALID_REPLICA_ASSIGNMENT for a cordoned directory (KIP-1066).
//
// Gaps: a partition of another broker gets REPLICA_NOT_AVAILABLE, as in Kafka, but the
// directory is not remembered for the day when it comes.
func (a *API) alterReplicaLogDirs(r *server.Request) error {
	var req wire.AlterReplicaLogDirsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var changes []replica.DirChange
	place := map[kafka.TopicPartition]int{}
	for i := range req.Dirs {
		for j := range req.Dirs[i].Topics {
			t := &req.Dirs[i].Topics[j]
			for _, index := range t.Partitions {
				tp := kafka.TopicPartition{Topic: t.Name, Partition: index}
				k, again := place[tp]
				if !again {
					k = len(changes)
					place[tp] = k
					changes = append(changes, replica.DirChange{Topic: t.Name, Index: index})
				}
				changes[k].Path = req.Dirs[i].Path
			}
		}
	}
	answer := func(errs []error) {
		var resp wire.AlterReplicaLogDirsResponse
		resp.Default()
		byTopic := map[string]int{}
		for i, c := range changes {
			k, ok := byTopic[c.Topic]
			if !ok {
				k = len(resp.Results)
				byTopic[c.Topic] = k
				resp.Results = append(resp.Results, wire.AlterReplicaLogDirsResponseResult{TopicName: c.Topic})
			}
			code, _ := a.failure(errs[i])
			resp.Results[k].Partitions = append(resp.Results[k].Partitions, wire.AlterReplicaLogDirsResponsePartition{PartitionIndex: c.Index, ErrorCode: code})
		}
		reply(r, &resp)
	}
	if err := a.by(r).cluster(kafka.OpAlter); err != nil {
		answer(slices.Repeat([]error{err}, len(changes)))
		return nil
	}
	a.o.Replicas.MoveLogs(changes, func(errs []error) {
		for i, c := range changes {
			a.by(r).did(errs[i], "partition", kafka.TopicPartition{Topic: c.Topic, Partition: c.Index}.String(), "dir", c.Path)
		}
		answer(errs)
	})
	return nil
}
