package metadata

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func id(n int) (u kafka.UUID) {
	binary.BigEndian.PutUint64(u[8:], uint64(n))
	return u
}

func apply(t *testing.T, img *Image, records ...Record) (*Image, *Delta) {
	t.Helper()
	next, d, err := img.Apply(img.Version()+1, records)
	if err != nil {
		t.Fatal(err)
	}
	return next, d
}

func encoded(t *testing.T, img *Image) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := img.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo: %d of %d bytes, %v", n, b.Len(), err)
	}
	return b.Bytes()
}

func partition(topic, index, leader int32) PartitionRecord {
	return PartitionRecord{TopicID: id(int(topic)), Index: index, Partition: Partition{
		Replicas: []int32{leader, leader + 1}, Dirs: []kafka.UUID{id(7), {}}, ISR: []int32{leader}, ELR: []int32{leader + 1}, Leader: leader,
	}}
}

// samples is one record of each kind, filled to the brim.
func samples() []Record {
	return []Record{
		FeatureRecord{Name: FormatFeature, Level: 1},
		ClusterRecord{ClusterID: "AAAAAAAAQACAAAAAAAAAAA"},
		RegisterBrokerRecord{ID: 1, Incarnation: id(11), Epoch: EpochOfEntry, Endpoints: []Endpoint{{"PLAINTEXT", "host-1", 9092, "PLAINTEXT"}}, Rack: "r", LogDirs: []kafka.UUID{id(7), id(8)}},
		TopicRecord{Name: "orders.eu", ID: id(1), Version: 1, Config: map[string]string{"retention.ms": "1000", "cleanup.policy": "delete"}},
		partition(1, 0, 1),
		TopicConfigRecord{TopicID: id(1), Version: 2, Config: map[string]string{"segment.bytes": "4194304"}},
		TopicRecord{Name: "gone", ID: id(2), Version: 1},
		RemoveTopicRecord{TopicID: id(2)},
		PurgeRecord{TopicID: id(2), Name: "gone"},
		ProducerIDsRecord{Next: 1000},
	}
}

func TestImageAnswers(t *testing.T) {
	img, d := apply(t, &Image{}, samples()...)
	topic := img.Topic("orders.eu")
	if topic == nil || img.TopicByID(id(1)) != topic || topic.Version != 2 || topic.Config["segment.bytes"] != "4194304" || len(topic.Config) != 1 {
		t.Fatalf("topic %+v", topic)
	}
	if len(topic.Partitions) != 1 || topic.Partitions[0].Leader != 1 || img.PartitionCount() != 1 || img.TopicCount() != 1 {
		t.Errorf("partitions %+v, %d in the image", topic.Partitions, img.PartitionCount())
	}
	if b := img.Broker(1); b == nil || b.Epoch != img.Version() || b.Rack != "r" || img.Broker(2) != nil {
		t.Errorf("broker %+v", b)
	}
	if img.Topic("gone") != nil || img.TopicByID(id(2)) != nil {
		t.Error("a deleted topic is found")
	}
	if img.ClusterID() == "" || img.Feature(FormatFeature) != 1 || img.NextProducerID() != 1000 {
		t.Errorf("cluster %q, level %d, producer ids from %d", img.ClusterID(), img.Feature(FormatFeature), img.NextProducerID())
	}
	if img.CollidingTopic("orders_eu") != "orders.eu" || img.CollidingTopic("orders") != "" {
		t.Error("collisions of '.' and '_' are not seen")
	}
	if len(d.Created) != 1 || d.Created[0] != topic || len(d.Deleted) != 0 || len(d.Changed) != 0 || len(d.Brokers) != 1 {
		t.Errorf("delta %+v", d)
	}
}

