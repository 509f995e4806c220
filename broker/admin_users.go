package broker

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/vfs"
)

const (
	// adminReload is how often a login looks whether the file of users has changed.
	adminReload = 10 * time.Second
	// adminFailDelay holds the answer to a login back that failed.
	adminFailDelay = 100 * time.Millisecond
)

// adminUsers is who may use the admin listener. Of passwords only hashes are kept.
type adminUsers struct {
	fs     vfs.FS
	file   string
	now    func() time.Time
	logger *slog.Logger

	mu struct {
		sync.Mutex
		looked    time.Time
		modified  time.Time
		size      int64
		passwords map[string][sha256.Size]byte // by user
	}
}

// newAdminUsers reads the file. Errors tell nothing of what is in it.
func newAdminUsers(fs vfs.FS, file string, now func() time.Time, logger *slog.Logger) (*adminUsers, error) {
	u := &adminUsers{fs: fs, file: file, now: now, logger: logger}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.looked = now()
	if err := u.loadLocked(); err != nil {
		return nil, fmt.Errorf("varve.admin.users.file: %w", err)
	}
	return u, nil
}

// loadLocked reads the file if it is another one than before.
func (u *adminUsers) loadLocked() error {
	info, err := u.fs.Stat(u.file)
	if err != nil {
		return err
	}
	if info.ModTime().Equal(u.mu.modified) && info.Size() == u.mu.size {
		return nil
	}
	if info.Size() > maxUsersFileBytes {
		return fmt.Errorf("%s has %d bytes, more than %d", u.file, info.Size(), maxUsersFileBytes)
	}
	b, err := vfs.ReadFile(u.fs, u.file)
	if err != nil {
		return err
	}
	passwords := map[string][sha256.Size]byte{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for at := 1; lines.Scan(); at++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		user, password, ok := strings.Cut(line, ":")
		if !ok || user == "" || password == "" {
			return fmt.Errorf("%s: line %d: expected NAME:PASSWORD", u.file, at)
		}
		passwords[user] = sha256.Sum256([]byte(password))
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", u.file, err)
	}
	if len(passwords) == 0 {
		return fmt.Errorf("%s names nobody: write a line NAME:PASSWORD", u.file)
	}
	u.mu.passwords, u.mu.modified, u.mu.size = passwords, info.ModTime(), info.Size()
	return nil
}

// knows says whether a password is a user's. Whether there is the user shows in nothing, time included.
func (u *adminUsers) knows(user, password string) bool {
	u.mu.Lock()
	if now := u.now(); now.Sub(u.mu.looked) >= adminReload || now.Before(u.mu.looked) {
		u.mu.looked = now
		if err := u.loadLocked(); err != nil { // it may be half written: it is looked at again
			u.logger.Error("the changed file of the admin listener's users can't be used; those that were known stay", "error", err)
		}
	}
	want, ok := u.mu.passwords[user]
	u.mu.Unlock()
	got := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && ok
}

// guard lets those in who have logged in.
func (u *adminUsers) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if u.knows(user, password) {
			h.ServeHTTP(w, r)
			return
		}
		timer := time.NewTimer(adminFailDelay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="varve"`)
		answer(w, http.StatusUnauthorized, "log in: the users are in the file of varve.admin.users.file")
	})
}

// boundedListener accepts connections while fewer than its slots are open: what comes beyond waits in the
// operating system's queue, and costs no descriptor of the broker's.
type boundedListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newBoundedListener(l net.Listener, n int) *boundedListener {
	return &boundedListener{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &boundedConn{Conn: c, free: func() { <-l.slots }}, nil
}

// Close implements net.Listener.
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// boundedConn gives its slot back when it is closed.
type boundedConn struct {
	net.Conn
	once sync.Once
	free func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.once.Do(c.free)
	return c.Conn.Close()
}
