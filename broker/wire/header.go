package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// RequestHeader starts every request.
type RequestHeader struct {
	Key           int16
	Version       int16
	CorrelationID int32
	// ClientID is the client's name for itself; null and empty are the same.
	ClientID string
}

// fixedHeader is the size of key, version and correlation id.
const fixedHeader = 8

// ParseRequestHeader reads the header of a frame and answers the body that follows it.
// See RequestHeader.Parse, which saves the copy of the client id.
func ParseRequestHeader(frame []byte) (h RequestHeader, body []byte, err error) {
	body, err = h.Parse(frame)
	return h, body, err
}

// Parse reads the header of a frame, and answers the body, which aliases the frame. A
// connection that parses into the same header each time allocates nothing while its
// client id stays the same.
//
// Which versions are supported is not judged here: ApiVersions answers unknown versions.
// ErrUnknownKey means that the key is not in the table, so that the header's own version
// can't be known; key, version and correlation id are set even so. Any other error
// matches ErrMalformed.
func (h *RequestHeader) Parse(frame []byte) (body []byte, err error) {
	if len(frame) < fixedHeader {
		return nil, fmt.Errorf("request header: %w: %w", ErrMalformed, errShort)
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(frame[4:]))
	api, ok := Lookup(h.Key)
	if !ok {
		return nil, fmt.Errorf("request header: key %d: %w", h.Key, ErrUnknownKey)
	}
	r := NewReader(frame[fixedHeader:])
	// The client id is not compact even in the flexible header (KIP-482).
	n := r.length(false, true)
	h.ClientID = r.copyString(r.take(max(n, 0)), h.ClientID)
	if api.Flexible(h.Version) {
		r.skipTags()
	}
	if r.err != nil {
		return nil, fmt.Errorf("request header: %w: %w", ErrMalformed, r.err)
	}
	return r.b, nil
}

// Append writes the header as a client does; the key is one of the table.
func (h *RequestHeader) Append(dst []byte) []byte {
	dst = appendInt16(dst, h.Key)
	dst = appendInt16(dst, h.Version)
	dst = appendInt32(dst, h.CorrelationID)
	id := h.ClientID[:min(len(h.ClientID), math.MaxInt16)]
	dst = appendString(dst, false, id)
	if Flexible(h.Key, h.Version) {
		dst = append(dst, 0)
	}
	return dst
}

// flexibleResponse says whether the response header has tags. ApiVersions' never has, so
// that a client which guessed a version too high can read the answer (KIP-511).
func flexibleResponse(key, version int16) bool {
	return key != KeyApiVersions && Flexible(key, version)
}

// AppendResponseHeader writes the header of a response to a request of that key and version.
func AppendResponseHeader(dst []byte, key, version int16, correlationID int32) []byte {
	dst = appendInt32(dst, correlationID)
	if flexibleResponse(key, version) {
		dst = append(dst, 0)
	}
	return dst
}

// ParseResponseHeader reads the header of a response to a request of that key and
// version, as a client does, and answers the body, which aliases the frame.
func ParseResponseHeader(frame []byte, key, version int16) (correlationID int32, body []byte, err error) {
	r := NewReader(frame)
	correlationID = r.Int32()
	if flexibleResponse(key, version) {
		r.skipTags()
	}
	if r.err != nil {
		return 0, nil, fmt.Errorf("response header: %w: %w", ErrMalformed, r.err)
	}
	return correlationID, r.b, nil
}
