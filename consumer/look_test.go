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
		if !chain.looks.empty(t.Context(), []string{newID()}) {
			t.Error("it is not")
		}
	})
	t.Run("a chain with a link is not", func(t *testing.T) {
		if chain.looks.empty(t.Context(), []string{known}) {
			t.Error("it is")
		}
	})
	t.Run("many are empty together, in one question", func(t *testing.T) {
		before := asked.Load()
		ids := make([]string, many/4)
		for i := range ids {
			ids[i] = newID()
		}
		if !chain.looks.empty(t.Context(), ids) {
			t.Error("they are not")
		}
		ids[len(ids)/2] = known
		if chain.looks.empty(t.Context(), ids) {
			t.Error("one has a link, and all are called empty")
		}
		w.until("both questions were asked", func() bool { return asked.Load() == before+2 })
	})
	t.Run("a link that was stored is seen by whoever asks after that", func(t *testing.T) {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				id := newID()
				if _, err := chain.attempt(t.Context(), id, "fingerprint", History{Attempts: 1, Since: noon}, 0); err != nil {
					t.Error(err)
				}
				if chain.looks.empty(t.Context(), []string{id}) {
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
		if chain.looks.empty(t.Context(), []string{newID()}) {
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
		if got := look.empty(t.Context(), []string{newID()}); got != want {
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
		if look.empty(t.Context(), []string{newID()}) {
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
		if look.measure(ended) == nil || look.empty(t.Context(), []string{newID()}) {
			t.Error("what was so once is taken for granted")
		}
	})
}

func TestAReplicaDoesNotAnswerForAll(t *testing.T) {
	if answersForAll(jetstream.StreamConfig{Replicas: 3, AllowDirect: true}) || !answersForAll(jetstream.StreamConfig{Replicas: 1, AllowDirect: true}) {
		t.Error("one of three replicas may be behind, one of one is not")
	}
}
