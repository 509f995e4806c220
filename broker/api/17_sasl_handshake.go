package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/security"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// SaslHandshake, versions 0 to 1: chooses the mechanism of a login.
//
//   - 0: the tokens follow without headers, each behind its length. 1: in SaslAuthenticate.
//   - A mechanism that the listener does not have gets UNSUPPORTED_SASL_MECHANISM with those that it
//     has, after a delay, and the connection is closed.
//   - On a connection that needs no login, or may not renew its own, ILLEGAL_SASL_STATE (KIP-368).
//
// Gaps: GSSAPI is not there.
func (a logins) saslHandshake(r *server.Request) error {
	var req wire.SaslHandshakeRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.SaslHandshakeResponse
	resp.Default()
	p := peerOf(r.Conn)
	if r.Conn.Authenticated() && (p.login == nil || !p.login.Renewable()) {
		resp.ErrorCode = int16(kafka.IllegalSaslState)
		reply(r, &resp)
		return nil
	}
	of := a.o.Logins(r.Conn.Listener())
	if p.login == nil {
		p.login = of.New()
	}
	resp.SupportedMechanisms = of.Mechanisms()
	if err := p.login.Handshake(req.Mechanism); err != nil {
		resp.ErrorCode = int16(kafka.UnsupportedSaslMechanism)
		a.refuse(r, of, encoded(r, &resp), err)
		return nil
	}
	if r.Header.Version == 0 {
		r.Conn.NextFrame(func(r *server.Request) { a.rawToken(r, of) })
	}
	reply(r, &resp)
	return nil
}

// rawToken takes a token that came without a header.
func (a logins) rawToken(r *server.Request, of *security.Logins) {
	l := peerOf(r.Conn).login
	token, done, err := l.Token(r.Body)
	switch {
	case err != nil:
		a.refuse(r, of, nil, err) // there is no way to tell why
		return
	case done:
		a.authenticated(r, l)
	default:
		a.told(r, l)
		r.Conn.NextFrame(func(r *server.Request) { a.rawToken(r, of) })
	}
	r.ReplyBytes(token)
}
