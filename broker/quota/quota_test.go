package quota

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/varve-io/varve/broker/metadata"
)

// kit is a Manager with a clock of its own and Kafka's default windows.
type kit struct {
	*testing.T
	*Manager
	now time.Time
	reg *prometheus.Registry
	img *metadata.Image
}

func newKit(t *testing.T) *kit {
	k := &kit{T: t, now: time.Unix(1000, 0), reg: prometheus.NewRegistry(), img: &metadata.Image{}}
	w := Windows{Number: 11, Size: time.Second}
	k.Manager = New(Options{Data: w, Controller: w, Now: func() time.Time { return k.now }, Registerer: k.reg})
	return k
}

func (k *kit) pass(ms int64) { k.now = k.now.Add(time.Duration(ms) * time.Millisecond) }

// set gives an entity one quota, 0 for none.
func (k *kit) set(e metadata.QuotaEntity, kind Kind, limit float64) {
	k.Helper()
	r := metadata.ClientQuotaRecord{Entity: e}
	if limit > 0 {
		r.Quotas = map[string]float64{kind.String(): limit}
	}
	img, _, err := k.img.Apply(k.img.Version()+1, []metadata.Record{r})
	if err != nil {
		k.Fatal(err)
	}
	k.img = img
	k.Apply(img)
}

func (k *kit) want(what string, got time.Duration, ms int64) {
	k.Helper()
	if got != time.Duration(ms)*time.Millisecond {
		k.Errorf("%s: pause %v, want %d ms", what, got, ms)
	}
}

var ann = Client{User: "ann", ID: "app"}

// The rate counts as if ten windows had passed already, so that ten seconds' worth may come at
// once; then the pause is (rate-limit)/limit × span. The numbers are those of Kafka's
// ClientQuotaManagerTest.testQuotaViolation.
func TestA9RateOverTheQuota(t *testing.T) {
	k := newKit(t)
	k.set(metadata.QuotaEntity{ClientID: anyone}, Produce, 500)
	for i := range 10 {
		k.want(fmt.Sprintf("second %d", i), k.Charge(Produce, ann, 400), 0)
		k.pass(1000)
	}
	k.pass(500)
	// 10 × 400 and 2300 are 6300 in 10.5 s: 600 a second, which takes 2.1 s more to be 500.
	k.want("the spike", k.Charge(Produce, ann, 2300), 2100)
	k.want("asked again", k.Pause(Produce, ann), 2100)
	k.pass(2100)
	for range 10 {
		k.Charge(Produce, ann, 400)
		k.pass(1000)
	}
	k.want("when the spike is out of the windows", k.Charge(Produce, ann, 0), 0)
}

// A pause that is kept brings the rate down to the quota, whatever the sizes are.
func TestA9SteadyRate(t *testing.T) {
	for _, size := range []float64{100, 9_999, 65_536, 1_048_576} {
		k := newKit(t)
		const limit = 100_000
		k.set(metadata.QuotaEntity{User: named("ann")}, Produce, limit)
		total, start, warm := 0.0, k.now, k.now.Add(60*time.Second)
		for k.now.Sub(start) < 360*time.Second {
			pause := k.Charge(Produce, ann, size)
			if k.now.After(warm) {
				total += size
			}
			k.now = k.now.Add(max(pause, time.Millisecond))
		}
		if rate := total / 300; rate < 0.9*limit-size/300 || rate > 1.1*limit+size/300 {
			t.Errorf("requests of %.0f bytes: %.0f bytes a second, the quota is %d", size, rate, limit)
		}
	}
}

// What was not used for longer than all windows is forgotten.
func TestA9WindowsExpire(t *testing.T) {
	k := newKit(t)
	k.set(metadata.QuotaEntity{User: anyone}, Fetch, 100)
	k.want("far over", k.Charge(Fetch, ann, 2000), 10_000)
	k.pass(10_999)
	k.want("a millisecond before the windows end", k.Charge(Fetch, ann, 0), 9_001)
	k.pass(11_000)
	k.want("after a long silence", k.Charge(Fetch, ann, 900), 0)
}

