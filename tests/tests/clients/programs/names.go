// Looks a name up by Go's own resolver, connects to what it gets, and says so.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	resolver := &net.Resolver{PreferGo: true}
	found, err := resolver.LookupIP(context.Background(), "ip4", os.Args[1])
	if err != nil {
		fmt.Println("no:", err)
		os.Exit(1)
	}
	dialer := net.Dialer{Resolver: resolver}
	to, err := dialer.Dial("tcp4", os.Args[1]+":"+os.Args[2])
	if err != nil {
		fmt.Println("no:", err)
		os.Exit(1)
	}
	to.Close()
	fmt.Println(found[0])
}
