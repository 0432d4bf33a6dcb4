//! What sessions have reached.

use guard_proto::Flow;

use super::page::Page;
use super::time::Clock;
use crate::size;

/// All of it.
pub(crate) fn list(flows: &[Flow], clock: &Clock) -> Page {
    if flows.is_empty() {
        return Page::of("Nothing was reached yet.");
    }
    let mut page = Page::default();
    table(&mut page, flows, clock);
    page
}

/// Rows for a page that has more.
pub(crate) fn table(page: &mut Page, flows: &[Flow], clock: &Clock) {
    let heads = [
        "SESSION", "PROGRAM", "REACHED", "PORT", "TIMES", "SENT", "RECEIVED", "LAST", "BY",
    ];
    page.table(heads, flows.iter().map(|flow| row(flow, clock)));
    if flows.iter().any(|flow| flow.verdict == "read-only") {
        page.line(PROXIED);
    }
}

/// What a `read-only` row does not say.
const PROXIED: &str = "read-only: to the proxy, which lets on what reads and what a person allowed; what it refused: guard log";

fn row(flow: &Flow, clock: &Clock) -> [String; 9] {
    let bytes = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), size::shown);
    [
        flow.session.clone(),
        flow.program.clone().unwrap_or_else(|| "-".into()),
        to(flow),
        port(flow),
        times(flow),
        bytes(flow.bytes_sent),
        bytes(flow.bytes_received),
        clock.ago(flow.last_at),
        by(flow),
    ]
}

/// "3", "3, 20197 reads"
fn times(flow: &Flow) -> String {
    match flow.reads {
        Some(reads) => format!("{}, {reads} reads", flow.connections),
        None => flow.connections.to_string(),
    }
}

/// "pypi.org (192.0.2.10)"
pub(crate) fn to(flow: &Flow) -> String {
    match &flow.host {
        Some(host) => format!("{host} ({})", flow.address),
        None => flow.address.clone(),
    }
}

/// "tcp/443"
pub(crate) fn port(flow: &Flow) -> String {
    match flow.port {
        Some(port) => format!("{}/{port}", flow.protocol),
        None => flow.protocol.clone(),
    }
}

/// "allow, by default"
pub(crate) fn by(flow: &Flow) -> String {
    match &flow.rule {
        Some(rule) => format!("{}: {rule}", flow.verdict),
        None => format!("{}, by default", flow.verdict),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{clock, flow};
    use super::*;

    #[test]
    fn nothing_reached_is_said() {
        insta::assert_snapshot!(list(&[], &clock()).plain(), @"Nothing was reached yet.");
    }

    #[test]
    fn flows_align() {
        let question = Flow {
            host: None,
            names: Vec::new(),
            address: "192.0.2.53".into(),
            protocol: "udp".into(),
            port: Some(53),
            program: None,
            bytes_sent: None,
            bytes_received: None,
            rule: Some("resolvers".into()),
            ..flow()
        };
        insta::assert_snapshot!(list(&[flow(), question], &clock()).plain(), @r"
        SESSION  PROGRAM  REACHED                PORT     TIMES  SENT     RECEIVED  LAST       BY
        s1       pip      pypi.org (192.0.2.10)  tcp/443  12     2.0 KiB  3.0 MiB   1 min ago  allow, by default
        s1       -        192.0.2.53             udp/53   12     -        -         1 min ago  allow: resolvers
        ");
    }

    #[test]
    fn what_went_to_the_proxy_is_not_said_to_have_been_let_on() {
        let read = Flow {
            reads: Some(20_197),
            verdict: "read-only".into(),
            rule: Some("photos".into()),
            ..flow()
        };
        let page = list(&[flow(), read], &clock()).plain();
        assert!(page.trim_end().ends_with(PROXIED), "{page}");
        assert!(page.contains("  12, 20197 reads  "), "{page}");
    }
}
