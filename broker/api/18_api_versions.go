package api

import (
	"github.com/varve-io/varve/broker/kafka"
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
// Gaps: of Kafka's features, group.version alone is supported and finalized.
func (a *API) apiVersions(r *server.Request) error {
	var req wire.ApiVersionsRequest
	if err := read(r, &req); err != nil {
		return err
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
	// group.version 1 says that groups of the consumer protocol are served (KIP-848).
	if r.Header.Version >= 4 { // before, a client takes the least level 0 for a mistake
		resp.SupportedFeatures = append(resp.SupportedFeatures, wire.ApiVersionsResponseSupportedFeature{Name: "group.version", MinVersion: 0, MaxVersion: 1})
	}
	resp.FinalizedFeatures = append(resp.FinalizedFeatures, wire.ApiVersionsResponseFinalizedFeature{Name: "group.version", MinVersionLevel: 1, MaxVersionLevel: 1})
	resp.FinalizedFeaturesEpoch = int64(img.Version())
	reply(r, &resp)
	return nil
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
