package broker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/server"
)

// listenFunc binds an address; tests hand in networks in memory.
type listenFunc func(network, addr string) (net.Listener, error)

// bind opens a listening socket. An address in use is told with what to do about it.
func bind(listen listenFunc, what, addr string) (net.Listener, error) {
	l, err := listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is in use by another process: stop it (ss -ltnp 'sport = :%s' names it), or choose another port: %w", what, addr, port(addr), err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return l, nil
}

func port(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return p
}

// bindAll opens every Kafka listener, or none.
// secure completes one with what its security protocol needs.
func bindAll(listen listenFunc, c *config.Node, secure func(*server.Listener, *config.Security) error) ([]server.Listener, error) {
	var out []server.Listener
	for _, l := range c.Listeners {
		lis, err := bind(listen, "listener "+l.Name, net.JoinHostPort(l.Host, strconv.Itoa(l.Port)))
		if err != nil {
			closeListeners(out)
			return nil, err
		}
		sl := server.Listener{Name: l.Name, Protocol: l.Protocol, Accept: lis}
		if err := secure(&sl, l.Security); err != nil {
			closeListeners(append(out, sl))
			return nil, err
		}
		for _, a := range c.AdvertisedListeners {
			if a.Name == l.Name {
				sl.AdvertisedHost, sl.AdvertisedPort = a.Host, int32(a.Port)
			}
		}
		out = append(out, sl)
	}
	return out, nil
}

func closeListeners(list []server.Listener) {
	for _, l := range list {
		_ = l.Accept.Close() // nothing was accepted yet
	}
}

// hostname is what clients are told where neither advertised.listeners nor the bound address names a host.
func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return h
}
