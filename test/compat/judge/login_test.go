package judge

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// password is the one of a user of the judge.
func password(user string) string { return user + "-secret" }

// as is a connection whose principal has logged in by PLAIN. Nobody, "", comes to the listener
// that needs no login, and is ANONYMOUS.
func (s *side) as(user string) *conn {
	c := s.conn()
	if user != "" {
		c.addr, c.by = s.sasl, plain.Auth{User: user, Pass: password(user)}.AsMechanism()
	}
	return c
}

// login is what becomes of every new connection of a user, without a record.
func (c *conn) login() error {
	first, err := c.handshake(1, c.by.Name())
	if err != nil || first.ErrorCode != 0 {
		return fmt.Errorf("handshake: %w: %w", err, kerr.ErrorForCode(first.ErrorCode))
	}
	last, err := c.tokens(1, c.by, nil)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(last.ErrorCode)
}

// handshake chooses a mechanism.
func (c *conn) handshake(version int16, mechanism string) (*kmsg.SASLHandshakeResponse, error) {
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = mechanism
	resp := kmsg.NewPtrSASLHandshakeResponse()
	return resp, c.exchanged(version, req, resp)
}

// tokens sends those of a mechanism until it is done or refused; see gets each answer.
func (c *conn) tokens(version int16, by sasl.Mechanism, see func(*kmsg.SASLAuthenticateResponse)) (*kmsg.SASLAuthenticateResponse, error) {
	session, token, err := by.Authenticate(context.Background(), c.s.addr)
	if err != nil {
		return nil, err
	}
	for done := false; !done; {
		req, resp := kmsg.NewPtrSASLAuthenticateRequest(), kmsg.NewPtrSASLAuthenticateResponse()
		req.SASLAuthBytes = token
		if err := c.exchanged(version, req, resp); err != nil {
			return nil, err
		}
		if see != nil {
			see(resp)
		}
		if resp.ErrorCode != 0 {
			return resp, nil
		}
		if done, token, err = session.Challenge(resp.SASLAuthBytes); err != nil {
			return resp, err
		}
		if done {
			return resp, nil
		}
	}
	return nil, nil
}

// exchanged is try for a connection that may have no principal yet, with the error of one that was closed.
func (c *conn) exchanged(version int16, req kmsg.Request, resp kmsg.Response) error {
	body, err := c.exchange(c.frame(version, req))
	if err != nil {
		return err
	}
	return answers(body, c.correlation, version, resp)
}
