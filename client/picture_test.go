// picture_test.go makes page.png, the picture of the page in the README, and compares it with
// today's page. To make it again, when the page's texts or looks have changed:
//
//	PAGE_PNG=1 go test ./client -run ThePicture

package main

import (
	"bytes"
	"encoding/base64"
	"hash/crc32"
	"image/png"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The picture carries the texts that it shows, since fonts differ from computer to computer.
func TestThePictureInTheREADMEShowsTodaysPage(t *testing.T) {
	const file = "page.png"
	p := openPage(t)
	p.size(1280, 720)
	p.prefer("prefers-color-scheme", "light")
	p.story()
	var shown string
	p.run(`document.activeElement.blur(); return document.body.innerText`, &shown)
	shown = strings.Join(maskPage([]string{shown}), "")
	if os.Getenv("PAGE_PNG") == "1" {
		var encoded string
		p.call("GET", "/screenshot", nil, &encoded)
		picture, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, withText(picture, shown), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	picture, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	size, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil || size.Width != 1280 || size.Height != 720 || len(picture) > 200_000 {
		t.Errorf("%s: got %d × %d pixels, %d bytes, error %v; want 1280 × 720 and 200 kB at most",
			file, size.Width, size.Height, len(picture), err)
	}
	if got := textOf(picture); got != shown {
		t.Errorf("texts in the picture: got\n%s\nwant those of today's page:\n%s\n"+
			"PAGE_PNG=1 go test ./client -run ThePicture makes it again", got, shown)
	}
}

// A PNG is a signature and chunks: length, type, data, checksum. A tEXt chunk holds a keyword,
// NUL and Latin-1, hence the quoting. The last chunk, IEND, is always the same 12 bytes.
const keyword = "tEXtDescription\x00"

func withText(picture []byte, text string) []byte {
	chunk := []byte(keyword + strconv.QuoteToASCII(text))
	end := len(picture) - 12
	length := number(uint32(len(chunk) - len("tEXt")))
	sum := number(crc32.ChecksumIEEE(chunk))
	return slices.Concat(picture[:end], length, chunk, sum, picture[end:])
}

func number(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

// textOf returns "" for a picture without a text.
func textOf(picture []byte) string {
	_, after, _ := bytes.Cut(picture, []byte(keyword))
	quoted, _ := strconv.QuotedPrefix(string(after))
	text, _ := strconv.Unquote(quoted)
	return text
}
