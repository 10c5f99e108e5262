// Package recent holds a map that forgets: every value in it expires after the same time.
package recent

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// A Map keeps each value for one lifetime. It may be used by many goroutines at once.
//
// It forgets expired values in batches. All of them expire after the same time, so two maps are
// enough. New values go into the young one. When a Put finds it a lifetime old, all in the old one
// have expired: the old one is dropped, and the young one takes its place.
//
//	time      0 ........ lifetime ........ 2·lifetime ........ 3·lifetime
//	in young  A          B                 C                   A: values of the first lifetime,
//	in old               A                 B                   B: of the second, and so on
//
// At 2·lifetime, all of A has expired, and A is dropped.
//
// No goroutine has to clean up, and no call does the work of many. Dropping a map also frees
// its memory; deleting its entries would not. The price: an expired value stays in memory for
// up to one more lifetime, and then until the next Put.
//
// Only the SHA-256 of a key is kept, so reading the memory yields no usable token. A key that
// can be guessed, such as a username, is not hidden by that; a password needs a slower hash.
type Map[V any] struct {
	lifetime time.Duration
	start    time.Time // zero of the durations below: 8 bytes each, where a time.Time has 24

	mu         sync.RWMutex // guards all below
	young, old map[[sha256.Size]byte]entry[V]
	since      time.Duration // when the lifetime of young began
}

type entry[V any] struct {
	value   V
	expires time.Duration
}

// The reasons why Get returns no value.
var (
	ErrExpired = errors.New("expired")
	ErrUnknown = errors.New("unknown, deleted, or expired long ago")
)

// New returns an empty Map.
func New[V any](lifetime time.Duration) *Map[V] {
	return &Map[V]{lifetime: lifetime, start: time.Now(), young: map[[32]byte]entry[V]{}}
}

// Put stores a value, in place of an earlier one with this key, and returns when it expires.
func (m *Map[V]) Put(key string, value V) (expires time.Time) {
	hash := sha256.Sum256([]byte(key))
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Since(m.start)
	switch age := now - m.since; {
	case age >= 2*m.lifetime: // all in young have expired as well
		m.young, m.old, m.since = map[[32]byte]entry[V]{}, nil, now
	case age >= m.lifetime:
		m.young, m.old, m.since = map[[32]byte]entry[V]{}, m.young, m.since+m.lifetime
	}
	m.young[hash] = entry[V]{value, now + m.lifetime}
	return m.start.Add(now + m.lifetime)
}

// Get returns a value and when it expires, which is exact to the nanosecond however long the
// maps keep the value. With an error, both are zero.
func (m *Map[V]) Get(key string) (value V, expires time.Time, err error) {
	hash := sha256.Sum256([]byte(key))
	m.mu.RLock()
	defer m.mu.RUnlock()
	found, ok := m.young[hash]
	if !ok {
		found, ok = m.old[hash]
	}
	if !ok {
		return value, expires, ErrUnknown
	}
	if time.Since(m.start) >= found.expires {
		return value, expires, ErrExpired
	}
	return found.value, m.start.Add(found.expires), nil
}

// Delete removes a value at once, and returns it if it had not expired.
func (m *Map[V]) Delete(key string) (value V) {
	value, _, _ = m.Get(key)
	hash := sha256.Sum256([]byte(key))
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, hash)
	delete(m.old, hash)
	return value
}
