//! What guardd says of itself in numbers: the status line, and the endpoint for Prometheus.

mod endpoint;
mod scrape;
mod status_line;

use guard_lab::{NEVER, V4};

const ASKS: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
"#;
