//! Agents that are told what was stopped and ask, and people who are told of it where they are.

mod bus;
mod hook;
mod init;
mod mcp;
mod notify;
mod on_request;
mod polkit;
pub(crate) mod scene;

use crate::contract;

/// Whose agent it is: `nobody`, for a message bus takes only users that the name service knows.
const PERSON: u32 = 65534;

/// As the contract has it, and nothing waits.
fn policy() -> String {
    contract::POLICY.replacen("default", "hold = \"0s\"\ndefault", 1)
}
