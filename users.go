// users.go holds the users and their password hashes, in memory. It never touches
// HTTP or a token.

package main

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// users knows everyone who may log in. No password is kept, only its bcrypt hash:
// salted, so that equal passwords look different, and slow, so that whoever steals
// the hashes can try no more than some twenty passwords a second on each core.
type users struct {
	cost  int           // of a hash: each step up doubles its time
	dummy string        // the hash that stands in for a stranger's
	slots chan struct{} // holds one entry for each hash that is being computed

	mu     sync.RWMutex // guards byName
	byName map[string]user
}

type user struct {
	name     string
	hash     string // of the password
	disabled bool   // may log in, but no guard opens
}

const (
	maxUsers    = 10_000 // or registering would be a way to fill our memory
	minPassword = 8      // characters; which ones is the user's business
	maxPassword = 72     // bytes: bcrypt ignores whatever comes after them

	maxWait = 2 * time.Second
)

var (
	errWrongPassword = errors.New("unknown user or wrong password")
	errBusy          = errors.New("no slot for another hash")
	errBadName       = errors.New("not a name to register")
	errBadPassword   = errors.New("not a password to register with")
	errTaken         = errors.New("name taken")
	errFull          = errors.New("no room for another user")
)

// newUsers has slots for half the processors, so that a flood of logins leaves the
// other half to everyone who has a token already.
func newUsers(cost int) *users {
	u := &users{
		cost:   cost,
		slots:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		byName: make(map[string]user),
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
	user3 := u.byName["user3"]
	user3.disabled = true
	u.byName["user3"] = user3
}

// lookup returns the zero user for a name that does not exist.
func (u *users) lookup(name string) user {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.byName[name]
}

// authenticate returns the name of the user with this password, in this store's
// own copy: what was passed in may be a piece of a whole request body, which a
// token would then keep in memory. An unknown user costs a hash comparison too, or
// the faster answer would tell which names exist.
func (u *users) authenticate(ctx context.Context, name, password string) (string, error) {
	if err := u.takeSlot(ctx); err != nil {
		return "", err
	}
	defer func() { <-u.slots }()
	found := u.lookup(name)
	hash := cmp.Or(found.hash, u.dummy)
	// bcrypt alone takes "abc\x00abc" for "abc", and 72 right bytes with any others
	// behind them.
	ok := len(password) <= maxPassword && !strings.Contains(password, "\x00") &&
		bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && found.hash != ""
	if !ok {
		return "", errWrongPassword
	}
	return found.name, nil
}

// takeSlot waits for a place to compute a hash in, unless the caller hangs up.
func (u *users) takeSlot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	select {
	case u.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errBusy
	}
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
	if u.byName[name].name != "" {
		return errTaken
	}
	if len(u.byName) >= maxUsers {
		return errFull
	}
	u.byName[name] = user{name: name, hash: string(hash)}
	return nil
}
