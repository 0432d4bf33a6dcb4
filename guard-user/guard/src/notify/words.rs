//! What a notification says. Part of it is the agent's: none of it is taken for markup.

use guard_proto::{HttpRequest, Request};

use super::buttons::{self, ButtonChoice};
use crate::render::escape::{escaped, quoted, visible};
use crate::render::{command_line, endpoint, requests, time::Clock};

/// Characters of one piece.
const PIECE: usize = 160;
/// Characters of a request's body, or of a statement.
const BODY: usize = 480;
/// A program's name is cut after so many characters.
const NAME: usize = 24;
/// Characters of a summary, which desktops show in one line.
const SUMMARY: usize = 120;

/// A notification's texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) summary: String,
    pub(super) body: String,
    /// The keys of buttons, and what each says.
    pub(super) actions: Vec<(String, String)>,
}

/// What the server makes of a body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Abilities {
    /// It takes `<` for markup.
    pub(super) markup: bool,
    /// It has buttons.
    pub(super) actions: bool,
}

impl Abilities {
    /// A body of several lines.
    fn body(self, lines: &[String]) -> String {
        let text = lines.join("\n");
        if self.markup {
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
        } else {
            text
        }
    }

    /// A request.
    pub(super) fn of_request(self, request: &Request, clock: &Clock) -> Words {
        let program = requests::called(request).or_else(|| request.exe.clone());
        let program = program.as_deref().unwrap_or("a program");
        let to = requests::target(request);
        // Where to comes first: a program chooses its name, and what is too long is cut.
        let summary = match &request.http {
            Some(http) => {
                let about = about(request, http);
                format!("{about}, for {}", escaped(program, NAME))
            }
            None => format!("{to}, for {}", escaped(program, NAME)),
        };
        let mut lines = details(request, &to, clock);
        let mut actions = Vec::new();
        if requests::opens_writes(request) {
            // Whatever a button says, it is less than that.
            let to = endpoint::argument(&request.destination);
            let open = format!("guard open {to} --session {}", request.session);
            lines.push(format!("Everything, writes too: {open}"));
        } else if self.actions {
            actions = buttons::of(request);
            if is_cut(request) {
                // A request that is not shown whole gets no button for yes.
                actions.retain(|(key, _)| matches!(ButtonChoice::of(key), Some(ButtonChoice::No)));
                let id = &request.id;
                lines.push(format!(
                    "All of it, and a yes: guard watch, or guard approve {id}"
                ));
            }
        } else {
            let id = &request.id;
            let yes = match &request.burst {
                Some(_) => format!("guard approve {id} --prefix"),
                None => format!("guard approve {id}"),
            };
            lines.push(format!("Answer: {yes}, or guard deny {id}"));
        }
        Words {
            summary: visible(summary, SUMMARY),
            body: self.body(&lines),
            actions,
        }
    }

    /// Something that a person need not answer.
    pub(super) fn told(self, summary: &str, text: &str) -> Words {
        Words {
            summary: visible(summary, SUMMARY),
            body: self.body(&[visible(text, 2 * PIECE)]),
            actions: Vec::new(),
        }
    }
}

/// What an HTTP request is about. Where it really goes stands first, if its host is another: desktops fold the rest.
fn about(request: &Request, http: &HttpRequest) -> String {
    let line = requests::line(http);
    if requests::goes_elsewhere(request) {
        format!("{}: {line}", requests::target(request))
    } else {
        line
    }
}

/// Whether it is about a statement, or a request, of which a notification shows a part.
fn is_cut(request: &Request) -> bool {
    let Some(http) = &request.http else {
        return false;
    };
    let is_longer = |text: &str, most| visible(text, most).ends_with('…');
    let shown = http.body_preview.as_deref().unwrap_or_default();
    let is_part =
        http.body_form.is_some() || http.bytes.is_none_or(|bytes| bytes > shown.len() as u64);
    let is_long_header = |header: &String| is_longer(header, PIECE);
    let is_longer_request = || {
        is_part
            || is_longer(&about(request, http), SUMMARY)
            || http.headers.iter().any(is_long_header)
    };
    http.is_cut() || is_longer(shown, BODY) || (!http.is_statement() && is_longer_request())
}

