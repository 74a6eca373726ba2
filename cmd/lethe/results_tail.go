package main

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// tail returns the newest n results of the selection that match, oldest first, and the
// last sequence that it read. It reads backwards in growing pieces, so that it does
// not read a long history.
func (l *resultReader) tail(ctx context.Context, of selection, n int, match func(*storedResult) bool) (newest []*storedResult, read uint64, err error) {
	if read, err = l.last(ctx, of.subject); err != nil || read == 0 || n == 0 {
		return nil, read, err
	}
	end := read
	for piece := uint64(1024); ; piece *= 8 {
		of.from = max(end, piece) - piece + 1
		newest = newest[:0]
		err = l.each(ctx, of, func(r *storedResult) (bool, error) {
			read = max(read, r.seq)
			if !match(r) {
				return true, nil
			}
			if len(newest) == n {
				newest = newest[1:]
			}
			newest = append(newest, r)
			return true, nil
		})
		if err != nil || len(newest) == n || of.from == 1 || of.since > 0 {
			return newest, read, err
		}
	}
}

// last returns the sequence of the newest message of a subject, 0 if there is none. It
// opens a consumer, because a subscriber may lack the permission for STREAM.INFO.
func (l *resultReader) last(ctx context.Context, subject string) (uint64, error) {
	messages, err := l.open(ctx, subject, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverLastPolicy})
	if err != nil {
		return 0, err
	}
	defer messages.stop()
	if messages.left == 0 {
		return 0, nil
	}
	return messages.after + 1, nil // it begins with the last one
}
