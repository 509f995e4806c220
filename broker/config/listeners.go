package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

var (
	listenerList = Validator{"NAME://HOST:PORT", func(v string) string {
		if _, problem := parseListeners(v); problem != "" {
			return problem
		}
		return ""
	}}

	protocolMap = Validator{"NAME:PROTOCOL", func(v string) string {
		_, problem := parseProtocols(v)
		return problem
	}}
)

// parseListeners reads NAME://HOST:PORT, separated by commas; the protocol stays open.
func parseListeners(v string) (list []Listener, problem string) {
	for _, item := range splitList(v) {
		name, address, ok := strings.Cut(item, "://")
		if !ok || name == "" {
			return nil, fmt.Sprintf("Unable to parse %s to a broker endpoint; expected NAME://HOST:PORT", item)
		}
		host, portText, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Sprintf("Unable to parse %s to a broker endpoint; expected NAME://HOST:PORT", item)
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil {
			return nil, fmt.Sprintf("The port of %s is not a number up to 65535", item)
		}
		list = append(list, Listener{Name: strings.ToUpper(name), Host: host, Port: int(port)})
	}
	for i, l := range list {
		if slices.ContainsFunc(list[:i], func(o Listener) bool { return o.Name == l.Name }) {
			return nil, "Each listener must have a different name"
		}
	}
	return list, ""
}

// parseProtocols reads NAME:PROTOCOL, separated by commas.
func parseProtocols(v string) (protocols map[string]string, problem string) {
	known := []string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}
	protocols = map[string]string{}
	for _, item := range splitList(v) {
		name, protocol, ok := strings.Cut(item, ":")
		name, protocol = strings.ToUpper(strings.TrimSpace(name)), strings.ToUpper(strings.TrimSpace(protocol))
		switch {
		case !ok || name == "":
			return nil, fmt.Sprintf("Expected NAME:PROTOCOL instead of %q", item)
		case !slices.Contains(known, protocol):
			return nil, fmt.Sprintf("Unknown security protocol %q; known are %s", protocol, strings.Join(known, ", "))
		}
		protocols[name] = protocol
	}
	return protocols, ""
}

// listeners resolves both lists. The values were validated one by one before.
func (l layers) listeners() (listen, advertised []Listener, err error) {
	listen, _ = parseListeners(l.text("listeners"))
	advertised, _ = parseListeners(l.text("advertised.listeners"))
	protocols, _ := parseProtocols(l.text("listener.security.protocol.map"))
	if len(listen) == 0 {
		return nil, nil, refuse("listeners", "listeners names no listener; expected PLAINTEXT://HOST:PORT")
	}
	for i, a := range listen {
		protocol, ok := protocols[a.Name]
		switch {
		case !ok:
			return nil, nil, refuse("listeners",
				"No security protocol defined for listener %s; add %s:PLAINTEXT to listener.security.protocol.map", a.Name, a.Name)
		case a.Port != 0 && slices.ContainsFunc(listen[:i], func(o Listener) bool { return o.Port == a.Port && !families(o.Host, a.Host) }):
			return nil, nil, refuse("listeners", "Each listener must have a different port; %d is used twice", a.Port)
		}
		listen[i].Protocol = protocol
		if protocol != "PLAINTEXT" {
			listen[i].Security = l.security(a.Name)
			if err := listen[i].Security.check(listen[i]); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := l.strayListeners(listen); err != nil {
		return nil, nil, err
	}
	if len(advertised) == 0 {
		advertised = slices.Clone(listen)
		for i := range advertised {
			if everywhere(advertised[i].Host) {
				advertised[i].Host = ""
			}
			advertised[i].Security = nil
		}
		return listen, advertised, nil
	}
	for i, a := range advertised {
		at := slices.IndexFunc(listen, func(o Listener) bool { return o.Name == a.Name })
		switch {
		case at < 0:
			return nil, nil, refuse("advertised.listeners", "advertised.listeners names %s, which listeners does not", a.Name)
		case a.Host != "" && everywhere(a.Host):
			return nil, nil, refuse("advertised.listeners",
				"advertised.listeners cannot use the nonroutable meta-address %s; name the address that clients connect to", a.Host)
		}
		advertised[i].Protocol = listen[at].Protocol
	}
	return listen, advertised, nil
}

// strayListeners refuses settings for a listener that there is not: one who has mistyped its
// name would run without what was meant to protect it.
func (l layers) strayListeners(listen []Listener) error {
	for _, name := range sortedNames(l.static) {
		rest, ok := strings.CutPrefix(name, listenerPrefix)
		if ok && strings.HasPrefix(rest, strings.ToLower(adminListener)+".ssl.") && l.bool("varve.admin.ssl.enable") {
			continue
		}
		if ok && !slices.ContainsFunc(listen, func(o Listener) bool { return strings.HasPrefix(rest, strings.ToLower(o.Name)+".") }) {
			return refuse(name, "%s is for a listener that listeners does not name", name)
		}
	}
	return nil
}

// everywhere says whether a host stands for every interface.
func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// families says whether one address is IPv4 and the other IPv6, which may share a port.
func families(a, b string) bool {
	ipA, ipB := net.ParseIP(a), net.ParseIP(b)
	return ipA != nil && ipB != nil && (ipA.To4() == nil) != (ipB.To4() == nil)
}
