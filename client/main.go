// The client of the article, in Go: it trades a username and a password for a
// token and shows the token to the protected resource. To a client a token is
// just a string, and all it knows of the server is the protocol.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

func main() {
	server := flag.String("url", "http://127.0.0.1:8001", "`URL` of the server")
	username := flag.String("username", "user1", "who logs in")
	password := flag.String("password", "password1", "with which password")
	flag.Parse()
	client := &http.Client{
		Timeout: 10 * time.Second,
		// A redirect could take the password or the token to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	base := strings.TrimRight(*server, "/")
	token, ok := login(client, base, *username, *password)
	if !open(client, base+"/protected", token) || !ok {
		os.Exit(1)
	}
}

// login sends the password in a body: URLs get written down on the way.
func login(client *http.Client, server, username, password string) (token string, ok bool) {
	form := url.Values{"username": {username}, "password": {password}}
	text, ok := read(client.PostForm(server+"/token", form))
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if !ok || json.Unmarshal([]byte(text), &answer) != nil || answer.AccessToken == "" {
		fmt.Println("Error:", text)
		fmt.Println("Failed to get access token.")
		return "", false
	}
	fmt.Println("Access Token:", answer.AccessToken)
	fmt.Println("Authorization: Bearer", answer.AccessToken)
	return answer.AccessToken, true
}

// open shows the token, if there is one, to what it protects.
func open(client *http.Client, resource, token string) (ok bool) {
	request, err := http.NewRequest("GET", resource, nil)
	if err != nil {
		fmt.Println(err)
		return false
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	text, ok := read(client.Do(request))
	fmt.Println(text)
	return ok
}

// read returns the body of an answer, to be trusted only if the status is 200.
func read(response *http.Response, err error) (text string, ok bool) {
	if err != nil {
		return err.Error(), false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20)) // of a stranger: 1 MiB at most
	if err != nil {
		return err.Error(), false
	}
	return string(body), response.StatusCode == http.StatusOK
}
