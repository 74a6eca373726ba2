package consumer

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// question is where looks are asked.
const question = "$JS.API.DIRECT.GET." + events.StreamResults

func TestLooks(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	spy, err := w.nc.Subscribe(question, func(*nats.Msg) { asked.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = spy.Unsubscribe() }()
	chain := New(w.js, w.config(kvTarget, nil)).chain
	if err := chain.looks.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	known := newID()
	if _, err := chain.attempt(t.Context(), known, "fingerprint", History{Attempts: 1, Since: noon}, 0); err != nil {
		t.Fatal(err)
	}

	t.Run("a chain without links is empty", func(t *testing.T) {
		if !chain.looks.empty(t.Context(), newID()) {
			t.Error("it is not")
		}
	})
	t.Run("a chain with a link is not", func(t *testing.T) {
		if chain.looks.empty(t.Context(), known) {
			t.Error("it is")
		}
	})
	t.Run("requests that ask at the same time share questions, and none is told a falsehood", func(t *testing.T) {
		before := asked.Load()
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() {
				id := newID()
				if i == many/2 {
					id = known
				}
				if empty := chain.looks.empty(t.Context(), id); empty && id == known {
					t.Error("a chain with a link is called empty")
				}
			})
		}
		all.Wait()
		if n := asked.Load() - before; n == 0 || n > many/4 {
			t.Errorf("%d requests asked %d questions", many, n)
		}
	})
	t.Run("a link that was stored is seen by whoever asks after that", func(t *testing.T) {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				id := newID()
				if _, err := chain.attempt(t.Context(), id, "fingerprint", History{Attempts: 1, Since: noon}, 0); err != nil {
					t.Error(err)
				}
				if chain.looks.empty(t.Context(), id) {
					t.Error("it is not seen")
				}
			})
		}
		all.Wait()
	})
	t.Run("without an answer it is not called empty", func(t *testing.T) {
		if err := w.js.DeleteStream(t.Context(), events.StreamResults); err != nil {
			t.Fatal(err)
		}
		if chain.looks.empty(t.Context(), newID()) {
			t.Error("it is")
		}
	})
}

// A replica may be behind, and not have heard of a final result.
func TestLooksAreAskedWhereOneReplicaAnswers(t *testing.T) {
	for _, c := range []struct {
		name     string
		replicas int
		direct   bool
		want     bool
	}{
		{"one replica", 1, true, true},
		{"three replicas", 3, true, false},
		{"no direct gets", 1, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := answersForAll(jetstream.StreamConfig{Replicas: c.replicas, AllowDirect: c.direct}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	t.Run("nobody asks before that is known", func(t *testing.T) {
		w := newWorld(t)
		if New(w.js, w.config(kvTarget, nil)).chain.looks.empty(t.Context(), newID()) {
			t.Error("a chain is called empty")
		}
	})
}
