package streams

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// checkStream refuses a stream that could drop a request or a record, or accept one
// that the ledger's guard does not see.
func checkStream(c jetstream.StreamConfig) error {
	for _, check := range []func(jetstream.StreamConfig) (setting, why string){checkOrigin, checkSubjects, checkRetention, checkLimits, checkWrites} {
		if setting, why := check(c); setting != "" {
			return &Problem{Stream: c.Name, Setting: setting, Why: why}
		}
	}
	return nil
}

// checkOrigin refuses a stream that contains messages from elsewhere than their subject.
func checkOrigin(c jetstream.StreamConfig) (setting, why string) {
	const alone = "messages must come directly from their publishers, on their own subjects; remove it"
	switch {
	case c.Mirror != nil:
		return "mirror", alone
	case len(c.Sources) > 0:
		return "sources", alone
	case c.SubjectTransform != nil:
		return "subject_transform", alone
	}
	return "", ""
}

// checkSubjects refuses a stream that misses messages, or stores messages that no lane
// processes.
func checkSubjects(c jetstream.StreamConfig) (setting, why string) {
	want := subjects(c.Name)
	for _, subject := range c.Subjects {
		if !slices.Contains(want, subject) {
			return "subject " + subject, "messages on it would be stored and never processed; the subjects must be exactly " + strings.Join(want, ", ")
		}
	}
	for _, subject := range want {
		if !slices.Contains(c.Subjects, subject) {
			return "subject " + subject + " is missing", "messages on it would be refused or stored elsewhere; `lethe setup` adds it"
		}
	}
	return "", ""
}

// checkRetention refuses what removes a message that is still needed.
func checkRetention(c jetstream.StreamConfig) (setting, why string) {
	if c.Name == Control {
		return checkControlRetention(c)
	}
	queue := c.Name != events.StreamResults
	switch {
	case c.Storage != jetstream.FileStorage:
		return "storage " + c.Storage.String(), "memory does not survive a restart; it must be file"
	case queue && c.Retention != jetstream.WorkQueuePolicy:
		return "retention " + c.Retention.String(), "it must be workqueue, which keeps a message until it is acknowledged"
	case !queue && c.Retention != jetstream.LimitsPolicy:
		return "retention " + c.Retention.String(), "it must be limits, which keeps results after they were read"
	case queue && c.MaxAge > 0:
		return "max_age " + c.MaxAge.String(), "requests would be dropped when they grow old; it must be 0"
	case c.Name == events.StreamRequests && c.AllowMsgTTL:
		return "allow_msg_ttl", "a publisher could let a request expire; create the stream without it"
	case c.Name == events.StreamRequests && (c.AllowMsgSchedules || c.AllowRollup):
		return "allow_rollup_hdrs", "a publisher could delete waiting requests with one header; turn it off"
	case c.SubjectDeleteMarkerTTL > 0:
		return "subject_delete_marker_ttl", "the server would write markers among results and attempts; unset it"
	}
	return "", ""
}

// minLaterBytes is the smallest limit of DELETION_LATER: what workers schedule within
// a second must fit into a quarter of it.
const minLaterBytes = 256 << 20

// checkLimits refuses limits by which a stream drops a message, or refuses one that a
// lane needs. DELETION_LATER may be limited in bytes only: see [LaterFullAt].
func checkLimits(c jetstream.StreamConfig) (setting, why string) {
	if c.Name == Control {
		return checkControlLimits(c)
	}
	later := c.Name == events.StreamLater
	limited := c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxMsgsPerSubject > 0
	switch {
	case c.MaxMsgSize > 0 && int64(c.MaxMsgSize) < minPayload:
		return fmt.Sprintf("max_msg_size %d", c.MaxMsgSize), fmt.Sprintf("results and retries would not fit; it must be at least %d bytes, or -1", minPayload)
	case later && (c.MaxMsgs > 0 || c.MaxMsgsPerSubject > 0):
		return "a limit of messages", "a retry would be dropped; remove max_msgs and max_msgs_per_subject"
	case later && c.MaxBytes > 0 && c.MaxBytes < minLaterBytes:
		return fmt.Sprintf("max_bytes %d", c.MaxBytes), fmt.Sprintf("retries could be dropped; it must be at least %d, or -1", minLaterBytes)
	case later:
		return "", ""
	case limited && c.Discard != jetstream.DiscardNew:
		return "discard old with a limit", "old messages would be dropped for new ones; remove the limit or set discard new"
	case c.Name == events.StreamResults && c.DiscardNewPerSubject:
		return "discard_new_per_subject", "a request's next result or attempt would be refused; remove it and max_msgs_per_subject"
	case c.MaxMsgsPerSubject > 0 && !c.DiscardNewPerSubject:
		return "max_msgs_per_subject", "old messages would be dropped for new ones; remove the limit"
	}
	return "", ""
}

// checkWrites refuses what prevents messages from being stored, or the publisher from
// knowing it.
func checkWrites(c jetstream.StreamConfig) (setting, why string) {
	switch {
	case c.PersistMode != jetstream.DefaultPersistMode:
		return "persist_mode " + c.PersistMode.String(), "acknowledged messages could be lost; it must be default"
	case c.NoAck:
		return "no_ack", "publishes would not be acknowledged; unset it"
	case c.Sealed:
		return "sealed", "nothing can be stored; create the stream again"
	case c.Name == Control && !c.AllowMsgTTL:
		return "allow_msg_ttl is missing", "heartbeats would be refused; `lethe setup` sets it"
	case c.Name == events.StreamResults && c.AllowMsgCounter:
		return "allow_msg_counter", "results would be refused; create the stream without it"
	case c.Name == events.StreamLater && !c.AllowMsgSchedules:
		return "allow_msg_schedules is missing", "retries could not be scheduled; `lethe setup` sets it"
	}
	return "", ""
}

// checkResultsAge refuses a results stream whose messages expire while their
// request may still be open. least is that of [Settings].
func checkResultsAge(c jetstream.StreamConfig, least time.Duration) error {
	if c.MaxAge == 0 || c.MaxAge >= least {
		return nil
	}
	return &Problem{
		Stream: c.Name, Setting: "max_age " + c.MaxAge.String(),
		Why: fmt.Sprintf("results would expire while their request is open; it must be 0 (forever) or at least %s: `nats stream edit %s --max-age` sets it; or shorten LETHE_RETRY_MAX_ELAPSED", least, c.Name),
	}
}

// longerAge returns the longer of two ages of a stream, where 0 means forever.
func longerAge(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}
