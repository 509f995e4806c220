package api

import "github.com/varve-io/varve/broker/server"

// admin is the handlers of administration that came with dynamic settings: what changes or
// shows settings, partitions, features and the quorum.
type admin struct{ *API }

// onAdmin makes a handler of one of them.
func onAdmin(handle func(admin, *server.Request) error) func(*API, *server.Request) error {
	return func(a *API, r *server.Request) error { return handle(admin{a}, r) }
}
