// Package check puts an object store to the proof: it does on the real thing what a broker
// will rely on, and says in words what holds, what does not and what to do about it.
//
// It owns the list of trials and their meaning. It does not decide what follows from a report.
// All that it writes lies below one prefix of its own, and is removed at the end; a store
// that can't delete keeps it, and the report says where. Run may be called at any time, beside
// brokers that use the same bucket.
package check

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/objstore"
)

// Verdict is how a trial went.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Broken  Verdict = "BROKEN"  // Varve needs it: do not use this store
	Missing Verdict = "missing" // Varve can do without
	Skipped Verdict = "skipped" // a trial before it failed, or it was not asked for
)

// Line is one trial.
type Line struct {
	Trial   string  `json:"trial"`
	Verdict Verdict `json:"verdict"`
	// Detail says what was seen, Advice what to do where the verdict is not OK.
	Detail string `json:"detail,omitempty"`
	Advice string `json:"advice,omitempty"`
	// Millis is how long it took.
	Millis float64 `json:"millis"`
}

// Report is what a run has found.
type Report struct {
	Lines []Line `json:"lines"`
	// Usable: nothing that Varve needs is broken.
	Usable bool `json:"usable"`
}

// Options of a run.
type Options struct {
	// Prefix of everything that is written, without a slash at its end.
	Prefix string
	// Large tries conditions on objects that go up in parts too: some 30 MiB of traffic.
	Large bool
	// Classes tries each storage class that the provider has, with an object of a few bytes.
	// Clouds charge a minimum time for the cold ones.
	Classes bool
	// Progress is told of each line when it is done; may be nil.
	Progress func(Line)
}

// run is a run under way.
type run struct {
	ctx    context.Context
	b      objstore.Bucket
	o      Options
	report Report
	failed bool // of what every other trial builds on
	seq    atomic.Int64
}

// partSize, in bytes, is the least that S3 takes for a part.
const partSize = 5 << 20

// Run tries a store. It always returns a report; what the store can't do is in there, not in
// an error.
func Run(ctx context.Context, b objstore.Bucket, o Options) Report {
	r := &run{ctx: ctx, b: b, o: o, report: Report{Usable: true}}
	defer r.cleanUp()
	caps := b.Capabilities()
	r.trial("list", true, r.list)
	r.trial("put, get, head", true, r.roundTrip)
	r.failed = !r.report.Usable
	r.trial("delete", true, r.delete)
	r.trial("list in order, from a key on", true, r.order)
	r.trial("ranges", true, r.ranges)
	r.trial("create only once", true, func() (string, error) { return r.createOnce(100) })
	r.trial("create race, 16 writers", true, func() (string, error) { return r.createRace() })
	r.trial("compare and swap", true, func() (string, error) { return r.swap(100) })
	if o.Large {
		r.trial("create only once, in parts", true, func() (string, error) { return r.createOnce(2*partSize + 1) })
		r.trial("compare and swap, in parts", true, func() (string, error) { return r.swap(2*partSize + 1) })
		r.trial("swap race in parts, 4 writers", true, r.swapRace)
	} else {
		r.skip("conditions in parts", "not asked for: --large")
	}
	r.trial("conditional delete", false, r.deleteIf)
	r.trial("checksum on write", false, r.checksum)
	r.trial("clock", false, r.clock)
	r.trial("latency", false, r.latency)
	r.settings()
	r.lifecycle()
	switch {
	case !o.Classes:
		r.skip("storage classes", "not asked for: --classes; the provider has "+names(caps.Classes))
	case len(caps.Classes) == 0:
		r.skip("storage classes", "the provider has none")
	default:
		for _, class := range caps.Classes {
			r.trial("class "+string(class), false, func() (string, error) { return r.class(class, class) })
		}
		for _, own := range slices.Sorted(maps.Keys(caps.ClassNames)) {
			class := caps.ClassNames[own]
			if slices.Contains(caps.Offline, class) {
				r.skip("class "+string(own), string(class)+", which objects are moved to later, and are restored from before they are read")
				continue
			}
			r.trial("class "+string(own), false, func() (string, error) {
				detail, err := r.class(own, class)
				return cmp.Or(detail, string(class)), err
			})
		}
	}
	return r.report
}

