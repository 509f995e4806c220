package broker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/security"
	"github.com/varve-io/varve/broker/security/oauth"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/vfs"
)

// secure gives a listener its certificates and logins.
func (n *Node) secure(l *server.Listener, from *config.Security) error {
	if from == nil {
		return nil
	}
	if strings.HasSuffix(l.Protocol, "SSL") {
		t, err := security.NewTLS(n.o.FS, from, n.o.Now, n.logger, n.metrics.certificates.Inc)
		if err != nil {
			return fmt.Errorf("listener %s: %w", l.Name, err)
		}
		l.TLS, l.Identify = t.Config(), t.Identify
	}
	if strings.HasPrefix(l.Protocol, "SASL") {
		bearer, err := n.bearer(l.Name, from)
		if err != nil {
			return err
		}
		n.logins[l.Name] = security.NewLogins(from, security.Users{Credential: func(user string, m metadata.ScramMechanism) (metadata.ScramCredential, bool) {
			return n.controller.Image().Scram(user, m)
		}, Tokens: n.tokens, Bearer: bearer}, n.o.Now)
	}
	return nil
}

// bearer judges the tokens of a listener that has OAUTHBEARER; nil for others. The keys that they
// are signed by are fetched in the background.
func (n *Node) bearer(listener string, from *config.Security) (*oauth.Verifier, error) {
	if !slices.Contains(from.Mechanisms, "OAUTHBEARER") {
		return nil, nil
	}
	v, err := oauth.New(oauth.Options{From: from.OAuth, FS: n.o.FS, Now: n.o.Now, Logger: n.logger.With("listener", listener), Failed: n.metrics.jwks.Inc})
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", listener, err)
	}
	n.undoLoops()
	n.wg.Go(func() { v.Run(n.background) })
	return v, nil
}

// sweepTokens forgets delegation tokens that have ended, until the node stops.
func (n *Node) sweepTokens() {
	timer := time.NewTicker(time.Duration(n.config.DelegationTokens.CheckIntervalMs) * time.Millisecond)
	defer timer.Stop()
	for {
		select {
		case <-n.background.Done():
			return
		case <-timer.C:
		}
		gone, err := controller.NewTokens(n.controller).RemoveExpired(n.background, n.tokens.NowMs())
		switch {
		case err != nil && n.background.Err() == nil:
			n.metrics.tokens.Inc()
			n.logger.Error("delegation tokens that have ended could not be removed; they let nobody in, and it is tried again", "error", err)
		case gone > 0:
			n.logger.Info("delegation tokens have ended", "tokens", gone)
		}
	}
}

// maxUsersFileBytes bounds the file of the first users.
const maxUsersFileBytes = 1 << 20

// firstUsers creates the users of varve.users.file, if the cluster has none.
func (n *Node) firstUsers(ctx context.Context) error {
	if n.config.UsersFile == "" {
		return nil
	}
	for range n.controller.Image().ScramCredentials() {
		return nil
	}
	info, err := n.o.FS.Stat(n.config.UsersFile)
	if err != nil {
		return fmt.Errorf("varve.users.file: %w", err)
	}
	if info.Size() > maxUsersFileBytes {
		return fmt.Errorf("varve.users.file: %s has %d bytes, more than %d", n.config.UsersFile, info.Size(), maxUsersFileBytes)
	}
	b, err := vfs.ReadFile(n.o.FS, n.config.UsersFile)
	if err != nil {
		return fmt.Errorf("varve.users.file: %w", err)
	}
	first, err := parseUsers(b)
	if err != nil {
		return fmt.Errorf("varve.users.file: %s: %w", n.config.UsersFile, err)
	}
	if err := n.controller.SetScram(ctx, first); err != nil {
		return fmt.Errorf("varve.users.file: %w", err)
	}
	n.logger.Info("the first users were created; the file with their passwords is not needed any more", "file", n.config.UsersFile, "users", len(first)/2)
	return nil
}

// parseUsers reads lines NAME:PASSWORD; empty ones and those that start with # do not count. An
// error names the line and nothing of what is in it.
func parseUsers(b []byte) ([]metadata.ScramCredential, error) {
	var list []metadata.ScramCredential
	lines := bufio.NewScanner(bytes.NewReader(b))
	for at := 1; lines.Scan(); at++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		user, password, ok := strings.Cut(line, ":")
		if !ok || user == "" || password == "" || !utf8.ValidString(line) {
			return nil, fmt.Errorf("line %d: expected NAME:PASSWORD", at)
		}
		for _, m := range []metadata.ScramMechanism{metadata.ScramSHA256, metadata.ScramSHA512} {
			c, err := security.NewScramCredential(user, m, password, security.MinIterations)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", at, err)
			}
			list = append(list, c)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the lines: %w", err)
	}
	return list, nil
}
