//! The tools: `why`, `request` and `status`. None of them answers, opens or closes anything.

use std::path::Path;
use std::sync::Arc;

use guard_proto::{
    Call, ErrorName,
    inside::{Requested, WhyReport},
    production::{ProductionFound, ProductionPlace, ProductionReply},
};
use rmcp::model::{JsonObject, ToolAnnotations};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::CliError;
use crate::inside;
use crate::render::{self, endpoint, page::Page, time::Clock};

/// A call of a tool.
#[derive(Debug)]
pub(super) enum Tool {
    Why,
    Request(RequestArguments),
    Status,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

/// The arguments of [`Call::Request`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestArguments {
    destination: String,
    #[serde(default)]
    ports: Vec<String>,
    reason: String,
}

/// What a tool answers with.
#[derive(Debug)]
pub(super) struct ToolResult {
    pub(super) text: String,
    /// It could be done.
    pub(super) done: bool,
}

impl ToolResult {
    fn yes(text: impl Into<String>) -> Self {
        let (text, done) = (text.into(), true);
        Self { text, done }
    }

    pub(super) fn no(text: impl Into<String>) -> Self {
        let (text, done) = (text.into(), false);
        Self { text, done }
    }
}

impl Tool {
    /// The call that a client makes; none where there is no tool of that name.
    ///
    /// # Errors
    ///
    /// What is wrong with the arguments, for the model to read.
    pub(super) fn read(
        name: &str,
        arguments: Option<JsonObject>,
    ) -> Result<Option<Self>, ToolResult> {
        let arguments = arguments.unwrap_or_default();
        Ok(Some(match name {
            "why" => none(name, arguments).map(|()| Self::Why)?,
            "status" => none(name, arguments).map(|()| Self::Status)?,
            "request" => Self::Request(understood(name, arguments)?),
            _ => return Ok(None),
        }))
    }

    /// Asks the guardd at `socket`, and waits for it.
    pub(super) fn call(self, socket: &Path) -> ToolResult {
        let told = match self {
            Self::Why => report(socket).map(|report| page(&report, render::inside::why)),
            Self::Request(arguments) => request(socket, arguments),
            Self::Status => return status(report(socket), || production(socket)),
        };
        told.map_or_else(|error| failed(&error), ToolResult::yes)
    }
}

fn none(name: &str, arguments: JsonObject) -> Result<(), ToolResult> {
    understood::<NoArguments>(name, arguments).map(drop)
}

fn understood<T: DeserializeOwned>(name: &str, arguments: JsonObject) -> Result<T, ToolResult> {
    let read = serde_json::from_value(Value::Object(arguments));
    read.map_err(|error| ToolResult::no(format!("the arguments of {name} are wrong: {error}")))
}

fn report(socket: &Path) -> Result<WhyReport, CliError> {
    inside::stopped(Client::connect_inside(socket)?, None)
}

fn request(socket: &Path, arguments: RequestArguments) -> Result<String, CliError> {
    let typed = arguments.destination.clone();
    let call = Call::Request {
        destination: arguments.destination,
        ports: arguments.ports,
        reason: Some(arguments.reason),
    };
    let requested: Requested = Client::connect_inside(socket)?.call(&call)?;
    Ok(render::inside::requested(&requested, &typed).plain())
}

/// What looks like production in reach of this session; none where nobody has looked, or guardd is older.
fn production(socket: &Path) -> Option<ProductionFound> {
    let mut client = Client::connect_inside(socket).ok()?;
    let reply: ProductionReply = client.call(&Call::Production {}).ok()?;
    reply.found
}

/// Where this process is, in a few lines, and where production is. That it is in no session is an answer too.
fn status(
    report: Result<WhyReport, CliError>,
    production: impl FnOnce() -> Option<ProductionFound>,
) -> ToolResult {
    match report {
        Ok(report) => {
            let mut page = in_session(&report);
            say_production(&mut page, production().as_ref());
            ToolResult::yes(page.plain())
        }
        Err(CliError::Answer {
            name: ErrorName::Invalid,
            ..
        }) => ToolResult::yes(
            "This process runs outside every session of guard's: guard stops nothing here, and is not the reason why \
             anything failed. To have guard decide what an agent may reach, a person starts it so: guard run -- AGENT",
        ),
        Err(error) => failed(&error),
    }
}

