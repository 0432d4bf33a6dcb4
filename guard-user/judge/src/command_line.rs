//! Command lines for people and for what is kept: without passwords and tokens.

use crate::http::{LEFT_OUT, is_secret, says_secret, without_secrets};

/// Options that only these programs take a secret by.
const BY_PROGRAM: &[(&str, &str, SecretAt)] = &[
    ("curl", "-u", SecretAt::BehindColon),
    ("curl", "--user", SecretAt::BehindColon),
    ("curl", "--proxy-user", SecretAt::BehindColon),
    ("http", "-a", SecretAt::BehindColon),
    ("http", "--auth", SecretAt::BehindColon),
    ("mysql", "-p", SecretAt::Attached),
    ("mariadb", "-p", SecretAt::Attached),
    ("mongo", "-p", SecretAt::Next),
    ("sshpass", "-p", SecretAt::Next),
    ("redis-cli", "-a", SecretAt::Next),
    ("ldap", "-w", SecretAt::Next),
];

/// Where the secret of an option stands.
#[derive(Clone, Copy, PartialEq)]
enum SecretAt {
    /// In the word of the option, or else nowhere: `-pSECRET`.
    Attached,
    /// In the word of the option or in the next one.
    Next,
    /// The same, behind a user's name: `-u me:SECRET`.
    BehindColon,
}

/// What the next piece of a command line is.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    Anything,
    Secret,
    UserAndSecret,
    /// More of a header's value, which is left out until its word or quote ends.
    RestOfValue,
}

/// Returns the words of a command line with `***` for each password and token that stands in them.
#[must_use]
pub fn command_without_secrets(words: &[String]) -> Vec<String> {
    let mut masking = Masking {
        programs: Vec::new(),
        expected: Expected::Anything,
    };
    words.iter().map(|word| masking.word(word)).collect()
}

struct Masking {
    /// Names of programs that were seen: a shell's script and `env` have several.
    programs: Vec<String>,
    expected: Expected,
}

impl Masking {
    /// A word may be a whole script, of which each piece between blanks is looked at.
    fn word(&mut self, word: &str) -> String {
        let mut shown = String::with_capacity(word.len());
        for piece in word.split_inclusive(char::is_whitespace) {
            let text = piece.trim_end();
            shown.push_str(&self.piece(text));
            if self.expected != Expected::RestOfValue {
                shown.push_str(&piece[text.len()..]);
            }
        }
        if self.expected == Expected::RestOfValue {
            self.expected = Expected::Anything;
        }
        shown
    }

    fn piece(&mut self, piece: &str) -> String {
        let bare = piece.trim_start_matches(['\'', '"', '(', '`']);
        let quotes = &piece[..piece.len() - bare.len()];
        let ends = bare.trim_end_matches(['\'', '"', ')', '`', ';', ',']);
        let end = &bare[ends.len()..];
        let expected = std::mem::replace(&mut self.expected, Expected::Anything);
        match expected {
            Expected::Anything => format!("{quotes}{}{end}", self.plain(ends)),
            Expected::Secret => format!("{quotes}{LEFT_OUT}{end}"),
            Expected::UserAndSecret => format!("{quotes}{}{end}", behind_colon(ends)),
            Expected::RestOfValue if end.contains(['\'', '"']) => end.to_owned(),
            Expected::RestOfValue => {
                self.expected = Expected::RestOfValue;
                String::new()
            }
        }
    }

    fn plain(&mut self, piece: &str) -> String {
        let file = piece.rsplit('/').next().unwrap_or_default();
        let is_program = |(program, ..): &&(&str, &str, SecretAt)| file.starts_with(program);
        if BY_PROGRAM.iter().any(|row| is_program(&row)) {
            self.programs.push(file.to_owned());
        }
        if let Some(masked) = self.of_program(piece) {
            return masked;
        }
        if let Some((name, value)) = piece.split_once('=')
            && !name.contains(['/', '?', ':'])
            && !value.is_empty()
            && is_secret(name, value)
        {
            return format!("{name}={LEFT_OUT}");
        }
        match piece.split_once(':') {
            Some((name, "")) if is_header(name) => {
                self.expected = Expected::RestOfValue;
                return format!("{name}: {LEFT_OUT}");
            }
            Some((name, value)) if is_header(name) && !value.starts_with("//") => {
                return format!("{name}:{LEFT_OUT}");
            }
            _ => {}
        }
        if piece.starts_with("--") && says_secret(piece) {
            self.expected = Expected::Secret;
        }
        without_secrets(piece)
    }

