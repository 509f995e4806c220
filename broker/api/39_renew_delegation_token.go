package api

import (
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// RenewDelegationToken, versions 1 to 2: lets a token end later (KIP-48).
//
//   - Its owner and its renewers may; others get DELEGATION_TOKEN_OWNER_MISMATCH. One that has ended
//     is DELEGATION_TOKEN_EXPIRED, one with no such secret DELEGATION_TOKEN_NOT_FOUND.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a logins) renewToken(r *server.Request) error {
	var req wire.RenewDelegationTokenRequest
	if err := read(r, &req); err != nil {
		return err
	}
	by, period := r.Conn.Principal(), req.RenewTimeMillis
	a.changeToken(r, append([]byte(nil), req.HMAC...), func(t metadata.DelegationToken) (metadata.DelegationToken, bool, error) {
		t, err := a.o.Tokens.Renew(t, by, period)
		return t, false, err
	}, func(code int16, expiryMs int64) {
		var resp wire.RenewDelegationTokenResponse
		resp.Default()
		resp.ErrorCode, resp.ExpiryTimestamp = code, expiryMs
		reply(r, &resp)
	})
	return nil
}
