// A server of ssh that lets everybody in, and writes down who connects and what is to be run: shells FILE
package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(conn net.Conn, config *ssh.ServerConfig, log *os.File) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go run(channel, requests, log)
	}
}

func run(channel ssh.Channel, requests <-chan *ssh.Request, log *os.File) {
	defer channel.Close()
	for request := range requests {
		var exec struct{ Command string }
		if request.Type != "exec" || ssh.Unmarshal(request.Payload, &exec) != nil {
			request.Reply(false, nil)
			continue
		}
		fmt.Fprintln(log, "ran", exec.Command)
		request.Reply(true, nil)
		fmt.Fprintln(channel, "it ran")
		channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
		return
	}
}

func main() {
	log, err := os.OpenFile(os.Args[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(err)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(err)
	signer, err := ssh.NewSignerFromKey(key)
	must(err)
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", ":22")
	must(err)
	fmt.Println("listens")
	for {
		conn, err := listener.Accept()
		must(err)
		fmt.Fprintln(log, "connected", conn.LocalAddr())
		go serve(conn, config, log)
	}
}
