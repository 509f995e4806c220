package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
)

// admin is the handlers of administration that came with dynamic settings: what changes or
// shows settings, partitions, features and the quorum.
type admin struct{ *API }

// onAdmin makes a handler of one of them.
func onAdmin(handle func(admin, *server.Request) error) func(*API, *server.Request) error {
	return func(a *API, r *server.Request) error { return handle(admin{a}, r) }
}

// outcome is failure for the fields where Kafka has an empty message, not null, beside no error.
func (a admin) outcome(err error) (code int16, message *string) {
	if err == nil {
		return int16(kafka.NoError), new(string)
	}
	return a.failure(err)
}
