package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is a message in a stream.
type Message struct {
	Subject string
	Seq     uint64
	Time    time.Time
	Header  nats.Header
	Data    []byte
}

// LastMessage asks the leader of a stream for the last message on a subject,
// which may be a filter. It returns nil if there is none.
func LastMessage(ctx context.Context, js jetstream.JetStream, stream, subject string) (*Message, error) {
	return leaderGet(ctx, js, stream, get{Last: subject})
}

// firstMessage is [LastMessage] for the first message.
func firstMessage(ctx context.Context, js jetstream.JetStream, stream, subject string) (*Message, error) {
	return NextMessage(ctx, js, stream, subject, 1)
}

// NextMessage is [LastMessage] for the first message whose sequence is at least from.
func NextMessage(ctx context.Context, js jetstream.JetStream, stream, subject string, from uint64) (*Message, error) {
	return leaderGet(ctx, js, stream, get{Seq: from, Next: subject})
}

// APISubject returns the subject of a JetStream API call in js's domain.
func APISubject(js jetstream.JetStream, call string) string {
	if domain := js.Options().Domain; domain != "" {
		return "$JS." + domain + ".API." + call
	}
	return "$JS.API." + call
}

// get is JSApiMsgGetRequest of nats-server.
type get struct {
	Seq  uint64 `json:"seq,omitzero"`
	Last string `json:"last_by_subj,omitzero"`
	Next string `json:"next_by_subj,omitzero"`
}

// leaderGet calls the API itself, because nats.go uses a direct get, which any replica
// may answer, if the stream allows it (ADR-31).
func leaderGet(ctx context.Context, js jetstream.JetStream, stream string, get get) (*Message, error) {
	request, err := json.Marshal(get)
	if err != nil {
		return nil, err
	}
	if _, limited := ctx.Deadline(); !limited { // as nats.go's own calls: a reply can get lost
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, js.Options().DefaultTimeout)
		defer cancel()
	}
	reply, err := js.Conn().RequestWithContext(ctx, APISubject(js, "STREAM.MSG.GET."+stream), request)
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", stream, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("read from %s: %w", stream, err)
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, nil
		}
		return nil, fmt.Errorf("read from %s: %w", stream, answer.Error)
	}
	m := answer.Message
	// The server accepts any bytes as headers. Lethe's own are readable, so unreadable
	// ones are ignored.
	header, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		header = nil
	}
	return &Message{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Header: header, Data: m.Data}, nil
}
