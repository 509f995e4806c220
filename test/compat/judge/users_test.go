package judge

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The numbers of the mechanisms in the protocol.
const scram256, scram512 int8 = 1, 2

func describeUsers(names ...string) *kmsg.DescribeUserSCRAMCredentialsRequest {
	req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	req.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{}
	for _, name := range names {
		req.Users = append(req.Users, kmsg.DescribeUserSCRAMCredentialsRequestUser{Name: name})
	}
	return req
}

// credential is a user's with the password of password.
func credential(user string, mechanism int8, iterations int32) kmsg.AlterUserSCRAMCredentialsRequestUpsertion {
	u := kmsg.AlterUserSCRAMCredentialsRequestUpsertion{Name: user, Mechanism: mechanism, Iterations: iterations, Salt: []byte("salt of " + user)}
	if mechanism == scram256 {
		u.SaltedPassword, _ = pbkdf2.Key(sha256.New, password(user), u.Salt, int(max(iterations, 1)), sha256.Size)
	} else {
		u.SaltedPassword, _ = pbkdf2.Key(sha512.New, password(user), u.Salt, int(max(iterations, 1)), sha512.Size)
	}
	return u
}

func setUsers(set ...kmsg.AlterUserSCRAMCredentialsRequestUpsertion) *kmsg.AlterUserSCRAMCredentialsRequest {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	req.Upsertions = set
	return req
}

func dropUsers(mechanism int8, names ...string) *kmsg.AlterUserSCRAMCredentialsRequest {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	for _, name := range names {
		req.Deletions = append(req.Deletions, kmsg.AlterUserSCRAMCredentialsRequestDeletion{Name: name, Mechanism: mechanism})
	}
	return req
}

// enlisted gives a user credentials, one after the other, and waits until they are there.
func (s *side) enlisted(c *conn, set ...kmsg.AlterUserSCRAMCredentialsRequestUpsertion) {
	for _, u := range set {
		c.try(0, setUsers(u))
		s.poll("user "+u.Name, func() bool {
			resp, ok := c.try(0, describeUsers(u.Name)).(*kmsg.DescribeUserSCRAMCredentialsResponse)
			return ok && len(resp.Results) == 1 && slices.ContainsFunc(resp.Results[0].CredentialInfos,
				func(i kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo) bool {
					return i.Mechanism == u.Mechanism
				})
		})
	}
}

// credentialsScript: DescribeUserScramCredentials and AlterUserScramCredentials, as a super user.
func credentialsScript(s *side) {
	c := s.admin()
	defer c.close()
	ann, bob, nobody := s.topic("ann"), s.topic("bob"), s.topic("nobody")
	ask := func(what string, req *kmsg.AlterUserSCRAMCredentialsRequest) { c.ask(what, 0, req) }
	ask("set", setUsers(credential(ann, scram256, 4096), credential(bob, scram512, 8192)))
	s.enlisted(c, credential(ann, scram512, 16384))
	s.poll("both of ann", func() bool {
		resp, ok := c.try(0, describeUsers(ann)).(*kmsg.DescribeUserSCRAMCredentialsResponse)
		return ok && len(resp.Results) == 1 && len(resp.Results[0].CredentialInfos) == 2
	})
	for what, names := range map[string][]string{
		"ann": {ann}, "both": {ann, bob}, "nobody": {nobody}, "ann and nobody": {ann, nobody}, "ann twice": {ann, ann}, "ann twice and bob": {ann, bob, ann},
		"nobody twice": {nobody, nobody}, "no name": {""},
	} {
		c.ask("describe "+what, 0, describeUsers(names...))
	}
	for _, user := range []string{s.topic("x"), ""} {
		for mechanism := int8(-1); mechanism <= 3; mechanism++ {
			for _, iterations := range []int32{-1, 0, 4095, 16385} {
				u := credential(user, max(scram256, min(scram512, mechanism)), 4096)
				u.Mechanism, u.Iterations = mechanism, iterations
				ask(fmt.Sprintf("set %q, mechanism %d, %d iterations", user, mechanism, iterations), setUsers(u))
			}
			ask(fmt.Sprintf("drop %q, mechanism %d", user, mechanism), dropUsers(mechanism, user))
		}
	}
	both := setUsers(credential(ann, scram256, 4096))
	both.Deletions = dropUsers(scram256, ann).Deletions
	ask("set and drop one", both)
	both.Deletions = dropUsers(scram512, ann).Deletions
	ask("set one and drop the other", both)
	ask("set one twice", setUsers(credential(bob, scram256, 4096), credential(bob, scram256, 4096)))
	ask("drop one twice", dropUsers(scram256, bob, bob))
	ask("one good, one bad", setUsers(credential(s.topic("good"), scram256, 4096), credential(s.topic("bad"), scram256, 5)))
	ask("nothing", setUsers())
	ask("drop what bob has not", dropUsers(scram256, bob))
	ask("drop what bob has", dropUsers(scram512, bob))
	s.poll("no bob", func() bool {
		resp, ok := c.try(0, describeUsers(bob)).(*kmsg.DescribeUserSCRAMCredentialsResponse)
		return ok && resp.Results[0].ErrorCode != 0
	})
	c.ask("describe bob, who is gone", 0, describeUsers(bob))
	s.unsupported(c, 50, 1)
	s.unsupported(c, 51, 1)
}

