//! `guard watch` as a person has it: on a real terminal, with a real guardd, and a session that is stopped on its way
//! to production.

mod answers;
mod costs;
mod life;
mod scene;
mod shown;
pub(crate) mod terminal;

/// More of it.
const OTHER: &str = "192.0.2.11";
/// Where only reads pass.
const READS: &str = "198.51.100.7";
const PORT: u16 = 80;

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"
hold = "0s"

[[rule]]
name = "production"
to = ["192.0.2.0/24"]
action = "confirm"
max_hole = "30m"
reason = "it is production"
"#;

/// Where requests that write wait.
const READ_ONLY: &str = r#"
version = 1
name = "reads"
default = "allow"
hold = "5m"

[[rule]]
name = "archive"
to = ["198.51.100.0/24"]
action = "read-only"
reason = "it is to be read"
"#;
