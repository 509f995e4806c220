package api

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/security"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// peer is what a connection remembers of who is at its other end.
type peer struct {
	software software
	login    *security.Login // nil without SASL, and before the first handshake
}

// software is what a client said of itself in ApiVersions.
type software struct{ name, version string }

// peerOf is the memory of a connection; it is touched inside Handle only.
func peerOf(c *server.Conn) *peer {
	p, _ := c.State.(*peer)
	if p == nil {
		p = &peer{}
		c.State = p
	}
	return p
}

// logins is the handlers of logins.
type logins struct{ *API }

// onLogins makes a handler of the table from one of them.
func onLogins(handle func(logins, *server.Request) error) func(*API, *server.Request) error {
	return func(a *API, r *server.Request) error { return handle(logins{a}, r) }
}

// LoginCounts is how many logins there were since the start.
type LoginCounts struct{ Complete, Renewed, Failed int64 }

type loginCounts struct {
	complete, renewed, failed atomic.Int64
	lastLogged                atomic.Int64 // Unix seconds
}

// Logins counts the logins since the start.
func (a *API) Logins() LoginCounts {
	return LoginCounts{a.logins.complete.Load(), a.logins.renewed.Load(), a.logins.failed.Load()}
}

// outOfTurn says why a connection may not send this request now: it has not logged in, is in the
// middle of it, or its login has ended. Source: Kafka's SaslServerAuthenticator and KIP-368.
func (a logins) outOfTurn(r *server.Request) error {
	key := r.Header.Key
	p, _ := r.Conn.State.(*peer)
	busy := p != nil && p.login != nil && p.login.Busy()
	switch {
	case busy && key != wire.KeySaslAuthenticate:
		return fmt.Errorf("%s in the middle of a login: %w", a.Name(key), server.ErrLogin)
	case r.Conn.Authenticated():
		if p != nil && p.login != nil && p.login.Expired() && !busy && key != wire.KeySaslHandshake {
			return server.ErrSessionExpired
		}
		return nil
	case key == wire.KeySaslHandshake, key == wire.KeySaslAuthenticate, key == wire.KeyApiVersions:
		return nil
	}
	return fmt.Errorf("%s before the login: %w", a.Name(key), server.ErrLogin)
}

// authenticated ends a login that is complete.
func (a logins) authenticated(r *server.Request, l *security.Login) {
	if r.Conn.Authenticated() {
		a.logins.renewed.Add(1)
	} else {
		a.logins.complete.Add(1)
	}
	r.Conn.SetPrincipal(l.User())
}

// refuse answers a failed login, after a delay that makes guessing slow and hides what took how
// long, and closes the connection. It costs a timer and no memory beside the connection's.
// A nil answer is none at all.
func (a logins) refuse(r *server.Request, of *security.Logins, answer []byte, why error) {
	if !errors.Is(why, security.ErrTold) {
		a.failedLogin(r, why)
	}
	why = fmt.Errorf("%w: %w", server.ErrLogin, why)
	time.AfterFunc(of.FailDelay(), func() {
		if answer == nil {
			r.CloseConn(why)
			return
		}
		r.ReplyClose(answer, why)
	})
}

// told counts a login whose failure is in the answer that is just going out.
func (a logins) told(r *server.Request, l *security.Login) {
	if why := l.Refused(); why != nil {
		a.failedLogin(r, why)
	}
}

// failedLogin counts a login that failed, and may log it.
func (a logins) failedLogin(r *server.Request, why error) {
	a.logins.failed.Add(1)
	a.logFailed(r, why)
}

// logFailed tells of failed logins, once a second at most: nobody is to fill the disk with them.
// It does not name the user, which may be a password typed into the wrong field.
func (a logins) logFailed(r *server.Request, why error) {
	now, last := time.Now().Unix(), a.logins.lastLogged.Load()
	if now == last || !a.logins.lastLogged.CompareAndSwap(last, now) {
		return
	}
	a.o.Logger.Info("login failed", "peer", r.Conn.Host(), "listener", r.Conn.Listener(), "reason", why, "failed_since_start", a.logins.failed.Load())
}

// loginMessage is what a client is told of a login that failed. Source: Kafka's
// SaslServerAuthenticator and its mechanisms.
func loginMessage(mechanism string, err error) string {
	switch {
	case errors.Is(err, security.ErrChanged):
		return "Authentication failed: another login of a connection must be by the same user and mechanism"
	case errors.Is(err, security.ErrTold):
		return security.BearerRefusal
	case mechanism == "PLAIN":
		return "Authentication failed: Invalid username or password"
	}
	return "Authentication failed during authentication due to invalid credentials with SASL mechanism " + mechanism
}
