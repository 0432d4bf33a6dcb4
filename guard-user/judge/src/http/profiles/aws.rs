//! Amazon Web Services: the action is in a form, in a header, or in the path.
//!
//! Services of the REST protocols (S3, Lambda, EKS) need no profile where they read with GET. One of S3 Express does not: by `?session`
//! it hands out new credentials (`CreateSession`). Some do not by their path, of which there is a list.

use guard_policy::Profile;

use super::{
    super::{
        headers::shown,
        query::{folded, pairs},
    },
    Opinion, View, models, service,
};

const PROFILE: Profile = Profile::Aws;
const FORM: &[&str] = &["application/x-www-form-urlencoded"];
const JSON: &[&str] = &["application/x-amz-json-1.0", "application/x-amz-json-1.1"];

/// Actions that begin with these, and then a capital letter, read.
const READS: &[&str] = &[
    "Describe",
    "Get",
    "List",
    "BatchGet",
    "BatchDescribe",
    "Lookup",
    "Filter",
];

/// Actions that read and are named otherwise; among them what Amazon Q's programs ask their models by, and say of themselves.
const ALSO: &[&str] = &[
    "AmazonCodeWhispererService.SendTelemetryEvent",
    "AmazonCodeWhispererStreamingService.GenerateAssistantResponse",
    "AmazonQDeveloperStreamingService.SendMessage",
    "DynamoDB_20120810.Query",
    "DynamoDB_20120810.Scan",
    "DynamoDB_20120810.TransactGetItems",
];

/// Where Amazon Q is asked.
const QUESTIONS: &[&str] = &["codewhisperer.", "q."];

/// Actions of those names that hand out new credentials, or make or take what they get, as their API references say: Cognito's
/// `GetId` makes an identity and `GetUserAttributeVerificationCode` sends a message; CodePipeline's `Get…JobDetails`,
/// `GameLift`'s `Get…Access`, Lightsail's `GetInstanceAccessDetails` and CloudWatch's `GetSpaceDataAccess` return temporary
/// credentials, Athena's `GetSessionEndpoint` and EVS's `GetDepotUrl` a token; EMR's `…PresignedURL` make addresses that log in,
/// `GetFileUploadURL` and `GetAttachmentUploadLinks` such as take a file; `GetActivityTask` of Step Functions takes a task from its
/// queue; EC2's `GetFlowLogsIntegrationTemplate` writes to a bucket; `GetScalingConfigurationRecommendation` starts a job;
/// `GetParametersFor…` and `GetCertificateSigningRequest` begin what brings keys in or out; `GetShippingLabel` orders one;
/// `GetConsoleScreenshot` presses a key where it is asked to (`WakeUp`).
const MAKE: &[&str] = &[
    "GetActivityTask",
    "GetAttachmentUploadLinks",
    "GetCertificateSigningRequest",
    "GetComputeAccess",
    "GetConsoleScreenshot",
    "GetDataAccess",
    "GetDepotUrl",
    "GetFileUploadURL",
    "GetFlowLogsIntegrationTemplate",
    "GetId",
    "GetInstanceAccess",
    "GetInstanceAccessDetails",
    "GetJobDetails",
    "GetOnClusterAppUIPresignedURL",
    "GetParametersForExport",
    "GetParametersForImport",
    "GetPasswordData",
    "GetPersistentAppUIPresignedURL",
    "GetScalingConfigurationRecommendation",
    "GetSessionEndpoint",
    "GetShippingLabel",
    "GetSpaceDataAccess",
    "GetThirdPartyJobDetails",
    "GetUserAttributeVerificationCode",
];
const MAKE_ENDS: &[&str] = &["Token", "Credentials"];
const MAKE_PARTS: &[&str] = &["Credentials", "TokenFor"];

/// What marks the host of something that customers of AWS run: their programs, or S3's buckets, serve what they like at a path, and do
/// not look at the headers that name an action.
const CUSTOMERS: &[&str] = &[
    "cloud9",
    "compute",
    "compute-1",
    "eb",
    "elb",
    "execute-api",
    "lambda-url",
    "s3",
    "vfs",
];
const CUSTOMERS_BEGIN: &[&str] = &["s3-", "s3express-", "vpce-svc-"];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let named: Vec<_> = view.facts.query.values("action").collect();
    if view.is_safe() {
        if view.facts.query.values("session").next().is_some() {
            return no_read("CreateSession");
        }
        let other = named.iter().find(|action| !reads(action));
        return other.map_or_else(|| service::judge(view, PROFILE), |action| no_read(action));
    }
    // In clear text whoever answers may be a customer, whatever host the request names: no certificate is for it.
    if !view.is_post() || !view.facts.is_secure || view.is_at(is_customers) {
        return Opinion::None;
    }
    let target = view.has_header("x-amz-target");
    let smithy = view.has_header("smithy-protocol");
    match view.segments()[..] {
        [""] if view.has_media_type(JSON) && !smithy && view.facts.query.is_empty() => {
            json(view).unwrap_or_else(|opinion| opinion)
        }
        [""] if view.has_media_type(FORM) && !smithy && !target => {
            form(view).unwrap_or_else(|opinion| opinion)
        }
        ["service", _, "operation", action] if !target && view.facts.query.is_empty() => {
            match view.header("smithy-protocol") {
                Some("rpc-v2-cbor") => by_name(action),
                _ => Opinion::None,
            }
        }
        _ if models::amazon(view) => {
            let asks = Opinion::read(PROFILE, "a question to a model");
            if view.is_at(models::is_bedrock) {
                asks.without_forms()
            } else {
                asks
            }
        }
        _ => Opinion::None,
    }
}

