package telemetry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The field numbers of OpenTelemetry's metrics.proto that are read here, along the way from
// MetricsData to a number. Histograms and summaries are passed over.
const (
	fieldResourceMetrics = 1 // MetricsData
	fieldScopeMetrics    = 2 // ResourceMetrics
	fieldMetrics         = 2 // ScopeMetrics
	fieldName            = 1 // Metric
	fieldGauge           = 5 // Metric
	fieldSum             = 7 // Metric
	fieldDataPoints      = 1 // Gauge and Sum
	fieldTemporality     = 2 // Sum
	fieldAsDouble        = 4 // NumberDataPoint
	fieldAsInt           = 6 // NumberDataPoint

	temporalityDelta = 1
	maxName          = 256
	maxPoints        = 10_000 // metrics of one push: what a few bytes each claim must not cost many
)

// point is a metric of one push, over all its data points.
type point struct {
	name  string
	sum   bool
	delta bool    // value is what came since the last push
	value float64 // the largest of a gauge's points, the total of a sum's
}

var errMetrics = errors.New("no OpenTelemetry MetricsData")

// parse reads MetricsData.
func parse(b []byte) ([]point, error) {
	var points []point
	err := each(b, fieldResourceMetrics, func(resource []byte) error {
		return each(resource, fieldScopeMetrics, func(scope []byte) error {
			return each(scope, fieldMetrics, func(metric []byte) error {
				p, ok, err := parseMetric(metric)
				if ok {
					points = append(points, p)
				}
				if len(points) > maxPoints {
					return fmt.Errorf("more than %d metrics", maxPoints)
				}
				return err
			})
		})
	})
	return points, err
}

// each calls f with every message in the field.
func each(b []byte, field protowire.Number, f func([]byte) error) error {
	return walk(b, func(n protowire.Number, t protowire.Type, v []byte) error {
		if n != field || t != protowire.BytesType {
			return nil
		}
		return f(v)
	})
}

// walk calls f with every field: the content of a message or text, the raw bytes of a number.
func walk(b []byte, f func(protowire.Number, protowire.Type, []byte) error) error {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errMetrics
		}
		b = b[size:]
		size = protowire.ConsumeFieldValue(n, t, b)
		if size < 0 {
			return errMetrics
		}
		v := b[:size]
		if t == protowire.BytesType {
			v, _ = protowire.ConsumeBytes(v)
		}
		if err := f(n, t, v); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// parseMetric reads one metric; false when it is of a kind that is passed over.
func parseMetric(b []byte) (p point, ok bool, err error) {
	err = walk(b, func(n protowire.Number, t protowire.Type, v []byte) error {
		switch {
		case n == fieldName && t == protowire.BytesType:
			if p.name = string(v); len(v) > maxName {
				return fmt.Errorf("a metric with a name of %d bytes", len(v))
			}
		case (n == fieldGauge || n == fieldSum) && t == protowire.BytesType:
			p.sum = n == fieldSum
			var err error
			ok, err = p.parsePoints(v)
			return err
		}
		return nil
	})
	return p, ok && p.name != "", err
}

// parsePoints reads a gauge or a sum; false when it has no points.
func (p *point) parsePoints(b []byte) (ok bool, err error) {
	err = walk(b, func(n protowire.Number, t protowire.Type, v []byte) error {
		switch {
		case n == fieldTemporality && t == protowire.VarintType && p.sum:
			kind, _ := protowire.ConsumeVarint(v)
			p.delta = kind == temporalityDelta
		case n == fieldDataPoints && t == protowire.BytesType:
			value, err := number(v)
			if err != nil {
				return err
			}
			switch {
			case p.sum:
				p.value += value
			case !ok || value > p.value:
				p.value = value
			}
			ok = true
		}
		return nil
	})
	return ok, err
}

// number reads the value of a NumberDataPoint.
func number(b []byte) (value float64, err error) {
	err = walk(b, func(n protowire.Number, t protowire.Type, v []byte) error {
		if t != protowire.Fixed64Type {
			return nil
		}
		switch bits := binary.LittleEndian.Uint64(v); n {
		case fieldAsDouble:
			value = math.Float64frombits(bits)
		case fieldAsInt:
			value = float64(int64(bits))
		}
		return nil
	})
	return value, err
}
