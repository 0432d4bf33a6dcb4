//! Whether something is production, with each reason and its weight.

use std::collections::HashSet;

use serde::Serialize;

use crate::host::Host;
use crate::label::Label;
use crate::service::{Service, is_managed, is_tool};
use crate::tokens::{StageWords, said};

/// What a person has k9s know of a cluster of production. It weighs as much as a name.
pub(crate) const READ_ONLY: &str = "readOnly";

/// The credential of a client that trusts the certificate authority beside it alone, and so not the one that reads for a session.
pub(crate) const OWN_AUTHORITY: &str = "login with its own certificate authority";

/// The least scores of `production` and of `maybe`.
const PRODUCTION: u8 = 55;
const MAYBE: u8 = 30;

/// Where something was found. Never has more of the file than a key of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Sighting {
    /// The file: below the project as `a/b`, below the home as `~/a`; or `the environment`.
    pub file: String,
    /// Its line, from 1, where that is known.
    pub line: Option<usize>,
    /// The variable, context, section or host that names it; letters, digits and `_.-` only.
    pub key: String,
    /// Whether it is commented out.
    pub dormant: bool,
    /// Whether a file of the project has it, or one that such a file has named, wherever it lies.
    #[serde(skip)]
    pub is_projects: bool,
}

/// What one line says of one destination, without any secret: there is no field for one.
#[derive(Clone, Debug)]
pub struct Clue {
    /// Where it leads; none where a placeholder stands there.
    pub host: Option<Host>,
    /// To which port.
    pub port: u16,
    /// What answers there.
    pub service: Service,
    /// Where it was found.
    pub seen: Sighting,
    /// What the names of databases, namespaces and tags beside it say.
    pub data: StageWords,
    /// Which kind of credential is beside it, if any.
    pub credential: Option<&'static str>,
    /// Whether others stand beside it under names of their own (hosts of ssh, contexts), or one of development has the same key.
    pub has_sibling: bool,
    /// Whether it is a service of the same file, which runs here.
    pub is_own: bool,
}

/// A key to what no file here says the host of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyAlone {
    /// Which kind.
    pub what: &'static str,
    /// Where it is.
    #[serde(flatten)]
    pub seen: Sighting,
}

/// What stands for what no name of a setting has: it may be a token.
const HIDDEN: &str = "--";
/// A word so long is no name's, and with digits in it one that is shorter.
const LONG: usize = 20;
const LONG_WITH_DIGITS: usize = 16;
/// Which characters of a UUID are hyphens. There are platforms whose tokens are such.
const UUID: (usize, [usize; 4]) = (36, [8, 13, 18, 23]);

/// Whether that is not all of a name: two of which as much is shown may be different ones.
pub(crate) fn is_hidden(key: &str) -> bool {
    key == "-" || key.contains(HIDDEN)
}

/// A name without the words that may be secrets. Of these what guard knows of stages is left.
fn without_tokens(key: &str) -> String {
    let mut shown = String::new();
    let mut rest = key;
    while !rest.is_empty() {
        let length = if begins_with_uuid(rest) {
            UUID.0
        } else {
            rest.find(['_', '.', '-']).unwrap_or(rest.len())
        };
        let (word, behind) = rest.split_at(length);
        if is_token(word) {
            let said = said(word);
            let stages = [said.production, said.staging, said.development];
            let stages: Vec<_> = stages.into_iter().flatten().collect();
            shown.push_str(HIDDEN);
            shown.push_str(&stages.join("-"));
        } else {
            shown.push_str(word)
        }
        let (mark, behind) = behind.split_at(behind.len().min(1));
        shown.push_str(mark);
        rest = behind;
    }
    shown
}

/// Whether a word of a name may be a secret.
pub(crate) fn has_token(name: &str) -> bool {
    without_tokens(name) != name
}

fn is_token(word: &str) -> bool {
    let has_digits = word.bytes().any(|byte| byte.is_ascii_digit());
    word.len() >= LONG || (has_digits && word.len() >= LONG_WITH_DIGITS)
}

