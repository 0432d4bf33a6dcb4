//! Destinations that may be read from: the proxy that guardd has for them, and the requests that wait for a person.

mod networks;
mod process;
mod requests;
pub(crate) mod scene;
mod service;

const PORT: u16 = 80;

const POLICY: &str = r#"
version = 1
name = "reads"
default = "allow"
hold = "20s"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "read-only"
max_hole = "30m"
reason = "it is production"
"#;
