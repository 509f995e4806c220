package metadata

// Feature is something that all of a cluster must know before any of it is used (KIP-584).
type Feature struct {
	Name string
	// Min and Max are the levels that this program honours; level 0 is "off".
	Min, Max int16
	// Default is the level of a cluster that has never said another one.
	Default int16
}

// supported are the features of Kafka that this program honours in full, by name. A line here
// is all it takes for ApiVersions to tell of a feature and for UpdateFeatures to change it.
var supported = [...]Feature{
	{Name: GroupVersion, Min: 0, Max: 1, Default: 1},
	{Name: TransactionVersion, Min: 0, Max: 2, Default: 2},
}

// GroupVersion is the feature that allows groups of the consumer protocol from level 1 on (KIP-848).
const GroupVersion = "group.version"

// TransactionVersion is the feature by which clients choose how they run transactions: 2 is that
// of KIP-890. All of it is served at every level; the level only says what clients should use.
const TransactionVersion = "transaction.version"

// SupportedFeatures lists the features of Kafka that this program honours, by name.
func SupportedFeatures() []Feature { return supported[:] }
