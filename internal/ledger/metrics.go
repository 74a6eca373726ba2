package ledger

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/lethe-dev/lethe/events"
)

// failedTries counts the tries to store something that failed.
type failedTries struct {
	counter metric.Int64Counter
	target  metric.AddOption
}

func newFailedTries(target events.Target) failedTries {
	// The error is about the name, which is constant, and the counter can be used with it.
	counter, _ := otel.Meter("github.com/lethe-dev/lethe/internal/ledger").Int64Counter("lethe.store.failures",
		metric.WithUnit("{failure}"), metric.WithDescription("Tries to store a step that failed. Each is repeated."))
	f := failedTries{counter, metric.WithAttributes(attribute.String("lethe.target", string(target)))}
	f.counter.Add(context.Background(), 0, f.target) // an alert sees no increase in a series that did not exist before
	return f
}

func (f failedTries) count() { f.counter.Add(context.Background(), 1, f.target) }
