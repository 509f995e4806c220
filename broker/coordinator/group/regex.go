package group

import (
	"slices"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/group/consumer"
	"github.com/varve-io/varve/broker/metadata"
)

// regexBatchMs is how long the topics that a group's regular expressions have matched are
// good at least, in milliseconds, as in Kafka.
const regexBatchMs = 10_000

// Matches is what a group's regular expressions have matched.
type Matches struct {
	Topics  map[string][]string // by expression: names, ascending
	Version int64               // of the metadata that was searched
	AtMs    int64
}

// Match looks for the topics of regular expressions. It takes time in proportion to the number
// of topics and expressions, and the size of these, which is limited.
func Match(img *metadata.Image, expressions []string, nowMs int64) Matches {
	out := Matches{Topics: make(map[string][]string, len(expressions)), Version: img.Version(), AtMs: nowMs}
	for _, text := range expressions {
		re, err := consumer.CompileRegex(text)
		out.Topics[text] = []string{}
		if err != nil {
			continue // of another broker's making: it matches nothing here
		}
		for t := range img.Topics() {
			if re.Match(t.Name) {
				out.Topics[text] = append(out.Topics[text], t.Name)
			}
		}
		slices.Sort(out.Topics[text])
	}
	return out
}

// refreshExpressions has the topics of the group's regular expressions looked for, all of them
// together, if one is new, there are new topics, or it was long ago.
func (e *turn) refreshExpressions(cfg ConsumerConfig) {
	m := e.g.modern
	if m.expressions.Len() == 0 || m.resolving {
		return
	}
	texts := make([]string, 0, m.expressions.Len())
	lastMs, version, due := int64(0), int64(-1), false
	for text, x := range m.expressions.All() {
		if x.members == 0 {
			continue
		}
		texts = append(texts, text)
		due = due || !x.resolved
		lastMs, version = max(lastMs, x.atMs), max(version, x.version)
	}
	due = due || version < e.s.env.TopicsVersion() || e.nowMs > lastMs+cfg.RegexRefreshMs
	if len(texts) == 0 || !due || e.nowMs <= lastMs+regexBatchMs {
		return
	}
	m.resolving = true
	slices.Sort(texts)
	id := e.g.id
	e.reply(func() { e.s.env.Match(id, texts) })
}

// Matched takes over what the regular expressions of a group have matched. If that is news,
// the group gets a new epoch, and its members new assignments with their next heartbeats.
func (s *Shard) Matched(nowMs int64, groupID string, found Matches) coordinator.Step {
	e := s.event(nowMs)
	g, ok := s.groups.Get(groupID)
	if !ok || g.modern == nil {
		return e.done()
	}
	g.modern.resolving = false
	news := false
	texts := make([]string, 0, len(found.Topics))
	for text := range found.Topics {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	for _, text := range texts {
		x, _ := g.modern.expressions.Get(text)
		if x.members == 0 {
			continue // nobody subscribes with it any more
		}
		news = news || !slices.Equal(x.topics, found.Topics[text])
		x.resolved, x.topics, x.version, x.atMs = true, found.Topics[text], found.Version, found.AtMs
		e.on(g).putExpression(text, x)
	}
	e.on(g).bump(s.env.Image(), news)
	return e.done()
}
