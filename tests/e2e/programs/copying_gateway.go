// A gateway that has a CORS policy of its own, and then adds every header that the provider's response has.
//
//	copying_gateway PORT PROVIDER_URL ORIGIN
package main

import (
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	port, provider, origin := os.Args[1], os.Args[2], os.Args[3]
	forward := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("Cache-Control", "no-store")
		if r.Method == "OPTIONS" {
			w.Header().Set("Access-Control-Allow-Headers", "content-type, authorization")
			w.WriteHeader(204)
			return
		}
		call, _ := http.NewRequest(r.Method, provider+r.URL.RequestURI(), r.Body)
		call.Header = r.Header.Clone()
		call.Header.Del("Connection")
		call.ContentLength = r.ContentLength
		answer, err := http.DefaultTransport.RoundTrip(call)
		if err != nil {
			http.Error(w, err.Error(), 502)
			return
		}
		defer answer.Body.Close()
		for name, values := range answer.Header {
			for _, value := range values {
				w.Header().Add(name, value)
			}
		}
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(forward)))
}
