client() {
    export GOCACHE=$HOME/cache GOPATH=$HOME/go GOTOOLCHAIN=local GOFLAGS=-mod=mod
    mkdir app
    cd app
    cat >go.mod <<END
module app
go 1.19
END
    cat >main.go <<END
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
)

func main() {
	server := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, _ *http.Request) { fmt.Fprint(to, "text") }))
	defer server.Close()
	answer, err := http.Get(server.URL)
	if err != nil {
		panic(err)
	}
	body, err := io.ReadAll(answer.Body)
	fmt.Println(string(body), err)
}
END
    go run .
}
