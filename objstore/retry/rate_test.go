package retry

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// uplink takes the body of a request, so many bytes a second.
type uplink int

func (u uplink) Do(r *http.Request) (*http.Response, error) {
	p := make([]byte, u)
	for {
		if _, err := r.Body.Read(p); err == io.EOF {
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		} else if err != nil {
			return nil, err
		}
		time.Sleep(time.Second)
		if r.Context().Err() != nil {
			return nil, r.Context().Err()
		}
	}
}

func TestLeastRateOfAnUpload(t *testing.T) {
	for _, tt := range []struct {
		rate int
		want error
	}{{1000, nil}, {900, errSlow}, {2000, nil}} {
		synctest.Test(t, func(t *testing.T) {
			l := Limits{MinRate: 950}
			l.Fill()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://store/k", strings.NewReader(strings.Repeat("x", 100_000)))
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			resp, err := Watch(uplink(tt.rate), l).Do(req)
			if !errors.Is(err, tt.want) {
				t.Errorf("%d bytes a second: %v after %v, want %v", tt.rate, err, time.Since(begun), tt.want)
			}
			if err == nil {
				resp.Body.Close()
			} else if time.Since(begun) > 2*RateWindow {
				t.Errorf("it was given up after %v", time.Since(begun))
			}
		})
	}
}
