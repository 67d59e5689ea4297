package netfwd

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"arcbox/adapters/netfwd/usernet"
)

// udpKey tells sessions apart. The answer must come from the address that the
// client sent to, so a client that uses two of them has two sessions.
type udpKey struct {
	client netip.AddrPort
	local  netip.Addr
}

type udpSession struct {
	key     udpKey
	guest   *usernet.Datagrams // nil before it is one of the sessions
	source  []byte             // the control message that makes answers come from key.local
	last    atomic.Int64
	queued  bool // in ready, or will be once there is guest; under mu
	refused atomic.Bool
}

// session returns key's session, and makes it when there is none and there may
// be one. Only requests calls it.
func (u *udpForward) session(key udpKey) *udpSession {
	now := time.Now().UnixNano()
	u.mu.Lock()
	s := u.sessions[key]
	if s != nil {
		s.last.Store(now) // within the lock: expire does not miss it
	}
	u.mu.Unlock()
	if s != nil {
		return s
	}
	if u.flows.Load() >= int64(u.limits.udpSessions) {
		u.makeRoom(now)
	}
	if !u.admit(u.limits.udpSessions) {
		return nil
	}
	s = &udpSession{key: key}
	if u.wildcard {
		s.source = sourceControl(key)
	}
	s.last.Store(now)
	guest, err := u.net.DialDatagrams(u.rule.Target, func() { u.notify(s) })
	if err != nil {
		u.flows.Add(-1)
		u.failed.Add(1)
		return nil
	}
	u.place(s, guest)
	return s
}

// place makes s one of the sessions. A guest that guesses the port may have
// sent something to guest already.
func (u *udpForward) place(s *udpSession, guest *usernet.Datagrams) {
	u.mu.Lock()
	s.guest = guest
	u.sessions[s.key] = s
	if !u.ticking {
		u.ticking = true
		u.expiry.Reset(u.idle / 4)
	}
	early := s.queued
	s.queued = false
	u.mu.Unlock()
	if early {
		u.notify(s)
	}
}

// quiet is how long nothing must have moved in a session before a new client
// may have its place.
const quiet = time.Second

// makeRoom ends an eighth of the sessions, those that were quiet the longest. A
// client that takes a port of its own for each datagram would otherwise hold all
// places for as long as an idle session lives, and so would a name server's
// queries. now is in the terms of udpSession.last. Only requests calls it.
func (u *udpForward) makeRoom(now int64) {
	if now < u.crowded {
		return
	}
	u.mu.Lock()
	last := make([]int64, 0, len(u.sessions))
	for _, s := range u.sessions {
		last = append(last, s.last.Load())
	}
	u.mu.Unlock()
	if len(last) == 0 {
		return
	}
	slices.Sort(last)
	if u.crowded = last[0] + int64(quiet); now >= u.crowded { // else not worth looking before
		u.expire(min(last[len(last)/8], now-int64(quiet)))
	}
}

// expire ends the sessions in which nothing has moved after before.
func (u *udpForward) expire(before int64) {
	var ended []*udpSession
	u.mu.Lock()
	for key, s := range u.sessions {
		if s.last.Load() <= before {
			delete(u.sessions, key)
			ended = append(ended, s)
		}
	}
	if u.ticking = len(u.sessions) > 0; u.ticking {
		u.expiry.Reset(u.idle / 4)
	}
	u.mu.Unlock()
	for _, s := range ended { // without the lock, which notify takes within the stack's
		s.guest.Close()
		u.flows.Add(-1)
	}
}
