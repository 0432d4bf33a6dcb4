//! Calls that are too long to be sent.

use guard_proto::{Failure, varlink, varlink::MAX_FRAME};

use crate::error::CliError;

/// guardd closes the connection on a frame that is too long: say so before.
pub(super) fn check_length(frame: &[u8]) -> Result<(), CliError> {
    let (length, limit) = (frame.len(), varlink::limit(frame));
    if length <= limit {
        return Ok(());
    }
    let fix = if limit > MAX_FRAME {
        "put the policy into /etc/guard/policies, and give its name instead of its file"
    } else {
        "shorten it"
    };
    Err(CliError::Local(Failure {
        what: "cannot send that to guardd".into(),
        why: format!("it is {length} bytes long, and guardd reads {limit} at most"),
        fix: fix.into(),
    }))
}
