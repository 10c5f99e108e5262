// load_test.go puts the server under load and compares it with what cannot be avoided:
//
//	go test -run '^$' -bench . ./client

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"tokenserver/internal/httpd"
)

// ratio is the processor time of a GET /protected, in the whole server but not its clients,
// to that of a handler which sends the same bytes without a look at the token. Each of the
// two is a process of its own. Rounds alternate and the ratio is the median of theirs, since
// other programs on the machine disturb some of them.
func BenchmarkProtected(b *testing.B) {
	for _, connections := range []int{4, 32} {
		b.Run(fmt.Sprintf("%d-connections", connections), func(b *testing.B) {
			guarded, bare := startLoaded(b), startWithoutGuard(b)
			wantSameAnswers(b, guarded, bare)
			const rounds, round = 12, 5000
			var mine, other, ratios []float64
			for b.Loop() {
				for range rounds {
					mine = append(mine, guarded.processorTime(b, connections, round))
					other = append(other, bare.processorTime(b, connections, round))
				}
			}
			for i := range mine {
				ratios = append(ratios, mine[i]/other[i])
			}
			b.ReportMetric(median(mine)*1e6, "cpu-µs/guarded")
			b.ReportMetric(median(other)*1e6, "cpu-µs/bare")
			b.ReportMetric(median(ratios), "ratio")
		})
	}
}

// p99-ms is the latency of GET /protected while 32 clients log in at once, %idle its
// throughput then, of that without them.
func BenchmarkProtectedDuringLogins(b *testing.B) {
	l := startLoaded(b)
	const connections, round = 4, 20_000
	for b.Loop() {
		l.get(b, connections, round)
		idle := l.get(b, connections, round)
		ctx, stop := context.WithCancel(b.Context())
		var clients sync.WaitGroup
		for range 32 {
			clients.Go(func() {
				for ctx.Err() == nil {
					got, err := web.Post(l.url+"/token", formType, strings.NewReader(goodLogin))
					if err == nil {
						got.Body.Close()
					}
				}
			})
		}
		busy := l.get(b, connections, round)
		stop()
		clients.Wait()
		b.ReportMetric(float64(busy.took[round*99/100].Microseconds())/1e3, "p99-ms")
		b.ReportMetric(100*float64(idle.total)/float64(busy.total), "%idle")
	}
}

// A loaded server is a process, and a token for its GET /protected.
type loaded struct {
	*process
	token string
}

func startLoaded(b *testing.B) *loaded {
	b.Helper()
	p := startProgram(b, "-quiet", "-addr", freeAddress(b))
	p.untilItListens(b)
	_, answer := p.request(b, "POST", "/token", goodLogin)
	token := regexp.MustCompile(`\w{32}`).FindString(answer)
	if token == "" {
		b.Fatalf("got %s, want a token", answer)
	}
	return &loaded{p, token}
}

func startWithoutGuard(b *testing.B) *loaded {
	b.Helper()
	p, err := startProcess(os.Args[0], []string{"SERVE_WITHOUT_GUARD=true"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.stop() })
	return &loaded{p, "any"}
}

// serveWithoutGuard is what this test binary does in the process that it is compared with.
func serveWithoutGuard() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /protected", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"message":"Success to authentication, user1!"}`)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on http://%s\n  stop\n", listener.Addr())
	panic(httpd.WithLimits(mux, slog.New(slog.DiscardHandler)).Serve(listener))
}

// wantSameAnswers makes the comparison fair.
func wantSameAnswers(b *testing.B, servers ...*loaded) {
	b.Helper()
	var answers []string
	for _, l := range servers {
		r, err := http.NewRequest("GET", l.url+"/protected", nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+l.token)
		got, err := web.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		defer got.Body.Close()
		body, _ := io.ReadAll(got.Body)
		got.Header.Del("Date")
		answers = append(answers, fmt.Sprintf("%s %v %s", got.Status, got.Header, body))
	}
	if answers[0] != answers[1] {
		b.Fatalf("got %s\nand %s, want the same answer", answers[0], answers[1])
	}
}

// processorTime returns the seconds that the server works for each of so many requests.
func (l *loaded) processorTime(b *testing.B, connections, requests int) (seconds float64) {
	b.Helper()
	before := l.worked(b)
	l.get(b, connections, requests)
	return (l.worked(b) - before).Seconds() / float64(requests)
}

// worked returns the processor time of all threads of the server so far.
func (l *loaded) worked(b *testing.B) (sum time.Duration) {
	b.Helper()
	files := fmt.Sprintf("/proc/%d/task/*/schedstat", l.cmd.Process.Pid)
	threads, _ := filepath.Glob(files)
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		first, _, _ := strings.Cut(string(text), " ")
		nanoseconds, parseErr := strconv.Atoi(first)
		if err := errors.Join(err, parseErr); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(nanoseconds)
	}
	if sum == 0 {
		b.Skip("only Linux tells, in /proc, how long another process has worked")
	}
	return sum
}

type measured struct {
	total time.Duration
	took  []time.Duration // by each request, sorted
}

// get asks for /protected so many times over so many connections. It is leaner than an
// http.Client, which works harder than the server and would leave it idle.
func (l *loaded) get(b *testing.B, connections, times int) measured {
	b.Helper()
	m := measured{took: make([]time.Duration, times)}
	start := time.Now()
	var wait sync.WaitGroup
	for c := range connections {
		wait.Go(func() {
			conn, err := net.Dial("tcp", l.address())
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			conn.SetDeadline(start.Add(2 * time.Minute))
			answers := bufio.NewReader(conn)
			for i := c; i < times && err == nil; i += connections {
				start := time.Now()
				err = l.getOnce(conn, answers)
				m.took[i] = time.Since(start)
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	wait.Wait()
	m.total = time.Since(start)
	slices.Sort(m.took)
	return m
}

func (l *loaded) getOnce(conn io.Writer, answers *bufio.Reader) error {
	fmt.Fprintf(conn, "GET /protected HTTP/1.1\r\nHost: localhost\r\n"+
		"Authorization: Bearer %s\r\n\r\n", l.token)
	got, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if _, err := io.Copy(io.Discard, got.Body); err != nil {
		return err
	}
	if got.StatusCode != http.StatusOK {
		return errors.New("got " + got.Status)
	}
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
