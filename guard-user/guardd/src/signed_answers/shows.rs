//! What a question shows: each line as every front end prints it, with what cannot be seen written out.

use std::fmt::Display;

use guard_proto::{HttpRequest, Request, requests::ChainLink};
use guard_signed::visible::{self, claimed, command_line, quoted, visible};

/// Characters of a line, and of the one with a body: 2,048 bytes of that are kept.
const LIMIT: usize = 400;
const BODY: usize = 4096;

/// The lines, and whether they show all of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shows {
    /// Line by line.
    pub(crate) lines: Vec<String>,
    /// Whether nothing is left out, but for the end of a program's long name.
    pub(crate) whole: bool,
}

impl Shows {
    /// What is shown of a request.
    #[must_use]
    pub(crate) fn of(request: &Request) -> Self {
        let mut shows = Self {
            lines: Vec::new(),
            whole: true,
        };
        shows.line(format_args!(
            "{} wants {}",
            program(request),
            target(request)
        ));
        if let Some(burst) = &request.burst {
            let more = burst.count.saturating_sub(burst.addresses.len());
            let tried = burst.addresses.join(", ");
            match more {
                0 => shows.line(format_args!("tried {tried}")),
                more => shows.line(format_args!("tried {tried} and {more} more")),
            }
        }
        if let Some(listener) = &request.listener {
            let name = listener.program.as_deref();
            let name = name.map_or_else(|| "an unknown program".to_owned(), visible::program);
            let leads_on = if listener.forwards {
                ", which leads on"
            } else {
                ""
            };
            shows.line(format_args!("listener {name}{leads_on}"));
            if !listener.command.is_empty() {
                shows.line(format_args!("runs {}", command_line(&listener.command)));
            }
        }
        if !request.command.is_empty() {
            shows.line(format_args!("command {}", command_line(&request.command)));
        }
        if let Some(http) = &request.http {
            shows.http(http);
        }
        shows.rules(request);
        for warning in &request.warnings {
            shows.line(format_args!("beware {warning}"));
        }
        if let Some(note) = &request.note {
            shows.line(format_args!("it says {}", quoted(note)));
        }
        shows
    }

    fn line(&mut self, text: impl Display) {
        self.line_of(text, LIMIT);
    }

    fn line_of(&mut self, text: impl Display, limit: usize) {
        let text = text.to_string();
        self.whole &= text.chars().nth(limit).is_none();
        self.lines.push(visible(text, limit));
    }

    fn rules(&mut self, request: &Request) {
        let stops = request.chain.iter().filter(|link| link.verdict != "allow");
        for link in stops.chain(&request.beside) {
            self.rule(link);
        }
        self.line(format_args!(
            "session {} of {}",
            request.session, request.user
        ));
    }

    fn rule(&mut self, link: &ChainLink) {
        let rule = link
            .rule
            .as_deref()
            .map_or_else(|| "its default".to_owned(), quoted);
        let reason = link
            .reason
            .as_deref()
            .map(|reason| format!(": {}", quoted(reason)));
        self.line(format_args!(
            "stopped by {rule} ({}) of the policy {} of {}{}",
            link.verdict,
            quoted(&link.policy),
            link.session,
            reason.unwrap_or_default()
        ));
    }

    fn http(&mut self, http: &HttpRequest) {
        if !http.kind.is_empty() {
            self.line(format_args!("it {}", http.kind));
        }
        for header in &http.headers {
            self.line(format_args!("header {header}"));
        }
        self.body(http);
        for warning in &http.warnings {
            self.line(format_args!("beware {warning}"));
        }
        self.whole &= !http.is_cut();
    }

