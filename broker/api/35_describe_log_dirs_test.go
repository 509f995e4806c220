package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

func TestA11DescribeLogDirsAtEveryVersion(t *testing.T) {
	k := newKit(t)
	k.topic("a")
	k.topic("b")
	c := k.dial(internalListener)
	c.produce("b", recordsOf("x"))
	row := k.api.byKey[wire.KeyDescribeLogDirs]
	for v := row.min; v <= row.max; v++ {
		resp := ask[*kmsg.DescribeLogDirsResponse](c, v, kmsg.NewPtrDescribeLogDirsRequest())
		if resp.ErrorCode != 0 || len(resp.Dirs) != 1 {
			t.Fatalf("v%d: %+v", v, resp)
		}
		d := resp.Dirs[0]
		if d.Dir != "/data" || d.ErrorCode != 0 || len(d.Topics) != 2 || d.Topics[0].Topic != "a" || d.Topics[1].Topic != "b" {
			t.Fatalf("v%d: %+v", v, d)
		}
		if a, b := d.Topics[0].Partitions[0], d.Topics[1].Partitions[0]; a.Size != 0 || b.Size < 60 || b.OffsetLag != 0 || b.IsFuture {
			t.Errorf("v%d: %+v, %+v", v, a, b)
		}
		if known := d.TotalBytes > 0 && d.UsableBytes > 0; known != (v >= 4) || d.IsCordoned {
			t.Errorf("v%d: total %d, usable %d", v, d.TotalBytes, d.UsableBytes)
		}
	}
	some := kmsg.NewPtrDescribeLogDirsRequest()
	some.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "b", Partitions: []int32{0, 7}}, {Topic: "none", Partitions: []int32{0}}}
	if d := ask[*kmsg.DescribeLogDirsResponse](c, 4, some).Dirs[0]; len(d.Topics) != 1 || len(d.Topics[0].Partitions) != 1 {
		t.Errorf("one partition and unknown ones: %+v", d)
	}
	some.Topics = []kmsg.DescribeLogDirsRequestTopic{}
	if d := ask[*kmsg.DescribeLogDirsResponse](c, 4, some).Dirs[0]; len(d.Topics) != 0 || d.ErrorCode != 0 {
		t.Errorf("no partitions: %+v", d)
	}
}

func TestA11ADirectoryThatIsOffline(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("x"))
	if err := k.fs.RemoveAll("/data"); err != nil {
		t.Fatal(err)
	}
	if err := k.dirs.Checkpoint(); err == nil {
		t.Fatal("a checkpoint in a directory that is gone")
	}
	d := ask[*kmsg.DescribeLogDirsResponse](c, 5, kmsg.NewPtrDescribeLogDirsRequest()).Dirs[0]
	if d.ErrorCode != int16(kafka.KafkaStorageError) || d.Dir != "/data" || len(d.Topics) != 0 || d.TotalBytes != -1 {
		t.Errorf("%+v", d)
	}
}