// outside is a connection to the listener with logins that has not logged in.
func (s *side) outside() *conn {
	c := s.conn()
	c.addr = s.sasl
	return c
}

// saw records the answer of a login, or what came in its place.
func (s *side) saw(name string, resp kmsg.Response, err error) {
	if err != nil {
		s.note(name, outcome(err))
		return
	}
	s.answered(name, resp)
}

// loginsScript: SaslHandshake and SaslAuthenticate at every version, and what may be asked before them.
func loginsScript(s *side) {
	admin := s.admin()
	defer admin.close()
	ann := s.topic("ann")
	s.enlisted(admin, credential(ann, scram256, 4096), credential(ann, scram512, 4096))
	pass := password(ann)
	for _, by := range []struct {
		name string
		how  sasl.Mechanism
	}{
		{"PLAIN", plain.Auth{User: superUser, Pass: password(superUser)}.AsMechanism()},
		{"PLAIN, wrong password", plain.Auth{User: superUser, Pass: "wrong"}.AsMechanism()},
		{"PLAIN, unknown user", plain.Auth{User: "nobody", Pass: "wrong"}.AsMechanism()},
		{"PLAIN, as itself", plain.Auth{Zid: superUser, User: superUser, Pass: password(superUser)}.AsMechanism()},
		{"PLAIN, as another", plain.Auth{Zid: "other", User: superUser, Pass: password(superUser)}.AsMechanism()},
		{"PLAIN, SCRAM's user", plain.Auth{User: ann, Pass: pass}.AsMechanism()},
		{"256", scram.Auth{User: ann, Pass: pass, Nonce: []byte("nonce")}.AsSha256Mechanism()},
		{"512", scram.Auth{User: ann, Pass: pass}.AsSha512Mechanism()},
		{"512, wrong password", scram.Auth{User: ann, Pass: "wrong"}.AsSha512Mechanism()},
		{"256, PLAIN's user", scram.Auth{User: superUser, Pass: password(superUser)}.AsSha256Mechanism()},
		{"512 without extensions", scram.Auth{User: ann, Pass: pass, Zid: ann}.AsSha512Mechanism()},
		{"512 as another", scram.Auth{User: ann, Pass: pass, Zid: "other"}.AsSha512Mechanism()},
		{"512 by a token", scram.Auth{User: ann, Pass: pass, IsToken: true}.AsSha512Mechanism()},
	} {
		for v := int16(0); v <= 2; v++ {
			s.logsIn(by.name, v, by.how)
		}
	}
	s.outOfTurn()
	s.badTokens(ann)
}

