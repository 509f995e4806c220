package api

import (
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DescribeDelegationToken, versions 1 to 3: the tokens that a client may see, with their secrets (KIP-48).
//
//   - Those that it owns, asked for or may renew; those that it may describe; and those of users
//     whose tokens it may describe (KIP-373). Named owners leave out the tokens of others.
//   - Null owners mean all, an empty list none.
//
// Gaps: none known.
func (a logins) describeTokens(r *server.Request) error {
	var req wire.DescribeDelegationTokenRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DescribeDelegationTokenResponse
	resp.Default()
	switch {
	case !tokenRequestAllowed(r):
		resp.ErrorCode = int16(kafka.DelegationTokenRequestNotAllowed)
	case !a.o.Tokens.Enabled():
		resp.ErrorCode = int16(kafka.DelegationTokenAuthDisabled)
	case req.Owners == nil || len(req.Owners) > 0:
		for t := range a.o.Cluster.Image().DelegationTokens() {
			if a.seesToken(r, t, req.Owners) {
				resp.TokenDetails = append(resp.TokenDetails, a.described(t))
			}
		}
	}
	reply(r, &resp)
	return nil
}

// seesToken says whether a token is asked for, and may be seen.
// Source: Kafka's DelegationTokenManager.filterToken.
func (a logins) seesToken(r *server.Request, t metadata.DelegationToken, owners []wire.DescribeDelegationTokenRequestOwner) bool {
	if len(owners) > 0 && !slices.ContainsFunc(owners, func(o wire.DescribeDelegationTokenRequestOwner) bool {
		return t.Concerns(kafka.Principal{Type: o.PrincipalType, Name: o.PrincipalName})
	}) {
		return false
	}
	return t.Concerns(r.Conn.Principal()) || a.by(r).allowed(kafka.OpDescribe, kafka.ResourceDelegationToken, t.ID) ||
		a.by(r).allowed(kafka.OpDescribeTokens, kafka.ResourceUser, t.Owner.String())
}

func (a logins) described(t metadata.DelegationToken) wire.DescribeDelegationTokenResponseTokenDetail {
	out := wire.DescribeDelegationTokenResponseTokenDetail{
		PrincipalType: t.Owner.Type, PrincipalName: t.Owner.Name,
		TokenRequesterPrincipalType: t.Requester.Type, TokenRequesterPrincipalName: t.Requester.Name,
		IssueTimestamp: t.IssuedMs, ExpiryTimestamp: t.ExpiryMs, MaxTimestamp: t.MaxMs, TokenID: t.ID, HMAC: a.o.Tokens.HMAC(t.ID),
	}
	for _, p := range t.Renewers {
		out.Renewers = append(out.Renewers, wire.DescribeDelegationTokenResponseRenewer{PrincipalType: p.Type, PrincipalName: p.Name})
	}
	return out
}
