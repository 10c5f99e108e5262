// Package strictjson reads a JSON object that any two programs read alike. encoding/json
// is more forgiving: of two equal names it keeps the last, where another program may keep
// the first, and it replaces broken UTF-8. So one text could name two different users.
package strictjson

import (
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// Object returns the members of a JSON object, with values as encoding/json gives them.
// It refuses any other value, text after the object, what is not UTF-8, and a name that
// comes twice in one object at any depth (RFC 8259 §4). Its errors quote nothing of data.
func Object(data []byte) (map[string]any, error) {
	var value any // not a struct: it would match names in any case
	valid := utf8.Valid(data) && json.Unmarshal(data, &value) == nil &&
		members(value) == colons(data) // a map keeps only one member of each name
	object, ok := value.(map[string]any)
	if !valid || !ok {
		return nil, errors.New("not a JSON object in UTF-8 with each name once")
	}
	return object, nil
}

// members counts the members of all objects in value.
func members(value any) (n int) {
	object, _ := value.(map[string]any)
	for _, inner := range object {
		n += 1 + members(inner)
	}
	list, _ := value.([]any)
	for _, inner := range list {
		n += members(inner)
	}
	return n
}

// colons counts the members in a valid JSON text: each has one colon outside of strings.
func colons(text []byte) (n int) {
	inString := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\': // only in strings, and never the last byte
			i++ // so \" ends no string
		case text[i] == '"':
			inString = !inString
		case text[i] == ':' && !inString:
			n++
		}
	}
	return n
}
