package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ApiVersions, versions 0 to 5: what this broker serves.
//
//   - Answered before authentication and at every version: an unknown one gets the layout of
//     version 0, UNSUPPORTED_VERSION, and the range of ApiVersions itself (KIP-511).
//   - 3: name and version of the client's software are checked; features (KIP-584).
//   - 4: features may have version 0.
//   - 5: a client says which cluster and node it means to talk to (KIP-1242).
//
// Produce is advertised from 0 and served from 3: older librdkafka looks for versions 0 to 2
// and sends everything uncompressed when it does not find them (KAFKA-18659).
//
// Gaps: features are those of metadata.SupportedFeatures, which are honoured in full.
func (a *API) apiVersions(r *server.Request) error {
	var req wire.ApiVersionsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	if r.Header.Version >= 3 {
		peerOf(r.Conn).software = software{string([]byte(req.ClientSoftwareName)), string([]byte(req.ClientSoftwareVersion))} // copies: for as long as the connection lives
	}
	img := a.o.Cluster.Image()
	var resp wire.ApiVersionsResponse
	resp.Default()
	if code := a.checkApiVersions(&req, r.Header.Version, img.ClusterID()); code != kafka.NoError {
		resp.ErrorCode = int16(code)
		reply(r, &resp)
		return nil
	}
	for _, row := range a.rows {
		known, _ := wire.Lookup(row.key)
		resp.ApiKeys = append(resp.ApiKeys, wire.ApiVersionsResponseApiKey{
			ApiKey: row.key, MinVersion: min(known.AdvertisedMin, row.min), MaxVersion: row.max,
		})
	}
	for _, f := range metadata.SupportedFeatures() {
		if r.Header.Version >= 4 || f.Min > 0 { // older clients take 0 for an error (KAFKA-17011)
			resp.SupportedFeatures = append(resp.SupportedFeatures, wire.ApiVersionsResponseSupportedFeature{Name: f.Name, MinVersion: f.Min, MaxVersion: f.Max})
		}
		if level := img.Feature(f.Name); level > 0 {
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, wire.ApiVersionsResponseFinalizedFeature{Name: f.Name, MaxVersionLevel: level, MinVersionLevel: level})
		}
	}
	resp.FinalizedFeaturesEpoch = int64(img.Version())
	reply(r, &resp)
	return nil
}

// features are those of Kafka's features (KIP-584) that are honoured in full.
var features = [...]struct {
	name  string
	level int16
}{
	{"transaction.version", 2}, // transactions of version 2 (KIP-890)
}

// checkApiVersions judges what a client says about itself and about whom it looks for.
func (a *API) checkApiVersions(req *wire.ApiVersionsRequest, version int16, clusterID string) kafka.Error {
	if version >= 3 && !(softwareName(req.ClientSoftwareName) && softwareName(req.ClientSoftwareVersion)) {
		return kafka.InvalidRequest
	}
	switch named, numbered := req.ClusterID != nil, req.NodeID != -1; {
	case version < 5 || !named && !numbered:
		return kafka.NoError
	case named != numbered:
		return kafka.InvalidRequest
	case *req.ClusterID != clusterID || req.NodeID != a.o.NodeID:
		return kafka.RebootstrapRequired
	}
	return kafka.NoError
}

// softwareName says whether s is letters, digits, dots and dashes, and neither starts nor
// ends with a dot or dash (KIP-511).
func softwareName(s string) bool {
	alphanumeric := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return s != "" && alphanumeric(s[0]) && alphanumeric(s[len(s)-1])
}

// unsupportedApiVersions answers a version that this broker does not have, whose body can
// therefore not be read, so that any client can read the answer.
func unsupportedApiVersions(r *server.Request) {
	known, _ := wire.Lookup(wire.KeyApiVersions)
	var resp wire.ApiVersionsResponse
	resp.Default()
	resp.ErrorCode = int16(kafka.UnsupportedVersion)
	resp.ApiKeys = []wire.ApiVersionsResponseApiKey{
		{ApiKey: known.Key, MinVersion: known.MinVersion, MaxVersion: known.MaxVersion},
	}
	replyAs(r, &resp, 0)
}
