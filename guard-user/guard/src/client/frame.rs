//! Calls and answers on the wire.

use guard_proto::{Call, Failure, MAX_FRAME, MAX_POLICY_FRAME};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::CliError;

/// One frame from guardd.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) parameters: Value,
    #[serde(default)]
    pub(super) continues: bool,
}

/// A call on the wire. The method comes first: guardd tells by it how long the frame may become.
#[derive(Serialize)]
struct Frame<'a> {
    #[serde(flatten)]
    call: &'a Call,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

/// The bytes of a call, its NUL included.
pub(super) fn frame(call: &Call, more: bool) -> serde_json::Result<Vec<u8>> {
    let mut frame = serde_json::to_vec(&Frame { call, more })?;
    frame.push(0);
    Ok(frame)
}

/// guardd closes the connection on a frame that is too long: say so before.
pub(super) fn check_length(call: &Call, length: usize) -> Result<(), CliError> {
    let (limit, fix) = match call {
        Call::Run(_) => (
            MAX_POLICY_FRAME,
            "put the policy into /etc/guard/policies, and give its name instead of its file",
        ),
        _ => (MAX_FRAME, "shorten it"),
    };
    if length <= limit {
        return Ok(());
    }
    Err(CliError::Local(Failure {
        what: "cannot send that to guardd".into(),
        why: format!("it is {length} bytes long, and guardd reads {limit} at most"),
        fix: fix.into(),
    }))
}
