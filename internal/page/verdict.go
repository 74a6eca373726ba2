package page

import (
	"fmt"
	"strings"
)

// level is how bad a situation is. The words are those of the style sheet.
type level string

const (
	good    level = "good"
	caution level = "caution" // deletions are made, or a person stopped them
	bad     level = "bad"     // requests are not answered
	idle    level = "idle"    // a lane that this worker does not serve
)

// verdict is the situation in one sentence.
type verdict struct {
	Level    level
	Word     string // beside the sign, for a reader who sees no colour
	Sentence string
	More     string // a second sentence, "" for none
}

// levelOf is how bad the state of a lane is.
func levelOf(lane Lane) level {
	switch {
	case lane.State == "off" && lane.NotServed:
		return idle
	case lane.State == "running" && len(lane.Problems) == 0:
		return good
	case lane.State == "running", lane.State == "throttled", lane.State == "paused":
		return caution
	default: // also a state that a newer worker adds
		return bad
	}
}

// judge returns the verdict on a situation.
func judge(s Situation) verdict {
	if s.NotReady != "" {
		v := verdict{Level: bad, Word: "Not working", Sentence: "This worker deletes nothing: " + sentence(s.NotReady)}
		if len(s.Lanes) > 0 {
			v.More = "Requests wait in NATS; none is lost."
		}
		return v
	}
	var blocked, impaired []Lane
	served := 0
	for _, lane := range s.Lanes {
		switch levelOf(lane) {
		case bad:
			blocked = append(blocked, lane)
			served++
		case caution:
			impaired = append(impaired, lane)
			served++
		case good:
			served++
		}
	}
	switch {
	case len(blocked) > 0:
		return stopped(blocked, served)
	case len(impaired) > 0:
		return slowed(impaired, served)
	case served == 0:
		return verdict{Level: caution, Word: "Idle", Sentence: "This worker serves no lane."}
	default:
		return verdict{Level: good, Word: "All well", Sentence: running(s, served), More: failures(s)}
	}
}

// running describes a worker without problems.
func running(s Situation, served int) string {
	var waiting uint64
	known := true
	for _, lane := range s.Lanes {
		if lane.Waiting == nil {
			known = false
			continue
		}
		waiting += *lane.Waiting
	}
	text := "Every lane is running"
	if served == 1 {
		text = "The lane is running"
	}
	switch {
	case !known:
		return text + "."
	case waiting == 0:
		return text + " and no request waits."
	case waiting == 1:
		return text + "; one request waits."
	default:
		return text + "; " + grouped(waiting) + " requests wait."
	}
}

// failures describes how many requests failed. They are not a problem of a lane.
func failures(s Situation) string {
	var failed uint64
	for _, lane := range s.Lanes {
		if lane.Failed != nil {
			failed += *lane.Failed
		}
	}
	switch failed {
	case 0:
		return ""
	case 1:
		return "One failed result is kept; see the failed requests below."
	default:
		return grouped(failed) + " failed results are kept; see the failed requests below."
	}
}

// stopped is the verdict on lanes that answer no requests.
func stopped(lanes []Lane, served int) verdict {
	first := lanes[0]
	v := verdict{Level: bad, Word: title(first.State), Sentence: first.Target + " is " + stateAndReason(first)}
	if len(lanes) > 1 {
		v.Word = "Stopped"
		v.Sentence = fmt.Sprintf("%d of %d lanes answer no requests: %s.", len(lanes), served, names(lanes))
	}
	v.More = "Requests wait in NATS; none is lost."
	if others := served - len(lanes); others > 0 && len(lanes) == 1 {
		v.More += " Other lanes are not affected."
	}
	return v
}

// slowed is the verdict on lanes that a person stopped, or that are slower than they could be.
func slowed(lanes []Lane, served int) verdict {
	first := lanes[0]
	v := verdict{Level: caution, Word: title(first.State), Sentence: first.Target + " is " + stateAndReason(first)}
	if first.State == "running" {
		v.Word, v.Sentence = "Attention", first.Target+" is running, but "+reason(first)
	}
	if len(lanes) > 1 {
		v.Word = "Attention"
		v.Sentence = fmt.Sprintf("%d of %d lanes need attention: %s.", len(lanes), served, names(lanes))
	}
	return v
}

func names(lanes []Lane) string {
	var all []string
	for _, lane := range lanes {
		all = append(all, lane.Target+" is "+lane.State)
	}
	return strings.Join(all, ", ")
}

func reason(lane Lane) string {
	if len(lane.Problems) == 0 {
		return "no reason is known."
	}
	return sentence(lane.Problems[0].Reason)
}

// stateAndReason is "paused by a person", or "failing: the API does not answer".
func stateAndReason(lane Lane) string {
	why := reason(lane)
	if strings.HasPrefix(why, lane.State+" ") {
		return why
	}
	return lane.State + ": " + why
}

// sentence ends a text with one full stop.
func sentence(text string) string { return strings.TrimRight(text, ". ") + "." }

// title begins a text with a capital letter.
func title(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
