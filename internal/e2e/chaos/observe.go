package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// records reads the whole results stream.
func (env *Environment) records(ctx context.Context) ([]Record, error) {
	stream, err := env.js.Stream(ctx, events.StreamResults)
	if err != nil {
		return nil, err
	}
	records := make([]Record, 0, stream.CachedInfo().State.Msgs)
	if cap(records) == 0 {
		return nil, nil
	}
	reader, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return nil, err
	}
	messages, err := reader.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for last := uint64(0); last < stream.CachedInfo().State.LastSeq; {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", events.StreamResults, err)
		}
		record, err := readRecord(msg)
		if err != nil {
			return nil, err
		}
		records = append(records, record)
		last = record.Sequence
	}
	return records, nil
}

func readRecord(msg jetstream.Msg) (Record, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Record{}, err
	}
	tokens := strings.Split(msg.Subject(), ".") // deletions.results.<target>.<id>.<outcome>
	if len(tokens) != 5 {
		return Record{}, fmt.Errorf("%s is not the subject of a record", msg.Subject())
	}
	l := Record{Sequence: meta.Sequence.Stream, Stored: meta.Timestamp, Target: events.Target(tokens[2]), ID: tokens[3]}
	if l.Expected, err = strconv.ParseUint(msg.Headers().Get("Lethe-Expected"), 10, 64); err != nil {
		return Record{}, fmt.Errorf("%s at %d: %w", msg.Subject(), l.Sequence, err)
	}
	if tokens[1] == "results" {
		r, err := events.ReadResult(msg.Headers(), msg.Data())
		if err != nil {
			return Record{}, fmt.Errorf("%s at %d: %w", msg.Subject(), l.Sequence, err)
		}
		l.Result = &r
	}
	return l, nil
}

// readJournal reads the API's journal of its calls.
func readJournal(path string) ([]fakeapi.Call, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var calls []fakeapi.Call
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c fakeapi.Call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, len(calls)+1, err)
		}
		calls = append(calls, c)
	}
	return calls, lines.Err()
}

// left returns the subjects of the messages still in the two queues, at most ten.
func (env *Environment) left(ctx context.Context) ([]string, error) {
	var subjects []string
	for _, name := range []string{events.StreamRequests, events.StreamLater} {
		stream, err := env.js.Stream(ctx, name)
		if err != nil {
			return nil, err
		}
		state := stream.CachedInfo().State
		for seq := state.FirstSeq; seq <= state.LastSeq && len(subjects) < 10 && state.Msgs > 0; seq++ {
			msg, err := stream.GetMsg(ctx, seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			subjects = append(subjects, fmt.Sprintf("%s at %d", msg.Subject, seq))
		}
	}
	return subjects, nil
}
