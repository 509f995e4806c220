package metadata

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func quotaSamples() []Record {
	return []Record{
		ClientQuotaRecord{
			Entity: QuotaEntity{User: QuotaPart{QuotaNamed, "ann"}, ClientID: QuotaPart{Type: QuotaDefault}},
			Quotas: map[string]float64{"producer_byte_rate": 1048576, "request_percentage": 12.5},
		},
		ClientQuotaRecord{Entity: QuotaEntity{IP: QuotaPart{QuotaNamed, "10.0.0.1"}}, Quotas: map[string]float64{"connection_creation_rate": 5}},
		ClientQuotaRecord{Entity: QuotaEntity{IP: QuotaPart{QuotaNamed, "10.0.0.1"}}},
	}
}

// The bytes of quotaSamples, which must open for ever.
const goldenQuota = "564d454e01c380b52a030e01400403616e6e02000000021270726f64756365725f627974655f726174654130000000000000" +
	"12726571756573745f70657263656e7461676540290000000000000e013000000000040831302e302e302e310118636f6e6e" +
	"656374696f6e5f6372656174696f6e5f7261746540140000000000000e010f00000000040831302e302e302e3100"

func TestGoldenQuotaRecords(t *testing.T) { golden(t, quotaSamples(), goldenQuota) }

// Quotas are kept by snapshots, forgotten when there are none, and told of.
func TestQuotasInTheImage(t *testing.T) {
	img, d := apply(t, &Image{}, quotaSamples()...)
	if !d.Quotas || d.Empty() {
		t.Errorf("delta %+v", d)
	}
	ann := QuotaEntity{User: QuotaPart{QuotaNamed, "ann"}, ClientID: QuotaPart{Type: QuotaDefault}}
	again, err := ReadImage(bytes.NewReader(encoded(t, img)))
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(again.QuotaEntities()); !slices.Equal(got, []QuotaEntity{ann}) || again.Quotas(ann)["request_percentage"] != 12.5 {
		t.Errorf("after a snapshot: %v", got)
	}
	if Diff(img, again).Quotas || !Diff(&Image{}, again).Quotas {
		t.Error("Diff does not tell quotas apart")
	}
	gone, _ := apply(t, again, ClientQuotaRecord{Entity: ann})
	if gone.Quotas(ann) != nil || !Diff(again, gone).Quotas {
		t.Error("a quota that was removed is still there")
	}
}

// A named part without a name, and a part of an unknown type, are corrupt.
func TestMalformedQuotaParts(t *testing.T) {
	for _, part := range []QuotaPart{{Type: QuotaNamed}, {Type: QuotaDefault, Name: "x"}, {Type: 3, Name: "x"}} {
		entry, err := EncodeEntry([]Record{ClientQuotaRecord{Entity: QuotaEntity{User: part}}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeEntry(entry); !errors.Is(err, kafka.ErrCorrupt) {
			t.Errorf("%+v: %v", part, err)
		}
	}
}