func names(classes []objstore.Class) string {
	if len(classes) == 0 {
		return "none"
	}
	var out []string
	for _, c := range classes {
		out = append(out, string(c))
	}
	return strings.Join(out, ", ")
}

// errNot marks what a store let happen, or did not do, without an error of its own.
type errNot string

func (e errNot) Error() string { return string(e) }

// trial runs one trial and notes how it went.
func (r *run) trial(name string, needed bool, try func() (detail string, err error)) {
	if r.failed {
		r.skip(name, "the store can't be used at all")
		return
	}
	begun := time.Now()
	detail, err := try()
	l := Line{Trial: name, Verdict: OK, Detail: detail, Millis: float64(time.Since(begun).Microseconds()) / 1000}
	if err != nil {
		l.Verdict, l.Detail, l.Advice = Missing, err.Error(), advice(name, err)
		if needed {
			l.Verdict, r.report.Usable = Broken, false
		}
	}
	r.note(l)
}

func (r *run) skip(name, why string) { r.note(Line{Trial: name, Verdict: Skipped, Detail: why}) }

func (r *run) note(l Line) {
	r.report.Lines = append(r.report.Lines, l)
	if r.o.Progress != nil {
		r.o.Progress(l)
	}
}

func (r *run) key(what string) string {
	return fmt.Sprintf("%s/%s-%d", r.o.Prefix, what, r.seq.Add(1))
}

func (r *run) put(key string, content []byte, o objstore.PutOpts) (objstore.Attrs, error) {
	if len(content) > partSize {
		o.PartSize = partSize
	}
	return r.b.Put(r.ctx, key, objstore.Bytes(content), o)
}

// fill is n bytes that differ with the letter.
func fill(letter byte, n int) []byte { return bytes.Repeat([]byte{letter}, n) }

func (r *run) list() (string, error) {
	_, err := r.b.List(r.ctx, r.o.Prefix, "", 1)
	return "", err
}

func (r *run) roundTrip() (string, error) {
	key := r.key("roundtrip")
	want := fill('a', 1000)
	a, err := r.put(key, want, objstore.PutOpts{Meta: map[string]string{objstore.TokenMeta: "here"}})
	if err != nil {
		return "", err
	}
	got, b, err := objstore.Get(r.ctx, r.b, key, 2000)
	switch {
	case err != nil:
		return "", err
	case !bytes.Equal(got, want):
		return "", errNot("what is read is not what was written")
	case a.Version == "" || a.Version != b.Version:
		return "", errNot(fmt.Sprintf("a write says version %q, a read %q", a.Version, b.Version))
	}
	h, err := r.b.Head(r.ctx, key)
	switch {
	case err != nil:
		return "", err
	case h.Size != int64(len(want)) || h.Meta[objstore.TokenMeta] != "here":
		return "", errNot("the store does not keep sizes or metadata")
	}
	return "", nil
}

func (r *run) delete() (string, error) {
	key := r.key("delete")
	if _, err := r.put(key, fill('a', 10), objstore.PutOpts{}); err != nil {
		return "", err
	}
	if err := r.b.Delete(r.ctx, key, r.key("never-was")); err != nil {
		return "", err
	}
	if _, err := r.b.Head(r.ctx, key); !errors.Is(err, objstore.ErrNotFound) {
		return "", errNot(fmt.Sprintf("a deleted object is still there (%v)", err))
	}
	return "", nil
}

func (r *run) order() (string, error) {
	at := r.key("order")
	var keys []string
	for _, name := range []string{"b", "a", "a0", "c/d", "c-d"} {
		keys = append(keys, at+"/"+name)
		if _, err := r.put(at+"/"+name, nil, objstore.PutOpts{}); err != nil {
			return "", err
		}
	}
	slices.Sort(keys)
	for i := -1; i < len(keys); i++ {
		after := ""
		if i >= 0 {
			after = keys[i]
		}
		var got []string
		for a, err := range objstore.All(r.ctx, r.b, at+"/", after) {
			if err != nil {
				return "", err
			}
			got = append(got, a.Key)
		}
		if !slices.Equal(got, keys[i+1:]) {
			return "", errNot(fmt.Sprintf("a list is not in the order of its keys, or not complete: %q", got))
		}
	}
	return "", nil
}

