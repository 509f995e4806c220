package api

import (
	"errors"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// CreateDelegationToken, versions 1 to 3: makes a token by which its owner's clients log in (KIP-48).
//
//   - Where nobody can have logged in, and after a login by a token, DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
//     without delegation.token.secret.key DELEGATION_TOKEN_AUTH_DISABLED.
//   - 3: for another owner, with the right to create tokens for it (KIP-373).
//
// Gaps: the request is not forwarded, so it has to reach the controller. An owner is a user.
func (a logins) createToken(r *server.Request) error {
	var req wire.CreateDelegationTokenRequest
	if err := read(r, &req); err != nil {
		return err
	}
	requester := r.Conn.Principal()
	owner := requester
	if req.OwnerPrincipalName != nil && *req.OwnerPrincipalName != "" {
		owner.Name = *req.OwnerPrincipalName
		if req.OwnerPrincipalType != nil {
			owner.Type = *req.OwnerPrincipalType
		}
	}
	var resp wire.CreateDelegationTokenResponse
	resp.Default()
	resp.PrincipalType, resp.PrincipalName = owner.Type, owner.Name
	resp.TokenRequesterPrincipalType, resp.TokenRequesterPrincipalName = requester.Type, requester.Name
	resp.IssueTimestamp, resp.ExpiryTimestamp, resp.MaxTimestamp = -1, -1, -1
	renewers, err := a.mayCreateToken(r, owner, req.Renewers)
	if err != nil {
		resp.ErrorCode = tokenError(err)
		reply(r, &resp)
		return nil
	}
	t := a.o.Tokens.New(owner, requester, renewers, req.MaxLifetimeMillis)
	r.Go(func() {
		if err := a.o.TokenChanges.Create(r.Ctx, t); err != nil {
			resp.ErrorCode = tokenError(err)
		} else {
			a.by(r).did(nil, "delegation token", t.ID, "owner", owner, "expires_ms", t.ExpiryMs)
			resp.IssueTimestamp, resp.ExpiryTimestamp, resp.MaxTimestamp = t.IssuedMs, t.ExpiryMs, t.MaxMs
			resp.TokenID, resp.HMAC = t.ID, a.o.Tokens.HMAC(t.ID)
		}
		reply(r, &resp)
	})
	return nil
}

// mayCreateToken says why a client may not have a token for an owner, or who may renew it.
func (a logins) mayCreateToken(r *server.Request, owner kafka.Principal, named []wire.CreateDelegationTokenRequestRenewer) ([]kafka.Principal, error) {
	if !tokenRequestAllowed(r) {
		return nil, kafka.DelegationTokenRequestNotAllowed
	}
	if owner != r.Conn.Principal() {
		if err := a.by(r).may(kafka.OpCreateTokens, kafka.ResourceUser, owner.String(), kafka.DelegationTokenAuthorizationFailed); err != nil {
			return nil, err
		}
	}
	var renewers []kafka.Principal
	for _, p := range named {
		if p.PrincipalType != kafka.UserPrincipal {
			return nil, kafka.InvalidPrincipalType
		}
		renewers = append(renewers, kafka.User(p.PrincipalName))
	}
	switch {
	case !a.o.Tokens.Enabled():
		return nil, kafka.DelegationTokenAuthDisabled
	case owner.Type != kafka.UserPrincipal:
		return nil, kafka.InvalidPrincipalType
	}
	return renewers, nil
}

// tokenRequestAllowed says whether a connection may deal with tokens: not one where nobody has
// shown who it is, nor one that a token has logged in, which could make itself live for ever.
// Source: Kafka's KafkaApis.allowTokenRequests.
func tokenRequestAllowed(r *server.Request) bool {
	if p := peerOf(r.Conn); p.login != nil {
		return !p.login.ByToken()
	}
	return r.Conn.Principal() != kafka.Anonymous()
}

// changeToken changes the token with a secret, and answers when it ends then: with an error 0, or -1 where
// the connection may not deal with tokens, as in Kafka.
func (a logins) changeToken(r *server.Request, secret []byte, change func(metadata.DelegationToken) (metadata.DelegationToken, bool, error), answer func(code int16, expiryMs int64)) {
	switch {
	case !tokenRequestAllowed(r):
		answer(int16(kafka.DelegationTokenRequestNotAllowed), -1)
		return
	case !a.o.Tokens.Enabled():
		answer(int16(kafka.DelegationTokenAuthDisabled), 0)
		return
	}
	r.Go(func() {
		t, ok := a.o.Tokens.Find(secret)
		if !ok {
			answer(int16(kafka.DelegationTokenNotFound), 0)
			return
		}
		var changed metadata.DelegationToken
		err := a.o.TokenChanges.Change(r.Ctx, t.ID, func(t metadata.DelegationToken) (_ metadata.DelegationToken, remove bool, err error) {
			changed, remove, err = change(t)
			return changed, remove, err
		})
		if err != nil {
			answer(tokenError(err), 0)
			return
		}
		a.by(r).did(nil, "delegation token", t.ID, "owner", t.Owner, "expires_ms", changed.ExpiryMs)
		answer(0, changed.ExpiryMs)
	})
}

// tokenError is the code of an error; these answers have no room for words.
func tokenError(err error) int16 {
	if code := kafka.NoError; errors.As(err, &code) {
		return int16(code)
	}
	return int16(kafka.UnknownServerError)
}