// A record that contradicts the image is refused with its whole entry, and says so in Kafka's terms.
func TestContradictionsAreRefusedWhole(t *testing.T) {
	img, _ := apply(t, &Image{}, samples()...)
	before := encoded(t, img)
	tests := []struct {
		name string
		r    Record
		want kafka.Error
	}{
		{"second cluster id", ClusterRecord{ClusterID: "x"}, kafka.InconsistentClusterID},
		{"topic exists", TopicRecord{Name: "orders.eu", ID: id(9)}, kafka.TopicAlreadyExists},
		{"topic collides", TopicRecord{Name: "orders_eu", ID: id(9)}, kafka.InvalidTopic},
		{"topic name", TopicRecord{Name: "a b", ID: id(9)}, kafka.InvalidTopic},
		{"topic id exists", TopicRecord{Name: "other", ID: id(1)}, kafka.TopicAlreadyExists},
		{"unknown topic", partition(5, 0, 1), kafka.UnknownTopicID},
		{"gap in partitions", partition(1, 2, 1), kafka.InvalidPartitions},
		{"stale partition epoch", partition(1, 0, 1), kafka.InvalidUpdateVersion},
		{"stale settings", TopicConfigRecord{TopicID: id(1), Version: 2}, kafka.InvalidUpdateVersion},
		{"remove unknown", RemoveTopicRecord{TopicID: id(5)}, kafka.UnknownTopicID},
		{"unknown purge", PurgeRecord{TopicID: id(5), Done: true}, kafka.UnknownTopicID},
		{"producer ids backwards", ProducerIDsRecord{Next: 1000}, kafka.InvalidUpdateVersion},
		{"stale broker", RegisterBrokerRecord{ID: 1, Epoch: 1}, kafka.StaleBrokerEpoch},
	}
	for _, tt := range tests {
		next, d, err := img.Apply(2, []Record{TopicRecord{Name: "rides-along", ID: id(77), Version: 1}, tt.r})
		if tt.r.Kind() == KindRegisterBroker {
			next, d, err = img.Apply(2, []Record{tt.r})
		}
		if !errors.Is(err, tt.want) || next != nil || d != nil {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want.Name())
		}
	}
	if !bytes.Equal(encoded(t, img), before) {
		t.Error("a refused entry left traces in the image")
	}
	_, _, err := img.Apply(2, []Record{FeatureRecord{Name: FormatFeature, Level: FormatLevel + 1}})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), FormatFeature) {
		t.Errorf("a format level of the future: %v", err)
	}
}

// A process start raises the leader epoch of exactly the partitions that its broker leads.
func TestRegistrationRaisesLeaderEpochs(t *testing.T) {
	img, _ := apply(t, &Image{},
		TopicRecord{Name: "a", ID: id(1), Version: 1}, partition(1, 0, 1), partition(1, 1, 2),
		TopicRecord{Name: "b", ID: id(2), Version: 1}, partition(2, 0, 2))
	next, d := apply(t, img, RegisterBrokerRecord{ID: 1, Epoch: EpochOfEntry})
	a := next.Topic("a").Partitions
	if a[0].LeaderEpoch != 1 || a[0].PartitionEpoch != 1 || a[1].LeaderEpoch != 0 {
		t.Errorf("partitions of a: %+v", a)
	}
	if img.Topic("a").Partitions[0].LeaderEpoch != 0 {
		t.Error("the older image changed")
	}
	if next.Topic("b") != img.Topic("b") || len(d.Changed) != 1 || d.Changed[0].Name != "a" {
		t.Errorf("delta %+v", d)
	}
}

// A topic whose objects are to be purged stays in the image until they are gone.
func TestPurgeIsRemembered(t *testing.T) {
	img, _ := apply(t, &Image{}, PurgeRecord{TopicID: id(3), Name: "c"}, PurgeRecord{TopicID: id(1), Name: "a"}, PurgeRecord{TopicID: id(3), Name: "c"})
	again, err := ReadImage(bytes.NewReader(encoded(t, img)))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []*Image{img, again} {
		if got, want := slices.Collect(x.Purging()), []PurgingTopic{{id(1), "a"}, {id(3), "c"}}; !slices.Equal(got, want) {
			t.Errorf("purging %v, want %v", got, want)
		}
	}
	next, _ := apply(t, again, PurgeRecord{TopicID: id(1), Done: true})
	if got := slices.Collect(next.Purging()); len(got) != 1 || got[0].ID != id(3) || len(slices.Collect(again.Purging())) != 2 {
		t.Errorf("purging %v after one is done", got)
	}
}

func TestDeltaNamesEachTopicOnce(t *testing.T) {
	img, _ := apply(t, &Image{}, TopicRecord{Name: "a", ID: id(1), Version: 1}, partition(1, 0, 1))
	next, d := apply(t, img,
		RemoveTopicRecord{TopicID: id(1)},
		TopicRecord{Name: "a", ID: id(2), Version: 1}, partition(2, 0, 1), partition(2, 1, 1),
		TopicRecord{Name: "brief", ID: id(3), Version: 1}, RemoveTopicRecord{TopicID: id(3)})
	if len(d.Deleted) != 1 || d.Deleted[0].ID != id(1) || len(d.Created) != 1 || d.Created[0] != next.Topic("a") || len(d.Changed) != 0 {
		t.Errorf("delta %+v", d)
	}
	if got := Diff(img, next); !reflect.DeepEqual(got, d) {
		t.Errorf("Diff %+v, want the delta %+v", got, d)
	}
	if next.TopicByID(id(3)) != nil || next.Topic("brief") != nil || next.PartitionCount() != 2 {
		t.Error("traces of a topic that came and went in one entry")
	}
}

