//! GraphQL requests as clients send them.

use guard_policy::Profile;

use super::{asked, not_read, profile, read, rules, said};

fn json(body: &str) -> String {
    format!("POST /graphql\nContent-Type: application/json\n\n{body}")
}

fn graphql(body: &str) -> String {
    format!("POST /graphql\nContent-Type: application/graphql\n\n{body}")
}

#[test]
fn queries_read() {
    let rules = profile(Profile::Graphql);
    for body in [
        r#"{"query":"{ viewer { login } }"}"#,
        r#"{"query":"query($n:Int!){ viewer { repositories(first:$n) { nodes { name } } } }","variables":{"n":3}}"#,
        r#"{"operationName":"A","variables":{},"query":"query A { a } query B { b } fragment F on T { x }"}"#,
        r#"[{"query":"{a}"},{"query":"query { b }","extensions":{}}]"#,
        r##"{"query":"# mutation { x }\nquery { a(text: \"mutation { y }\") }"}"##,
        r#"{"query":"{ mutation subscription }","variables":null,"operationName":null}"#,
        r#"{"query":"query { a(t: \"\"\"\n} mutation { x }\n\"\"\") }"}"#,
        r#"{"query":"query IntrospectionQuery { __schema { mutationType { name } } }"}"#,
    ] {
        assert_eq!(said(&rules, &json(body)), "read", "{body}");
    }
    read(
        &rules,
        &[
            &graphql("{ a }"),
            "POST /api/graphql\nContent-Type: application/json; charset=utf-8\n\n{\"query\":\"{a}\"}",
            "POST /admin/api/2024-01/graphql.json\nContent-Type: application/json\n\n{\"query\":\"{a}\"}",
            "GET /graphql",
            "POST /graphql/\nContent-Type: application/json\n\n{\"query\":\"{a}\"}",
            "GET /graphql?query=%7Ba%7D&variables=%7B%7D",
            "GET /graphql?query=query+A+%7Ba%7D&operationName=A",
        ],
    );
}

#[test]
fn mutations_and_subscriptions_are_named() {
    let rules = profile(Profile::Graphql);
    for (body, kind) in [
        (
            r#"{"query":"mutation { deleteAll { ok } }"}"#,
            "GraphQL mutation `deleteAll`",
        ),
        (
            r#"{"query":"mutation M { a: deleteAll { ok } }"}"#,
            "GraphQL mutation `deleteAll`",
        ),
        (
            r#"{"query":"query A{a} mutation B{b}","operationName":"A"}"#,
            "GraphQL mutation `b`",
        ),
        (
            r#"{"query":"subscription { ticks }"}"#,
            "GraphQL subscription `ticks`",
        ),
        (
            r#"[{"query":"{a}"},{"query":"mutation{b}"}]"#,
            "GraphQL mutation `b`",
        ),
        (
            r#"{"query":"mutation { ...F } fragment F on M { x }"}"#,
            "GraphQL mutation `…`",
        ),
        (
            r##"{"query":"# a\nmutation { x }"}"##,
            "GraphQL mutation `x`",
        ),
        (
            r#"{"query":"{ a(t: \"\"\"\\\"\"\" } \"\"\") } mutation { x }"}"#,
            "GraphQL mutation `x`",
        ),
        (
            r#"{"\u0071uery":"mut\u0061tion { x }"}"#,
            "GraphQL mutation `x`",
        ),
    ] {
        assert_eq!(said(&rules, &json(body)), kind, "{body}");
    }
    asked(
        &rules,
        &[
            (&graphql("mutation { x }"), "GraphQL mutation `x`"),
            ("GET /graphql?query=mutation%7Bx%7D", "GraphQL mutation `x`"),
            (
                "GET /graphql/?query=mutation%7Bx%7D",
                "GraphQL mutation `x`",
            ),
            ("GET /GraphQL?query=mutation%7Bx%7D", "GraphQL mutation `x`"),
            (
                "GET /graphql?%71uery=mutation%7Bx%7D",
                "GraphQL mutation `x`",
            ),
            (
                "GET /graphql/../graphql?query=mutation%7Bx%7D",
                "GraphQL mutation `x`",
            ),
        ],
    );
}

