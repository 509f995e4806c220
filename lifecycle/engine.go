package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
)

// Partition is what the engine needs from a partition that this broker leads. The
// broker adapts its replica to it. Methods are called one at a time.
type Partition interface {
	// String names the partition in log lines and errors.
	String() string
	// Policy is what the topic asks for now.
	Policy() Policy
	// State is what the partition holds now. It reads the manifest of a tiered
	// partition if that was not read yet.
	State(ctx context.Context) (State, error)
	// Claim makes this leader epoch the owner of the manifest.
	Claim(ctx context.Context) error
	// Roll closes the active segment.
	Roll() error
	// SetStart moves the log start up: in the manifest first, then locally.
	SetStart(ctx context.Context, offset int64) error
	// EvictLocal drops the closed local segments wholly below offset.
	EvictLocal(offset int64) error
}

// Observer is told about plans that did something, for metrics; it may be nil.
type Observer func(partition string, a Actions)

// Engine carries plans out.
type Engine struct {
	partitions func() iter.Seq[Partition]
	observe    Observer
	logger     *slog.Logger
}

// NewEngine makes an engine over the partitions that the function yields at each tick.
func NewEngine(partitions func() iter.Seq[Partition], observe Observer, logger *slog.Logger) *Engine {
	return &Engine{partitions: partitions, observe: observe, logger: logger}
}

// Tick plans and acts for each partition once, at the wall-clock time nowMs. A partition
// that fails keeps no other from its turn; the errors are joined. Cancelling ctx ends
// the tick after the action in hand.
func (e *Engine) Tick(ctx context.Context, nowMs int64) error {
	var errs []error
	for p := range e.partitions() {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := e.tickOne(ctx, p, nowMs); err != nil {
			errs = append(errs, fmt.Errorf("retention of %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// tickOne plans once, and once more when the first plan asked for the claim.
func (e *Engine) tickOne(ctx context.Context, p Partition, nowMs int64) error {
	for claimed := false; ; claimed = true {
		s, err := p.State(ctx)
		if err != nil {
			return err
		}
		a := Plan(p.Policy(), s, nowMs)
		if a.Empty() {
			return nil
		}
		if err := e.act(ctx, p, a); err != nil {
			return err
		}
		if !a.Claim || claimed {
			return nil
		}
	}
}

// act carries one plan out. What fails is planned again at the next tick.
func (e *Engine) act(ctx context.Context, p Partition, a Actions) error {
	if a.Claim {
		if err := p.Claim(ctx); err != nil {
			return fmt.Errorf("claim the manifest: %w", err)
		}
	}
	if a.RollActive {
		if err := p.Roll(); err != nil {
			return fmt.Errorf("roll: %w", err)
		}
	}
	if a.NewStart > 0 {
		if err := p.SetStart(ctx, a.NewStart); err != nil {
			return fmt.Errorf("move the log start to %d: %w", a.NewStart, err)
		}
	}
	if a.EvictLocalBelow > 0 {
		if err := p.EvictLocal(a.EvictLocalBelow); err != nil {
			return fmt.Errorf("evict local segments below %d: %w", a.EvictLocalBelow, err)
		}
	}
	e.logger.Debug("retention acted", "partition", p.String(), "newStart", a.NewStart,
		"evictBelow", a.EvictLocalBelow, "roll", a.RollActive, "reasons", a.Reasons)
	if e.observe != nil {
		e.observe(p.String(), a)
	}
	return nil
}
