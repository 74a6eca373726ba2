package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/internal/streams"
)

// ackReply begins the reply subject of every message that a consumer delivers.
const ackReply = "$JS.ACK."

// pullSlack is how much longer than pullWait a pull waits for the server's reply.
const pullSlack = 2 * pullWait

// heartbeats is how many status messages of the server fit beside the messages.
const heartbeats = 16

// pull requests up to maxMessages messages from a durable consumer, waits about pullWait,
// and calls each with every message. It returns early once it has all, and fails if the
// server refuses or does not reply. It returns at once when ctx ends; the server delivers
// messages that it has sent by then again after ack_wait.
//
// It implements the protocol (ADR-13) itself. nats.go recognizes the server's status
// messages by a Status header and an empty body, which any publisher can write: such a
// request would end each pull that fetches it, and would never be answered. Here a
// message with an ack reply subject is never a status message.
func pull(ctx context.Context, js jetstream.JetStream, stream, consumer string, maxMessages int, each func(*nats.Msg)) error {
	nc := js.Conn()
	inbox := nc.NewInbox()
	messages := make(chan *nats.Msg, maxMessages+heartbeats)
	sub, err := nc.ChanSubscribe(inbox, messages)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails on a closed connection alone
	request, err := json.Marshal(map[string]int64{"batch": int64(maxMessages), "expires": int64(pullWait)})
	if err != nil {
		return err
	}
	if err := nc.PublishRequest(streams.APISubject(js, "CONSUMER.MSG.NEXT."+stream+"."+consumer), inbox, request); err != nil {
		return err
	}
	timeout := time.NewTimer(pullWait + pullSlack)
	defer timeout.Stop()
	for maxMessages > 0 {
		var msg *nats.Msg
		select {
		case msg = <-messages:
		case <-ctx.Done():
			return nil // messages that arrive now are delivered again
		case <-timeout.C:
			return fmt.Errorf("consumer %s of %s: no reply from the server", consumer, stream)
		}
		if strings.HasPrefix(msg.Reply, ackReply) {
			maxMessages--
			each(msg)
			continue
		}
		switch status, description := msg.Header.Get("Status"), msg.Header.Get("Description"); {
		case status == "100": // a heartbeat
		case status == "404", status == "408", status == "409" && description == "Batch Completed": // no more messages
			return nil
		default:
			return fmt.Errorf("consumer %s of %s: the server says %s", consumer, stream, strings.TrimSpace(status+" "+description))
		}
	}
	return nil
}

// pullWait is how long one pull waits for messages. It is short because a pull is never
// interrupted: the server would deliver messages that it has sent already again only
// after ackWait.
const pullWait = time.Second
