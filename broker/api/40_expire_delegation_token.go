package api

import (
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ExpireDelegationToken, versions 1 to 2: lets a token end after a while, or, with a negative
// period, at once, also if it has ended already (KIP-48).
//
//   - Its owner and its renewers may; others get DELEGATION_TOKEN_OWNER_MISMATCH.
//   - Connections that it has logged in end no later than it would have.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a logins) expireToken(r *server.Request) error {
	var req wire.ExpireDelegationTokenRequest
	if err := read(r, &req); err != nil {
		return err
	}
	by, period := r.Conn.Principal(), req.ExpiryPeriodMillis
	a.changeToken(r, append([]byte(nil), req.HMAC...), func(t metadata.DelegationToken) (metadata.DelegationToken, bool, error) {
		return a.o.Tokens.Expire(t, by, period)
	}, func(code int16, expiryMs int64) {
		var resp wire.ExpireDelegationTokenResponse
		resp.Default()
		resp.ErrorCode, resp.ExpiryTimestamp = code, expiryMs
		reply(r, &resp)
	})
	return nil
}