func (r *run) ranges() (string, error) {
	key := r.key("ranges")
	content := []byte("0123456789")
	a, err := r.put(key, content, objstore.PutOpts{})
	if err != nil {
		return "", err
	}
	p := make([]byte, 4)
	if _, err := r.b.GetRange(r.ctx, key, 3, p, a.Version); err != nil {
		return "", err
	}
	if string(p) != "3456" {
		return "", errNot(fmt.Sprintf("bytes 3 to 6 of 0123456789 are %q", p))
	}
	if _, err := r.b.GetRange(r.ctx, key, 8, p, ""); !errors.Is(err, objstore.ErrInvalidRange) {
		return "", errNot(fmt.Sprintf("a range beyond the end is answered with %v", err))
	}
	if _, err := r.put(key, []byte("9876543210"), objstore.PutOpts{}); err != nil {
		return "", err
	}
	if _, err := r.b.GetRange(r.ctx, key, 3, p, a.Version); !errors.Is(err, objstore.ErrPrecondition) {
		return "", errNot(fmt.Sprintf("a range of a version that is gone is answered with %v", err))
	}
	return "", nil
}

// createOnce creates an object twice, then a third time with the bytes of the first.
func (r *run) createOnce(size int) (string, error) {
	key := r.key("create")
	if _, err := r.put(key, fill('a', size), objstore.PutOpts{IfAbsent: true}); err != nil {
		return "", err
	}
	for _, letter := range []byte{'b', 'a'} {
		switch _, err := r.put(key, fill(letter, size), objstore.PutOpts{IfAbsent: true}); {
		case err == nil:
			return "", errNot("an object that exists was created again")
		case !errors.Is(err, objstore.ErrPrecondition):
			return "", err
		}
	}
	return "", r.holds(key, 'a', size)
}

func (r *run) holds(key string, letter byte, size int) error {
	got, _, err := objstore.Get(r.ctx, r.b, key, int64(size))
	if err == nil && !bytes.Equal(got, fill(letter, size)) {
		err = errNot("a refused write has changed the object")
	}
	return err
}

func (r *run) createRace() (string, error) {
	const writers = 16
	key := r.key("race")
	var won atomic.Int64
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, err := r.put(key, fill(byte('a'+i), 100), objstore.PutOpts{IfAbsent: true})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, objstore.ErrPrecondition) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	if won.Load() > 1 {
		return "", errNot(fmt.Sprintf("%d of %d writers created the same object", won.Load(), writers))
	}
	return "", errors.Join(errs...)
}

func (r *run) swap(size int) (string, error) {
	key := r.key("swap")
	first, err := r.put(key, fill('a', size), objstore.PutOpts{})
	if err != nil {
		return "", err
	}
	second, err := r.put(key, fill('b', size), objstore.PutOpts{IfVersion: first.Version})
	switch {
	case err != nil:
		return "", err
	case second.Version == first.Version:
		return "", errNot("a write of other bytes has the version of those before")
	}
	switch _, err := r.put(key, fill('c', size), objstore.PutOpts{IfVersion: first.Version}); {
	case err == nil:
		return "", errNot("a write under an old version went through")
	case !errors.Is(err, objstore.ErrPrecondition):
		return "", err
	}
	return "", r.holds(key, 'b', size)
}

func (r *run) deleteIf() (string, error) {
	d, ok := r.b.(objstore.ConditionalDeleter)
	if !ok || !r.b.Capabilities().DeleteIf {
		return "", objstore.NewError(objstore.ErrUnsupported, "delete", "", nil)
	}
	key := r.key("deleteif")
	first, err := r.put(key, fill('a', 10), objstore.PutOpts{})
	if err != nil {
		return "", err
	}
	second, err := r.put(key, fill('b', 10), objstore.PutOpts{})
	if err != nil {
		return "", err
	}
	if err := d.DeleteIf(r.ctx, key, first.Version); !errors.Is(err, objstore.ErrPrecondition) {
		return "", errNot(fmt.Sprintf("a delete of an old version is answered with %v", err))
	}
	if err := d.DeleteIf(r.ctx, key, second.Version); err != nil {
		return "", err
	}
	return "", r.deleteRace(d)
}