// history draws entries, good and contradictory ones, as a cluster might see them.
func history(seed uint64, n int) [][]Record {
	r := rand.New(rand.NewPCG(seed, 1))
	entries := [][]Record{{FeatureRecord{Name: FormatFeature, Level: 1}, ClusterRecord{ClusterID: "c"}}}
	for range n {
		topic := r.IntN(40)
		var e []Record
		switch r.IntN(6) {
		case 0, 1:
			e = append(e, TopicRecord{Name: fmt.Sprintf("t.%d", topic), ID: id(r.IntN(60) + 1), Version: 1})
			tid := e[0].(TopicRecord).ID
			for p := range r.IntN(5) {
				rec := partition(1, int32(p), int32(r.IntN(3)))
				rec.TopicID = tid
				e = append(e, rec)
			}
		case 2:
			e = append(e, RemoveTopicRecord{TopicID: id(topic + 1)}, PurgeRecord{TopicID: id(topic + 1), Name: "t"})
			if r.IntN(2) == 0 {
				e = []Record{PurgeRecord{TopicID: id(topic + 1), Done: true}}
			}
		case 3:
			e = append(e, TopicConfigRecord{TopicID: id(topic + 1), Version: int64(2 + r.IntN(2)), Config: map[string]string{"k": fmt.Sprint(r.IntN(9)), "l": "v"}})
		case 4:
			e = append(e, RegisterBrokerRecord{ID: int32(r.IntN(3)), Incarnation: id(r.IntN(1000)), Epoch: EpochOfEntry})
		case 5:
			e = append(e, ProducerIDsRecord{Next: int64(r.IntN(100_000))})
		}
		entries = append(entries, e)
	}
	return entries
}

// The same entries give the same image: applied straight, and with the image written and
// read back at random moments, as snapshots do.
func TestSameEntriesSameImage(t *testing.T) {
	for seed := range uint64(20) {
		a, b := &Image{}, &Image{}
		r := rand.New(rand.NewPCG(seed, 2))
		for i, records := range history(seed, 300) {
			version := int64(i + 1)
			entry, err := EncodeEntry(records, 1)
			if err != nil {
				t.Fatal(err)
			}
			again, err := DecodeEntry(entry)
			if err != nil || !reflect.DeepEqual(again, records) {
				t.Fatalf("entry %d: %v\n%+v, want\n%+v", i, err, again, records)
			}
			nextA, delta, errA := a.Apply(version, records)
			nextB, _, errB := b.Apply(version, again)
			if fmt.Sprint(errA) != fmt.Sprint(errB) {
				t.Fatalf("entry %d: %v on one, %v on the other", i, errA, errB)
			}
			if errA != nil {
				a, b = a.Skip(version), b.Skip(version)
				continue
			}
			checkDelta(t, a, nextA, delta)
			a, b = nextA, nextB
			if r.IntN(20) == 0 {
				if b, err = ReadImage(bytes.NewReader(encoded(t, b))); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !bytes.Equal(encoded(t, a), encoded(t, b)) {
			t.Fatalf("seed %d: two images of one history differ", seed)
		}
		checkImage(t, a)
		checkImage(t, b)
	}
}

// checkDelta holds a delta against the two images.
func checkDelta(t *testing.T, from, to *Image, d *Delta) {
	t.Helper()
	want := Diff(from, to)
	for name, lists := range map[string][2][]*Topic{"created": {d.Created, want.Created}, "changed": {d.Changed, want.Changed}, "deleted": {d.Deleted, want.Deleted}} {
		got := slices.SortedFunc(slices.Values(lists[0]), func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) })
		if !slices.Equal(got, lists[1]) {
			t.Fatalf("%s: %v, want %v", name, got, lists[1])
		}
	}
}

// checkImage holds the image's indexes against each other.
func checkImage(t *testing.T, img *Image) {
	t.Helper()
	n, partitions, last := 0, 0, ""
	for topic := range img.Topics() {
		if img.Topic(topic.Name) != topic || img.TopicByID(topic.ID) != topic || topic.Name <= last && n > 0 {
			t.Errorf("topic %s is not found, or out of order", topic.Name)
		}
		n, partitions, last = n+1, partitions+len(topic.Partitions), topic.Name
	}
	if n != img.TopicCount() || n != img.byID.n || partitions != img.PartitionCount() {
		t.Errorf("%d topics, %d partitions, counted %d and %d", img.TopicCount(), img.PartitionCount(), n, partitions)
	}
}

func TestTreeIsAnImmutableMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var tr tree[int]
	want := map[string]int{}
	type past struct {
		tr   tree[int]
		want map[string]int
	}
	var pasts []past
	for i := range 3000 {
		key := fmt.Sprint(r.IntN(200))
		if r.IntN(3) == 0 {
			tr = tr.without(key)
			delete(want, key)
		} else {
			tr = tr.with(key, i)
			want[key] = i
		}
		if i%300 == 0 {
			pasts = append(pasts, past{tr, maps.Clone(want)})
		}
	}
	for _, p := range append(pasts, past{tr, want}) {
		got := map[string]int{}
		last := ""
		p.tr.all(func(k string, v int) bool {
			if k <= last {
				t.Fatalf("%q after %q", k, last)
			}
			last, got[k] = k, v
			return true
		})
		if !maps.Equal(got, p.want) || p.tr.n != len(p.want) {
			t.Fatalf("tree %v, want %v", got, p.want)
		}
	}
}

func TestTopicNames(t *testing.T) {
	for _, name := range []string{"a", "A-1_b.c", "...", strings.Repeat("x", 249)} {
		if err := ValidateTopicName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", "a b", "é", "a/b", "a:b", strings.Repeat("x", 250)} {
		if err := ValidateTopicName(name); !errors.Is(err, kafka.InvalidTopic) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The bytes of entries and images are in logs and snapshots for ever.
func TestGoldenBytes(t *testing.T) {
	entry, err := EncodeEntry(samples(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(entry); got != goldenEntry {
		t.Errorf("entry\n%s, want\n%s", got, goldenEntry)
	}
	img, _ := apply(t, &Image{}, samples()...)
	if got := hex.EncodeToString(encoded(t, img)); got != goldenImage {
		t.Errorf("image\n%s, want\n%s", got, goldenImage)
	}
	old, err := hex.DecodeString(goldenImage)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadImage(bytes.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encoded(t, again), old) {
		t.Error("the golden image reads as another")
	}
}

func reseal(entry []byte) []byte {
	binary.BigEndian.PutUint32(entry[entryHead-4:], crc32.Checksum(entry[entryHead:], castagnoli))
	return entry
}

func TestNewerEntriesAreRefusedByName(t *testing.T) {
	entry := func(change func(b []byte)) []byte {
		b, err := EncodeEntry([]Record{ProducerIDsRecord{Next: 5}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		change(b)
		return reseal(b)
	}
	tests := []struct {
		name, want string
		b          []byte
	}{
		{"format", "entry format 2", entry(func(b []byte) { b[4] = 2 })},
		{"kind", "record kind 99", entry(func(b []byte) { b[entryHead+1] = 99 })},
		{"version", "record kind 8 has version 2", entry(func(b []byte) { b[entryHead+2] = 2 })},
	}
	for _, tt := range tests {
		_, err := DecodeEntry(tt.b)
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want it to name %q", tt.name, err, tt.want)
		}
	}
}

func TestFlippedBitsAreFound(t *testing.T) {
	img, _ := apply(t, &Image{}, samples()...)
	for _, data := range [][]byte{encoded(t, img)} {
		for at := range data {
			for bit := range 8 {
				b := slices.Clone(data)
				b[at] ^= 1 << bit
				_, err := ReadImage(bytes.NewReader(b))
				if !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
					t.Fatalf("bit %d of byte %d: %v", bit, at, err)
				}
			}
		}
		for cut := range data {
			if _, err := ReadImage(bytes.NewReader(data[:cut])); !errors.Is(err, kafka.ErrCorrupt) {
				t.Fatalf("cut to %d bytes: %v", cut, err)
			}
		}
	}
}

// A newer version of a record is written only at the level that allows it.
func TestFormatLevelGatesVersions(t *testing.T) {
	newer := layout{version: 2, level: 2,
		encode: func(w *writer, r Record) { encodeCluster(w, r); w.bool(true) },
		decode: func(r *reader) Record { rec := decodeCluster(r); r.bool(); return rec },
	}
	l := layouts{KindCluster: append(slices.Clone(known[KindCluster]), newer), KindFeature: {{1, 2, encodeFeature, decodeFeature}}}
	rec := []Record{ClusterRecord{ClusterID: "x"}}
	for level, version := range map[int16]byte{1: 1, 2: 2, 3: 2} {
		b, err := l.encode(rec, level)
		if err != nil {
			t.Fatal(err)
		}
		if got := b[entryHead+2]; got != version {
			t.Errorf("level %d: version %d is written, want %d", level, got, version)
		}
		if again, err := l.decode(b); err != nil || !reflect.DeepEqual(again, rec) {
			t.Errorf("level %d: %v, %v", level, again, err)
		}
	}
	if _, err := l.encode([]Record{FeatureRecord{}}, 1); !errors.Is(err, kafka.UnsupportedVersion) {
		t.Errorf("a kind above the level: %v", err)
	}
}
