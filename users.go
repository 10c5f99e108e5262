// users.go holds the users and their password hashes, in memory, and slows down guessing.
// It never touches HTTP or a token.

package main

import (
	"cmp"
	"context"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
	"tokenserver/internal/recent"

	"golang.org/x/crypto/bcrypt"
)

// users holds everyone who may log in. No password is kept, only its bcrypt hash. The hash
// is salted: equal passwords have different hashes. And it is slow: a processor core tries
// some twenty passwords a second, where a fast hash would let it try millions.
type users struct {
	cost     int              // of a hash: each step doubles the time
	dummy    string           // the hash to compare with if the name is unknown
	slots    chan struct{}    // holds one entry for each hash that is being computed
	failures *recent.Map[int] // logins that failed, by name: see begin

	mu       sync.RWMutex // guards all below
	byName   map[string]user
	checking map[string]int // logins whose hash is being computed, by name
}

type user struct {
	name     string
	hash     string // of the password
	disabled bool   // gets a 403: from the guard or, with signed tokens, at the login
}

const (
	maxUsers    = 10_000             // so registering cannot fill the memory
	minPassword = 8                  // characters, of any kind
	maxPassword = 72                 // bytes: bcrypt ignores all after them
	maxFailures = 10                 // 14,400 guesses a day for one name, at most
	cooling     = time.Minute        // short, as failing on purpose locks the user out
	maxWait     = 2 * time.Second    // for a slot
	defaultCost = bcrypt.DefaultCost // 2¹⁰ rounds, some 50 ms
)

// authenticate returns the user with this name and password. An unknown name costs a hash as
// well, or a faster answer would reveal which names exist.
func (u *users) authenticate(ctx context.Context, name, password string) (user, error) {
	if failed, _, _ := u.failures.Get(name); failed >= maxFailures {
		return user{}, errThrottled
	}
	// bcrypt alone takes "abc\x00abc" for "abc", and ignores what follows 72 bytes. No user
	// has such a password, so this one costs no hash and is not counted as a guess.
	if len(password) > maxPassword || strings.Contains(password, "\x00") {
		return user{}, errWrongPassword
	}
	if err := u.takeSlot(ctx); err != nil {
		return user{}, err
	}
	defer func() { <-u.slots }()
	if !u.begin(name) { // others failed while we waited
		return user{}, errThrottled
	}
	found := u.lookup(name)
	hash := cmp.Or(found.hash, u.dummy)
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	right := err == nil && found.hash != ""
	u.end(name, right)
	if !right {
		return user{}, errWrongPassword
	}
	return found, nil
}

// lookup returns a copy of a user, and the zero user for an unknown name. That one is not
// disabled, so guard still accepts the signed tokens of users whom a restart has forgotten.
func (u *users) lookup(name string) user {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.byName[name]
}

// A valid name needs no quotes, and has no capital letters. An e-mail address will do.
var validName = regexp.MustCompile(`^[a-z0-9._@+-]{1,64}$`)

// register computes the slow hash outside the lock. So it looks the name up before, to save
// the work, and again after: of many who want one name at once, one gets it.
func (u *users) register(ctx context.Context, name, password string) error {
	if !validName.MatchString(name) {
		return errBadName
	}
	if len([]rune(password)) < minPassword || len(password) > maxPassword ||
		strings.ContainsAny(password, "\x00\uFFFD") || password == name {
		return errBadPassword
	}
	if err := u.takeSlot(ctx); err != nil {
		return err
	}
	defer func() { <-u.slots }()
	if u.lookup(name).name != "" {
		return errTaken
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), u.cost)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err != nil:
		return err
	case u.byName[name].name != "":
		return errTaken
	case len(u.byName) >= maxUsers:
		return errFull
	}
	name = strings.Clone(name) // a piece of a longer text would keep all of it in memory
	u.byName[name] = user{name: name, hash: string(hash)}
	return nil
}

// newUsers lets half the processors hash, so a flood of logins leaves the other half to those who
// have a token. Eight at most: begin counts them like failures, and ten would block a name.
func newUsers(cost int) (*users, error) {
	dummy, err := bcrypt.GenerateFromPassword([]byte("nobody's password"), cost)
	return &users{
		cost:     cost,
		dummy:    string(dummy),
		slots:    make(chan struct{}, min(8, max(1, runtime.GOMAXPROCS(0)/2))),
		byName:   make(map[string]user),
		checking: make(map[string]int),
		failures: recent.New[int](cooling),
	}, err
}

// addDemoUsers adds the article's two users, and one who is disabled. Their passwords are
// public, which is one reason why the server listens on loopback unless told otherwise.
func (u *users) addDemoUsers() (err error) {
	for _, n := range []string{"1", "2", "3"} {
		err = cmp.Or(err, u.register(context.Background(), "user"+n, "password"+n))
	}
	u.byName["user3"] = user{name: "user3", hash: u.byName["user3"].hash, disabled: true}
	return err
}

// begin reports whether one more hash may be computed for this name. Until end is called, it
// counts like a failure, or eight guesses hashed at once could all see nine failures. Unknown
// names are counted as well, or a 429 would reveal which names exist.
func (u *users) begin(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	failed, _, _ := u.failures.Get(name)
	if failed+u.checking[name] >= maxFailures {
		return false
	}
	u.checking[name]++
	return true
}

// end does not reset the failures after a success. If it did, an attacker could guess nine times
// between any two logins of the user.
func (u *users) end(name string, right bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.checking[name]--; u.checking[name] == 0 {
		delete(u.checking, name)
	}
	if !right {
		failed, _, _ := u.failures.Get(name)
		u.failures.Put(name, failed+1)
	}
}

// takeSlot waits for a free hashing slot, unless the caller hangs up.
func (u *users) takeSlot(ctx context.Context) error {
	select {
	case u.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
	case <-time.After(maxWait):
	}
	return errBusy
}
