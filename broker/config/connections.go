package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ipCounts are what max.connections.per.ip.overrides may be.
var ipCounts = Validator{"ADDRESS:COUNT, separated by commas", func(v string) string {
	_, problem := parseIPCounts(v)
	return problem
}}

// parseIPCounts reads ADDRESS:COUNT, separated by commas; the last colon of an IPv6 address ends it.
func parseIPCounts(v string) (counts map[string]int, problem string) {
	for _, item := range splitList(v) {
		at := strings.LastIndexByte(item, ':')
		if at < 0 {
			return nil, fmt.Sprintf("Expected ADDRESS:COUNT instead of %q", item)
		}
		ip, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(item[:at]), "[]"))
		if err != nil {
			return nil, fmt.Sprintf("%q is no address; names of hosts are not looked up", item[:at])
		}
		n, err := strconv.ParseInt(strings.TrimSpace(item[at+1:]), 10, 32)
		if err != nil || n < 0 {
			return nil, fmt.Sprintf("%q is no number of connections", item[at+1:])
		}
		if counts == nil {
			counts = map[string]int{}
		}
		counts[ip.Unmap().String()] = int(n)
	}
	return counts, ""
}

// setConnections sets what connections go by.
func (n *Node) setConnections(l layers) {
	n.MaxConnectionsPerIPOverrides, _ = parseIPCounts(l.text("max.connections.per.ip.overrides")) // canonical
	n.MaxConnectionCreationRate = l.int("max.connection.creation.rate")
	n.StallTimeoutMs, n.HandshakeTimeoutMs = l.int("varve.connections.stall.timeout.ms"), l.int("varve.connections.handshake.timeout.ms")
	n.LoginTimeoutMs, n.LoginMaxBytes = l.int("varve.connections.login.timeout.ms"), l.int("varve.connections.login.max.bytes")
	n.HandshakesMax = int(l.int("varve.connections.handshakes.max"))
}