/// Whether a name, of which each character is a byte, begins with a UUID.
fn begins_with_uuid(key: &str) -> bool {
    let (length, hyphens) = UUID;
    let begin = key.as_bytes().get(..length);
    begin.is_some_and(|begin| {
        begin.iter().enumerate().all(|(at, byte)| {
            if hyphens.contains(&at) {
                *byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
    })
}

/// A key as it may be shown, else `-`: files choose their words, and some are meant to steer their reader. What stands as the key of a
/// mapping may be a secret, too.
#[must_use]
pub(crate) fn shown_key(key: &str) -> String {
    let is_shown = |key: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        (1..=64).contains(&key.len()) && key.bytes().all(plain)
    };
    // Of a name that is an address, or what opens a database, the end may be a secret.
    let is_address = key.contains([':', '=', '?', ';', '@', '&']) && !key.starts_with("arn:");
    let last = if is_address {
        ""
    } else {
        key.rsplit('/').next().unwrap_or_default()
    };
    let shown = [key, last].into_iter().find(|key| is_shown(key));
    shown.map_or_else(|| "-".to_owned(), without_tokens)
}

/// One reason, in guard's own words, and how many points it gives: none where it speaks against production.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ground {
    /// How much it weighs.
    pub points: u8,
    /// What it is.
    pub text: String,
}

/// A label, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What it is.
    pub label: Label,
    /// The sum of the reasons.
    pub points: u8,
    /// The heaviest first.
    pub because: Vec<Ground>,
}

impl Judged {
    fn by(label: Label, text: &str) -> Self {
        Self {
            label,
            points: 0,
            because: vec![Ground::without_points(text)],
        }
    }
}

impl Ground {
    pub(crate) fn without_points(text: &str) -> Self {
        let text = text.to_owned();
        Self { points: 0, text }
    }
}

/// Judges one clue by itself.
#[must_use]
pub fn judge(clue: &Clue) -> Judged {
    let host = match weighed(clue) {
        Ok(host) => host,
        Err((label, why)) => return Judged::by(label, why),
    };
    let names = NamesSay::of(clue, host);
    let mut because = names.because;
    because.extend(circumstances(clue, host));
    because.sort_by_key(|reason| std::cmp::Reverse(reason.points));
    let points = because
        .iter()
        .map(|reason| reason.points)
        .fold(0, u8::saturating_add);
    let label = match (names.call_production, names.call_less) {
        (true, Some(_)) => {
            because.insert(0, Ground::without_points("names disagree"));
            Label::Maybe
        }
        (false, Some(label)) => label,
        (_, None) if points >= PRODUCTION => Label::Production,
        (_, None) if points >= MAYBE => Label::Maybe,
        (_, None) => Label::Unknown,
    };
    Judged {
        label,
        points,
        because,
    }
}

/// The host whose reasons are weighed; or what it is whatever else is said of it.
fn weighed(clue: &Clue) -> Result<&Host, (Label, &'static str)> {
    if is_template(&clue.seen.file) {
        return Err((Label::Template, "a template or a fixture"));
    }
    let host = clue.host.as_ref().filter(|host| !host.is_placeholder());
    let host = host.ok_or((Label::Placeholder, "a placeholder in place of a host"))?;
    if clue.is_own {
        return Err((Label::Local, "a service of the same file"));
    }
    if host.is_local() {
        return Err((Label::Local, "this machine"));
    }
    if is_tool(host) {
        return Err((Label::Tool, "what agents work with"));
    }
    Ok(host)
}

/// What a clue's names say.
#[derive(Default)]
struct NamesSay {
    because: Vec<Ground>,
    call_production: bool,
    /// Staging or development, where one of them says so.
    call_less: Option<Label>,
}

impl NamesSay {
    fn of(clue: &Clue, host: &Host) -> Self {
        let mut names = Self::default();
        // The nearest scope wins: what a job or a database is called counts in the place of what the file is.
        let file = match clue.data {
            StageWords {
                production: None,
                staging: None,
                development: None,
            } => file_says(&clue.seen.file),
            _ => StageWords::default(),
        };
        for (points, at, said) in [
            (40, "name", said(&clue.seen.key)),
            (40, "host", said(host.telling())),
            (35, "file", file),
            (35, "database, namespace or tag", clue.data),
        ] {
            if let Some(word) = said.production {
                names.call_production = true;
                let (points, at) = match word {
                    READ_ONLY => (40, "k9s"),
                    _ => (points, at),
                };
                let text = format!("\"{word}\" in {at}");
                names.because.push(Ground { points, text });
            }
            for (word, label) in [
                (said.staging, Label::Staging),
                (said.development, Label::Dev),
            ] {
                let Some(word) = word else { continue };
                names.call_less.get_or_insert(label);
                let why = format!("\"{word}\" in {at}");
                names.because.push(Ground::without_points(&why));
            }
        }
        names
    }
}

