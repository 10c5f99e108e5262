// Client is the article's client in Go: it exchanges a username and a password for a token,
// then sends the token to the protected resource. To a client a token is just a string; all
// this one knows of the server is the protocol.
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
	username := flag.String("username", "user1", "user name")
	password := flag.String("password", "password1", "password")
	flag.Parse()
	// A redirect could take the password or the token to another server.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &http.Client{Timeout: 10 * time.Second, CheckRedirect: stay}
	base := strings.TrimRight(*server, "/")
	token, answered := login(client, base, *username, *password)
	if !answered {
		fmt.Println("Is the server running? Start it with: go run .")
	}
	if !answered || !open(client, base+"/protected", token) || token == "" {
		os.Exit(1)
	}
}

// login sends the password in the body, since URLs end up in logs.
func login(client *http.Client, server, username, password string) (token string, answered bool) {
	form := url.Values{"username": {username}, "password": {password}}
	text, status := read(client.PostForm(server+"/token", form))
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if status != http.StatusOK || json.Unmarshal([]byte(text), &answer) != nil ||
		answer.AccessToken == "" {
		fmt.Println("Error:", text)
		fmt.Println("Failed to get access token.")
		return "", status != 0
	}
	fmt.Println("Access Token:", answer.AccessToken)
	fmt.Println("Authorization: Bearer", answer.AccessToken)
	return answer.AccessToken, true
}

// open requests the resource, with the token if there is one.
func open(client *http.Client, resource, token string) (opened bool) {
	request, err := http.NewRequest("GET", resource, nil)
	if err != nil {
		fmt.Println(err)
		return false
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	text, status := read(client.Do(request))
	fmt.Println(text)
	return status == http.StatusOK
}

// read returns the body and the status of a response; without a response, the error and 0.
func read(response *http.Response, err error) (text string, status int) {
	if err != nil {
		return err.Error(), 0
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20)) // 1 MiB at most, to be safe
	if err != nil {
		return err.Error(), 0
	}
	return string(body), response.StatusCode
}
