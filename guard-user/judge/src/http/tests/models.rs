//! What agents ask the models of clouds, under the rules that are for all else there.

use guard_policy::Profile;

use super::{Wire, not_read, profile, read};
use crate::http::{Judgement, judge};

const JSON: &str = "Content-Type: application/json\n\n{}";

fn post(path: &str, host: &str) -> String {
    format!("POST {path}\nHost: {host}\n{JSON}")
}

#[test]
fn googles_models_answer_and_what_is_beside_them_is_asked_about() {
    let rules = profile(Profile::Google);
    let gemini = "generativelanguage.googleapis.com";
    let vertex = "europe-west1-aiplatform.googleapis.com";
    let model = "/v1/projects/p/locations/l/publishers/anthropic/models/claude";
    for (path, host) in [
        (
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
            gemini,
        ),
        ("/v1beta/models/gemini-2.5-pro:countTokens", gemini),
        ("/v1beta/openai/chat/completions", gemini),
        (&*format!("{model}:streamRawPredict"), vertex),
        (
            "/v1/projects/p/locations/l/endpoints/7:generateContent",
            vertex,
        ),
        (
            "/v1/projects/p/locations/l/endpoints/openapi/chat/completions",
            vertex,
        ),
        (
            "/v1internal:streamGenerateContent?alt=sse",
            "cloudcode-pa.googleapis.com",
        ),
        ("/token", "oauth2.googleapis.com"),
        ("/log?format=json", "PLAY.googleapis.com:443"),
    ] {
        read(&rules, &[&post(path, host)]);
    }
    for (path, host) in [
        (&*format!("{model}:export"), vertex),
        (&*format!("{model}%2F:rawPredict"), vertex),
        (
            "/v1/projects/p/locations/l/models/m:generateContent",
            vertex,
        ),
        ("/v1/projects/p/locations/l/endpoints/7:deployModel", vertex),
        // A program of a customer's gets these as they are.
        ("/v1/projects/p/locations/l/endpoints/7:predict", vertex),
        ("/v1/projects/p/locations/l/endpoints/7:rawPredict", vertex),
        (
            "/v1/projects/p/locations/l/endpoints/7:streamRawPredict",
            vertex,
        ),
        // Objects of these names in somebody's bucket.
        (
            "/v1beta/models/m:generateContent?uploads",
            "bucket.storage.googleapis.com",
        ),
        (
            "/v1beta/models/m:generateContent",
            "storage.googleapis.com.",
        ),
        (
            "/v1beta/models/m:generateContent",
            "commondatastorage.googleapis.com",
        ),
        // Programs of customers, who name their paths as they like.
        ("/v1beta/models/m:generateContent", "app-1-ew.a.run.app"),
        (
            "/v1beta/models/m:generateContent",
            "googleapis.com.example.com",
        ),
        ("/v1beta/models/:generateContent", gemini),
        ("/v1beta/cachedContents", gemini),
        ("/v1internal:loadCodeAssist", "storage.googleapis.com"),
        // It changes what a person has agreed to.
        (
            "/v1internal:setCodeAssistGlobalUserSetting",
            "cloudcode-pa.googleapis.com",
        ),
        ("/token", "storage.googleapis.com"),
        ("/log", "storage.googleapis.com"),
        ("/log/x", "play.googleapis.com"),
    ] {
        not_read(&rules, &[&post(path, host)]);
    }
    let other = post("/v1beta/models/m:generateContent", gemini);
    not_read(
        &rules,
        &[
            &other.replace("POST", "DELETE"),
            &other.replace(
                "Content-Type",
                "X-HTTP-Method-Override: DELETE\nContent-Type",
            ),
        ],
    );
}

