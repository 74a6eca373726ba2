package consumer

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lethe-dev/lethe/events"
)

// What one pull brings is bounded, and what is larger than that comes alone.
func TestMessagesOfAnySizeAreAnswered(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, MaxPayload: 2 * maxPullBytes, MaxPending: 8 * maxPullBytes,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	w := &world{TB: t, server: s}
	w.nc, w.js = w.connect()
	if err := Setup(t.Context(), w.js, settings); err != nil {
		t.Fatal(err)
	}
	var large []uint64
	for _, size := range []int{1000, maxPullBytes / 2, maxPullBytes - 1000, maxPullBytes + 1000, 1000} {
		large = append(large, w.publishRaw(kvTarget, make([]byte, size), nil))
	}
	r := contexts(1)
	w.publish(r)

	brought := 0
	err = pull(w.nc, events.StreamRequests, string(kvTarget), 100, func(msg *nats.Msg) { brought++; _ = msg.Nak() })
	if err != nil || brought == 0 || brought >= len(large) {
		t.Errorf("a pull brought %d messages, %v", brought, err)
	}
	w.run(w.config(kvTarget, script(answerDeleted)))
	w.final(kvTarget, r.ID)
	for _, seq := range large {
		if got := w.final(kvTarget, events.SequenceID(seq)); got.Outcome != events.Invalid {
			t.Errorf("%d is %s", seq, got.Outcome)
		}
	}
	w.settled()
}
