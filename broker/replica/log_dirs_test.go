package replica

import (
	"testing"

	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
)

func TestA11LogDirs(t *testing.T) {
	k := newKit(t)
	a, b := k.create(newTopic("a")), k.create(newTopic("b"))
	k.produce(a, 3)
	k.produce(b, 1)
	stray, err := k.dirs.Create(kafka.TopicPartition{Topic: "stray"}, kafka.NewUUID(), LogConfig(a.Config()), logdir.Placement{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	describe := func(want func(kafka.TopicPartition) bool) LogDir {
		t.Helper()
		done := make(chan []LogDir, 1)
		k.LogDirs(want, func(dirs []LogDir) { done <- dirs })
		dirs := <-done
		if len(dirs) != 1 || dirs[0].Err != nil || dirs[0].Usage.Total <= 0 || dirs[0].Usage.Free <= 0 || dirs[0].Path != "/data" {
			t.Fatalf("log dirs %+v", dirs)
		}
		return dirs[0]
	}
	got := map[string]LogInfo{}
	for _, l := range describe(func(kafka.TopicPartition) bool { return true }).Logs {
		got[l.TopicPartition.Topic] = l
	}
	for name, want := range map[string]LogInfo{
		"a": {TopicPartition: a.tp, SizeBytes: a.Log().Size()}, "b": {TopicPartition: b.tp, SizeBytes: b.Log().Size()}, "stray": {TopicPartition: stray.TopicPartition(), Lag: -1},
	} {
		if got[name] != want {
			t.Errorf("%s: %+v, want %+v", name, got[name], want)
		}
	}
	if some := describe(func(tp kafka.TopicPartition) bool { return tp == b.tp }).Logs; len(some) != 1 || some[0].TopicPartition != b.tp || some[0].SizeBytes == 0 {
		t.Errorf("one of them: %+v", some)
	}
}