// logsIn logs a connection in, and records each answer and whether it may go on after.
func (s *side) logsIn(name string, v int16, by sasl.Mechanism) {
	c := s.outside()
	defer c.close()
	hand, err := c.handshake(1, by.Name())
	s.saw(fmt.Sprintf("v%d %s: handshake", v, name), hand, err)
	if err != nil {
		return
	}
	if _, err = c.tokens(v, by, func(resp *kmsg.SASLAuthenticateResponse) {
		s.taken(fmt.Sprintf("v%d %s: token", v, name), resp, tokenShape)
	}); errors.Is(err, errClosed) {
		s.note(fmt.Sprintf("v%d %s: tokens", v, name), "closed")
	}
	if c.nc == nil {
		s.note(fmt.Sprintf("v%d %s: then", v, name), "closed")
		return
	}
	s.after(c, fmt.Sprintf("v%d %s: then", v, name), metadataOf())
}

// tokenShape takes the answer to a token apart, but for nonces and proofs.
func tokenShape(f *fields, resp kmsg.Response) {
	r := resp.(*kmsg.SASLAuthenticateResponse)
	f.put("ErrorCode", errorName(r.ErrorCode))
	f.put("ErrorMessage", f.scalar("ErrorMessage", reflect.ValueOf(r.ErrorMessage)))
	f.put("SessionLifetimeMillis", f.lifetime(r.SessionLifetimeMillis))
	if text := string(r.SASLAuthBytes); strings.HasPrefix(text, "{") { // no nonce and no proof
		f.put("SASLAuthBytes", text)
		return
	}
	f.put("SASLAuthBytes", fmt.Sprint("there: ", len(r.SASLAuthBytes) > 0))
}

// lifetime is the time that a login has left, in steps of ten minutes: that of a token has begun before.
func (f *fields) lifetime(ms int64) string {
	if ms <= 0 {
		return fmt.Sprint(ms)
	}
	return fmt.Sprint("about ", (time.Duration(ms) * time.Millisecond).Round(10*time.Minute))
}

// outOfTurn asks for what a connection may not, or not yet.
func (s *side) outOfTurn() {
	hand := func(mechanism string) *kmsg.SASLHandshakeRequest {
		req := kmsg.NewPtrSASLHandshakeRequest()
		req.Mechanism = mechanism
		return req
	}
	token := kmsg.NewPtrSASLAuthenticateRequest()
	token.SASLAuthBytes = []byte("\x00" + superUser + "\x00" + password(superUser))
	for _, x := range []struct {
		name string
		reqs []kmsg.Request
	}{
		{"metadata", []kmsg.Request{metadataOf()}},
		{"a token", []kmsg.Request{token}},
		{"versions", []kmsg.Request{kmsg.NewPtrApiVersionsRequest()}},
		{"versions twice", []kmsg.Request{kmsg.NewPtrApiVersionsRequest(), kmsg.NewPtrApiVersionsRequest()}},
		{"an unknown mechanism", []kmsg.Request{hand("NONE")}},
		{"an empty mechanism", []kmsg.Request{hand("")}},
		{"a mechanism in small letters", []kmsg.Request{hand("plain")}},
		{"a mechanism that is off", []kmsg.Request{hand("GSSAPI")}},
		{"an unknown mechanism, then a good one", []kmsg.Request{hand("NONE"), hand("PLAIN")}},
		{"a handshake twice", []kmsg.Request{hand("PLAIN"), hand("PLAIN")}},
		{"versions after a handshake", []kmsg.Request{hand("PLAIN"), kmsg.NewPtrApiVersionsRequest()}},
		{"metadata after a handshake", []kmsg.Request{hand("PLAIN"), metadataOf()}},
		{"all in order", []kmsg.Request{kmsg.NewPtrApiVersionsRequest(), hand("PLAIN"), token, metadataOf()}},
		{"a token after the login", []kmsg.Request{hand("PLAIN"), token, token, metadataOf()}},
		{"a handshake after the login", []kmsg.Request{hand("PLAIN"), token, hand("PLAIN"), metadataOf()}},
		{"another handshake after the login", []kmsg.Request{hand("PLAIN"), token, hand("SCRAM-SHA-256"), metadataOf()}},
	} {
		c := s.outside()
		for i, req := range x.reqs {
			if s.after(c, fmt.Sprintf("%s: request %d", x.name, i+1), req) {
				break
			}
		}
		c.close()
	}
	plaintext := s.conn()
	defer plaintext.close()
	s.after(plaintext, "a handshake where none is needed", hand("PLAIN"))
	s.after(plaintext, "a token where none is needed", token)
}