    fn body(&mut self, http: &HttpRequest) {
        let digest = http.digest.as_deref();
        let digest = digest.map_or_else(|| "unread".to_owned(), |one| format!("sha256 {one}"));
        let seen = http.body_preview.as_deref();
        let length = seen.map_or(0, str::len) as u64;
        let is_all = match (http.is_statement(), http.bytes) {
            (true, _) => length < 2045,
            (false, bytes) => bytes == Some(length) && http.body_form.is_none(),
        };
        self.whole &= is_all && (http.digest.is_some() || http.is_statement());
        let bytes = http.bytes.map_or_else(
            || "of unknown length".to_owned(),
            |bytes| format!("{bytes} bytes"),
        );
        let form = http.body_form.as_deref().map(|form| format!(" ({form})"));
        let form = form.unwrap_or_default();
        match (seen, http.is_statement()) {
            (Some(seen), true) => self.line_of(format_args!("text {seen}"), BODY),
            (Some(seen), false) => {
                self.line_of(format_args!("body {digest}, {bytes}{form}: {seen}"), BODY);
            }
            (None, _) => self.line(format_args!("request {digest}, body {bytes}{form}")),
        }
    }
}

fn program(request: &Request) -> String {
    let name = match (&request.comm, &request.exe) {
        (Some(comm), Some(_)) => visible::program(comm),
        (Some(comm), None) => claimed(comm),
        (None, _) => "a process".to_owned(),
    };
    match request.pid {
        Some(pid) => format!("{name} ({pid})"),
        None => name,
    }
}

fn target(request: &Request) -> String {
    let to = &request.destination;
    match (&request.http, &request.burst) {
        (Some(http), _) if http.is_statement() => http.statement_at(to),
        (Some(http), _) => format!(
            "{} {}://{}{} at {}",
            http.method,
            http.scheme,
            http.host.as_deref().unwrap_or_default(),
            http.path,
            to.place()
        ),
        (None, Some(burst)) => format!(
            "{} at {} addresses of {}",
            to.service(),
            burst.count,
            burst.prefix
        ),
        (None, None) => to.place(),
    }
}

#[cfg(test)]
mod tests {
    use guard_proto::Burst;
    use proptest::prelude::*;

    use super::*;
    use crate::requests::tests::shown;

