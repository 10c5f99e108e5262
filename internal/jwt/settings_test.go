package jwt

import (
	"slices"
	"strings"
	"testing"
)

func TestTheHelpNamesEachSettingInOneAlignedLine(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(Help(), "\n"), "\n")
	want := []string{"JWT_SECRET", "JWT_KEY_FILE", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL"}
	if len(lines) != len(want) {
		t.Fatalf("got %d lines, want %d", len(lines), len(want))
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, "  "+want[i]+" ") || len(line) > 100 {
			t.Errorf("got %q, want a line of at most 100 columns that begins with %s",
				line, want[i])
		}
		if columns := strings.SplitN(line, "  ", 3); len(columns) < 3 {
			t.Errorf("got %q, want name, kinds and meaning", line)
		}
	}
}

func TestASettingThatTheKindDoesNotUseIsReported(t *testing.T) {
	all := []string{"JWT_SECRET", "JWT_KEY_FILE", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL"}
	for kind, want := range map[string][]string{
		"opaque":   all,
		"hs256":    {"JWT_KEY_FILE", "JWT_JWKS_URL"},
		"rs256":    {"JWT_SECRET", "JWT_JWKS_URL"},
		"external": {"JWT_SECRET", "JWT_KEY_FILE"},
	} {
		t.Run(kind, func(t *testing.T) {
			if got := Ignored(kind); got != nil {
				t.Errorf("nothing is set: got %v", got)
			}
			for _, name := range all {
				t.Setenv(name, "x")
			}
			if got := Ignored(kind); !slices.Equal(got, want) {
				t.Errorf("all are set: got %v, want %v", got, want)
			}
			t.Setenv(want[0], "") // empty counts as unset
			if got := Ignored(kind); !slices.Equal(got, want[1:]) {
				t.Errorf("%s is empty: got %v, want %v", want[0], got, want[1:])
			}
		})
	}
}

func TestTrustsNamesIssuerAudienceAndTheKeysAddressWithoutItsQuery(t *testing.T) {
	for _, test := range []struct{ name, jwksURL, keysURL string }{
		{"the issuer's own", "", "https://tokens.example/.well-known/jwks.json"},
		{"another", "https://keys.example/a", "https://keys.example/a"},
		{"a query", "https://keys.example/a?key=hush", "https://keys.example/a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for pair := range slices.Chunk(external("https://tokens.example/", test.jwksURL), 2) {
				t.Setenv(pair[0], pair[1])
			}
			iss, aud, keysURL := newService(t, "external").Trusts()
			if iss != "https://tokens.example/" || aud != "x" || keysURL != test.keysURL {
				t.Errorf("got %q, %q, %q", iss, aud, keysURL)
			}
		})
	}
	if _, _, keysURL := newService(t, "hs256").Trusts(); keysURL != "" {
		t.Errorf("hs256: got keys from %q, want none", keysURL)
	}
}
