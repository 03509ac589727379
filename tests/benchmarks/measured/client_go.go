// Ask for every case with Go's net/http; argument: the URL. As client_aiohttp.py.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func seen(url, field string) map[string]interface{} {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err == nil {
		defer response.Body.Close()
		_, err = io.ReadAll(response.Body)
	}
	if err != nil {
		return map[string]interface{}{"refused": err.Error()}
	}
	return map[string]interface{}{"values": append([]string{}, response.Header.Values(field)...)}
}

func main() {
	var cases [][2]string
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	told := map[string]interface{}{}
	for _, each := range cases {
		told[each[0]] = seen(os.Args[1]+"/"+each[0], each[1])
	}
	text, _ := json.Marshal(told)
	fmt.Println(string(text))
}
