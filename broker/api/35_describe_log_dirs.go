package api

import (
	"cmp"
	"path/filepath"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DescribeLogDirs, versions 1 to 5: the log directories of this broker and what lies in them
// (KIP-113).
//
//   - Sizes are of local segments; what lies in the object store has no place in the message.
//   - An unknown partition is left out. A directory that is offline has KAFKA_STORAGE_ERROR
//     and no partitions. 4: size and usable bytes of the volume (KIP-827). 5: cordoned (KIP-1066).
//   - A log that moves (key 34) is listed in both directories, the copy as a future one.
func (a *API) describeLogDirs(r *server.Request) error {
	var req wire.DescribeLogDirsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	if err := a.by(r).cluster(kafka.OpDescribe); err != nil {
		reply(r, &wire.DescribeLogDirsResponse{ErrorCode: int16(kafka.Code(err))})
		return nil
	}
	want := func(kafka.TopicPartition) bool { return true }
	if req.Topics != nil {
		named := map[kafka.TopicPartition]bool{}
		for i := range req.Topics {
			for _, index := range req.Topics[i].Partitions {
				named[kafka.TopicPartition{Topic: req.Topics[i].Topic, Partition: index}] = true
			}
		}
		want = func(tp kafka.TopicPartition) bool { return named[tp] }
	}
	a.o.Replicas.LogDirs(want, func(dirs []replica.LogDir) {
		var resp wire.DescribeLogDirsResponse
		resp.Default()
		resp.Results = make([]wire.DescribeLogDirsResponseResult, len(dirs))
		for i := range dirs {
			a.logDir(&dirs[i], &resp.Results[i])
		}
		reply(r, &resp)
	})
	return nil
}

// logDir fills one directory in.
func (a *API) logDir(d *replica.LogDir, out *wire.DescribeLogDirsResponseResult) {
	out.Default()
	out.LogDir = d.Path
	if abs, err := filepath.Abs(d.Path); err == nil {
		out.LogDir = abs
	}
	if d.Err != nil {
		out.ErrorCode, _ = a.failure(d.Err)
		return
	}
	out.IsCordoned = d.Cordoned
	out.TotalBytes, out.UsableBytes = d.Usage.Total, d.Usage.Free
	slices.SortFunc(d.Logs, func(x, y replica.LogInfo) int {
		return cmp.Or(cmp.Compare(x.TopicPartition.Topic, y.TopicPartition.Topic), cmp.Compare(x.TopicPartition.Partition, y.TopicPartition.Partition))
	})
	for _, l := range d.Logs {
		if n := len(out.Topics); n == 0 || out.Topics[n-1].Name != l.TopicPartition.Topic {
			out.Topics = append(out.Topics, wire.DescribeLogDirsResponseTopic{Name: l.TopicPartition.Topic})
		}
		t := &out.Topics[len(out.Topics)-1]
		t.Partitions = append(t.Partitions, wire.DescribeLogDirsResponsePartition{
			PartitionIndex: l.TopicPartition.Partition, PartitionSize: l.SizeBytes, OffsetLag: l.Lag, IsFutureKey: l.Future,
		})
	}
}
