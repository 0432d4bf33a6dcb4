//! Varlink, for both sides: what a frame says, how long it may be, and the service that every Varlink server offers.
//!
//! A frame is a JSON object: a call `{"method": …, "parameters": {…}, "more": true?}`, an answer `{"parameters": {…}, "continues": true?}`
//! or `{"error": …, "parameters": {…}}`. The objects in answers are those that `guard --json` prints. On a stream each frame is ended by a
//! NUL byte, which is none of it here, but where it says so.
//!
//! The protocol: <https://varlink.org/Method-Call> and <https://varlink.org/Service>.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Call;

/// The Varlink interface, without the dot and the method.
pub const INTERFACE: &str = "org.guardd.Control";

/// Where guardd listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/guard/guardd.sock";

/// A call is at most this long, its NUL included. Answers are as long as the lists that they hold: the daemon bounds those, not
/// their frames.
pub const MAX_FRAME: usize = 64 * 1024;

/// A frame of [`Call::Run`], [`Call::Assign`], [`Call::Explain`] or [`Call::Apply`] carries a policy's text and may be this long.
/// Anything longer belongs in the daemon's policy directory.
pub const MAX_POLICY_FRAME: usize = 2 * 1024 * 1024;

/// The interface's description, as `GetInterfaceDescription` gives it.
pub const DESCRIPTION: &str = include_str!("org.guardd.Control.varlink");

/// The description of the service interface itself (<https://varlink.org/Service>).
const SERVICE_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");
const SERVICE: &str = "org.varlink.service";

/// How frames begin that may be [`MAX_POLICY_FRAME`] long: those that carry a policy's text.
const LONG: [&[u8]; 4] = [
    br#"{"method":"org.guardd.Control.Run""#,
    br#"{"method":"org.guardd.Control.Assign""#,
    br#"{"method":"org.guardd.Control.Explain""#,
    br#"{"method":"org.guardd.Control.Apply""#,
];

/// How long a frame that begins so may become, its NUL included.
#[must_use]
pub fn limit(begins: &[u8]) -> usize {
    if LONG.iter().any(|head| begins.starts_with(head)) {
        MAX_POLICY_FRAME
    } else {
        MAX_FRAME
    }
}

/// A call on its way out. The method comes first: it tells how long the frame may become.
#[derive(Serialize)]
struct OutgoingCall<'a, C> {
    #[serde(flatten)]
    call: &'a C,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

/// The bytes of a call, its NUL included; `more` where several answers are welcome.
///
/// # Errors
///
/// Where it has no JSON form.
pub fn call<C: Serialize>(call: &C, more: bool) -> serde_json::Result<Vec<u8>> {
    let mut frame = serde_json::to_vec(&OutgoingCall { call, more })?;
    frame.push(0);
    Ok(frame)
}

/// An answer as it came in.
#[derive(Debug, Default, Deserialize)]
pub struct Reply {
    /// The error's name, with the interface, if it is one.
    pub error: Option<String>,
    /// What it says.
    #[serde(default)]
    pub parameters: Value,
    /// More of them follow.
    #[serde(default)]
    pub continues: bool,
}

/// A call as it came in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    method: String,
    parameters: Option<Value>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    oneway: bool,
    #[serde(default)]
    upgrade: bool,
}

/// A call that was understood.
#[derive(Debug)]
pub struct Incoming {
    /// What is asked.
    pub asked: Called,
    /// Several answers are welcome.
    pub more: bool,
    /// No answer is.
    pub oneway: bool,
}

/// What is asked.
#[derive(Debug)]
pub enum Called {
    /// One of our own methods.
    Guard(Call),
    /// Something every Varlink server answers; this is the answer.
    Service(Value),
}

/// A Varlink error on its way out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WireError {
    /// Its name, with the interface.
    pub error: String,
    /// Its parameters.
    pub parameters: Value,
}

impl WireError {
    fn service(name: &str, parameters: Value) -> Self {
        Self {
            error: format!("{SERVICE}.{name}"),
            parameters,
        }
    }

    /// The call needs `more`.
    #[must_use]
    pub fn expected_more() -> Self {
        Self::service("ExpectedMore", json!({}))
    }

    fn invalid_parameter(parameter: &str) -> Self {
        Self::service("InvalidParameter", json!({ "parameter": parameter }))
    }
}

/// An answer on its way out.
#[derive(Serialize)]
struct Outgoing<'a, T> {
    parameters: &'a T,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continues: bool,
}

