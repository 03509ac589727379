// Go's net/http as a server that tells which header lines it saw; with a second argument, a reverse proxy to that URL.
package main

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
)

func upgrade(w http.ResponseWriter, r *http.Request) {
	digest := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	connection, buffer, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	buffer.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(digest[:]) + "\r\n\r\n")
	buffer.Flush()
	connection.Close()
}

func main() {
	address := "127.0.0.1:" + os.Args[1]
	if len(os.Args) > 2 {
		upstream, _ := url.Parse(os.Args[2])
		panic(http.ListenAndServe(address, httputil.NewSingleHostReverseProxy(upstream)))
	}
	panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			upgrade(w, r)
			return
		}
		io.ReadAll(r.Body)
		seen := [][2]string{{"Host", r.Host}}
		for name, values := range r.Header {
			for _, value := range values {
				seen = append(seen, [2]string{name, value})
			}
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(seen)
	})))
}
