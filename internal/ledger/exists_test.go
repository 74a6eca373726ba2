package ledger

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-dev/lethe/events"
)

// checkSubject is the subject of the batched existence check.
const checkSubject = "$JS.API.DIRECT.GET." + events.StreamResults

func TestOneCheckFindsThatManyRequestsHaveNoRecords(t *testing.T) {
	js := newServer(t)
	var checks atomic.Int64
	spy, err := js.Conn().Subscribe(checkSubject, func(*nats.Msg) { checks.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = spy.Unsubscribe() }()
	l := newLedger(js, kvTarget)
	if err := l.LearnReplicas(t.Context()); err != nil {
		t.Fatal(err)
	}
	known := NewID()
	if err := l.Append(t.Context(), l.NewAttempt(t.Context(), known, "fingerprint", Progress{Attempts: 1, FirstAttempt: noon}, 0)); err != nil {
		t.Fatal(err)
	}

	t.Run("a request without records has none", func(t *testing.T) {
		if !l.NoneExist(t.Context(), []string{NewID()}) {
			t.Error("a record is found")
		}
	})
	t.Run("a request with a record has one", func(t *testing.T) {
		if l.NoneExist(t.Context(), []string{known}) {
			t.Error("no record is found")
		}
	})
	t.Run("one check is enough for many requests", func(t *testing.T) {
		before := int64(2) // checks in the subtests above
		waitFor := func(n int64) int64 {
			for deadline := time.Now().Add(30 * time.Second); checks.Load() < n && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			return checks.Load()
		}
		waitFor(before)
		ids := make([]string, 250)
		for i := range ids {
			ids[i] = NewID()
		}
		if !l.NoneExist(t.Context(), ids) {
			t.Error("a record is found")
		}
		ids[len(ids)/2] = known
		if l.NoneExist(t.Context(), ids) {
			t.Error("one request has a record, but none is found")
		}
		if n := waitFor(before+2) - before; n != 2 {
			t.Errorf("%d checks, want 2", n)
		}
	})
	t.Run("every later check finds a stored record", func(t *testing.T) {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				id := NewID()
				if err := l.Append(t.Context(), l.NewAttempt(t.Context(), id, "fingerprint", Progress{Attempts: 1, FirstAttempt: noon}, 0)); err != nil {
					t.Error(err)
				}
				if l.NoneExist(t.Context(), []string{id}) {
					t.Error("the record is not found")
				}
			})
		}
		all.Wait()
	})
	t.Run("without a reply a record may exist", func(t *testing.T) {
		if err := js.DeleteStream(t.Context(), events.StreamResults); err != nil {
			t.Fatal(err)
		}
		if l.NoneExist(t.Context(), []string{NewID()}) {
			t.Error("it reports that no record exists")
		}
	})
}

// A replica or a mirror may be behind and lack a final result.
func TestTheBatchedCheckIsUsedOnlyWhereItsAnswerIsCurrent(t *testing.T) {
	js := newServer(t)
	l := newLedger(js, kvTarget)
	want := func(t *testing.T, want bool) {
		t.Helper()
		if err := l.LearnReplicas(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := l.NoneExist(t.Context(), []string{NewID()}); got != want {
			t.Errorf("it reports that no record exists: %v, want %v", got, want)
		}
	}
	allow := func(direct bool) {
		stream, err := js.Stream(t.Context(), events.StreamResults)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		config.AllowDirect = direct
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("before the replicas are known", func(t *testing.T) {
		if l.NoneExist(t.Context(), []string{NewID()}) {
			t.Error("it reports that no record exists")
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
		copied, err := js.CreateStream(t.Context(), mirror)
		if err != nil {
			t.Fatal(err)
		}
		want(t, false)
		// The server sets up a mirror in a goroutine that it does not stop at shutdown. A copied record shows that it has ended.
		put(t, l, l.NewAttempt(t.Context(), NewID(), "fingerprint", Progress{Attempts: 1, FirstAttempt: noon}, 0), nil)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			info, err := copied.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if info.State.Msgs > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the mirror copies nothing")
			}
		}
	})
	t.Run("the server does not answer", func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		l.exists.single.Store(true)
		if l.LearnReplicas(ended) == nil || l.NoneExist(t.Context(), []string{NewID()}) {
			t.Error("an earlier answer is used")
		}
	})
}

func TestAReplicaDoesNotAnswerTheBatchedCheck(t *testing.T) {
	if directGetIsCurrent(jetstream.StreamConfig{Replicas: 3, AllowDirect: true}) || !directGetIsCurrent(jetstream.StreamConfig{Replicas: 1, AllowDirect: true}) {
		t.Error("one of three replicas may be behind; a single replica is not")
	}
}