fn in_session(report: &WhyReport) -> Page {
    let session = &report.session;
    let mut page = Page::of(format_args!(
        "This is session {} ({}), under the policy {}. What it may reach is decided in the kernel.",
        session.id, session.name, session.policy
    ));
    let waiting: Vec<_> = report
        .stopped
        .iter()
        .filter_map(|one| Some((one.request.as_deref()?, one)))
        .collect();
    for (id, stopped) in &waiting {
        let to = endpoint::words(&stopped.destination);
        page.line(format_args!("Request {id} waits for a person: {to}"));
    }
    if waiting.is_empty() {
        page.line("No request of this session waits for a person.");
    }
    let stopped = report.stopped.iter().filter(|one| !one.has_passed());
    match stopped.count() {
        0 => page.line("Nothing was stopped lately."),
        count => page.line(format_args!(
            "Lately stopped: {count}; the tool why tells what, and what to do."
        )),
    };
    page
}

/// What looks like production, by name and verdict. That the policy lets something through is no leave to write there.
fn say_production(page: &mut Page, found: Option<&ProductionFound>) {
    let Some(found) = found else {
        page.line(
            "Nobody has looked for production in reach of this session: treat a server or a database as production unless something \
             says that it is a developer's.",
        );
        return;
    };
    if !found.places.is_empty() {
        page.line(
            "These look like production, and are in reach. Change nothing there that no person has asked you to change, whatever \
             the policy lets through:",
        );
    }
    for place in &found.places {
        page.line(place_words(place));
    }
    if !found.complete {
        page.line("There may be more production in reach: not all was read.");
    } else if found.places.is_empty() {
        page.line("Nothing that is in reach looked like production.");
    }
}

/// "- db.example.net tcp/5432 (postgres): read-only, reads pass and writes are asked about"
fn place_words(place: &ProductionPlace) -> String {
    let means = match place.verdict.as_str() {
        "allow" => ", nothing is stopped there",
        "read-only" => ", reads pass and writes are asked about",
        "confirm" => ", a person is asked",
        "deny" => ", nothing passes",
        _ => "",
    };
    let ProductionPlace {
        host,
        ports,
        service,
        verdict,
    } = place;
    format!("- {host} {ports} ({service}): {verdict}{means}")
}

fn page<T>(value: &T, page: impl FnOnce(&T, &Clock) -> Page) -> String {
    page(value, &Clock::system()).plain()
}

/// What could not be done, why, and what to do next.
fn failed(error: &CliError) -> ToolResult {
    ToolResult::no(match error.failure() {
        Some(failure) => render::failure::page(failure).plain(),
        None => error.to_string(),
    })
}

/// All of them, as clients list them.
pub(super) fn all() -> Vec<rmcp::model::Tool> {
    let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
    vec![
        tool(
            "why",
            "What was stopped",
            "Why a connection or an HTTP request failed: what guard has lately stopped in this session, by which rule, \
             with its author's reason, and what to do instead. Call it when something failed with EPERM (Operation not \
             permitted), ECONNABORTED, or a 403 by guard.",
            nothing.clone(),
            true,
        ),
        tool(
            "request",
            "Ask a person",
            "Ask a person to let this session reach a destination that the work needs. It returns at once; the person \
             answers when they can, and `why` or `status` tells what became of it. Nothing is opened by asking.",
            request_schema(),
            false,
        ),
        tool(
            "status",
            "This session",
            "Whether this process runs under guard, in which session, under which policy, which requests wait for a person, \
             and what in reach looks like production. Call it before you change anything on a server or in a database.",
            nothing,
            true,
        ),
    ]
}

