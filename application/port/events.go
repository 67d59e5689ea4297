package port

import "arcbox/domain"

// EventPublisher tells others what happened. Publish never blocks.
type EventPublisher interface {
	Publish(domain.Event)
}
