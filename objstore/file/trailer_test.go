package file

import (
	"bytes"
	"maps"
	"testing"
	"time"
)

func FuzzTrailer(f *testing.F) {
	f.Add(newTrailer(4, 7, time.UnixMilli(1), map[string]string{"varve": "token", "b": ""}).append([]byte("body")))
	f.Add(newTrailer(0, 0, time.UnixMilli(-1), nil).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeTrailer(b)
		if err != nil {
			return
		}
		again, err := decodeTrailer(got.append(nil))
		if err != nil || !maps.Equal(again.meta, got.meta) {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
		again.meta, got.meta = nil, nil
		if !bytes.Equal(again.append(nil), got.append(nil)) {
			t.Fatalf("%+v became %+v", got, again)
		}
	})
}
