package natsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// domainsAnswerWithin is how long to wait for the streams' answers. Another domain is one leaf connection away.
const domainsAnswerWithin = 300 * time.Millisecond

// noStream is the name of a stream that does not exist. No stream stores a message that expects it.
const noStream = "LETHE_NO_SUCH_STREAM"

// notExpected is the server's error code for a publish that expects another stream (10060, JSStreamNotMatchErr).
const notExpected jetstream.ErrorCode = 10060

// CheckDomains returns ErrTwoDomains if a stream outside js's own domain also stores what is published on the subjects.
// Two JetStream domains connected by a leaf node, each with Lethe's streams, would give one request two ledgers.
// subjects maps each subject to the stream that should store it. The connection needs the permission to publish on
// them; without the permission to receive an answer, that answer is missed. Nothing is stored: each stream refuses a publish that expects
// another stream, and replies.
func CheckDomains(parent context.Context, js jetstream.JetStream, subjects map[string]string) error {
	nc := js.Conn()
	answers := map[string]*nats.Subscription{}
	for subject := range subjects {
		inbox := nc.NewInbox()
		sub, err := nc.SubscribeSync(inbox)
		if err != nil {
			return fmt.Errorf("check for other JetStream domains: %w", err)
		}
		defer func() { _ = sub.Unsubscribe() }()
		answers[subject] = sub
		probe := nats.NewMsg(subject)
		probe.Reply = inbox
		probe.Header.Set(jetstream.ExpectedStreamHeader, noStream)
		if err := nc.PublishMsg(probe); err != nil {
			return fmt.Errorf("check for other JetStream domains: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(parent, domainsAnswerWithin)
	defer cancel()
	<-ctx.Done()
	if parent.Err() != nil {
		return parent.Err()
	}
	for subject, sub := range answers {
		streams := refusals(sub)
		if streams == 1 {
			_, err := js.Stream(parent, subjects[subject])
			if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return fmt.Errorf("check for other JetStream domains: %w", err)
			}
			if err == nil {
				continue // the answer is from its own stream
			}
		}
		if streams > 0 {
			return fmt.Errorf("LETHE_JETSTREAM_DOMAIN: %w: a stream of another domain, connected by a leaf node, also stores the messages of %s; "+
				"keep the streams in one domain, and set LETHE_JETSTREAM_DOMAIN to its name for workers connected to another one", ErrTwoDomains, subjects[subject])
		}
	}
	return nil
}

// refusals counts the streams that answered.
func refusals(sub *nats.Subscription) (streams int) {
	for {
		msg, err := sub.NextMsg(0)
		if err != nil {
			return streams
		}
		var answer struct {
			Error *jetstream.APIError `json:"error"`
		}
		if json.Unmarshal(msg.Data, &answer) == nil && answer.Error != nil && answer.Error.ErrorCode == notExpected {
			streams++
		}
	}
}