// levelsOfAnn is the eight levels at which ann's client may have a quota, most specific first.
func levelsOfAnn() []metadata.QuotaEntity {
	return []metadata.QuotaEntity{
		{User: named("ann"), ClientID: named("app")},
		{User: named("ann"), ClientID: anyone},
		{User: named("ann")},
		{User: anyone, ClientID: named("app")},
		{User: anyone, ClientID: anyone},
		{User: anyone},
		{ClientID: named("app")},
		{ClientID: anyone},
	}
}

// The eight levels, most specific first: each one counts when those before it are taken away.
func TestA9Precedence(t *testing.T) {
	levels := levelsOfAnn()
	k := newKit(t)
	for i, e := range levels {
		k.set(e, Fetch, float64(i+1))
	}
	for i, e := range levels {
		if got, ok := k.FetchMax(ann); !ok || got != int64(i+1)*10 {
			t.Errorf("level %d: at most %d bytes, %v, want %d", i+1, got, ok, (i+1)*10)
		}
		k.set(e, Fetch, 0)
	}
	if _, ok := k.FetchMax(ann); ok {
		t.Error("without a quota there is a bound")
	}
}

// The quotas of traffic with the object store have the eight levels and the formula of the other
// rates: with ten seconds' worth and one more the pause is a second.
func TestA9TierTrafficIsARate(t *testing.T) {
	for _, tt := range []struct {
		kind Kind
		name string
	}{{RemoteFetch, "varve_remote_fetch_byte_rate"}, {Upload, "varve_upload_byte_rate"}} {
		if tt.kind.String() != tt.name {
			t.Errorf("%v is not %s", tt.kind, tt.name)
		}
		levels := levelsOfAnn()
		k := newKit(t)
		for i, e := range levels {
			k.set(e, tt.kind, float64(1000*(i+1)))
		}
		for i, e := range levels {
			limit := float64(1000 * (i + 1))
			k.Count(tt.kind, ann, 10*limit)
			k.want(fmt.Sprintf("%s, level %d, ten seconds' worth", tt.name, i+1), k.Pause(tt.kind, ann), 0)
			k.want(fmt.Sprintf("%s, level %d, a second's more", tt.name, i+1), k.Charge(tt.kind, ann, limit), 1000)
			k.want("the other kinds", max(k.Pause(Produce, ann), k.Pause(Fetch, ann)), 0)
			k.set(e, tt.kind, 0)
			k.pass(60_000)
		}
		k.want("without a quota", k.Charge(tt.kind, ann, 1e12), 0)
		if n := testutil.ToFloat64(k.metrics.throttled[tt.kind]); n != 8 {
			t.Errorf("%s: %v pauses, want 8", tt.name, n)
		}
	}
}

// A user's quota is shared by the user's clients, a quota with "any client" is for each.
func TestA9WhoSharesAQuota(t *testing.T) {
	other := Client{User: "ann", ID: "other"}
	k := newKit(t)
	k.set(metadata.QuotaEntity{User: named("ann")}, Produce, 100)
	k.Charge(Produce, ann, 2000)
	k.want("another client of the user", k.Pause(Produce, other), 10_000)
	k.want("another user", k.Pause(Produce, Client{User: "bob", ID: "app"}), 0)

	k = newKit(t)
	k.set(metadata.QuotaEntity{User: named("ann"), ClientID: anyone}, Produce, 100)
	k.Charge(Produce, ann, 2000)
	k.want("another client of the user", k.Pause(Produce, other), 0)
	k.want("the client", k.Pause(Produce, ann), 10_000)
}

// A quota that changes holds at once, for what was counted before as well.
func TestA9ChangedQuota(t *testing.T) {
	k := newKit(t)
	k.set(metadata.QuotaEntity{User: named("ann")}, Produce, 100)
	k.Charge(Produce, ann, 1500)
	k.set(metadata.QuotaEntity{User: named("ann")}, Produce, 150)
	k.want("with more", k.Pause(Produce, ann), 0)
	k.set(metadata.QuotaEntity{User: named("ann")}, Produce, 50)
	k.want("with less", k.Pause(Produce, ann), 20_000)
}

// A pause for the broker's time is at most a window. 100 is one processor.
func TestA9RequestTimeIsBounded(t *testing.T) {
	k := newKit(t)
	k.set(metadata.QuotaEntity{User: named("ann")}, Request, 1)
	k.want("50 % for a second", k.Charge(Request, ann, 50), 1000)
}

