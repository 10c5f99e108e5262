package recent

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const lifetime = 15 * time.Minute

// bubble runs a test where fifteen minutes pass at once.
func bubble(t *testing.T, test func(t *testing.T, m *Map[string])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, New[string](lifetime)) })
}

func pass(d time.Duration) { <-time.After(d) }

// want checks what Get returns for a name: a value, or why there is none.
func want(t *testing.T, m *Map[string], name, value string, reason error) {
	t.Helper()
	got, expires, err := m.Get(name)
	if got != value || err != reason {
		t.Errorf("got %q and %v for %s, want %q and %v", got, err, name, value, reason)
	}
	if err != nil && !expires.IsZero() {
		t.Errorf("got expiry %v with an error, want none", expires)
	}
}

func TestAValueExpiresToTheNanosecond(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		pass(time.Hour + time.Nanosecond) // an odd start
		put := m.Put("a", "apple")
		if want := time.Now().Add(lifetime); !put.Equal(want) {
			t.Errorf("got expiry %v from Put, want %v", put, want)
		}
		pass(lifetime - time.Nanosecond)
		want(t, m, "a", "apple", nil)
		if _, got, _ := m.Get("a"); !got.Equal(put) {
			t.Errorf("got expiry %v from Get, want %v", got, put)
		}
		pass(time.Nanosecond)
		want(t, m, "a", "", ErrExpired)
	})
}

func TestAnUnknownNameHasNoValue(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		want(t, m, "a", "", ErrUnknown)
		m.Put("a", "apple")
		want(t, m, "A", "", ErrUnknown)
		want(t, m, "", "", ErrUnknown)
	})
}

func TestAValuePutAgainReplacesTheFirstAndCountsFromThen(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		m.Put("a", "apple")
		pass(lifetime - time.Nanosecond)
		m.Put("a", "avocado")
		want(t, m, "a", "avocado", nil)
		pass(lifetime - time.Nanosecond) // the first has expired
		want(t, m, "a", "avocado", nil)
		m.Put("b", "banana") // the maps rotate: the second is in the old one
		m.Put("a", "apricot")
		want(t, m, "a", "apricot", nil)
		pass(time.Nanosecond)
		want(t, m, "a", "apricot", nil)
	})
}

func TestADeletedValueIsReturnedAndGone(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		m.Put("a", "apple")
		m.Put("b", "banana")
		if got := m.Delete("a"); got != "apple" {
			t.Errorf("got %q, want apple", got)
		}
		want(t, m, "a", "", ErrUnknown)
		want(t, m, "b", "banana", nil)
		if got := m.Delete("a") + m.Delete("never"); got != "" {
			t.Errorf("got %q for unknown names, want nothing", got)
		}
		pass(lifetime)
		if got := m.Delete("b"); got != "" {
			t.Errorf("got %q for an expired value, want nothing", got)
		}
		want(t, m, "b", "", ErrUnknown)
	})
}

func TestADeletedValueStaysDeletedAfterTheMapsRotate(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		pass(lifetime - time.Minute)
		m.Put("a", "apple")
		pass(2 * time.Minute)
		m.Put("b", "banana") // a is in the old map now
		want(t, m, "a", "apple", nil)
		m.Put("a", "avocado") // and in both
		m.Delete("a")
		want(t, m, "a", "", ErrUnknown)
	})
}

func TestExpiredValuesAreForgottenInBatches(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		kept := func(statement string, want int) {
			t.Helper()
			m.Put("one more", "")
			if got := len(m.young) + len(m.old); got != want {
				t.Errorf("%s: got %d values in memory, want %d", statement, got, want)
			}
		}
		for i := range 999 {
			m.Put(fmt.Sprint(i), "")
		}
		kept("at once", 1000)
		pass(lifetime - time.Nanosecond)
		kept("before one lifetime", 1000)
		pass(time.Nanosecond)
		kept("after one lifetime", 1001)
		pass(lifetime - time.Nanosecond)
		kept("before two lifetimes", 1001)
		pass(time.Nanosecond)
		kept("after two lifetimes", 2)
		pass(2 * lifetime)
		kept("after two idle lifetimes", 1)
	})
}

// The lifetimes of the maps are counted from the start, not from a Put that came late.
func TestAnExpiredValueStaysForOneMoreLifetimeAtMost(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		m.Put("first", "")
		pass(2*lifetime - time.Nanosecond)
		m.Put("late", "")
		pass(time.Nanosecond)
		m.Put("one more", "")
		if got := len(m.young) + len(m.old); got != 2 {
			t.Errorf("got %d values in memory, want the first one forgotten", got)
		}
	})
}