    fn put() -> HttpRequest {
        HttpRequest {
            method: "PUT".to_owned(),
            scheme: "http".to_owned(),
            path: "/api/jobs/7".to_owned(),
            host: Some("photos".to_owned()),
            bytes: Some(14),
            body_preview: Some(r#"{"force":true}"#.to_owned()),
            digest: Some("51ab".to_owned()),
            kind: "replaces or starts something (PUT)".to_owned(),
            warnings: vec!["force=true: it may be for good".to_owned()],
            ..HttpRequest::default()
        }
    }

    #[test]
    fn what_is_asked_stands_there() {
        let link = ChainLink {
            session: "s1".to_owned(),
            policy: "homelab".to_owned(),
            rule: Some("photos".to_owned()),
            verdict: "confirm".to_owned(),
            reason: Some("production".to_owned()),
        };
        let request = Request {
            comm: Some("curl".to_owned()),
            exe: Some("/usr/bin/curl".to_owned()),
            pid: Some(4711),
            http: Some(put()),
            beside: vec![ChainLink {
                policy: "prod".to_owned(),
                rule: None,
                reason: None,
                ..link.clone()
            }],
            chain: vec![link],
            note: Some("so that the \"queue\" runs".to_owned()),
            ..shown(1)
        };
        let shows = Shows::of(&request);
        assert!(shows.whole);
        insta::assert_snapshot!(shows.lines.join("\n"), @r#"
        curl (4711) wants PUT http://photos/api/jobs/7 at tcp/443 at 192.0.2.1
        it replaces or starts something (PUT)
        body sha256 51ab, 14 bytes: {"force":true}
        beware force=true: it may be for good
        stopped by "photos" (confirm) of the policy "homelab" of s1: "production"
        stopped by its default (confirm) of the policy "prod" of s1
        session s1 of 1000
        it says "so that the \"queue\" runs"
        "#);
    }

    #[test]
    fn a_programs_name_is_taken_for_no_words_of_ours() {
        for (exe, name, words) in [
            (Some("/x"), "curl", "curl (4711)"),
            (None, "curl", r#""curl" (4711)"#),
            (
                Some("/x"),
                "node (1) wants tcp/443",
                r#""node (1) wants tcp/443" (4711)"#,
            ),
            (Some("/x"), r#"a" (1) \"#, r#""a\" (1) \\" (4711)"#),
            (
                Some("/x"),
                &"a ".repeat(30),
                &format!("\"{}…\" (4711)", "a ".repeat(20)),
            ),
        ] {
            let request = Request {
                comm: Some(name.to_owned()),
                exe: exe.map(str::to_owned),
                pid: Some(4711),
                ..shown(1)
            };
            let lines = Shows::of(&request).lines;
            assert!(
                lines[0].starts_with(&format!("{words} wants tcp/443")),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn blanks_in_an_argument_are_told_from_those_between_arguments() {
        let line = |command: &[&str]| {
            let request = Request {
                command: command.iter().map(|word| (*word).to_owned()).collect(),
                ..shown(1)
            };
            let mut lines = Shows::of(&request).lines.into_iter();
            lines.find(|line| line.starts_with("command ")).unwrap()
        };
        assert_eq!(line(&["sh", "-c", "a b"]), "command sh -c 'a b'");
        assert_eq!(line(&["sh", "-c", "a", "b"]), "command sh -c a b");
        assert_eq!(line(&["a'b", "", "\n"]), r"command 'a'\''b' '' '\n'");
    }

    #[test]
    fn what_is_not_shown_is_said() {
        let whole = |http: HttpRequest| {
            let request = Request {
                http: Some(http),
                ..shown(1)
            };
            Shows::of(&request).whole
        };
        assert!(whole(put()));
        // A batch may do what a statement of it does that nobody sees.
        let batch = |warning: &str| HttpRequest {
            scheme: HttpRequest::POSTGRES.to_owned(),
            body_preview: Some("insert into t values (1)".to_owned()),
            warnings: vec![warning.to_owned()],
            ..put()
        };
        assert!(whole(batch("1 more statement in its batch")));
        let long = "x".repeat(2048);
        for http in [
            HttpRequest {
                bytes: Some(15),
                ..put()
            },
            HttpRequest {
                bytes: None,
                ..put()
            },
            HttpRequest {
                digest: None,
                ..put()
            },
            HttpRequest {
                body_preview: None,
                ..put()
            },
            HttpRequest {
                body_form: Some("unpacked".to_owned()),
                ..put()
            },
            HttpRequest {
                warnings: vec![HttpRequest::CUT_HEADERS.to_owned()],
                ..put()
            },
            batch(HttpRequest::CUT_BATCH),
            batch(HttpRequest::CUT_PARAMETERS),
            HttpRequest {
                path: format!("/{long}"),
                ..put()
            },
        ] {
            assert!(!whole(http.clone()), "{http:?}");
        }
        let burst = Burst {
            prefix: "192.0.2.0/24".to_owned(),
            addresses: vec!["192.0.2.1".to_owned()],
            count: 30,
        };
        let request = Request {
            burst: Some(burst),
            ..shown(1)
        };
        let shows = Shows::of(&request);
        assert!(shows.whole && shows.lines[0].ends_with("30 addresses of 192.0.2.0/24"));
        assert_eq!(shows.lines[1], "tried 192.0.2.1 and 29 more");
    }

    proptest! {
        #[test]
        fn nothing_unseen_is_shown(comm in any::<String>(), note in any::<String>(), path in any::<String>(), body in any::<String>()) {
            let http = HttpRequest { path, body_preview: Some(body), ..put() };
            let request = Request { comm: Some(comm), note: Some(note), http: Some(http), ..shown(1) };
            let shows = Shows::of(&request);
            prop_assert!(shows.lines.iter().all(|line| visible::visible_again(line, usize::MAX) == *line));
        }
    }
}
