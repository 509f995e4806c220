package config

import (
	"net"
	"strings"
)

// adminListener is the name by which the admin listener has settings of its own: listener.name.admin.ssl.….
const adminListener = "ADMIN"

// checkAdmin keeps the admin listener from other machines, unless it is encrypted and wants a login.
func (n *Node) checkAdmin() error {
	if n.AdminListen == "" {
		return nil
	}
	if n.AdminSecurity != nil {
		if err := n.AdminSecurity.check(Listener{Name: adminListener, Protocol: "SSL"}); err != nil {
			return err
		}
	}
	host, _, err := net.SplitHostPort(n.AdminListen)
	if err != nil || loopback(host) || n.AdminSecurity != nil && n.AdminUsersFile != "" {
		return err // which the table has refused before
	}
	var missing []string
	if n.AdminSecurity == nil {
		missing = append(missing, "varve.admin.ssl.enable=true")
	}
	if n.AdminUsersFile == "" {
		missing = append(missing, "varve.admin.users.file")
	}
	return refuse("varve.admin.listener", "varve.admin.listener is %s, which other machines reach: set %s, or bind it to 127.0.0.1", n.AdminListen, strings.Join(missing, " and "))
}

// loopback says whether nobody but this machine reaches a host.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