func (r *run) checksum() (string, error) {
	if !r.b.Capabilities().Checksum {
		return "", objstore.NewError(objstore.ErrUnsupported, "put", "", errors.New("the provider is told to send none"))
	}
	key := r.key("checksum")
	src := objstore.Bytes(fill('a', 100))
	src.CRC32C++
	switch _, err := r.b.Put(r.ctx, key, src, objstore.PutOpts{}); {
	case err == nil:
		return "", errNot("a write with a wrong checksum was taken")
	case !errors.Is(err, objstore.ErrCorrupt):
		return "", err
	}
	good, err := r.put(key, fill('a', 100), objstore.PutOpts{})
	if err != nil {
		return "", err
	}
	h, err := r.b.Head(r.ctx, key)
	if err == nil && !h.HasCRC {
		return "checked on write, not told afterwards", nil
	}
	if err == nil && good.HasCRC && h.CRC32C != good.CRC32C {
		err = errNot("the store tells another checksum than it was given")
	}
	return "", err
}

// clock compares the store's idea of now with ours. Signatures bear a quarter of an hour.
func (r *run) clock() (string, error) {
	const bearable = time.Minute
	key := r.key("clock")
	before := time.Now()
	if _, err := r.put(key, nil, objstore.PutOpts{}); err != nil {
		return "", err
	}
	h, err := r.b.Head(r.ctx, key)
	if err != nil {
		return "", err
	}
	skew := h.Modified.Sub(before).Round(time.Second)
	if skew.Abs() > bearable {
		return "", fmt.Errorf("the store's clock is %v away from this machine's; keep both by NTP, requests are refused from 15 minutes on", skew)
	}
	return fmt.Sprintf("%v apart", skew), nil
}

// latency is the median of a few small requests.
func (r *run) latency() (string, error) {
	const rounds = 7
	var puts, gets []time.Duration
	p := make([]byte, 100)
	for range rounds {
		key := r.key("latency")
		begun := time.Now()
		if _, err := r.put(key, fill('a', 100), objstore.PutOpts{}); err != nil {
			return "", err
		}
		puts = append(puts, time.Since(begun))
		begun = time.Now()
		if _, err := r.b.GetRange(r.ctx, key, 0, p, ""); err != nil {
			return "", err
		}
		gets = append(gets, time.Since(begun))
	}
	slices.Sort(puts)
	slices.Sort(gets)
	return fmt.Sprintf("put %.1f ms, get %.1f ms, 100 bytes, median of %d",
		puts[rounds/2].Seconds()*1000, gets[rounds/2].Seconds()*1000, rounds), nil
}

// class writes an object in the class that goes by a name.
func (r *run) class(name, class objstore.Class) (string, error) {
	key := r.key("class")
	if _, err := r.put(key, fill('a', 10), objstore.PutOpts{Class: name}); err != nil {
		return "", err
	}
	h, err := r.b.Head(r.ctx, key)
	switch {
	case err != nil:
		return "", err
	case h.Offline:
		return "", fmt.Errorf("objects of it have to be restored before they can be read")
	case h.Class != class && !(h.Class == "" && class == "STANDARD"):
		return "", fmt.Errorf("the store takes the name and keeps the object as %q", h.Class)
	}
	return "", nil
}

// cleanUp removes what was written, whatever became of the context.
func (r *run) cleanUp() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), time.Minute)
	defer cancel()
	var keys []string
	var err error
	for a, lerr := range objstore.All(ctx, r.b, r.o.Prefix+"/", "") {
		if err = lerr; err != nil {
			break
		}
		keys = append(keys, a.Key)
	}
	if err = errors.Join(err, r.b.Delete(ctx, keys...)); err != nil && !r.failed {
		r.note(Line{Trial: "clean up", Verdict: Missing, Detail: err.Error(), Advice: "delete what lies below " + r.o.Prefix + " yourself"})
	}
}
