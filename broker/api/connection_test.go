package api

import (
	"bytes"
	"encoding/binary"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

// header is the start of a request frame without tags: length, key, version, correlation
// id 1, null client id.
func header(key, version int16, rest ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(10+len(rest)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint16(b, 0xffff)
	return append(b, rest...)
}

// TestC1UnknownApiVersionsVersion: the body is not parsed; the answer has the layout of
// version 0, error 35 and the one entry of ApiVersions. The connection lives on.
func TestC1UnknownApiVersionsVersion(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	want := []byte{0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 5}
	for _, body := range [][]byte{{0}, {0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}} {
		c.corr = 1
		c.raw(header(18, 99, body...))
		if got := c.frame(); !bytes.Equal(got, want) {
			t.Errorf("answer %x, want %x", got, want)
		}
	}
	ask[*kmsg.ApiVersionsResponse](c, 4, apiVersions("client", "1"))
}

func apiVersions(name, version string) *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = name, version
	return req
}

// TestC2ResponseHeaders: ApiVersions answers without header tags at every version, every
// other flexible response has them. kit's client checks the header of each answer.
func TestC2ResponseHeaders(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	for v := range int16(6) {
		if resp := ask[*kmsg.ApiVersionsResponse](c, v, apiVersions("client", "1")); resp.ErrorCode != 0 || len(resp.ApiKeys) != len(table) {
			t.Errorf("v%d: error %d and %d keys", v, resp.ErrorCode, len(resp.ApiKeys))
		}
	}
	for v := range int16(14) {
		if resp := ask[*kmsg.MetadataResponse](c, v, kmsg.NewPtrMetadataRequest()); len(resp.Brokers) != 1 {
			t.Errorf("Metadata v%d: %d brokers", v, len(resp.Brokers))
		}
	}
}

// TestC3ClientIDIsNeverCompact: the flexible header keeps the two-byte length of the client id.
func TestC3ClientIDIsNeverCompact(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	c.corr = 1
	b := header(wire.KeyDescribeCluster, 0)
	b = append(b[:12], 0, 3, 'a', 'b', 'c', 0 /* header tags */, 0, 0 /* body: false, tags */)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	c.raw(b)
	if got := c.frame(); len(got) < 10 {
		t.Errorf("answer %x", got)
	}
}

// TestC4ApiVersionsRequestIsChecked: software names from version 3, whom the client looks
// for from version 5.
func TestC4ApiVersionsRequestIsChecked(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	for _, tc := range []struct {
		name, version string
		want          kafka.Error
	}{
		{"apache-kafka-java", "4.3.1", 0}, {"a", "1", 0}, {"a..b--c", "1-rc.1", 0},
		{"", "1", kafka.InvalidRequest}, {"a", "", kafka.InvalidRequest}, {"-a", "1", kafka.InvalidRequest},
		{"a.", "1", kafka.InvalidRequest}, {"a b", "1", kafka.InvalidRequest}, {"ä", "1", kafka.InvalidRequest}, {"a", "1_0", kafka.InvalidRequest},
	} {
		resp := ask[*kmsg.ApiVersionsResponse](c, 3, apiVersions(tc.name, tc.version))
		if kafka.Error(resp.ErrorCode) != tc.want || tc.want != 0 && len(resp.ApiKeys) != 0 {
			t.Errorf("%q %q: error %d with %d keys, want %d", tc.name, tc.version, resp.ErrorCode, len(resp.ApiKeys), tc.want)
		}
	}
	cluster, other := k.cluster.Image().ClusterID(), "another-cluster"
	for _, tc := range []struct {
		cluster *string
		node    int32
		want    kafka.Error
	}{
		{nil, -1, 0}, {&cluster, testNode, 0},
		{&cluster, -1, kafka.InvalidRequest}, {nil, testNode, kafka.InvalidRequest},
		{&other, testNode, kafka.RebootstrapRequired}, {&cluster, testNode + 1, kafka.RebootstrapRequired},
	} {
		req := apiVersions("client", "1")
		req.ClusterID, req.NodeID = tc.cluster, tc.node
		if resp := ask[*kmsg.ApiVersionsResponse](c, 5, req); kafka.Error(resp.ErrorCode) != tc.want {
			t.Errorf("cluster %v node %d: error %d, want %d", tc.cluster, tc.node, resp.ErrorCode, tc.want)
		}
	}
}

// TestC5AdvertisedVersions compares the advertised ranges with Kafka 4.4's: the same
// maximum for each key, and for Produce the minimum 0 which is not served.
func TestC5AdvertisedVersions(t *testing.T) {
	k := newKit(t)
	oracle := kversion.V4_4_0()
	resp := ask[*kmsg.ApiVersionsResponse](k.dial(internalListener), 4, apiVersions("client", "1"))
	if len(resp.ApiKeys) != len(table) {
		t.Errorf("%d keys advertised, %d served", len(resp.ApiKeys), len(table))
	}
	for i, key := range resp.ApiKeys {
		row := table[i]
		if most, ok := oracle.LookupMaxKeyVersion(key.ApiKey); !ok || most != key.MaxVersion {
			t.Errorf("key %d: max %d, Kafka 4.4 has %d", key.ApiKey, key.MaxVersion, most)
		}
		served, _ := wire.Lookup(row.key)
		if row.key != key.ApiKey || row.min != served.MinVersion || row.max != served.MaxVersion || key.MinVersion != served.AdvertisedMin {
			t.Errorf("key %d: advertised %d to %d, table has %+v, wire %+v", key.ApiKey, key.MinVersion, key.MaxVersion, row, served)
		}
	}
	features := metadata.SupportedFeatures()
	if resp.FinalizedFeaturesEpoch < 0 || len(resp.FinalizedFeatures) != len(features) || len(resp.SupportedFeatures) != len(features) || len(features) == 0 {
		t.Fatalf("features %v at epoch %d, want those that are honoured", resp.FinalizedFeatures, resp.FinalizedFeaturesEpoch)
	}
	for i, f := range features {
		if got := resp.FinalizedFeatures[i]; got.Name != f.Name || got.MaxVersionLevel != f.Default || got.MinVersionLevel != f.Default {
			t.Errorf("feature %+v, want %+v", got, f)
		}
	}
}

// TestC6UnknownKeyClosesOneConnection, as an unsupported version does; the broker lives.
func TestC6UnknownKeyClosesOneConnection(t *testing.T) {
	k := newKit(t)
	for _, frame := range [][]byte{
		header(999, 0), header(-1, 0), header(4, 0), header(wire.KeyMetadata, 14, 0), header(wire.KeyMetadata, -1),
		header(wire.KeyProduce, 2), header(wire.KeyFetch, 3), header(wire.KeyCreateTopics, 1), header(10, 0),
	} {
		c := k.dial(internalListener)
		c.raw(frame)
		c.wantClosed()
	}
	k.wantAlive()
}

// TestC10TagsAndTrailingBytes: unknown tags are skipped and trailing bytes tolerated; counts
// beyond the frame close the connection at once, the bomb of a few bytes among them.
func TestC10TagsAndTrailingBytes(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	c.corr = 1
	tags := []byte{2, 7, 3, 'a', 'b', 'c', 90, 0} // two tags: 7 with three bytes, 90 with none
	body := append(append([]byte{}, tags...), 0 /* topics: null */, 1, 0, 0)
	body = append(body, tags...)
	c.raw(header(wire.KeyMetadata, 9, append(body, "trailing"...)...))
	if got := c.frame(); len(got) < 20 {
		t.Errorf("answer %x", got)
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	for name, frame := range map[string][]byte{
		"tags in the header of ApiVersions": header(18, 3, huge...),
		"tags in the body of ApiVersions":   header(18, 3, append([]byte{0, 2, 'a', 2, 'b'}, huge...)...),
		"topics of Metadata":                header(wire.KeyMetadata, 9, append([]byte{0}, huge...)...),
		"topics of an old Metadata":         header(wire.KeyMetadata, 1, 0x7f, 0xff, 0xff, 0xff),
		"an empty body":                     header(wire.KeyMetadata, 9),
	} {
		t.Run(name, func(t *testing.T) {
			c := k.dial(internalListener)
			c.raw(frame)
			c.wantClosed()
		})
	}
	k.wantAlive()
}

// TestC11NullClientID: a null client id is an empty one.
func TestC11NullClientID(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	c.corr = 1
	c.raw(header(18, 0))
	if got := c.frame(); got[0] != 0 || got[1] != 0 {
		t.Errorf("answer %x", got)
	}
}

// TestC12EndpointsOfTheArrivalListener: each listener's clients are told its own address.
func TestC12EndpointsOfTheArrivalListener(t *testing.T) {
	k := newKit(t)
	endpoints := k.srv.Endpoints()
	for i, listener := range []string{internalListener, externalListener} {
		c := k.dial(listener)
		host, port := endpoints[i].Host, endpoints[i].Port
		if listener == externalListener {
			host, port = externalHost, externalPort
		}
		m := ask[*kmsg.MetadataResponse](c, 12, kmsg.NewPtrMetadataRequest())
		if len(m.Brokers) != 1 || m.Brokers[0].Host != host || m.Brokers[0].Port != port || m.ControllerID != testNode {
			t.Errorf("%s: Metadata tells %+v, controller %d; want %s:%d", listener, m.Brokers, m.ControllerID, host, port)
		}
		d := ask[*kmsg.DescribeClusterResponse](c, 2, kmsg.NewPtrDescribeClusterRequest())
		if len(d.Brokers) != 1 || d.Brokers[0].Host != host || d.Brokers[0].Port != port || d.ClusterID != k.cluster.Image().ClusterID() {
			t.Errorf("%s: DescribeCluster tells %+v, want %s:%d", listener, d.Brokers, host, port)
		}
	}
}

// TestDifferencesPage: docs/differences.md has a row for each key of the table, with the
// versions that are served.
func TestDifferencesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| (\w+) \| (\S+) \|`).FindAllStringSubmatch(string(page), -1)
	listed := make(map[string]string)
	for _, row := range rows {
		listed[row[1]] = row[2] + " " + row[3]
	}
	for _, row := range table {
		known, _ := wire.Lookup(row.key)
		key, versions := itoa(row.key), itoa(row.min)+"–"+itoa(row.max)
		if want := known.Name + " " + versions; !strings.EqualFold(listed[key], want) {
			t.Errorf("docs/differences.md says %q of key %s, the table %q", listed[key], key, want)
		}
		delete(listed, key)
	}
	for key, row := range listed {
		if !strings.HasSuffix(row, " none") {
			t.Errorf("docs/differences.md claims key %s (%s), which is not served", key, row)
		}
	}
}
