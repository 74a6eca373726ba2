package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is a message as a stream holds it.
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

// firstMessage is LastMessage for the first one.
func firstMessage(ctx context.Context, js jetstream.JetStream, stream, subject string) (*Message, error) {
	return NextMessage(ctx, js, stream, subject, 1)
}

// NextMessage is LastMessage for the first one from a sequence on.
func NextMessage(ctx context.Context, js jetstream.JetStream, stream, subject string, from uint64) (*Message, error) {
	return leaderGet(ctx, js, stream, get{Seq: from, Next: subject})
}

// APISubject is the subject of a JetStream API call, in the domain that js speaks to.
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

// leaderGet speaks the API itself, for nats.go would use a direct get wherever
// the stream allows one (ADR-31 tells the two apart).
func leaderGet(ctx context.Context, js jetstream.JetStream, stream string, get get) (*Message, error) {
	request, err := json.Marshal(get)
	if err != nil {
		return nil, err
	}
	reply, err := js.Conn().RequestWithContext(ctx, APISubject(js, "STREAM.MSG.GET."+stream), request)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", stream, err)
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
		return nil, fmt.Errorf("look at %s: %w", stream, err)
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, nil
		}
		return nil, fmt.Errorf("look at %s: %w", stream, answer.Error)
	}
	m := answer.Message
	// The server takes any bytes for headers. Ours can be read, so a message whose
	// headers cannot has none that count.
	header, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		header = nil
	}
	return &Message{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Header: header, Data: m.Data}, nil
}