/// What weighs beside the names.
fn circumstances(clue: &Clue, host: &Host) -> Vec<Ground> {
    let place = match host.address() {
        _ if clue.service == Service::Platform => (40, "a platform's API"),
        _ if clue.service == Service::Network => (30, "a network behind a tunnel"),
        _ if is_managed(host) => (40, "a managed service"),
        Some(_) => (25, "an address elsewhere"),
        None if host.as_str().contains('.') => (25, "a full name"),
        None => (15, "a short name"),
    };
    let does = match clue.service {
        service if service.runs_commands() => Some((10, "commands run there")),
        service if service.holds_data() => Some((10, "holds data")),
        Service::Smtp => Some((10, "mail goes out from there")),
        Service::Proxy => Some((10, "what goes through it is not judged by name")),
        Service::Vpn(_) => Some((10, "leads into a network")),
        _ => None,
    };
    let credential = clue.credential.map(|_| (10, "credential beside it"));
    let alone = (!clue.has_sibling).then_some((10, "no dev sibling under its key"));
    let all = [Some(place), does, credential, alone];
    let all = all.into_iter().flatten();
    all.map(|(points, text)| Ground {
        points,
        text: text.to_owned(),
    })
    .collect()
}

/// What the path says. `.env.local` is what is not shared, and says nothing of what it leads to; nor do an agent's own settings.
fn file_says(file: &str) -> StageWords {
    // Programs keep there what is theirs, wherever it leads.
    let file = file.strip_prefix("~/.local/").unwrap_or(file);
    let (before, name) = file
        .rsplit_once('/')
        .map_or(("", file), |(before, name)| (before, name));
    // Where else on the machine it lies says nothing: `/tmp`, `/srv/test`.
    let before = if file.starts_with('/') { "" } else { before };
    let is_private = name.starts_with(".env") && name.ends_with(".local");
    let name = match name {
        "settings.local.json" => "settings.json",
        name if is_private => name.trim_end_matches(".local"),
        name => name,
    };
    let said = said(&format!("{before}/{name}"));
    // What a pipeline's file is called says that it is one, and not what its jobs reach.
    let is_pipeline = name == ".gitlab-ci.yml" || before.ends_with(".github/workflows");
    if is_pipeline && said.development == Some("ci") {
        StageWords {
            development: None,
            ..said
        }
    } else {
        said
    }
}

fn is_template(file: &str) -> bool {
    let endings = [".example", ".sample", ".template", ".dist", ".tmpl"];
    let lower = file.to_ascii_lowercase();
    let mut parts: Vec<_> = lower.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    endings
        .iter()
        .any(|ending| name.ends_with(ending) || name.contains(&format!("{ending}.")))
        || parts
            .iter()
            .any(|part| ["fixtures", "testdata", "examples", "__fixtures__"].contains(part))
}

/// Tells each clue whether one of development, or on this machine, has the same key in the same file: then the other is likelier to
/// be meant. One under a key of its own (`DEV_DATABASE_URL`), or that is commented out, takes no other's place: what is left is
/// production rather than not. What another file says counts for nothing: whoever can write one would have a place look harmless by it.
pub(crate) fn find_siblings(clues: &mut [Clue]) {
    let key = |clue: &Clue| (clue.seen.file.clone(), clue.seen.key.clone());
    let less = clues
        .iter()
        .filter(|clue| matches!(judge(clue).label, Label::Dev | Label::Local))
        .filter(|clue| !clue.seen.dormant && !is_hidden(&clue.seen.key));
    let keys: HashSet<_> = less.map(key).collect();
    for clue in clues {
        clue.has_sibling |= keys.contains(&key(clue));
    }
}

#[cfg(test)]
mod tests;