fn request_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "destination": {
                "type": "string",
                "description": "An address or a name, with a TCP port: 192.0.2.10:443, [2001:db8::1]:443, \
                                db.example.com:5432. Or without one, and `ports`."
            },
            "ports": {
                "type": "array",
                "items": {"type": "string"},
                "maxItems": 1,
                "description": "Where it is not TCP: udp/53, icmp."
            },
            "reason": {
                "type": "string",
                "maxLength": 500,
                "description": "What for. The person who answers reads it."
            }
        },
        "required": ["destination", "reason"],
        "additionalProperties": false
    })
}

fn tool(
    name: &'static str,
    title: &str,
    description: &'static str,
    schema: Value,
    reads: bool,
) -> rmcp::model::Tool {
    let schema = match schema {
        Value::Object(schema) => schema,
        _ => JsonObject::new(),
    };
    let hints = ToolAnnotations::from_raw(None, Some(reads), Some(false), Some(true), Some(!reads));
    rmcp::model::Tool::new(name, description, Arc::new(schema))
        .with_title(title)
        .with_annotations(hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tool_answers_opens_or_closes() {
        let names: Vec<_> = all().into_iter().map(|tool| tool.name).collect();
        assert_eq!(names, ["why", "request", "status"]);
        for name in ["approve", "open", "deny", "close", "stop", "holes", ""] {
            assert!(matches!(Tool::read(name, None), Ok(None)), "{name}");
        }
    }

    #[test]
    fn production_is_told_by_name_and_verdict() {
        let told = |found: Option<&ProductionFound>| {
            let mut page = Page::default();
            say_production(&mut page, found);
            page.plain()
        };
        assert!(told(None).starts_with("Nobody has looked"));
        let place = |host: &str, verdict: &str| ProductionPlace {
            host: host.to_owned(),
            ports: "tcp/5432".to_owned(),
            service: "postgres".to_owned(),
            verdict: verdict.to_owned(),
        };
        let mut found = ProductionFound {
            places: vec![
                place("db.example.net", "read-only"),
                place("a\u{1b}[2J", "allow"),
            ],
            complete: true,
        };
        let text = told(Some(&found));
        let line = "- db.example.net tcp/5432 (postgres): read-only, reads pass and writes are asked about\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("allow, nothing is stopped there"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("more"), "{text}");
        found.complete = false;
        assert!(told(Some(&found)).ends_with("not all was read.\n"));
        // What was not all read is not said to be clean.
        found.places.clear();
        let text = told(Some(&found));
        assert!(
            text.starts_with("There may be more") && !text.contains("Nothing"),
            "{text}"
        );
        found.complete = true;
        assert!(told(Some(&found)).starts_with("Nothing that is in reach"));
    }

    #[test]
    fn arguments_that_are_wrong_are_told_to_the_model() {
        let read = |name: &str, arguments: Value| Tool::read(name, arguments.as_object().cloned());
        let fine = json!({"destination": "192.0.2.10:443", "reason": "to read the queue"});
        assert!(read("request", fine).is_ok());
        for (arguments, named) in [
            (json!({"destination": "192.0.2.10:443"}), "reason"),
            (json!({"destination": 7, "reason": ""}), "string"),
            (
                json!({"destination": "a", "reason": "b", "for": "8h"}),
                "for",
            ),
        ] {
            let told = read("request", arguments).unwrap_err();
            assert!(!told.done && told.text.contains(named), "{}", told.text);
        }
        assert!(read("why", json!({"approve": "r1"})).is_err());
    }

    #[test]
    fn schemas_name_what_is_read() {
        let tools = all();
        let request = tools.iter().find(|tool| tool.name == "request").unwrap();
        let properties = request.input_schema["properties"].as_object().unwrap();
        let error = serde_json::from_value::<RequestArguments>(json!({"none": 1}))
            .unwrap_err()
            .to_string();
        for name in properties.keys() {
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
        assert_eq!(
            error.matches('`').count() / 2 - 1,
            properties.len(),
            "{error}"
        );
    }
}
