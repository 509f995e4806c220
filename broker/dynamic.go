package broker

import (
	"context"
	"log/slog"
	"slices"
	"strconv"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
)

// configResources are the resources whose settings this broker has: its own and those of all.
func (n *Node) configResources() (all, own metadata.ConfigResource) {
	return metadata.ConfigResource{Type: metadata.BrokerResource},
		metadata.ConfigResource{Type: metadata.BrokerResource, Name: strconv.FormatInt(int64(n.config.NodeID), 10)}
}

// reconfigured takes over the dynamic settings of an image, if they are among what changed,
// and says whether it did.
func (n *Node) reconfigured(img *metadata.Image, changed []metadata.ConfigResource) bool {
	all, own := n.configResources()
	if !slices.Contains(changed, all) && !slices.Contains(changed, own) {
		return false
	}
	cluster, errCluster := config.Usable(img.Config(all))
	broker, errBroker := config.Usable(img.Config(own))
	for _, err := range []error{errCluster, errBroker} {
		if err != nil {
			n.metrics.settings.Inc()
			n.logger.Error("dynamic settings that this version does not take are left out; delete them, or upgrade", "error", err)
		}
	}
	next, err := n.config.WithDynamic(cluster, broker)
	if err != nil {
		n.metrics.settings.Inc()
		n.logger.Error("the dynamic settings do not fit those of this broker; the former ones stay", "error", err)
		return false
	}
	n.current.Store(next)
	return true
}

// reconfigure carries settings that changed to the rooms that hold a copy.
func (n *Node) reconfigure(img *metadata.Image) {
	c := n.node()
	n.server.SetConnectionLimits(server.ConnectionLimits{
		MaxConnections: connectionLimit(c), MaxConnectionsPerIP: int(c.MaxConnectionsPerIP), PerIP: c.MaxConnectionsPerIPOverrides,
		ConnectionsPerSecond: int(c.MaxConnectionCreationRate),
	})
	n.dirs.SetProducerIDExpiration(c.ProducerIDExpirationMs)
	if n.tier != nil {
		n.tier.SetRates(c.RemoteCopyMaxBytesPerSecond, c.RemoteFetchMaxBytesPerSecond)
	}
	if err := n.replicas.Reconfigure(img); err != nil {
		n.logger.Error("some partitions are offline", "error", err)
	}
}

// connectionLimit is the most connections that the settings and the open files allow.
func connectionLimit(c *config.Node) int {
	_, connections := shareDescriptors(descriptorLimit())
	return min(connections, int(c.MaxConnections))
}

// leveled is a log handler whose level may change while the broker runs.
type leveled struct {
	slog.Handler
	level *slog.LevelVar
}

// Enabled implements slog.Handler.
func (h leveled) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level.Level() && h.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(attrs), h.level}
}

// WithGroup implements slog.Handler.
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.level}
}
