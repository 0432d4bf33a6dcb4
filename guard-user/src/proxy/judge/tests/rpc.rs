//! JSON-RPC and gRPC, by lists of methods.

use super::{asked, not_read, read, rules, said};

#[test]
fn listed_json_rpc_methods_read() {
    let rules = rules("profile = [\"jsonrpc\"]\njsonrpc_methods = [\"eth_call\", \"*_get*\"]");
    let post = |body: &str| format!("POST /\nContent-Type: application/json\n\n{body}");
    for body in [
        r#"{"jsonrpc":"2.0","method":"eth_call","params":[],"id":1}"#,
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
        r#"{"method":"eth_call"}"#,
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
