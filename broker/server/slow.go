package server

import "time"

// slowBytes is what a peer has to move in each StallTimeout, in the middle of a frame that it sends and while answers
// wait for it. One that sends or takes a byte now and then would otherwise hold its connection, and
// memory and files behind it, for ever.
const slowBytes = 16 << 10

// slow holds a peer to a least speed, from its first wait on. The zero value has not begun.
type slow struct {
	began time.Time
	moved int64 // bytes since then
}

// end forgets what was: the frame is whole, the answers have left.
func (s *slow) end() { *s = slow{} }

// left is how long the peer may take for its next bytes: patience, or what it has left of the time in which the least
// speed allows what it has moved. It is not above 0 for a peer that is too slow.
func (s *slow) left(now time.Time, patience time.Duration) time.Duration {
	if s.began.IsZero() {
		s.began, s.moved = now, 0
	}
	return min(patience, s.began.Add(patience+time.Duration(s.moved/slowBytes)*patience).Sub(now))
}
