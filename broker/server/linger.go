package server

import (
	"crypto/tls"
	"net"
	"time"
)

const (
	// lingerTime is how long a connection that the server ends stays for its peer to read the last
	// answer. A peer that has read it closes, which ends the wait.
	lingerTime = time.Second
	// lingerBytes is about the most that is read and dropped of a peer meanwhile.
	lingerBytes = 1 << 20
)

// finish ends the connection after the answers that have just left: nothing is read any more, and
// the connection's goroutine lingers before it closes. told says that the last of them was one on the wire.
func (c *Conn) finish(why error, told bool) {
	c.told = told
	c.finished.Store(true) // before the queue is closed, which others see
	if c.answers.close(why) {
		c.cancel(why)
	}
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; fails only when closed
}

// linger gives the peer time to read what was sent to it. Closing at once loses answers in two ways: the
// system resets a connection that is closed with bytes unread, which may overtake them, and there are clients that
// drop what they have read when the end of the connection comes with it. So what the peer still
// sends is dropped until it closes, for a bounded time and number of bytes. A peer that was told nothing
// but the end is told that first, and so is one that goes on to send.
func (c *Conn) linger(told bool) {
	c.in.free()
	tcp, ok := c.socket.(*net.TCPConn)
	if !ok {
		return // in memory nothing is lost
	}
	if !told {
		c.tellEnd(tcp)
	}
	_ = tcp.SetReadDeadline(time.Now().Add(lingerTime))
	buf := make([]byte, 512)
	for dropped := 0; dropped < lingerBytes; {
		n, err := tcp.Read(buf)
		if err != nil {
			return
		}
		if told && dropped == 0 {
			c.tellEnd(tcp) // it does not wait for an answer
		}
		dropped += n
	}
}

// tellEnd half-closes the connection: the peer learns that no more will come. What fails here
// is followed by a read that fails.
func (c *Conn) tellEnd(tcp *net.TCPConn) {
	if over, ok := c.nc.(*tls.Conn); ok {
		_ = over.CloseWrite()
	}
	_ = tcp.CloseWrite()
}