// Changes of partitions take tokens, ten windows' worth at once. A strict quota refuses what
// follows a debt; any other makes it wait. The debt of one token at ten a second is 100 ms.
func TestA9Mutations(t *testing.T) {
	k := newKit(t)
	k.set(metadata.QuotaEntity{User: named("ann")}, Mutation, 10)
	if pause, ok := k.Mutate(ann, 111, true); !ok || pause != 0 {
		t.Errorf("the burst and one more: %v, %v", pause, ok)
	}
	if pause, ok := k.Mutate(ann, 1, true); ok || pause != 100*time.Millisecond {
		t.Errorf("in debt: %v, %v", pause, ok)
	}
	k.pass(100)
	if pause, ok := k.Mutate(ann, 1, false); !ok || pause != 100*time.Millisecond {
		t.Errorf("not strict, from nothing: %v, %v", pause, ok)
	}
	k.pass(60_000)
	if pause, ok := k.Mutate(ann, 110, false); !ok || pause != 0 {
		t.Errorf("after a minute: %v, %v", pause, ok)
	}
}

// Connections above an address's rate are not counted, so that a storm does not lock it out.
func TestA9Connections(t *testing.T) {
	k := newKit(t)
	k.set(metadata.QuotaEntity{IP: anyone}, Connection, 5)
	k.set(metadata.QuotaEntity{IP: named("10.0.0.9")}, Connection, 100)
	admitted := 0
	for range 1000 {
		if k.Connect("10.0.0.1") == 0 {
			admitted++
		}
	}
	if admitted != 50 {
		t.Errorf("%d connections at once, want the 50 of ten windows", admitted)
	}
	k.want("one more", k.Connect("10.0.0.1"), 200)
	k.want("another address", k.Connect("10.0.0.9"), 0)
	k.pass(200)
	k.want("after the pause", k.Connect("10.0.0.1"), 0)
	k.want("and the next", k.Connect("10.0.0.1"), 200)
}

// A million client ids that come and go leave nothing behind; those that still count stay.
func TestAccountsThatRanEmptyAreDropped(t *testing.T) {
	k := newKit(t)
	k.set(metadata.QuotaEntity{ClientID: anyone}, Produce, 100)
	for i := range 100_000 {
		k.Charge(Produce, Client{ID: fmt.Sprint("client-", i)}, 1)
		k.pass(20)
	}
	b := &k.books[Produce]
	if n := len(b.mu.accounts) + len(b.mu.clients); n > 4000 {
		t.Errorf("%d entries are kept, about 550 clients were there within the windows", n)
	}
	k.Charge(Produce, ann, 2000)
	for i := range 5000 {
		k.Charge(Produce, Client{ID: fmt.Sprint("other-", i)}, 1)
	}
	k.want("a client over its quota, after many others", k.Pause(Produce, ann), 10_000)
}

// Every pause is counted, by quota.
func TestMetricsOfPauses(t *testing.T) {
	k := newKit(t)
	k.set(metadata.QuotaEntity{User: named("ann")}, Produce, 100)
	k.Charge(Produce, ann, 2000)
	if n := testutil.ToFloat64(k.metrics.seconds[Produce]); n != 10 {
		t.Errorf("%v seconds of pauses, want 10", n)
	}
	if n := testutil.ToFloat64(k.metrics.throttled[Produce]); n != 1 {
		t.Errorf("%v pauses, want 1", n)
	}
}

// BenchmarkCharge is what a request costs that has a quota, and one when nobody has.
func BenchmarkCharge(b *testing.B) {
	for _, limit := range []float64{0, 1e15} {
		b.Run(fmt.Sprintf("limit=%g", limit), func(b *testing.B) {
			w := Windows{Number: 11, Size: time.Second}
			m := New(Options{Data: w, Controller: w, Now: time.Now})
			r := metadata.ClientQuotaRecord{Entity: metadata.QuotaEntity{User: named("ann")}}
			if limit > 0 {
				r.Quotas = map[string]float64{Produce.String(): limit}
			}
			img, _, err := (&metadata.Image{}).Apply(1, []metadata.Record{r})
			if err != nil {
				b.Fatal(err)
			}
			m.Apply(img)
			b.ReportAllocs()
			for b.Loop() {
				m.Charge(Produce, ann, 1)
			}
		})
	}
}