fn details(request: &Request, to: &str, clock: &Clock) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |label: &str, text: &str| {
        let most = match label {
            "Text" | "Body" => BODY,
            _ => PIECE,
        };
        lines.push(format!("{label}: {}", visible(text, most)));
    };
    add("To", to);
    if let Some(question) = &request.question {
        add("Name", &requests::name(request, question));
    }
    if let Some(told) = &request.named {
        add("Name", &requests::named(request, told, clock));
    }
    if let Some(alike) = &request.alike {
        add("Alike", &requests::alike(alike));
    }
    if let Some(burst) = &request.burst {
        add("Tried", &requests::tried(burst));
    }
    for (label, words) in request.listener.iter().flat_map(requests::listener) {
        add(label, &words);
    }
    request
        .warnings
        .iter()
        .for_each(|warning| add("Beware", warning));
    if let Some(http) = &request.http {
        http_details(http, &mut add);
    }
    if !request.command.is_empty() {
        add("Command", &command_line(&request.command));
    }
    add("Rule", &requests::rule(request));
    requests::inside(request)
        .iter()
        .for_each(|words| add("Inside", words));
    let (session, policy) = (requests::whose(request), requests::policy(request));
    let user = &request.user;
    add(
        "Session",
        &format!("{session}, policy {policy}, user {user}"),
    );
    if let Some(until) = request.waits_until.filter(|_| request.held) {
        add("It waits", &format!("until {}", clock.at(until)));
    }
    if let Some(note) = &request.note {
        add("The agent says", &quoted(note));
    }
    lines
}

fn http_details(http: &HttpRequest, add: &mut impl FnMut(&str, &str)) {
    add("It", &http.kind);
    http.headers.iter().for_each(|header| add("Header", header));
    if let Some(form) = &http.body_form {
        add("Body is", form);
    }
    if let Some(body) = &http.body_preview {
        let is_statement = http.is_statement();
        add(if is_statement { "Text" } else { "Body" }, body);
    }
    http.warnings
        .iter()
        .for_each(|warning| add("Beware", warning));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{examples::burst, examples::clock, examples::http, examples::request};

    const ALL: Abilities = Abilities {
        markup: true,
        actions: true,
    };

    #[test]
    fn a_request_has_what_a_person_needs_and_buttons() {
        let words = ALL.of_request(&request(), &clock());
        assert_eq!(words.actions, buttons::of(&request()));
        for text in [
            "photos",
            "production photo server",
            "Session: s1, policy homelab",
        ] {
            assert!(words.body.contains(text), "{text}: {words:?}");
        }
        let plain = Abilities::default().of_request(&request(), &clock());
        assert!(
            plain.actions.is_empty() && plain.body.contains("guard approve r1"),
            "{plain:?}"
        );
        let write = Request {
            http: Some(http()),
            ..request()
        };
        let words = ALL.of_request(&write, &clock());
        assert!(
            words.summary.contains("DELETE https://photos.example.com"),
            "{words:?}"
        );
    }

    #[test]
    fn where_a_request_really_goes_stands_before_a_host_that_is_another() {
        let summary = |host: &str| {
            let http = HttpRequest {
                host: Some(host.into()),
                ..http()
            };
            let request = Request {
                http: Some(http),
                ..request()
            };
            ALL.of_request(&request, &clock()).summary
        };
        let to = request().destination;
        let own = summary(&to.address);
        assert!(own.starts_with("DELETE https://"), "{own}");
        let other = summary("photos.example.net");
        let target = requests::target(&request());
        assert!(
            other.starts_with(&format!("{target}: DELETE https://photos.example.net")),
            "{other}"
        );
    }

    #[test]
    fn a_burst_says_which_prefix_and_how_many() {
        for abilities in [ALL, Abilities::default()] {
            let words = abilities.of_request(&burst(17), &clock());
            let summary = "tcp/443 at 17 addresses of 192.0.2.0/24";
            assert!(words.summary.starts_with(summary), "{words:?}");
            assert!(words.body.contains("Tried: 192.0.2.1, "), "{words:?}");
        }
    }

    #[test]
    fn an_agents_words_are_no_markup_and_no_control_characters() {
        let hostile = "<b>ok</b> <a href=\"x\">&amp;</a>\u{1b}[2J\u{202e}\nSession: s9";
        let request = Request {
            comm: Some(hostile.into()),
            note: Some(hostile.into()),
            command: vec![hostile.into()],
            ..request()
        };
        for abilities in [ALL, Abilities::default()] {
            let words = abilities.of_request(&request, &clock());
            let text = format!("{}{}", words.summary, words.body);
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
            assert!(!text.contains("\nSession: s9"), "{text}");
            assert_eq!(words.body.contains('<'), !abilities.markup, "{text}");
        }
        let long = Request {
            note: Some("x".repeat(100_000)),
            command: vec!["y".repeat(100_000); 100],
            ..request
        };
        assert!(ALL.of_request(&long, &clock()).body.len() < 8000);
    }
}