// after asks, and says whether the connection is closed.
func (s *side) after(c *conn, name string, req kmsg.Request) (closed bool) {
	resp := req.ResponseKind()
	err := c.exchanged(1, req, resp)
	s.saw(name, resp, err)
	return err != nil
}

// scripted is a mechanism whose tokens are fixed.
type scripted struct {
	name   string
	tokens [][]byte
}

func (x scripted) Name() string { return x.name }

func (x scripted) Authenticate(context.Context, string) (sasl.Session, []byte, error) {
	return &scriptedSession{x.tokens[1:]}, x.tokens[0], nil
}

type scriptedSession struct{ rest [][]byte }

func (x *scriptedSession) Challenge([]byte) (bool, []byte, error) {
	if len(x.rest) == 0 {
		return true, nil, nil
	}
	token := x.rest[0]
	x.rest = x.rest[1:]
	return false, token, nil
}

// badTokens sends what no client does.
func (s *side) badTokens(ann string) {
	text := func(tokens ...string) (out [][]byte) {
		for _, t := range tokens {
			out = append(out, []byte(t))
		}
		return out
	}
	for name, x := range map[string]scripted{
		"PLAIN, nothing":             {"PLAIN", text("")},
		"PLAIN, one part":            {"PLAIN", text(superUser)},
		"PLAIN, two parts":           {"PLAIN", text(superUser + "\x00" + password(superUser))},
		"PLAIN, four parts":          {"PLAIN", text("\x00" + superUser + "\x00" + password(superUser) + "\x00x")},
		"PLAIN, no user":             {"PLAIN", text("\x00\x00" + password(superUser))},
		"PLAIN, no password":         {"PLAIN", text("\x00" + superUser + "\x00")},
		"PLAIN, not UTF-8":           {"PLAIN", text("\x00\xff\x00\xff")},
		"SCRAM, nothing":             {"SCRAM-SHA-256", text("")},
		"SCRAM, junk":                {"SCRAM-SHA-256", text("junk")},
		"SCRAM, channel binding":     {"SCRAM-SHA-256", text("p=tls-unique,,n=" + ann + ",r=abc")},
		"SCRAM, y":                   {"SCRAM-SHA-256", text("y,,n=" + ann + ",r=abc")},
		"SCRAM, no nonce":            {"SCRAM-SHA-256", text("n,,n=" + ann + ",r=")},
		"SCRAM, no user":             {"SCRAM-SHA-256", text("n,,n=,r=abc")},
		"SCRAM, mandatory extension": {"SCRAM-SHA-256", text("n,,m=x,n=" + ann + ",r=abc")},
		"SCRAM, last is junk":        {"SCRAM-SHA-256", text("n,,n="+ann+",r=abc", "junk")},
		"SCRAM, last is empty":       {"SCRAM-SHA-256", text("n,,n="+ann+",r=abc", "")},
		"SCRAM, another nonce":       {"SCRAM-SHA-256", text("n,,n="+ann+",r=abc", "c=biws,r=abcdef,p=AAAA")},
		"SCRAM, bad escape":          {"SCRAM-SHA-256", text("n,,n=a=2Xb,r=abc")},
	} {
		s.logsIn("bad: "+name, 2, x)
	}
}
