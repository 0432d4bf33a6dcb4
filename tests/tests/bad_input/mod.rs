//! What is wrong, hostile or full: each a clear error, nothing half done, nothing let through.

mod full;
mod machine;
mod socket;
mod starting;

use guard_lab::V4;

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
"#;