/// The JSON protocols: `X-Amz-Target: Service_Version.Action`, and what it is about in the body. That is no form, nor XML, of which the
/// services of the other protocols would take their action.
fn json(view: &View<'_>) -> Result<Opinion, Opinion> {
    let Some(target) = view.header("x-amz-target") else {
        let why = "no header says which action, or several do";
        return Ok(Opinion::doubt(PROFILE, UNKNOWN, why));
    };
    let named = if ALSO.contains(&target) {
        Opinion::read(PROFILE, &format!("`{target}`"))
    } else {
        by_name(target.rsplit('.').next().unwrap_or_default())
    };
    // What a model is asked may be longer than a body that is read.
    let is_models = || view.is_at(|host| QUESTIONS.iter().any(|at| host.starts_with(at)));
    if matches!(named, Opinion::Read { .. }) && !(target.starts_with("Amazon") && is_models()) {
        view.json(PROFILE, UNKNOWN)?;
    }
    Ok(named)
}

/// The query protocols: a form with `Action=` in it, and perhaps in the query too. Neither says anything else than parameters of actions do.
fn form(view: &View<'_>) -> Result<Opinion, Opinion> {
    let body = view.body(PROFILE, UNKNOWN)?;
    let text = String::from_utf8_lossy(body);
    let fields = pairs(body);
    let in_body = fields.iter().filter(|(name, _)| folded(name) == "action");
    let mut actions: Vec<&str> = in_body.map(|(_, action)| action.as_str()).collect();
    actions.extend(view.facts.query.values("action"));
    let query = &view.facts.query;
    let others = query.pairs().filter(|(name, _)| !is_about_action(name));
    let odd = text.contains([';', '\0'])
        || query.is_odd()
        || others.count() > 0
        || !fields.iter().all(|(name, _)| is_parameter(name));
    Ok(match actions[..] {
        [action] if !odd => by_name(action),
        [action, ..] if actions.iter().all(|a| a == &action) && !reads(action) => no_read(action),
        _ => Opinion::doubt(
            PROFILE,
            UNKNOWN,
            "it does not say one action, or more than that",
        ),
    })
}

fn is_about_action(name: &str) -> bool {
    matches!(name, "action" | "version")
}

/// `Filter.1.Value.2`: what no other kind of text begins with.
fn is_parameter(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.bytes().all(is_part)
}

/// Whether a host, in lower case, is that of something of a customer's.
fn is_customers(host: &str) -> bool {
    let mut labels = host.split('.').enumerate();
    labels.any(|(at, label)| match label {
        // These two have services of their own at a name that begins so.
        "aoss" | "es" => at > 0,
        _ => {
            CUSTOMERS.contains(&label)
                || CUSTOMERS_BEGIN.iter().any(|begin| label.starts_with(begin))
        }
    })
}

const UNKNOWN: &str = "AWS action that is not known";

fn by_name(action: &str) -> Opinion {
    if reads(action) {
        Opinion::read(PROFILE, &format!("`{}`", shown(action)))
    } else {
        no_read(action)
    }
}

fn no_read(action: &str) -> Opinion {
    Opinion::write(PROFILE, format!("AWS {}", shown(action)))
}

fn reads(action: &str) -> bool {
    let named = READS.iter().any(|prefix| {
        let rest = action.strip_prefix(prefix).unwrap_or_default();
        rest.starts_with(|c: char| c.is_ascii_uppercase())
    });
    let plain = action.bytes().all(|byte| byte.is_ascii_alphanumeric());
    named && plain && !makes(action)
}

fn makes(action: &str) -> bool {
    action.starts_with("Get")
        && (MAKE.contains(&action)
            || MAKE_ENDS.iter().any(|end| action.ends_with(end))
            || MAKE_PARTS.iter().any(|part| action.contains(part)))
}
