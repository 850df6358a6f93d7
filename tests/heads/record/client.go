// A client with Go's net/http: sends one GET. Prints `NAME TAB note`.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
)

func main() {
	response, err := http.Get(os.Args[1] + "/go-net-http")
	if err != nil {
		panic(err)
	}
	io.Copy(io.Discard, response.Body)
	fmt.Printf("go-net-http\tGo %s, net/http; recorded: http.Get(url)\n", runtime.Version()[2:])
}
