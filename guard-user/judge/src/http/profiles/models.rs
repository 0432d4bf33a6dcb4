//! Models that clouds serve beside all else, and that agents work with: who asks one, or renews its login to it, changes nothing.

use guard_policy::Profile;

use super::{Opinion, View, service};

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

/// Google Cloud's services, its models among them.
pub(super) fn google(view: &View<'_>) -> Opinion {
    match service::judge(view, Profile::Google) {
        Opinion::None if view.is_post() && asks_google(view) => {
            Opinion::read(Profile::Google, "a question to a model")
        }
        other => other,
    }
}

fn asks_google(view: &View<'_>) -> bool {
    let is = |name: &'static str| view.is_at(|host| host == name);
    match view.segments()[..] {
        [_, "models", last]
        | [_, "projects", _, "locations", _, "endpoints", last]
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
        ] => last
            .rsplit_once(':')
            .is_some_and(|(name, ask)| !name.is_empty() && GOOGLE.contains(&ask)),
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
