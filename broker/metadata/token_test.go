package metadata

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func loginSamples() []Record {
	token := DelegationToken{
		ID: "AAAAAAAAQACAAAAAAAAAAA", Owner: kafka.User("ann"), Requester: kafka.User("ops"), Renewers: []kafka.Principal{kafka.User("bob"), kafka.User("eve")},
		IssuedMs: 1_700_000_000_000, ExpiryMs: 1_700_086_400_000, MaxMs: 1_700_604_800_000,
	}
	credential := ScramCredential{User: "ann", Mechanism: ScramSHA256, Salt: []byte("salt"), StoredKey: []byte("stored"), ServerKey: []byte("server"), Iterations: 4096}
	other := credential
	other.Mechanism = ScramSHA512
	return []Record{
		ScramRecord{credential}, ScramRecord{other}, RemoveScramRecord{User: "ann", Mechanism: ScramSHA256},
		DelegationTokenRecord{DelegationToken: token}, DelegationTokenRecord{DelegationToken: DelegationToken{ID: "x", Owner: kafka.User("bob")}},
		DelegationTokenRecord{DelegationToken: DelegationToken{ID: "x"}, Remove: true},
	}
}

// The bytes of loginSamples (kinds 12, 13 and 16), which must open for ever.
const goldenLogins = "564d454e01c4b2c436060c011a03616e6e020473616c740673746f7265640673657276657280400c011a03616e6e040473616c740673746f7265640673657276657280400d010503616e6e0210014f1641414141414141415141434141414141414141414141045573657203616e6e0455736572036f707302045573657203626f6204557365720365766580a0abfef9628090ded0fa6280b08fbffe62001001120178045573657203626f620000000000000010010b0178000000000000000001"

func TestGoldenLoginRecords(t *testing.T) { golden(t, loginSamples(), goldenLogins) }

// Tokens are kept by snapshots, and forgotten when they are removed.
func TestDelegationTokensInTheImage(t *testing.T) {
	samples := loginSamples()
	img, _ := apply(t, &Image{}, samples...)
	want := samples[3].(DelegationTokenRecord).DelegationToken
	again, err := ReadImage(bytes.NewReader(encoded(t, img)))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []*Image{img, again} {
		if got := slices.Collect(i.DelegationTokens()); !reflect.DeepEqual(got, []DelegationToken{want}) {
			t.Errorf("tokens %+v", got)
		}
	}
	for name, c := range map[string]struct {
		r    DelegationTokenRecord
		want kafka.Error
	}{
		"removed twice": {samples[5].(DelegationTokenRecord), kafka.DelegationTokenNotFound},
		"no id":         {DelegationTokenRecord{DelegationToken: DelegationToken{Owner: kafka.User("ann")}}, kafka.InvalidRequest},
		"no owner":      {DelegationTokenRecord{DelegationToken: DelegationToken{ID: "y"}}, kafka.InvalidPrincipalType},
	} {
		if _, _, err := img.Apply(2, []Record{c.r}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
