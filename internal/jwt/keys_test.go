// The specification of the settings and of our own keys: what each setting does, which are
// refused and with what words, and what is published.

package jwt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestTheHelpNamesEachSettingAndItsKindsInAlignedLines(t *testing.T) {
	help := Help()
	for name, kinds := range map[string]string{
		"JWT_SECRET":   "hs256",
		"JWT_KEY_FILE": "rs256",
		"JWT_ISSUER":   "hs256 rs256 external",
		"JWT_AUDIENCE": "hs256 rs256 external",
		"JWT_JWKS_URL": "external",
	} {
		if want := fmt.Sprintf("  %-14s%-22s", name, kinds); strings.Count(help, want) != 1 {
			t.Errorf("got %q, want one line that begins %q", help, want)
		}
	}
	for line := range strings.Lines(help) {
		if len(line) > 101 {
			t.Errorf("got %d columns, want at most 100: %s", len(line)-1, line)
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

func TestTheSummaryNamesTheKeysAddressWithoutItsQuery(t *testing.T) {
	for _, test := range []struct{ name, issuer, jwksURL, keysURL string }{
		{"the issuer's own", "https://tokens.example", "",
			"https://tokens.example/.well-known/jwks.json"},
		{"of an issuer with a slash", "https://tokens.example/", "",
			"https://tokens.example/.well-known/jwks.json"},
		{"of an issuer with a path", "https://tokens.example/a/", "",
			"https://tokens.example/a/.well-known/jwks.json"},
		{"another", "https://tokens.example/", "https://keys.example/a", "https://keys.example/a"},
		{"an address with a query", "joe", "https://keys.example/a?key=hush",
			"https://keys.example/a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for pair := range slices.Chunk(external(test.issuer, test.jwksURL), 2) {
				t.Setenv(pair[0], pair[1])
			}
			want := "  takes     RS256 tokens\n  issuer    " + test.issuer +
				"\n  audience  x\n  keys      " + test.keysURL + "\n"
			if got := newService(t, "external").Summary(); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestAKeyIsNamedByItsThumbprintAsInRFC7638(t *testing.T) {
	n := decode(t, ""+
		"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tS"+
		"oc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65"+
		"YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyr"+
		"dkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"+
		"nqDKgw")
	got := thumbprint(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHS256PublishesNothing(t *testing.T) {
	if got := newService(t, "hs256").JWKS(); got != nil {
		t.Errorf("got %s, want nil", got)
	}
}

func TestThePublishedSetHasThePublicKeyAndNothingElse(t *testing.T) {
	s := newService(t, "rs256")
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(s.JWKS(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("got %s, %v; want a JWK Set of one key", s.JWKS(), err)
	}
	want := []string{"alg", "e", "kid", "kty", "n", "use"}
	if got := slices.Sorted(maps.Keys(set.Keys[0])); !slices.Equal(got, want) {
		t.Errorf("got members %v, want %v", got, want)
	}
	keys, err := parseKeySet(s.JWKS())
	if key := keys[s.header["kid"]]; err != nil || !s.private.PublicKey.Equal(key) {
		t.Errorf("read back: got %v, %v; want our key", keys, err)
	}
}

func TestAKeyFileMayBePKCS1OrPKCS8(t *testing.T) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(exampleKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for block, der := range map[string][]byte{
		"RSA PRIVATE KEY": x509.MarshalPKCS1PrivateKey(exampleKey(t)),
		"PRIVATE KEY":     pkcs8,
	} {
		t.Setenv("JWT_KEY_FILE", writeKey(t, block, der))
		s := newService(t, "rs256")
		if !s.private.Equal(exampleKey(t)) {
			t.Errorf("%s: another key", block)
		}
		if username, _, err := s.Check(issue(t, s)); username != "user1" || err != nil {
			t.Errorf("%s: got %q, %v", block, username, err)
		}
	}
}

func TestWhiteSpaceAfterTheKeyIsFine(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY",
		Bytes: x509.MarshalPKCS1PrivateKey(exampleKey(t))})
	t.Setenv("JWT_KEY_FILE", write(t, append(key, " \r\n\n"...)))
	if !newService(t, "rs256").private.Equal(exampleKey(t)) {
		t.Error("got another key")
	}
}

func TestAWrongSettingIsOneClearLineThatQuotesNoKey(t *testing.T) {
	pkcs1 := x509.MarshalPKCS1PrivateKey(exampleKey(t))
	good := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: pkcs1})
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	curve, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(curve)
	rsaPKCS8, _ := x509.MarshalPKCS8PrivateKey(exampleKey(t))
	public, _ := x509.MarshalPKIXPublicKey(&exampleKey(t).PublicKey)
	issuer := "https://tokens.example/"
	for _, test := range []struct {
		name, kind string
		env        []string
		names      string // what the line must name
	}{
		{"kind unknown", "rs512", nil, "rs512"},
		{"kind empty", "", nil, "kind"},
		{"issuer not UTF-8", "hs256", []string{"JWT_ISSUER", "a\xffb", "JWT_AUDIENCE", "x"},
			"JWT_ISSUER"},
		{"audience not UTF-8", "hs256", []string{"JWT_AUDIENCE", "a\xffb"}, "JWT_AUDIENCE"},
		{"secret of 31 bytes", "hs256", []string{"JWT_SECRET", secret[1:]}, "JWT_SECRET"},
		{"no such file", "rs256", []string{"JWT_KEY_FILE", "none.pem"}, "JWT_KEY_FILE"},
		{"a directory", "rs256", []string{"JWT_KEY_FILE", t.TempDir()}, "JWT_KEY_FILE"},
		{"not PEM", "rs256", []string{"JWT_KEY_FILE", write(t, []byte("key"))}, "JWT_KEY_FILE"},
		{"an empty file", "rs256", []string{"JWT_KEY_FILE", write(t, nil)}, "JWT_KEY_FILE"},
		{"two keys", "rs256", []string{"JWT_KEY_FILE", write(t, slices.Concat(good, good))},
			"one PEM block"},
		{"junk after it", "rs256", []string{"JWT_KEY_FILE", write(t, append(good, "junk"...))},
			"one PEM block"},
		{"a public key", "rs256", []string{"JWT_KEY_FILE", writeKey(t, "PUBLIC KEY", public)},
			"RSA private key"},
		{"an EC key", "rs256", []string{"JWT_KEY_FILE", writeKey(t, "PRIVATE KEY", pkcs8)},
			"RSA private key"},
		{"PKCS#1 called PKCS#8", "rs256", []string{"JWT_KEY_FILE",
			writeKey(t, "PRIVATE KEY", pkcs1)}, "JWT_KEY_FILE"},
		{"a certificate", "rs256", []string{"JWT_KEY_FILE", writeKey(t, "CERTIFICATE", pkcs1)},
			"PKCS#1"},
		{"PKCS#8 called a certificate", "rs256", []string{"JWT_KEY_FILE",
			writeKey(t, "CERTIFICATE", rsaPKCS8)}, "PKCS#1"},
		{"a broken key", "rs256", []string{"JWT_KEY_FILE",
			writeKey(t, "RSA PRIVATE KEY", pkcs1[:99])}, "JWT_KEY_FILE"},
		{"1024 bits", "rs256", []string{"JWT_KEY_FILE", writeKey(t, "RSA PRIVATE KEY",
			x509.MarshalPKCS1PrivateKey(small))}, "2048"},
		{"no issuer", "external", []string{"JWT_AUDIENCE", "x"}, "JWT_ISSUER"},
		{"keys but no issuer", "external", external("", issuer), "JWT_ISSUER"},
		{"no audience", "external", []string{"JWT_ISSUER", issuer}, "JWT_AUDIENCE"},
		{"not a URL", "external", external("joe", ""), "JWT_JWKS_URL"},
		{"an issuer without a host", "external", external("https://", ""), "JWT_ISSUER"},
		{"plain http", "external", external(issuer, "http://tokens.example/"), "https"},
		{"plain http issuer", "external", external("http://tokens.example/", ""), "https"},
		{"nearly loopback", "external", external(issuer, "http://127.0.0.1.example/"), "https"},
		{"nearly localhost", "external", external(issuer, "http://localhost.example/"), "https"},
		{"a file", "external", external(issuer, "file:///etc/passwd"), "JWT_JWKS_URL"},
		{"no host", "external", external(issuer, "https:///keys"), "JWT_JWKS_URL"},
		{"a password", "external", external(issuer, "https://me:hush@tokens.example/"), "password"},
		{"a broken URL", "external", external(issuer, "https://%zz/"), "JWT_JWKS_URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.HasSuffix(test.name, "not UTF-8") && runtime.GOOS == "windows" {
				t.Skip("an environment on Windows cannot hold broken UTF-8")
			}
			for pair := range slices.Chunk(test.env, 2) {
				t.Setenv(pair[0], pair[1])
			}
			s, err := New(test.kind, ttl, self, quiet)
			if err == nil || s != nil {
				t.Fatalf("got %v, %v; want no service, and an error", s, err)
			}
			line := err.Error()
			if !strings.Contains(line, test.names) || strings.ContainsAny(line, "\r\n") {
				t.Errorf("got %q, want one line that names %q", line, test.names)
			}
			for _, secret := range []string{"hush", secret[1:], "MII", "asn1", "x509"} {
				if strings.Contains(line, secret) {
					t.Errorf("got %q, which quotes %q", line, secret)
				}
			}
		})
	}
}

func external(issuer, jwksURL string) []string {
	return []string{"JWT_ISSUER", issuer, "JWT_AUDIENCE", "x", "JWT_JWKS_URL", jwksURL}
}

func TestAnAddressThatIsNotUTF8IsNoIssuer(t *testing.T) {
	t.Setenv("JWT_AUDIENCE", "x")
	if s, err := New("hs256", ttl, "http://a\xffb", quiet); s != nil || err == nil {
		t.Errorf("got %v, %v; want an error, as JSON would change the issuer", s, err)
	}
}

func TestTheIssuerIsThisServerAndTheAudienceTheIssuerUnlessSet(t *testing.T) {
	for _, test := range []struct{ setIssuer, setAudience, issuer, audience string }{
		{"", "", self, self},
		{"https://a.example/", "", "https://a.example/", "https://a.example/"},
		{"", "api", self, "api"},
		{"https://a.example/", "api", "https://a.example/", "api"},
	} {
		t.Setenv("JWT_ISSUER", test.setIssuer)
		t.Setenv("JWT_AUDIENCE", test.setAudience)
		s := newService(t, "hs256")
		if s.issuer != test.issuer || s.audience != test.audience {
			t.Errorf("%+v: trusts %q, %q", test, s.issuer, s.audience)
		}
		_, claims := parts(t, issue(t, s))
		if claims["iss"] != test.issuer || claims["aud"] != test.audience {
			t.Errorf("%+v: issues %v", test, claims)
		}
	}
}

func writeKey(t testing.TB, block string, der []byte) string {
	t.Helper()
	return write(t, pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}))
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
