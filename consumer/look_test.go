package consumer

import (
	"context"
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

// A replica or a mirror may be behind, and not have heard of a final result.
func TestLooksAreAskedWhereOneServerAnswers(t *testing.T) {
	w := newWorld(t)
	look := New(w.js, w.config(kvTarget, nil)).chain.looks
	want := func(t *testing.T, want bool) {
		t.Helper()
		if err := look.measure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := look.empty(t.Context(), newID()); got != want {
			t.Errorf("an empty chain is called empty: %v, want %v", got, want)
		}
	}
	allow := func(direct bool) {
		stream, err := w.js.Stream(t.Context(), events.StreamResults)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		config.AllowDirect = direct
		if _, err := w.js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("before it is known", func(t *testing.T) {
		if look.empty(t.Context(), newID()) {
			t.Error("a chain is called empty")
		}
	})
	t.Run("one replica", func(t *testing.T) { want(t, true) })
	t.Run("direct gets are not allowed", func(t *testing.T) {
		allow(false)
		want(t, false)
		allow(true)
		want(t, true)
	})
	t.Run("a mirror", func(t *testing.T) {
		mirror := jetstream.StreamConfig{Name: "BACKUP", Mirror: &jetstream.StreamSource{Name: events.StreamResults}}
		if _, err := w.js.CreateStream(t.Context(), mirror); err != nil {
			t.Fatal(err)
		}
		want(t, false)
	})
	t.Run("nobody can tell", func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		look.single.Store(true)
		if look.measure(ended) == nil || look.empty(t.Context(), newID()) {
			t.Error("what was so once is taken for granted")
		}
	})
}

func TestAReplicaDoesNotAnswerForAll(t *testing.T) {
	if answersForAll(jetstream.StreamConfig{Replicas: 3, AllowDirect: true}) || !answersForAll(jetstream.StreamConfig{Replicas: 1, AllowDirect: true}) {
		t.Error("one of three replicas may be behind, one of one is not")
	}
}
