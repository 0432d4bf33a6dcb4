//! Models that clouds serve beside all else, and that agents work with: who asks one, or renews its login to it, changes nothing.

use super::View;

/// What Amazon Bedrock's models are asked by.
const BEDROCK: &[&str] = &[
    "converse",
    "converse-stream",
    "count-tokens",
    "invoke",
    "invoke-with-response-stream",
];

/// What Google's are asked by, behind a model's name.
const GOOGLE: &[&str] = &[
    "batchEmbedContents",
    "computeTokens",
    "countTokens",
    "embedContent",
    "generateContent",
    "predict",
    "rawPredict",
    "serverStreamingPredict",
    "streamGenerateContent",
    "streamRawPredict",
];

/// What an endpoint of a customer's is asked by, where a model of Google's stands behind it. By the other ways a program of the customer's
/// gets what is sent.
const TUNED: &[&str] = &[
    "computeTokens",
    "countTokens",
    "generateContent",
    "streamGenerateContent",
];

/// What Google's own programs for code ask and say. Others of its methods change what a person has agreed to.
const CODE_ASSIST: &[&str] = &[
    "v1internal:countTokens",
    "v1internal:fetchAdminControls",
    "v1internal:generateContent",
    "v1internal:getCodeAssistGlobalUserSetting",
    "v1internal:listExperiments",
    "v1internal:loadCodeAssist",
    "v1internal:recordCodeAssistMetrics",
    "v1internal:retrieveUserQuota",
    "v1internal:streamGenerateContent",
];

/// Whether Amazon's models are asked. A server at another host does nothing by such a path alone, as an S3 that has a bucket of that name.
pub(super) fn amazon(view: &View<'_>) -> bool {
    let is_asked = match view.segments()[..] {
        ["model", id, ask] => !id.is_empty() && BEDROCK.contains(&ask),
        ["generateAssistantResponse"] => true,
        ["token"] => {
            view.is_at(|host| host.starts_with("oidc.") && host.ends_with(".amazonaws.com"))
        }
        _ => false,
    };
    is_asked && view.is_post() && view.facts.query.is_empty()
}

/// Whether a host, in lower case, is Bedrock's own. Its clients give what a model is asked no type, and that may be long.
pub(super) fn is_bedrock(host: &str) -> bool {
    let is_named = |label: &str| matches!(label, "bedrock-runtime" | "bedrock-runtime-fips");
    let is_amazons = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"]
        .iter()
        .any(|end| host.ends_with(end));
    is_amazons && host.split('.').any(is_named)
}

/// Whether Google's models are asked, or its login renewed, by a POST.
pub(super) fn google(view: &View<'_>) -> bool {
    let is = |name: &'static str| view.is_at(|host| host == name);
    match view.segments()[..] {
        [_, "projects", _, "locations", _, "endpoints", last] => is_asked(last, TUNED),
        [_, "models", last]
        | [
            _,
            "projects",
            _,
            "locations",
            _,
            "publishers",
            _,
            "models",
            last,
        ] => is_asked(last, GOOGLE),
        [_, "openai", "chat", "completions"] => true,
        [
            _,
            "projects",
            _,
            "locations",
            _,
            "endpoints",
            "openapi",
            "chat",
            "completions",
        ] => true,
        [method] if CODE_ASSIST.contains(&method) => is("cloudcode-pa.googleapis.com"),
        // A login that is renewed, and what Gemini's own program says of itself.
        ["token"] => is("oauth2.googleapis.com"),
        ["log"] => is("play.googleapis.com"),
        _ => false,
    }
}

fn is_asked(last: &str, by: &[&str]) -> bool {
    last.rsplit_once(':')
        .is_some_and(|(name, ask)| !name.is_empty() && by.contains(&ask))
}
