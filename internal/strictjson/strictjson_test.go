package strictjson_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"tokenserver/internal/strictjson"
)

func TestAnObjectIsReadAsEncodingJSONReadsIt(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                        `{}`,
		"white space around it":        " \t\r\n{ } \n",
		"values of all kinds":          `{"a":1.5,"b":"x","c":true,"d":null,"e":[1],"f":{"g":2}}`,
		"a colon in a name":            `{"a:b":1}`,
		"a colon in a value":           `{"a":"b:c","d":["e:f"]}`,
		"an escaped quotation mark":    `{"a":"\":\"","b\"":":"}`,
		"a backslash before the end":   `{"a":"\\","b":"\\\":"}`,
		"an escaped colon":             `{"\u003a":"\u003a"}`,
		"the empty name":               `{"":1}`,
		"names in two cases":           `{"a":1,"A":2}`,
		"the same name in two objects": `{"a":{"b":1},"c":{"b":1},"d":[{"b":1},{"b":1}]}`,
		"a name within its own value":  `{"a":{"a":{"a":[{"a":1}]}}}`,
		"a composed and a split ü":     "{\"\u00fc\":1,\"u\u0308\":2}",
		"9,999 nested objects":         nested(9_999),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := strictjson.Object([]byte(text))
			if want := read(t, text); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, %v; want %v", got, err, want)
			}
		})
	}
}

func TestATextThatTwoProgramsMayReadDifferentlyIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a name twice":                   `{"secret":1,"secret":2}`,
		"a name twice with one value":    `{"secret":1,"secret":1}`,
		"a name twice, once escaped":     `{"secret":1,"\u0073ecret":2}`,
		"a name three times":             `{"a":1,"secret":1,"a":2,"a":3}`,
		"the empty name twice":           `{"":1,"":2}`,
		"a name twice in an object":      `{"a":{"secret":1,"secret":2}}`,
		"a name twice in a list":         `{"a":[[{"secret":1,"secret":2}]]}`,
		"a name twice, first an object":  `{"secret":{"a":1},"secret":2}`,
		"a name twice, second an object": `{"secret":1,"secret":{"a":1}}`,
		"a name twice, both objects":     `{"secret":{"a":1},"secret":{"b":1}}`,
		"two halves of surrogate pairs":  `{"\ud800":1,"\udfff":2}`, // Go reads both as U+FFFD
		"more after it":                  `{"a":1}{"secret":1}`,
		"a letter after it":              `{"a":1}x`,
		"a zero byte after it":           "{}\x00",
		"nothing":                        ``,
		"white space":                    ` `,
		"null":                           `null`,
		"a string":                       `"secret"`,
		"a number":                       `1`,
		"a list":                         `[{"secret":1}]`,
		"a broken byte in a value":       "{\"a\":\"secret\xff\"}",
		"a broken byte in a name":        "{\"secret\xff\":1}",
		"a surrogate as three bytes":     "{\"a\":\"\xed\xa0\x80\"}",
		"UTF-16":                         "{\x00}\x00",
		"a byte order mark":              "\ufeff{}",
		"a number that no float64 holds": `{"secret":1e400}`,
		"a comma too many":               `{"secret":1,}`,
		"a name without quotation marks": `{secret:1}`,
		"single quotation marks":         `{'secret':1}`,
		"a comment":                      `{"secret":1/**/}`,
		"NaN":                            `{"secret":NaN}`,
		"a line break in a string":       "{\"secret\":\"\n\"}",
		"cut off":                        `{"secret":1`,
		"cut off after a backslash":      `{"secret":"\`,
		"a value too few":                `{"secret":}`,
		"10,001 nested objects":          nested(10_001),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := strictjson.Object([]byte(text))
			if err == nil || got != nil {
				t.Fatalf("got %v, %v; want no object, and an error", got, err)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "1e400") {
				t.Errorf("the error quotes the text: %v", err)
			}
		})
	}
}

// FuzzObject compares with a reader that goes from name to name: what Object accepts has
// each name once and is what json.Unmarshal reads; what it refuses has a fault.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":{"a":[{"c":":"}]}}`, `{"a":1,"a":2}`,
		`{"a":{"b":1,"\u0062":2}}`, `{"\\":"\":"}`, `null`, "{\"a\":\"\xff\"}", `{"a":1}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := strictjson.Object(data)
		var want map[string]any
		good := utf8.Valid(data) && json.Unmarshal(data, &want) == nil && want != nil &&
			!hasANameTwice(json.NewDecoder(bytes.NewReader(data)))
		if (err == nil) != good {
			t.Errorf("%q: got %v, want it accepted: %v", data, err, good)
		}
		if good && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, want %v", data, got, want)
		}
	})
}

// hasANameTwice reads one value of a valid JSON text.
func hasANameTwice(decoder *json.Decoder) (twice bool) {
	start, _ := decoder.Token()
	if start != json.Delim('{') && start != json.Delim('[') {
		return false
	}
	seen := make(map[any]bool)
	for decoder.More() {
		if start == json.Delim('{') {
			name, _ := decoder.Token()
			twice = twice || seen[name]
			seen[name] = true
		}
		twice = hasANameTwice(decoder) || twice
	}
	decoder.Token() // the closing bracket
	return twice
}

func read(t *testing.T, text string) (object map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// nested returns the number 1 inside this many objects.
func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
}
