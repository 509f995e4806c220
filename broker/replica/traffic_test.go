package replica

import "testing"

func TestTimestampAndTraffic(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t", "message.timestamp.type", "LogAppendTime"))
	if _, ok, err := TimestampAt(p, 0); ok || err != nil {
		t.Errorf("an empty log has a time: %v, %v", ok, err)
	}
	k.produce(p, 2)
	first := k.nowMs
	k.nowMs += 5000
	k.produce(p, 2)
	for off, want := range map[int64]int64{0: first, 1: first, 2: first + 5000, 3: first + 5000} {
		if ts, ok, err := TimestampAt(p, off); !ok || err != nil || ts != want {
			t.Errorf("offset %d is of %d, %v, %v; want %d", off, ts, ok, err, want)
		}
	}
	if _, ok, err := TimestampAt(p, 4); ok || err != nil {
		t.Errorf("the end of the log has a time: %v, %v", ok, err)
	}
	if _, err := p.Append(k.records(1), AppendOptions{Acks: 1, ZstdOK: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Append([]byte("x"), AppendOptions{Acks: 1}); err == nil {
		t.Error("a byte is taken for a batch")
	}
	got := TrafficOf(p)
	if got.Records != 5 || got.Produces != 4 || got.FailedProduces != 1 || got.BytesIn != p.Log().Size() {
		t.Errorf("%+v, and %d bytes in the log", got, p.Log().Size())
	}
}