#[test]
fn what_cannot_be_read_is_asked_about() {
    let rules = profile(Profile::Graphql);
    for body in [
        r#"{"query":"{a}","query":"mutation{b}"}"#,
        r#"{"query":"{a}","Query":"mutation{b}"}"#,
        r#"{"query":"{a}","id":"7"}"#,
        r#"{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"ab"}}}"#,
        r#"{"query":"{a}","extensions":{"persistedQuery":{"sha256Hash":"ab"}}}"#,
        r#"{"query":"{a"}"#,
        r#"{"query":""}"#,
        r#"{"query":"fragment F on T { x }"}"#,
        r#"{"query":"type T { x: Int }"}"#,
        r#"{"query":"{a}\r mutation {b}"}"#,
        r##"{"query":"{a} # \r mutation {b}"}"##,
        r##"{"query":"{a} # \u2028 mutation {b}"}"##,
        r#"{"query":"{a}\u0000"}"#,
        r#"{"query":["{a}"]}"#,
        r#"{"query":null}"#,
        "[]",
        &format!("[{}]", vec!["{\"query\":\"{a}\"}"; 1_001].join(",")),
        "[[{\"query\":\"{a}\"}]]",
        "\"{a}\"",
        "",
        "{",
    ] {
        let kind = "GraphQL that is not known to be a query";
        assert_eq!(said(&rules, &json(body)), kind, "{body}");
    }
    let deep = format!("{}{}", "{a".repeat(5_000), "}".repeat(5_000));
    not_read(&rules, &[&graphql(&deep), &graphql(&"{a} ".repeat(40_000))]);
    not_read(
        &rules,
        &[
            "POST /graphql\nContent-Type: application/json\nContent-Encoding: gzip\n\n{\"query\":\"{a}\"}",
            "POST /graphql\nContent-Type: application/json; charset=utf-7\n\n{\"query\":\"{a}\"}",
            "POST /graphql\nContent-Type: text/plain\n\n{\"query\":\"{a}\"}",
            "POST /graphql\nContent-Type: multipart/form-data; boundary=x\n\nx",
            "POST /graphql\n\n{\"query\":\"{a}\"}",
            "POST /graphql\nContent-Type: application/json\nContent-Type: text/plain\n\n{\"query\":\"{a}\"}",
            "POST /graphql?query=mutation%7Bx%7D\nContent-Type: application/json\n\n{\"query\":\"{a}\"}",
            "POST /graphql?operationName=B\nContent-Type: application/json\n\n{\"query\":\"{a}\"}",
            "POST /other\nContent-Type: application/json\n\n{\"query\":\"{a}\"}",
            "POST /jobs%2fgraphql\nContent-Type: application/json\n\n{\"query\":\"{a}\"}",
            "GET /graphql?extensions=%7B%7D&operationName=X",
            "GET /graphql?query=%7Ba%7D&query=mutation%7Bb%7D",
            "GET /graphql?query=%7Ba%7D;query=mutation%7Bb%7D",
            "GET /graphql?query=%7Ba%7D&id=7",
            "GET /graphql?operationId=delete",
            "GET /graphql?sha256Hash=ab",
            "GET /graphql?persistedQueryId=ab&variables=%7B%7D",
        ],
    );
}

#[test]
fn where_it_is_served_can_be_said() {
    let rules = rules("profile = \"graphql\"\ngraphql_paths = [\"/content/*\"]");
    let body = "Content-Type: application/json\n\n{\"query\":\"{a}\"}";
    read(&rules, &[&format!("POST /content/v1/spaces/x\n{body}")]);
    not_read(
        &rules,
        &[
            &format!("POST /graphql\n{body}"),
            &format!("POST /content/../x\n{body}"),
            "GET /content/x?query=mutation%7Bx%7D",
            // The same path, to some servers.
            "GET /Content/x?query=mutation%7Bx%7D",
            "GET //content/x/?query=mutation%7Bx%7D",
        ],
    );
}
