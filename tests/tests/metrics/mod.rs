//! What guardd says of itself in numbers: the status line, and the endpoint for Prometheus.

mod endpoint;
pub(crate) mod scrape;
mod status_line;
