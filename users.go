// users.go holds the users and their password hashes, in memory, and slows down
// whoever guesses. It never touches HTTP or a token.

package main

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// users knows everyone who may log in. No password is kept, only its bcrypt hash:
// salted, so that equal passwords look different, and slow: a processor core tries
// some twenty passwords a second, where a fast hash would let it try millions.
type users struct {
	cost  int           // of a hash: each step up doubles its time
	dummy string        // the hash that stands in for a stranger's
	slots chan struct{} // holds one entry for each hash that is being computed
	seed  maphash.Seed

	mu        sync.RWMutex // guards byName, strangers and the users in them
	byName    map[string]*user
	strangers [1 << 12]user // stand in for names that do not exist
}

type user struct {
	name        string
	hash        string // of the password; "" for a stranger
	disabled    bool   // may log in, but no guard opens
	failures    int    // logins that failed since one succeeded
	lastFailure time.Time
}

const (
	maxUsers    = 10_000 // or registering would be a way to fill our memory
	minPassword = 8      // characters; which ones is the user's business
	maxPassword = 72     // bytes: bcrypt ignores whatever comes after them

	maxFailures = 10              // so guessing comes to 14,400 passwords a day
	cooling     = time.Minute     // short: whoever fails on purpose keeps the user out, too
	maxWait     = 2 * time.Second // for a slot
)

var (
	errWrongPassword = errors.New("unknown user or wrong password")
	errThrottled     = errors.New("too many failures in a row")
	errBusy          = errors.New("no slot for another hash")
	errBadName       = errors.New("not a name to register")
	errBadPassword   = errors.New("not a password to register with")
	errTaken         = errors.New("name taken")
	errFull          = errors.New("no room for another user")
)

// newUsers has slots for half the processors, so that a flood of logins leaves the
// other half to everyone who has a token already. There are eight at most: ten right
// logins of one user under way at once would count as guessing.
func newUsers(cost int) *users {
	u := &users{
		cost:   cost,
		slots:  make(chan struct{}, min(8, max(1, runtime.GOMAXPROCS(0)/2))),
		seed:   maphash.MakeSeed(),
		byName: make(map[string]*user),
	}
	dummy, _ := bcrypt.GenerateFromPassword([]byte("nobody's password"), cost)
	u.dummy = string(dummy)
	return u
}

// addDemoUsers adds the article's two users, and one who is disabled. Their
// passwords are public, which is why the server listens on loopback by default.
func (u *users) addDemoUsers() {
	for _, n := range []string{"1", "2", "3"} {
		u.register(context.Background(), "user"+n, "password"+n)
	}
	u.byName["user3"].disabled = true
}

// find needs the lock. For an unknown name it returns a stranger, who is throttled
// like a user, or a 429 would tell which names exist. Anyone can make up names, so
// strangers share a table of fixed size: they have no password that sharing could help
// to guess. Users must not share: two of them at one place would have one counter, and
// whoever is the one could guess the other's password, logging in now and then to set
// the counter back to zero.
func (u *users) find(name string) *user {
	if found := u.byName[name]; found != nil {
		return found
	}
	return &u.strangers[maphash.String(u.seed, name)%uint64(len(u.strangers))]
}

// lookup returns what is known of a user now. A stranger is not disabled: a signed
// token may name somebody who registered on another machine.
func (u *users) lookup(name string) user {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return *u.find(name)
}

// authenticate returns the name of the user with this password, in this store's
// own copy: what was passed in may be a piece of a whole request body, which a
// token would then keep in memory. An unknown user costs a hash comparison too, or
// the faster answer would tell which names exist.
func (u *users) authenticate(ctx context.Context, name, password string) (string, error) {
	if u.lookup(name).recentFailures() >= maxFailures {
		return "", errThrottled
	}
	if err := u.takeSlot(ctx); err != nil {
		return "", err
	}
	defer func() { <-u.slots }()
	found, err := u.begin(name)
	if err != nil { // throttled by those who were before us in the queue
		return "", err
	}
	hash := cmp.Or(found.hash, u.dummy)
	// bcrypt alone takes "abc\x00abc" for "abc", and 72 right bytes with any others
	// behind them.
	if len(password) > maxPassword || strings.Contains(password, "\x00") ||
		bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil || found.hash == "" {
		return "", errWrongPassword
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.find(name).failures = 0
	return found.name, nil
}

// begin counts an attempt as a failure before its hash is computed, so that no more
// than ten are under way at once. Only a success takes them back.
func (u *users) begin(name string) (user, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	found := u.find(name)
	failures := found.recentFailures()
	if failures >= maxFailures {
		return user{}, errThrottled
	}
	found.failures, found.lastFailure = failures+1, time.Now()
	return *found, nil
}

// recentFailures in a row: a minute without one forgives them.
func (u user) recentFailures() int {
	if time.Since(u.lastFailure) >= cooling {
		return 0
	}
	return u.failures
}

// takeSlot waits for a place to compute a hash in, unless the caller hangs up.
func (u *users) takeSlot(ctx context.Context) error {
	select {
	case u.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
	case <-time.After(maxWait):
	}
	return errBusy
}

// validName allows what needs neither quoting nor folding. An e-mail address will do.
var validName = regexp.MustCompile(`^[a-z0-9._@-]{1,64}$`)

// register adds a user. The slow hash is computed outside the lock, so the name is
// looked up before it, to save the work, and again after it: of many who want the
// same one at once, one gets it.
func (u *users) register(ctx context.Context, name, password string) error {
	if !validName.MatchString(name) {
		return errBadName
	}
	if utf8.RuneCountInString(password) < minPassword || len(password) > maxPassword ||
		strings.Contains(password, "\x00") || password == name {
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
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byName[name] != nil {
		return errTaken
	}
	if len(u.byName) >= maxUsers {
		return errFull
	}
	u.byName[name] = &user{name: name, hash: string(hash)}
	return nil
}
