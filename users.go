// users.go holds the users and their password hashes, in memory. It never touches
// HTTP or a token.

package main

import (
	"cmp"
	"errors"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// users knows everyone who may log in, and does not change after the start. No password
// is kept, only its bcrypt hash: salted, so that equal passwords look different, and
// slow, so that whoever steals the hashes can try no more than some twenty passwords a
// second on each core.
type users struct {
	dummy  string // the hash that stands in for a stranger's
	byName map[string]user
}

type user struct {
	name     string
	hash     string // of the password
	disabled bool   // may log in, but no guard opens
}

const maxPassword = 72 // bytes: bcrypt ignores whatever comes after them

var errWrongPassword = errors.New("unknown user or wrong password")

// newUsers has the article's two users, and one who is disabled. Their passwords are
// public, which is why the server listens on loopback by default. Each step up of cost
// doubles the time that a hash takes.
func newUsers(cost int) *users {
	u := &users{byName: make(map[string]user)}
	hash := func(password string) string {
		hash, _ := bcrypt.GenerateFromPassword([]byte(password), cost) // fails over 72 bytes
		return string(hash)
	}
	for _, n := range []string{"1", "2", "3"} {
		u.byName["user"+n] = user{"user" + n, hash("password" + n), n == "3"}
	}
	u.dummy = hash("nobody's password")
	return u
}

// authenticate returns the name of the user with this password, in this store's
// own copy: what was passed in may be a piece of a whole request body, which a
// token would then keep in memory. An unknown user costs a hash comparison too, or
// the faster answer would tell which names exist.
func (u *users) authenticate(name, password string) (string, error) {
	found := u.byName[name]
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
