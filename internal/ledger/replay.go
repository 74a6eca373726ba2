package ledger

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

// Replay returns the message that has a failed request tried again. seq is the
// sequence of the failed result on DELETION_RESULTS: the new result follows it,
// and once something does, replaying that failure again changes nothing.
func Replay(failed events.Result, seq uint64) (*nats.Msg, error) {
	if failed.Outcome != events.Failed {
		return nil, fmt.Errorf("its result is %s, not %s", failed.Outcome, events.Failed)
	}
	request := events.NewRequest(failed.RequestSource, failed.Resource)
	request.ID = failed.RequestID
	body, err := request.Encode()
	var invalid *events.InvalidError
	if errors.As(err, &invalid) && invalid.Field == "id" {
		return nil, errors.New("its id names another request; publish it under a new id")
	}
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(events.RequestSubject(failed.Target))
	msg.Data = body
	msg.Header.Set("content-type", events.ContentType)
	msg.Header.Set(nats.MsgIdHdr, fmt.Sprintf("%s.replay.%d", request.ID, seq))
	msg.Header.Set(headerExpected, strconv.FormatUint(seq, 10))
	return msg, nil
}

// WroteResult reports whether the headers of a message on the results' subjects are those
// that a worker writes. Any client that may publish there could write others.
func WroteResult(header nats.Header) bool { return header.Get(headerRecord) != "" }