#[test]
fn a_question_to_firestore_reads_and_a_transaction_is_asked_about() {
    let rules = profile(Profile::Google);
    let at = "/v1/projects/p/databases/d/documents";
    let ask = |path: &str, head: &str, body: &str| {
        format!("POST {path}\nHost: firestore.googleapis.com\n{head}\n\n{body}")
    };
    let json = "Content-Type: application/json; charset=utf-8";
    let query = r#"{"structuredQuery":{"from":[{"collectionId":"a"}]}}"#;
    read(
        &rules,
        &[
            &ask(
                &format!("{at}:batchGet"),
                json,
                r#"{"documents":["a"],"mask":{}}"#,
            ),
            &ask(&format!("{at}/a/b:runQuery?key=k"), json, query),
            &ask(
                &format!("{at}/a/b:runQuery"),
                "Content-Type: text/plain",
                query,
            ),
            &ask(&format!("{at}/a/b:runQuery"), json, query)
                .replace("firestore.googleapis.com", "localhost:8080"),
            &ask(&format!("{at}/a/b:listCollectionIds"), json, "{}"),
        ],
    );
    for verb in [":batchGet", "/a/b:runQuery", "/a/b:runAggregationQuery"] {
        for body in [
            r#"{"newTransaction":{"readWrite":{}}}"#,
            r#"{"new_transaction":{"readWrite":{}}}"#,
            r#"{"n\u0065wTransaction":{}}"#,
            r#"{"structuredQuery":{},"transaction":"eA=="}"#,
            r#"{"readTime":"x","readTime":"y"}"#,
            r#"[{"newTransaction":{}}]"#,
            "x",
        ] {
            not_read(&rules, &[&ask(&format!("{at}{verb}"), json, body)]);
        }
        for head in [
            "Content-Type: application/x-protobuf",
            "Content-Type: application/x-www-form-urlencoded",
            "Content-Type: application/json\nContent-Encoding: gzip",
            "Accept: */*",
        ] {
            not_read(&rules, &[&ask(&format!("{at}{verb}"), head, "{}")]);
        }
    }
}

#[test]
fn amazons_models_answer_and_what_is_beside_them_is_asked_about() {
    let rules = profile(Profile::Aws);
    let bedrock = "bedrock-runtime.eu-west-3.amazonaws.com";
    for path in [
        "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream",
        "/model/amazon.nova-pro-v1:0/converse",
    ] {
        read(&rules, &[&post(path, bedrock)]);
    }
    let target = |name: &str| {
        format!("POST /\nContent-Type: application/x-amz-json-1.0\nX-Amz-Target: {name}\n\n{{}}")
    };
    read(
        &rules,
        &[
            &target("AmazonCodeWhispererStreamingService.GenerateAssistantResponse"),
            &post(
                "/generateAssistantResponse",
                "codewhisperer.us-east-1.amazonaws.com",
            ),
            &post("/token", "oidc.us-east-1.amazonaws.com"),
        ],
    );
    not_read(
        &rules,
        &[
            &target("AmazonCodeWhispererService.CreateTaskAssistConversation"),
            &post("/model/m/async-invoke", bedrock),
            &post("/model//invoke", bedrock),
            &post("/model/m/invoke?restore", "s3.eu-west-3.amazonaws.com"),
            &post("/model/m/invoke", bedrock).replace("POST", "PUT"),
            &post("/token", "s3.eu-west-3.amazonaws.com"),
        ],
    );
}

/// boto3 sends a body of bytes without a type.
#[test]
fn what_a_model_of_amazons_is_asked_needs_no_type_and_may_be_long() {
    let rules = profile(Profile::Aws);
    for host in [
        "bedrock-runtime.eu-west-3.amazonaws.com",
        "bedrock-runtime-fips.us-east-1.amazonaws.com",
        "vpce-1a.bedrock-runtime.us-east-1.vpce.amazonaws.com",
    ] {
        let wire = Wire::of(&format!("POST /model/m/invoke\nHost: {host}\n\n{{}}"));
        let unread = judge(&rules, &wire.request(), None);
        assert!(matches!(unread, Judgement::Read { .. }), "{unread:?}");
    }
    for host in [
        "app.example.com",
        "bedrock-runtime.example.com",
        "app.bedrock-agentcore.us-east-1.amazonaws.com",
    ] {
        let body = r#"{"a":"&_method=DELETE&b="}"#;
        not_read(
            &rules,
            &[&format!("POST /model/m/invoke\nHost: {host}\n\n{body}")],
        );
    }
}
