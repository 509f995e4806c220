package api

import (
	"fmt"

	"github.com/varve-io/varve/broker/wire"
)

// A frame of the largest size can name three million partitions, of which each costs some
// hundred bytes on the way to its answer. Nobody has use for many more than there are.
const (
	// fetchFewPartitions may be named in any cluster, and be in a session.
	fetchFewPartitions = 100_000
	// fetchBytesPerPartition is the most that naming one takes: a topic of its own with the
	// longest name.
	fetchBytesPerPartition = 320
	// fetchKept is the partitions up to which a decoded request is kept for the next one.
	fetchKept = 2_000
)

// fetchLimit is how many partitions one Fetch may name: twice as many as there are, because
// clients also name those that were deleted.
func (a *API) fetchLimit() int {
	return max(fetchFewPartitions, 2*a.o.Cluster.Image().PartitionCount())
}

// fetchTooLong refuses a request by its length, before anything is made of it.
func (a *API) fetchTooLong(body []byte) error {
	if limit := a.fetchLimit(); len(body) > limit*fetchBytesPerPartition {
		return fmt.Errorf("fetch of %d bytes: more than it takes to name %d partitions: %w", len(body), limit, wire.ErrMalformed)
	}
	return nil
}

// fetchTooMany refuses a request that names too many partitions, or forgets them.
func (a *API) fetchTooMany(req *wire.FetchRequest) (named int, err error) {
	forgotten := 0
	for i := range req.Topics {
		named += len(req.Topics[i].Partitions)
	}
	for i := range req.ForgottenTopicsData {
		forgotten += len(req.ForgottenTopicsData[i].Partitions)
	}
	if limit := a.fetchLimit(); max(named, forgotten, len(req.Topics), len(req.ForgottenTopicsData)) > limit {
		return named, fmt.Errorf("fetch that names %d partitions and forgets %d, of which %d are allowed: %w", named, forgotten, limit, wire.ErrMalformed)
	}
	return named, nil
}