    /// An option by which one of the seen programs takes a secret.
    fn of_program(&mut self, piece: &str) -> Option<String> {
        let is_its = |(program, option, _): &&(&str, &str, SecretAt)| {
            let ran = self.programs.iter().any(|one| one.starts_with(program));
            ran && (piece == *option || (is_short(option) && piece.starts_with(option)))
        };
        let (_, option, place) = BY_PROGRAM.iter().find(is_its)?;
        let attached = &piece[option.len()..];
        match (place, attached) {
            (SecretAt::Attached, "") => return None,
            (SecretAt::Next, "") => self.expected = Expected::Secret,
            (SecretAt::BehindColon, "") => self.expected = Expected::UserAndSecret,
            (SecretAt::Attached | SecretAt::Next, _) => return Some(format!("{option}{LEFT_OUT}")),
            (SecretAt::BehindColon, _) => {
                return Some(format!("{option}{}", behind_colon(attached)));
            }
        }
        Some(piece.to_owned())
    }
}

/// Returns true for an option of one letter, whose value may follow it in the same word.
fn is_short(option: &str) -> bool {
    !option.starts_with("--")
}

fn behind_colon(text: &str) -> String {
    match text.split_once(':') {
        Some((user, _)) => format!("{user}:{LEFT_OUT}"),
        None => text.to_owned(),
    }
}

/// Returns true for the name of a header that lets somebody in.
fn is_header(name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_cookie = name.eq_ignore_ascii_case("cookie");
    !name.is_empty() && name.chars().all(is_name) && (is_cookie || says_secret(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_somebody_in_is_left_out_of_a_command_line() {
        for (typed, shown) in [
            (
                &["psql", "postgresql://u:pw@db/shop"][..],
                &["psql", "postgresql://***@db/shop"][..],
            ),
            (
                &["psql", "host=db password=pw user=u"],
                &["psql", "host=db password=*** user=u"],
            ),
            (
                &["x", "--password=pw", "--db", "a"],
                &["x", "--password=***", "--db", "a"],
            ),
            (
                &["x", "--api-token", "pw", "b"],
                &["x", "--api-token", "***", "b"],
            ),
            (
                &["mysql", "-u", "me", "-ppw"],
                &["mysql", "-u", "me", "-p***"],
            ),
            (&["mysql", "-p", "shop"], &["mysql", "-p", "shop"]),
            (&["ssh", "-p2222", "h"], &["ssh", "-p2222", "h"]),
            (
                &["docker", "run", "-u", "1:2"],
                &["docker", "run", "-u", "1:2"],
            ),
            (
                &["/usr/bin/curl", "-u", "a:b", "h"],
                &["/usr/bin/curl", "-u", "a:***", "h"],
            ),
            (
                &["curl", "-ua:b", "--user", "c:d"],
                &["curl", "-ua:***", "--user", "c:***"],
            ),
            (
                &[
                    "curl",
                    "-H",
                    "Authorization: Bearer a.b c",
                    "https://h/?token=t",
                ],
                &["curl", "-H", "Authorization: ***", "https://h/?token=***"],
            ),
            (
                &["http", "h", "X-Api-Key:abc"],
                &["http", "h", "X-Api-Key:***"],
            ),
            (
                &["env", "PGPASSWORD=pw", "psql"],
                &["env", "PGPASSWORD=***", "psql"],
            ),
            (
                &[
                    "bash",
                    "-c",
                    "curl -u a:b -H 'Authorization: Bearer t' h; mysql -ppw x",
                ],
                &[
                    "bash",
                    "-c",
                    "curl -u a:*** -H 'Authorization: ***' h; mysql -p*** x",
                ],
            ),
            (
                &["sshpass", "-p", "pw", "ssh", "h"],
                &["sshpass", "-p", "***", "ssh", "h"],
            ),
            (&["git", "push", "a b ", ""], &["git", "push", "a b ", ""]),
        ] {
            let words: Vec<_> = typed.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(command_without_secrets(&words), shown, "{typed:?}");
        }
    }
}
