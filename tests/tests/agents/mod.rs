//! Agents that are told what was stopped and ask, and people who are told of it where they are.

mod bus;
mod hook;
mod init;
mod mcp;
mod notify;
mod on_request;
mod polkit;
mod scene;

/// Whose agent it is: `nobody`, for a message bus takes only users that the name service knows.
const PERSON: u32 = 65534;

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"
hold = "0s"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
max_hole = "30m"
reason = "it is production"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
reason = "nobody goes there"
"#;
