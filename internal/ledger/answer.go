package ledger

import (
	"strconv"
	"strings"
	"time"

	"github.com/lethe-dev/lethe/internal/text"
)

// Answer is what the API answered last to a request that is still open: for people who
// ask why it waits. No decision depends on it.
type Answer struct {
	// Status is the HTTP status, 0 if no answer came.
	Status int
	// Message is the API's message, or why no answer came: one line of at most
	// [MaxAnswer] bytes, without a credential.
	Message string
	// At is when that was observed, in UTC. Zero where no answer is known.
	At time.Time
}

// MaxAnswer is the longest message of an [Answer], in bytes.
const MaxAnswer = 300

// NewAnswer returns an answer that fits into a header. message must not show a
// credential.
func NewAnswer(status int, message string, at time.Time) Answer {
	return Answer{Status: max(status, 0), Message: text.Line(message, MaxAnswer), At: at.UTC()}
}

// Text returns the status and the message. A status that the message begins with is not
// repeated.
func (a Answer) Text() string {
	message := text.Line(a.Message, maxText)
	status := strconv.Itoa(a.Status)
	switch {
	case a.Status == 0 && message == "":
		return "no message"
	case a.Status == 0 || strings.HasPrefix(message, status):
		return message
	case message == "":
		return status
	default:
		return status + " " + message
	}
}

// maxText is the longest message of a result's evidence that is shown, in bytes.
const maxText = 1024

// write sets the header of an answer, or removes it if no answer is known: the status,
// the time and the message with a space between them.
func (a Answer) write(to *headerWriter) {
	to.Del(headerAnswer)
	if !a.At.IsZero() {
		to.Set(headerAnswer, strings.TrimSpace(strconv.Itoa(a.Status)+" "+a.At.UTC().Format(time.RFC3339Nano)+" "+a.Message))
	}
}

// readAnswer reads what write wrote. Anything else is no answer.
func readAnswer(header string) Answer {
	first, rest, _ := strings.Cut(header, " ")
	second, message, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(first)
	if err != nil || status < 0 {
		return Answer{}
	}
	at, err := time.Parse(time.RFC3339Nano, second)
	if err != nil {
		return Answer{}
	}
	return NewAnswer(status, message, at)
}
