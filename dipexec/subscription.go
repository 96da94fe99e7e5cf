package dipexec

import "context"

// Subscription is one reader's view of the events.
type Subscription struct{}

// Next waits for events and returns some of them, in order, at least one. It returns io.EOF when the executor was closed and everything has been read, and ctx's error when that ends.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) { panic("todo") }

// Close ends the subscription.
func (s *Subscription) Close() { panic("todo") }