/// The frame of an answer; `continues` where more of them follow.
///
/// # Errors
///
/// Where the value has no JSON form.
pub fn answer<T: Serialize>(parameters: &T, continues: bool) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Outgoing {
        parameters,
        continues,
    })
}

/// What a frame asks.
///
/// # Errors
///
/// What to answer to a frame that is no call, or a call of nothing that is here.
pub fn understand(frame: &[u8]) -> Result<Incoming, WireError> {
    let envelope: Envelope = serde_json::from_slice(frame)
        .map_err(|error| WireError::invalid_parameter(&error.to_string()))?;
    if envelope.upgrade {
        return Err(WireError::invalid_parameter("upgrade"));
    }
    let (more, oneway) = (envelope.more, envelope.oneway);
    let asked = match envelope.method.rsplit_once('.') {
        Some((SERVICE, method)) => Called::Service(service(method, envelope.parameters)?),
        Some((INTERFACE, _)) => Called::Guard(our_call(envelope)?),
        Some((interface, _)) => {
            let interface = json!({ "interface": interface });
            return Err(WireError::service("InterfaceNotFound", interface));
        }
        None => return Err(WireError::invalid_parameter("method")),
    };
    Ok(Incoming {
        asked,
        more,
        oneway,
    })
}

/// A call of our own interface.
fn our_call(envelope: Envelope) -> Result<Call, WireError> {
    if !is_ours(&envelope.method) {
        let method = json!({ "method": envelope.method });
        return Err(WireError::service("MethodNotFound", method));
    }
    let parameters = match envelope.parameters {
        None | Some(Value::Null) => json!({}),
        Some(given) => given,
    };
    let call = json!({ "method": envelope.method, "parameters": parameters });
    serde_json::from_value(call)
        .map_err(|error| WireError::invalid_parameter(&blamed(&error.to_string())))
}

/// Whether the interface has a method of that name.
fn is_ours(method: &str) -> bool {
    let name = &method[INTERFACE.len() + 1..];
    DESCRIPTION
        .lines()
        .filter_map(|line| line.strip_prefix("method "))
        .any(|line| line.split_once('(').is_some_and(|(known, _)| known == name))
}

/// The parameter that serde's message names, or else the message.
fn blamed(message: &str) -> String {
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    named.unwrap_or(message).to_owned()
}

