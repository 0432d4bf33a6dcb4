//! JSON-RPC and gRPC, by lists of methods.

use super::{asked, not_read, read, rules, said};

#[test]
fn listed_json_rpc_methods_read() {
    let rules = rules("profile = [\"jsonrpc\"]\njsonrpc_methods = [\"eth_call\", \"*_get*\"]");
    let post = |body: &str| format!("POST /\nContent-Type: application/json\n\n{body}");
    for body in [
        r#"{"jsonrpc":"2.0","method":"eth_call","params":[],"id":1}"#,
        r#"{"method":"eth_call","src":"a"}"#,
        r#"{"jsonrpc":"2.0","method":"eth_getBalance","params":["0x0"],"id":"a"}"#,
        r#"[{"jsonrpc":"2.0","method":"eth_call","id":1},{"jsonrpc":"2.0","method":"net_getX"}]"#,
    ] {
        assert_eq!(said(&rules, &post(body)), "read", "{body}");
    }
    asked(
        &rules,
        &[(
            &post(
                r#"[{"jsonrpc":"2.0","method":"eth_call","id":1},{"jsonrpc":"2.0","method":"eth_sendRawTransaction"}]"#,
            ),
            "calls `eth_sendRawTransaction` (JSON-RPC)",
        )],
    );
    for body in [
        r#"{"jsonrpc":"2.0","method":"eth_call","method":"eth_send"}"#,
        r#"{"jsonrpc":"2.0","method":"eth_call","Method":"eth_send"}"#,
        r#"{"jsonrpc":"1.0","method":"eth_call"}"#,
        r#"{"jsonrpc":"2.0","method":["eth_call"]}"#,
        r#"{"jsonrpc":"2.0","method":"ETH_CALL"}"#,
        "[]",
        "",
    ] {
        not_read(&rules, &[&post(body)]);
    }
    let call = r#"{"jsonrpc":"2.0","method":"eth_call","id":1}"#;
    read(
        &rules,
        &[&format!(
            "POST /rpc\nContent-Type: application/json\n\n{call}"
        )],
    );
    not_read(
        &rules,
        &[
            &format!("POST /jobs/start\nContent-Type: application/json\n\n{call}"),
            &format!("POST /\nContent-Type: text/plain\n\n{call}"),
            &format!("POST /\nContent-Type: application/json\nContent-Encoding: br\n\n{call}"),
        ],
    );
}

#[test]
fn calls_by_get_are_judged_by_the_same_list() {
    let rules =
        rules("profile = \"jsonrpc\"\njsonrpc_methods = [\"aria2.tell*\", \"JSONRPC.Ping\"]");
    let ping = "%7B%22jsonrpc%22:%222.0%22,%22method%22:%22JSONRPC.Ping%22,%22id%22:1%7D";
    let quit = ping.replace("JSONRPC.Ping", "Application.Quit");
    read(
        &rules,
        &[
            "GET /jsonrpc",
            "GET /health?deep=1",
            "GET /jsonrpc?method=aria2.tellStatus&id=a&params=WyJ4Il0=",
            "HEAD /jsonrpc?method=aria2.tellActive&jsoncallback=x&_=1",
            &format!("GET /jsonrpc?request={ping}"),
            "GET /status",
            "GET /api/search?request=logs",
        ],
    );
    asked(
        &rules,
        &[
            (
                "GET /jsonrpc?method=aria2.shutdown&id=1",
                "calls `aria2.shutdown` (JSON-RPC)",
            ),
            (
                "GET /elsewhere?method=aria2.addUri&params=W10=",
                "calls `aria2.addUri` (JSON-RPC)",
            ),
            (
                "GET /broadcast_tx_commit?tx=0x01",
                "calls `broadcast_tx_commit` (JSON-RPC)",
            ),
            (
                "GET /unsafe_flush_mempool",
                "calls `unsafe_flush_mempool` (JSON-RPC)",
            ),
            (
                &format!("GET /jsonrpc?request={quit}"),
                "calls `Application.Quit` (JSON-RPC)",
            ),
        ],
    );
    not_read(
        &rules,
        &[
            "HEAD /jsonrpc?method=aria2.shutdown",
            "GET /JSONRPC?method=aria2.shutdown",
            "GET //jsonrpc/?params=W10=",
            "GET /jsonrpc?params=W3sibWV0aG9kIjoiYXJpYTIuc2h1dGRvd24ifV0=",
            "GET /jsonrpc?x=1",
            "GET /?x",
            "GET /jsonrpc?method=aria2.tellStatus&method=aria2.shutdown",
            "GET /jsonrpc?method=aria2.tellStatus&Method=aria2.shutdown",
            "GET /jsonrpc?method=aria2.tellStatus;method=aria2.shutdown",
            "GET /jsonrpc?method=aria2.tellStatus&action=shutdown",
            "GET /jsonrpc?method%00x=aria2.shutdown",
            "GET /jsonrpc?method",
            &format!("GET /elsewhere?request={quit}"),
            &format!("GET /jsonrpc?method=aria2.tellStatus&request={quit}"),
            &format!("GET /jsonrpc?request=[{ping},{quit}]"),
            "POST /jsonrpc?method=aria2.shutdown\nContent-Type: application/json\n\n{\"jsonrpc\":\"2.0\",\"method\":\"aria2.tellStatus\"}",
        ],
    );
}

#[test]
fn where_json_rpc_is_served_can_be_said() {
    let rules =
        rules("profile = \"jsonrpc\"\njsonrpc_methods = [\"a\"]\njsonrpc_paths = [\"/v3/*\"]");
    let call = "Content-Type: application/json\n\n{\"jsonrpc\":\"2.0\",\"method\":\"a\"}";
    read(&rules, &[&format!("POST /v3/key\n{call}")]);
    not_read(&rules, &[&format!("POST /\n{call}")]);
}

#[test]
fn listed_grpc_methods_read() {
    let rules = rules("profile = \"grpc\"\ngrpc_methods = [\"*/Get*\", \"etcdserverpb.KV/Range\"]");
    read(
        &rules,
        &[
            "POST /shop.v1.Orders/GetOrder\nContent-Type: application/grpc\nte: trailers\n\nx",
            "POST /shop.v1.Orders/GetOrder\nContent-Type: application/grpc+proto\n\nx",
            "POST /etcdserverpb.KV/Range\nContent-Type: application/grpc-web+proto\n\nx",
        ],
    );
    asked(
        &rules,
        &[(
            "POST /etcdserverpb.KV/Put\nContent-Type: application/grpc\n\nx",
            "calls `etcdserverpb.KV/Put` (gRPC)",
        )],
    );
    not_read(
        &rules,
        &[
            "POST /shop.v1.Orders/GetOrder\nContent-Type: application/json\n\nx",
            "POST /a/b/GetOrder\nContent-Type: application/grpc\n\nx",
            "POST /a/Get%2fDelete\nContent-Type: application/grpc\n\nx",
            "POST /a/Put;/GetX\nContent-Type: application/grpc\n\nx",
            "PUT /a/GetX\nContent-Type: application/grpc\n\nx",
        ],
    );
}
