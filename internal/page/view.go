package page

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// view is what the template shows.
type view struct {
	Title   string
	Verdict verdict
	Now     *moment

	Instance, Version string
	Counted           *moment // when the server was asked for its counts
	Unread            []string

	Query  string
	Answer *answerView

	Lanes     []laneView
	Charts    []chart
	From, Mid string // the beginning and the middle of the charts
	Failed    []entryView
	Overdue   []entryView
	Attention []string // what of the lists could not be read
	Streams   []streamView
}

type laneView struct {
	Target, State                      string
	Level                              level
	Problems                           []problemView
	Waiting, InFlight, Scheduled, Kept string
	Oldest                             string
	Calls, Limit                       string
	Next                               *moment
}

type problemView struct {
	ID, State, Reason, Fix string
	Since                  *moment
}

type entryView struct {
	ID, Target, Reason, Command string
	At                          *moment
}

type streamView struct {
	Name, Messages, Bytes, Limit, Full string
	Level                              level
}

type answerView struct {
	Error   string
	Missing string
	Stories []storyView
}

type storyView struct {
	Story
	Level level
	Lines []storyLine
}

type storyLine struct {
	At         *moment
	What, Text string
}

// view gathers what the page shows.
func (p *Page) view(r *http.Request) view {
	s, now := p.source.Situation(), p.now()
	v := view{
		Verdict: judge(s), Now: momentOf(now, now), Instance: s.Instance, Version: s.Version,
		Counted: momentOf(s.CountedAt, now), Unread: s.Unread,
		Query: strings.TrimSpace(r.FormValue("id")),
	}
	v.Title = v.Verdict.Word + ": " + shortest(v.Verdict.Sentence) + " · Lethe"
	var targets []string
	for _, lane := range s.Lanes {
		v.Lanes = append(v.Lanes, laneViewOf(lane, now))
		targets = append(targets, lane.Target)
	}
	samples := p.history.read()
	v.Charts = charts(samples, targets, now)
	window := int(windowOf(samples, now).Minutes())
	v.From, v.Mid = fmt.Sprintf("%d min ago", window), fmt.Sprintf("%d min", window/2)
	for _, stream := range s.Streams {
		v.Streams = append(v.Streams, streamViewOf(stream))
	}
	if len(s.Lanes) == 0 { // the worker was never connected
		v.Attention = []string{"not connected to NATS"}
	} else {
		p.viewAttention(r.Context(), &v, now)
	}
	if v.Query != "" {
		v.Answer = p.viewAnswer(r.Context(), v.Query, now)
		v.Title = v.Query + " · " + v.Title
	}
	return v
}

// shortest is the beginning of a sentence, for a title.
func shortest(text string) string {
	before, _, _ := strings.Cut(text, ":")
	return strings.TrimRight(before, ".")
}

func laneViewOf(lane Lane, now time.Time) laneView {
	v := laneView{
		Target: lane.Target, State: lane.State, Level: levelOf(lane),
		Waiting: count(lane.Waiting), InFlight: count(lane.InFlight), Scheduled: count(lane.Scheduled), Kept: count(lane.Failed),
		Oldest: "unknown", Next: momentOf(lane.NextCall, now),
	}
	if lane.Oldest != nil {
		v.Oldest = "none"
		if *lane.Oldest > 0 {
			v.Oldest = about(*lane.Oldest)
		}
	}
	if lane.State != "off" {
		v.Calls = fmt.Sprintf("%d of at most %d calls in flight", lane.Calls, lane.MaxCalls)
		v.Limit = "no rate limit is known"
		if lane.CallsLimit > 0 {
			v.Limit = "at most " + short(lane.CallsLimit) + " calls a second"
		}
	}
	for i, p := range lane.Problems {
		v.Problems = append(v.Problems, problemView{
			ID: fmt.Sprintf("fix-%s-%d", lane.Target, i), State: p.State, Reason: title(sentence(p.Reason)), Fix: sentence(p.Fix), Since: momentOf(p.Since, now),
		})
	}
	return v
}

func streamViewOf(s Stream) streamView {
	v := streamView{Name: s.Name, Messages: grouped(s.Messages), Bytes: size(s.Bytes), Limit: "no limit", Full: "–", Level: good}
	if s.MaxBytes > 0 {
		percent := float64(s.Bytes) / float64(s.MaxBytes) * 100
		v.Limit, v.Full = size(uint64(s.MaxBytes)), fmt.Sprintf("%.0f %%", percent)
		switch {
		case percent >= 90:
			v.Level = bad
		case percent >= 75:
			v.Level = caution
		}
	}
	return v
}

// viewAttention adds the failed and the overdue requests.
func (p *Page) viewAttention(ctx context.Context, v *view, now time.Time) {
	found, err := p.attention.get(ctx, attentionFor, p.source.Attention)
	v.Attention = found.Unread
	if err != nil {
		v.Attention = append(v.Attention, err.Error())
	}
	for _, e := range found.Failed {
		v.Failed = append(v.Failed, entryView{e.ID, e.Target, e.Reason, "lethe failed replay " + e.ID, momentOf(e.At, now)})
	}
	for _, e := range found.Overdue {
		v.Overdue = append(v.Overdue, entryView{e.ID, e.Target, e.Reason, "lethe show " + e.ID, momentOf(e.At, now)})
	}
}

func (p *Page) viewAnswer(ctx context.Context, id string, now time.Time) *answerView {
	if !requestID.MatchString(id) {
		return &answerView{Error: "This is not a request id: one has 1 to 64 letters, digits, hyphens and underscores."}
	}
	found, err := p.find(ctx, id)
	if err != nil {
		return &answerView{Error: "The request cannot be read: " + sentence(err.Error())}
	}
	v := &answerView{Missing: found.Missing}
	for _, story := range found.Stories {
		s := storyView{Story: story, Level: storyLevel(story.State)}
		for _, l := range story.Lines {
			s.Lines = append(s.Lines, storyLine{momentOf(l.Time, now), l.What, l.Text})
		}
		v.Stories = append(v.Stories, s)
	}
	return v
}

// storyLevel is the colour of a request's state, which is also shown as text.
func storyLevel(state string) level {
	switch {
	case strings.Contains(state, "overdue"), strings.Contains(state, "failed"):
		return bad
	case strings.Contains(state, "final"):
		return good
	case strings.Contains(state, "retrying"), strings.Contains(state, "unanswered"):
		return caution
	default:
		return idle
	}
}
