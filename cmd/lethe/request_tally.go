package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/events"
)

// publication is a request stored in the stream.
type publication struct {
	ID        string        `json:"id"`
	Target    events.Target `json:"target"`
	Sequence  uint64        `json:"sequence,omitzero"`
	Duplicate bool          `json:"duplicate"`
	// Answered is the time of the request's earlier final result, if it has one.
	Answered time.Time      `json:"answered_before,omitzero"`
	Outcome  events.Outcome `json:"outcome,omitempty"`

	fingerprint string
	before      *storedResult
}

func (p publication) print(w io.Writer, output string) error {
	if output == "json" {
		return printJSON(w, p)
	}
	_, err := fmt.Fprintln(w, p.ID)
	return err
}

// tally counts the rows by what happened to them.
type tally struct {
	added, published, answered int       // new, published before, answered before
	first, last                time.Time // of the earlier results
	unconfirmed                int
	reasons                    map[string]int // of refusals
	examples                   []string       // the first refusals in full
}

// count adds a stored request to the tally: as new or as a repeat.
func (t *tally) count(p *publication, out *pending) {
	p.fingerprint = events.Fingerprint(out.Resource)
	before := out.before
	switch {
	case before == nil && p.Duplicate:
		t.published++
	case before == nil:
		t.added++
	case !before.names(p.fingerprint):
		// It was published nevertheless, so that it gets a result.
		t.refuse("id reused for another resource", fmt.Errorf("%s: the id is already used for another resource; "+
			"the result is %s, %s, under %[4]s; `lethe show %[4]s` shows it", p.ID, events.Invalid, events.CodeIDReused, events.SequenceID(p.Sequence)))
	case !before.Outcome.Final():
		p.before = before
		t.published++
	default:
		p.before, p.Answered, p.Outcome = before, before.Time, before.Outcome
		t.answered++
		if t.first.IsZero() || before.Time.Before(t.first) {
			t.first = before.Time
		}
		if before.Time.After(t.last) {
			t.last = before.Time
		}
	}
}

// maxExamples is how many refusals the summary shows in full.
const maxExamples = 10

func (t *tally) refuse(reason string, err error) {
	t.reasons[reason]++
	if len(t.examples) < maxExamples {
		t.examples = append(t.examples, err.Error())
	}
}

func (t *tally) refused() int {
	n := 0
	for _, count := range t.reasons {
		n += count
	}
	return n
}

// summary prints the counts and the reasons of the refusals.
func (t *tally) summary(w io.Writer, batch string) {
	line := fmt.Sprintf("%d new, %d published before, %d answered before", t.added, t.published, t.answered)
	if t.answered > 0 {
		line += " (" + span(t.first, t.last) + ")"
	}
	line += fmt.Sprintf(", %d refused", t.refused())
	if t.unconfirmed > 0 {
		line += fmt.Sprintf(", %d not confirmed", t.unconfirmed)
	}
	_, _ = fmt.Fprintln(w, line)
	t.refusals(w)
	if batch != "" {
		_, _ = fmt.Fprintf(w, "to resume: --batch %s\n", argument(batch))
	}
}

func (t *tally) refusals(w io.Writer) {
	byCount := func(a, b string) int { return cmp.Or(t.reasons[b]-t.reasons[a], cmp.Compare(a, b)) }
	for _, reason := range slices.SortedFunc(maps.Keys(t.reasons), byCount) {
		_, _ = fmt.Fprintf(w, "  %d × %s\n", t.reasons[reason], oneLine(errors.New(reason)))
	}
	for _, example := range t.examples {
		_, _ = fmt.Fprintf(w, "    %s\n", oneLine(errors.New(example)))
	}
}

// span formats one time, or a range of two.
func span(first, last time.Time) string {
	from, to := dateTime(first), dateTime(last)
	if from == to {
		return from
	}
	return from + " to " + to
}

func dateTime(t time.Time) string { return t.Local().Format(time.DateTime) }

// argument quotes a text as one argument of a shell.
func argument(text string) string {
	if plainText.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

var plainText = regexp.MustCompile(`^[A-Za-z0-9_.:/-]+$`)

// checkBatch accepts a name that can be printed and given again.
func checkBatch(name string) error {
	const limit = 128
	if len(name) > limit || strings.TrimSpace(name) != name || printable(name) != name || strings.ContainsRune(name, '\uFFFD') {
		return usageError("--batch: must be 1 to %d bytes of printable text without leading or trailing spaces", limit)
	}
	return nil
}