/// The answer to a method of [`SERVICE`].
fn service(method: &str, parameters: Option<Value>) -> Result<Value, WireError> {
    match method {
        "GetInfo" => Ok(json!({
            "vendor": "guard",
            "product": "guardd",
            "version": env!("CARGO_PKG_VERSION"),
            "url": "",
            "interfaces": [SERVICE, INTERFACE],
        })),
        "GetInterfaceDescription" => {
            let wanted = parameters.as_ref().and_then(|given| given.get("interface"));
            let description = match wanted.and_then(Value::as_str) {
                Some(INTERFACE) => DESCRIPTION,
                Some(SERVICE) => SERVICE_DESCRIPTION,
                Some(other) => {
                    let interface = json!({ "interface": other });
                    return Err(WireError::service("InterfaceNotFound", interface));
                }
                None => return Err(WireError::invalid_parameter("interface")),
            };
            Ok(json!({ "description": description }))
        }
        _ => {
            let method = json!({ "method": format!("{SERVICE}.{method}") });
            Err(WireError::service("MethodNotFound", method))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use zlink::idl::Interface;

    use super::*;
    use crate::{ErrorName, HoleTerms, PolicyRef, calls::Assign};

    fn error_of(frame: &str) -> String {
        understand(frame.as_bytes()).unwrap_err().error
    }

    fn parameter_of(frame: &str) -> String {
        let error = understand(frame.as_bytes()).unwrap_err();
        assert_eq!(error.error, "org.varlink.service.InvalidParameter");
        error.parameters["parameter"].as_str().unwrap().to_owned()
    }

    #[test]
    fn calls_are_understood() {
        let frame = br#"{"method":"org.guardd.Control.Approve","parameters":{"id":"r1","for":60,"connections":null},"more":false}"#;
        let incoming = understand(frame).unwrap();
        let Called::Guard(Call::Approve { id, terms, .. }) = incoming.asked else {
            panic!("{incoming:?}");
        };
        assert_eq!(id, "r1");
        let expected = HoleTerms {
            seconds: Some(60.0),
            ..HoleTerms::default()
        };
        assert_eq!(terms, expected);
        assert!(understand(br#"{"method":"org.guardd.Control.Status"}"#).is_ok());
    }

    #[test]
    fn both_sides_agree_on_what_may_be_long() {
        let policy = || PolicyRef {
            name: None,
            file: None,
            text: Some("x".to_owned()),
        };
        let long = [
            Call::Assign(Assign {
                policy: policy(),
                unit: None,
                name: None,
                owner: None,
            }),
            Call::Explain {
                destination: "192.0.2.1".to_owned(),
                ports: Vec::new(),
                policy: Some(policy()),
                beside: None,
                session: None,
            },
        ];
        for long in long {
            let frame = call(&long, false).unwrap();
            assert_eq!(limit(&frame), MAX_POLICY_FRAME, "{long:?}");
            let (nul, frame) = frame.split_last().unwrap();
            assert_eq!(*nul, 0);
            assert!(matches!(understand(frame).unwrap().asked, Called::Guard(_)));
        }
        let short = call(&Call::Holes {}, true).unwrap();
        assert_eq!(limit(&short), MAX_FRAME);
    }

    #[test]
    fn what_is_not_a_call_is_named() {
        assert_eq!(
            error_of(r#"{"method":"org.guardd.Control.Detach"}"#),
            "org.varlink.service.MethodNotFound"
        );
        assert_eq!(
            error_of(r#"{"method":"org.example.Other.Run"}"#),
            "org.varlink.service.InterfaceNotFound"
        );
        assert_eq!(
            error_of(r#"{"method":"org.varlink.service.Nothing"}"#),
            "org.varlink.service.MethodNotFound"
        );
        assert_eq!(
            parameter_of(r#"{"method":"org.guardd.Control.Stop","parameters":{}}"#),
            "session"
        );
        assert_eq!(
            parameter_of(
                r#"{"method":"org.guardd.Control.Stop","parameters":{"session":"s1","force":true}}"#
            ),
            "force"
        );
        assert_eq!(
            parameter_of(
                r#"{"method":"org.guardd.Control.Approve","parameters":{"id":"r1","fro":1}}"#
            ),
            "fro"
        );
        for frame in [
            "",
            "{",
            "[]",
            "null",
            r#"{"method":1}"#,
            r#"{"method":"x","a":1}"#,
        ] {
            assert_eq!(error_of(frame), "org.varlink.service.InvalidParameter");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(understand(&bytes).is_err());
        }

        #[test]
        fn no_parameters_are_too_strange(method in "[A-Z][a-z]{2,8}", parameters in "\\PC{0,60}") {
            let frame = json!({"method": format!("{INTERFACE}.{method}"), "parameters": {"id": parameters}});
            // Whatever it is, it is understood or refused.
            let _ = understand(frame.to_string().as_bytes());
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = format!(r#"{{"method":"x.Y","parameters":{}"#, "[".repeat(60_000));
        assert_eq!(error_of(&deep), "org.varlink.service.InvalidParameter");
    }

    #[test]
    fn the_description_is_varlink_and_names_every_method_and_error() {
        let interface = Interface::try_from(DESCRIPTION).unwrap();
        assert_eq!(interface.name().to_string(), INTERFACE);
        let methods: BTreeSet<_> = interface.methods().map(|m| m.name().to_string()).collect();
        for method in &methods {
            let call = json!({ "method": format!("{INTERFACE}.{method}"), "parameters": {} });
            let known = match serde_json::from_value::<Call>(call) {
                Ok(_) => true,
                Err(error) => error.to_string().starts_with("missing field"),
            };
            assert!(known, "{method}");
        }
        let call = json!({ "method": "none", "parameters": {} });
        let error = serde_json::from_value::<Call>(call)
            .unwrap_err()
            .to_string();
        let spoken = error.matches(&format!("`{INTERFACE}.")).count();
        assert_eq!(spoken, methods.len(), "{error}");
        let errors: BTreeSet<_> = interface.errors().map(|e| e.name().to_string()).collect();
        let ours = [
            ErrorName::Refused,
            ErrorName::NotFound,
            ErrorName::Invalid,
            ErrorName::No,
            ErrorName::Failed,
        ];
        assert_eq!(
            errors,
            ours.iter().map(|name| name.as_str().to_owned()).collect()
        );
    }

    #[test]
    fn the_service_describes_itself() {
        Interface::try_from(SERVICE_DESCRIPTION).unwrap();
        let frame = br#"{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.guardd.Control"}}"#;
        let Called::Service(answer) = understand(frame).unwrap().asked else {
            panic!("not a service call");
        };
        assert_eq!(answer["description"], DESCRIPTION);
    }
}
