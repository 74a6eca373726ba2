package page

import (
	"context"
	"regexp"
	"sync"
	"time"
)

const (
	// readWithin limits how long one view may read from the server.
	readWithin = 4 * time.Second
	// attentionFor is how long the lists are cached.
	attentionFor = 10 * time.Second
	// answerFor is how long a search is cached, but at least searchShare times its own
	// duration, so that slow searches are made less often.
	answerFor, searchShare = 4 * time.Second, 20
	// maxAnswers is how many searches are cached.
	maxAnswers = 8
)

// cached is a value that many views share, so that they read it once.
type cached[T any] struct {
	mu    sync.Mutex
	value T
	err   error
	until time.Time
}

// get returns the value. If it is too old, one caller reads it while the others wait.
func (k *cached[T]) get(ctx context.Context, atLeast time.Duration, read func(context.Context) (T, error)) (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	begun := time.Now()
	if begun.Before(k.until) {
		return k.value, k.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readWithin)
	defer cancel()
	k.value, k.err = read(ctx)
	k.until = time.Now().Add(max(atLeast, searchShare*time.Since(begun)))
	return k.value, k.err
}

// find returns the answer to a search.
func (p *Page) find(ctx context.Context, id string) (Answer, error) {
	p.mu.Lock()
	answer := p.answers[id]
	if answer == nil {
		if len(p.answers) >= maxAnswers {
			clear(p.answers)
		}
		answer = &cached[Answer]{}
		p.answers[id] = answer
	}
	p.mu.Unlock()
	return answer.get(ctx, answerFor, func(ctx context.Context) (Answer, error) {
		p.searching.Lock() // one at a time
		defer p.searching.Unlock()
		return p.source.Find(ctx, id)
	})
}

var requestID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