func TestNothingIsForgottenWhileItIsValid(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		expiries := make(map[string]time.Time)
		for minute := range 240 {
			if minute%7 < 3 || minute > 100 && minute < 180 { // busy, then not, then busy
				name := fmt.Sprint(minute)
				expiries[name] = m.Put(name, name)
			}
			for name, expires := range expiries {
				got, _, err := m.Get(name)
				valid := time.Now().Before(expires)
				if valid != (err == nil) || valid != (got == name) {
					t.Fatalf("minute %d: got %q, %v for %s, want valid: %v",
						minute, got, err, name, valid)
				}
			}
			pass(time.Minute)
		}
	})
}

func TestNoUsableKeyIsInMemory(t *testing.T) {
	bubble(t, func(t *testing.T, m *Map[string]) {
		const name = "Pa55w0rdLikeKeyThatNobodyGuesses"
		m.Put(name, "value")
		memory := fmt.Sprintf("%+v", m)
		bytes := strings.Trim(fmt.Sprint([]byte(name)), "[]") // how bytes are printed
		if strings.Contains(memory, name) || strings.Contains(memory, bytes) {
			t.Errorf("got %s, want the key's hash only", memory)
		}
		if _, ok := m.young[sha256.Sum256([]byte(name))]; !ok {
			t.Error("got no value under the key's SHA-256")
		}
	})
}

// With go test -race.
func TestManyGoroutinesMayUseAMapAtOnce(t *testing.T) {
	const short = 10 * time.Millisecond // so the maps rotate meanwhile
	m := New[int](short)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 2000 {
				name, start := fmt.Sprint(g, i%100), time.Now()
				m.Put(name, i)
				got, _, err := m.Get(name)
				late := time.Since(start) >= short
				if err == nil && got != i || err != nil && !late {
					t.Errorf("got %d, %v, want %d", got, err, i)
				}
				m.Get(fmt.Sprint((g+1)%8, i%100)) // another goroutine's
				if i%3 == 0 {
					m.Delete(name)
					if _, _, err := m.Get(name); err != ErrUnknown {
						t.Errorf("got %v after Delete, want %v", err, ErrUnknown)
					}
				}
			}
		})
	}
	all.Wait()
}

// The targets: 250 ns, no allocation, and with a million values at most 2.5 times as long as
// with a thousand.
func BenchmarkCheck(b *testing.B) {
	for _, c := range []struct {
		name  string
		valid int
	}{{"1k", 1_000}, {"1M", 1_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			m, shown := New[string](time.Hour), make([]string, min(c.valid, 4096))
			for i := range c.valid {
				shown[i%len(shown)] = fmt.Sprintf("%032d", i)
				m.Put(shown[i%len(shown)], fmt.Sprint("user", i))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, _, err := m.Get(shown[i%len(shown)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// B/token is the heap that one value takes while a million are valid, if the values are names
// that are kept elsewhere anyway. %left is how much of it remains two lifetimes later.
// p99.99-ms is of single calls of Put, in the middle of which a million values expire.
func BenchmarkIssue(b *testing.B) {
	const million = 1_000_000
	keys, names := make([]string, million), make([]string, million)
	for i := range million {
		keys[i], names[i] = fmt.Sprintf("%032d", i), fmt.Sprint("user", i)
	}
	fill := func() *Map[string] {
		m := New[string](lifetime)
		for i := range million {
			m.Put(keys[i], names[i])
		}
		return m
	}
	aLifetimeLater := func(m *Map[string]) { m.start = m.start.Add(-lifetime) }
	b.Run("1M", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			m := fill()
			full := heap() - before
			for range 2 {
				aLifetimeLater(m)
				m.Put("one more", "")
			}
			left := heap() - before
			b.ReportMetric(full/million, "B/token")
			b.ReportMetric(100*left/full, "%left")
			runtime.KeepAlive(m)
		}
	})
	b.Run("while1MExpire", func(b *testing.B) {
		for b.Loop() {
			m := fill()
			took := make([]time.Duration, 100_000)
			for i := range took {
				if i == 25_000 || i == 50_000 {
					aLifetimeLater(m)
				}
				start := time.Now()
				m.Put(names[i], "")
				took[i] = time.Since(start)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*9999/10000].Nanoseconds())/1e6, "p99.99-ms")
			b.ReportMetric(float64(took[len(took)-1].Nanoseconds())/1e6, "max-ms")
		}
	})
	runtime.KeepAlive(keys)
	runtime.KeepAlive(names)
}

// heap is what is in use after a collection, in bytes.
func heap() float64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}
