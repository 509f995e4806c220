package api

import (
	"bytes"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varve-io/varve/broker/metadata"
)

func TestProtocolPageIsGenerated(t *testing.T) {
	differences, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, Markdown(differences)) {
		t.Error("docs/protocol.md is not what the table and docs/differences.md say; run: make gen")
	}
}

// TestFeaturesAreKafkas: a feature that is listed has Kafka 4.4's name, and no higher level.
func TestFeaturesAreKafkas(t *testing.T) {
	theirs := map[string][2]int16{}
	kversion.V4_4_0().EachSupportedFeature(func(name string, lowest, highest int16) { theirs[name] = [2]int16{lowest, highest} })
	if len(theirs) == 0 {
		t.Fatal("the oracle knows no features")
	}
	k := newKit(t)
	resp := ask[*kmsg.ApiVersionsResponse](k.dial(internalListener), 4, apiVersions("client", "1"))
	if len(resp.SupportedFeatures) != len(metadata.SupportedFeatures()) {
		t.Errorf("ApiVersions tells of %+v", resp.SupportedFeatures)
	}
	for _, f := range resp.SupportedFeatures {
		if of, ok := theirs[f.Name]; !ok || f.MinVersion < of[0] || f.MaxVersion > of[1] {
			t.Errorf("feature %s has levels %d to %d, Kafka's %v", f.Name, f.MinVersion, f.MaxVersion, of)
		}
	}
}
