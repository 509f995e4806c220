package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// SaslAuthenticate, versions 0 to 2: carries a token of a login.
//
//   - A login that fails gets SASL_AUTHENTICATION_FAILED after a delay, whatever was wrong, and the
//     connection is closed.
//   - 1: how long the login holds, from connections.max.reauth.ms (KIP-368). Whoever goes on after
//     that without another one is closed, also with version 0.
//   - A token of OAUTHBEARER that is refused is first answered with why, in RFC 7628's words; what the
//     client sends then, SASL_AUTHENTICATION_FAILED ends. One that is good ends the login with it.
//   - Where no login is under way: ILLEGAL_SASL_STATE after one, else the connection is closed.
//
// Gaps: none known.
func (a logins) saslAuthenticate(r *server.Request) error {
	var req wire.SaslAuthenticateRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.SaslAuthenticateResponse
	resp.Default()
	l := peerOf(r.Conn).login
	if l == nil || !l.Busy() {
		if !r.Conn.Authenticated() {
			return server.ErrLogin
		}
		text := "SaslAuthenticate request received after successful authentication"
		resp.ErrorCode, resp.ErrorMessage = int16(kafka.IllegalSaslState), &text
		reply(r, &resp)
		return nil
	}
	token, done, err := l.Token(req.SASLAuthBytes)
	if err != nil {
		text := loginMessage(l.Mechanism(), err)
		resp.ErrorCode, resp.ErrorMessage = int16(kafka.SaslAuthenticationFailed), &text
		a.refuse(r, a.o.Logins(r.Conn.Listener()), encoded(r, &resp), err)
		return nil
	}
	a.told(r, l)
	resp.SASLAuthBytes, resp.ErrorMessage = token, new(string)
	if done {
		a.authenticated(r, l)
		resp.SessionLifetimeMillis = l.LifetimeMs()
	}
	reply(r, &resp)
	return nil
}
