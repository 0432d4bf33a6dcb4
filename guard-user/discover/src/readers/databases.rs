//! What the clients of databases and of AWS keep: hosts and names, and never the column of the password.

use crate::dsn::{Dsn, HostPort, host_alone, scan};
use crate::host::Host;
use crate::service::{self, Service};
use crate::tokens::said;

use super::{Sink, lines, sections, value};

/// `host:port:database:user:password`; a colon or backslash within a field has a backslash before it.
pub(super) fn pgpass(sink: &mut Sink, text: &str) {
    for (line, text) in lines(sink, text) {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let fields = fields(text);
        let [host, port, database] = &fields[..] else {
            sink.pass_over(Some(line), "an unreadable line");
            continue;
        };
        // A star is for wherever else the password is right; a slash a socket's directory.
        if host == "*" || host.starts_with('/') {
            continue;
        }
        let at = host_alone(host, port.parse().unwrap_or(5432));
        sink.named(line, database, Service::Postgres, at, said(database));
    }
}

/// The first three of a line that has five.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(last)) => last.extend(chars.next()),
            (c, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    if fields.len() < 5 {
        return Vec::new();
    }
    fields.truncate(3);
    fields
}

/// Services of libpq.
pub(super) fn pg_service(sink: &mut Sink, text: &str) {
    for (line, name, pairs) in sections(sink, text) {
        let Some(host) = value(&pairs, &["host", "hostaddr"]).filter(|host| !host.starts_with('/'))
        else {
            continue;
        };
        let port = value(&pairs, &["port"])
            .and_then(|port| port.parse().ok())
            .unwrap_or(5432);
        let data = said(value(&pairs, &["dbname"]).unwrap_or_default());
        sink.named(line, name, Service::Postgres, host_alone(host, port), data);
    }
}

/// The server that MySQL's own client goes to.
pub(super) fn my_cnf(sink: &mut Sink, text: &str) {
    for (line, name, pairs) in sections(sink, text) {
        let Some(host) = value(&pairs, &["host"]) else {
            continue;
        };
        let port = value(&pairs, &["port"])
            .and_then(|port| port.parse().ok())
            .unwrap_or(3306);
        let data = said(value(&pairs, &["database"]).unwrap_or_default());
        let clue = sink.named(line, name, Service::Mysql, host_alone(host, port), data);
        if let Some(clue) = clue {
            // It is the only one: there is no list of them.
            clue.has_sibling = false;
        }
    }
}

/// Profiles: each opens Amazon's services in all regions. One with an endpoint of its own has a host, too.
pub(super) fn aws(sink: &mut Sink, text: &str) {
    for (line, name, pairs) in sections(sink, text) {
        let name = name.strip_prefix("profile ").unwrap_or(name);
        let keys = [
            "aws_access_key_id",
            "role_arn",
            "sso_session",
            "sso_account_id",
            "credential_process",
        ];
        if value(&pairs, &keys).is_some() {
            let role = value(&pairs, &["role_arn"]).unwrap_or_default();
            let role = said(role.rsplit('/').next().unwrap_or_default());
            let at = Some(HostPort::new(Host::parse(service::AWS), 443));
            sink.named(line, name, Service::Platform, at, role);
        }
        let Some(url) = value(&pairs, &["endpoint_url"]) else {
            continue;
        };
        match scan(url) {
            Dsn::Targets(targets) => {
                for target in targets {
                    let at = Some(HostPort::new(target.host, target.port));
                    sink.named(line, name, Service::S3, at, said(""));
                }
            }
            _ => sink.pass_over(Some(line), "an unreadable address"),
        }
    }
}
