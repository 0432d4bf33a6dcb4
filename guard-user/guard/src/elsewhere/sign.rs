//! `guard sign`: shows a question in a person's own terminal, and has a key of theirs sign the answer.
//!
//! It knows no guardd and no network, and shows nothing but what is in the bytes that guardd will look for in the answer: what
//! carried them here can lie about everything else.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use guard_policy::format_duration;
use guard_proto::Failure;
use guard_signed::{
    Answer, AnswerRefusal, Document as _, Kind, NAMESPACE, Question, Signed, SignedVerdict,
    ssh::{SshPublicKey, unarmour},
    visible::{visible, visible_again},
};
use rustix::termios::{QueueSelector, tcflush};
use serde::Serialize;

use super::LONGEST;
use crate::args::SignArgs;
use crate::error::{CliError, Exit};

/// What is said where nothing is piped in.
const WAITS: &str = "Paste a question (guard question ID --bytes), then press Ctrl-D.";
/// Characters of a line that are shown: guardd cuts sooner.
const LINE: usize = 8192;
/// How long what has no time of its own is open, in seconds.
const ONCE: u64 = 60;
/// Keys in `~/.ssh` that are tried, if no agent has any.
const FILES: [&str; 4] = ["id_ed25519_sk", "id_ecdsa_sk", "id_ed25519", "id_ecdsa"];

/// `guard sign`
pub(crate) fn sign(args: &SignArgs) -> Result<Exit, CliError> {
    let mut text = String::new();
    if io::stdin().is_terminal() {
        // Standard output is for the answer.
        let _ = writeln!(io::stderr(), "{WAITS}");
    }
    let read = io::stdin().take(LONGEST).read_to_string(&mut text);
    read.map_err(|error| unread(&error.to_string()))?;
    if text.trim().is_empty() {
        return Err(unread("standard input is empty").into());
    }
    let bytes = text.strip_suffix('\n').unwrap_or(&text);
    let question =
        Question::from_bytes(bytes.as_bytes()).map_err(|why| unread(&why.to_string()))?;
    let key = SigningKey::of(args.key.as_deref()).map_err(|why| not_signed(&why, args))?;
    let mut terminal = Terminal::open()?;
    let asked = terminal
        .ask(&question)
        .map_err(|error| no_terminal(&error))?;
    let Some(choice) = asked else {
        terminal
            .say("nothing is signed")
            .map_err(|error| no_terminal(&error))?;
        return Ok(Exit::NO);
    };
    let answer = Answer {
        by: args.name.clone().unwrap_or_default(),
        machine: question.machine.clone(),
        question: Question::hash(bytes.as_bytes()),
        ..choice
    };
    let answer = answer.to_bytes().map_err(|why| unread(&why.to_string()))?;
    print(&signed_by(&key, answer, args)?)?;
    Ok(Exit::DONE)
}

/// What was signed, as a line of JSON.
pub(crate) fn print(signed: &impl Serialize) -> Result<(), CliError> {
    let line = serde_json::to_string(signed).map_err(|error| CliError::output(&error.into()))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| CliError::output(&error))
}

/// The terminal of whoever runs it, whatever standard input and output are.
struct Terminal {
    from: BufReader<File>,
    to: File,
}

impl Terminal {
    fn open() -> Result<Self, Failure> {
        let open = |write: bool| File::options().read(!write).write(write).open("/dev/tty");
        let opened = open(false).and_then(|from| Ok((from, open(true)?)));
        let (from, to) = opened.map_err(|error| no_terminal(&error))?;
        Ok(Self {
            from: BufReader::new(from),
            to,
        })
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.to, "{}", visible(line, LINE))
    }

    fn prompt(&mut self, words: &str) -> io::Result<String> {
        // What was typed before somebody could read this answers something else.
        tcflush(self.from.get_ref(), QueueSelector::IFlush)?;
        write!(self.to, "{words} ")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Shows the question, and returns what to answer; none: nothing.
    fn ask(&mut self, question: &Question) -> io::Result<Option<Answer>> {
        let (machine, user) = (&question.machine, &question.user);
        self.say(&format!(
            "{machine} asks about {} of {}, a session of {user}, under the policy {}:",
            question.request, question.session, question.policy
        ))?;
        self.say("")?;
        for line in &question.shows {
            writeln!(
                self.to,
                "{}",
                visible_again(format_args!("    {line}"), LINE)
            )?;
        }
        self.say("")?;
        let choices = if question.shown_whole {
            choices(&question.offers, &question.kind)
        } else {
            self.say("Not all of it is shown: a yes has to be given at the machine.")?;
            Vec::new()
        };
        for (number, (words, _)) in (1..).zip(&choices) {
            self.say(&format!("{number:>3}  {words}"))?;
        }
        self.say("  n  no")?;
        let typed = self.prompt("answer (Enter signs nothing):")?;
        if typed == "n" {
            return Ok(Some(Answer {
                seconds: Some(900),
                verdict: SignedVerdict::No,
                ..nothing()
            }));
        }
        let number = typed.parse::<usize>().ok();
        let chosen = number.and_then(|number| choices.get(number.checked_sub(1)?));
        let Some((_, answer)) = chosen else {
            return Ok(None);
        };
        let code = match &question.code_by {
            Some(by) => self.prompt(&format!(
                "code, as {} shows it beside the same request:",
                visible(by, 40)
            ))?,
            None => String::new(),
        };
        Ok(Some(Answer {
            code,
            ..answer.clone()
        }))
    }
}

/// An answer that opens nothing yet.
fn nothing() -> Answer {
    Answer {
        by: String::new(),
        bytes: None,
        code: String::new(),
        connections: None,
        seconds: None,
        machine: String::new(),
        question: String::new(),
        read_only: false,
        requests: None,
        scope: "one".to_owned(),
        v: 1,
        verdict: SignedVerdict::Yes,
    }
}

/// What may be answered, in words.
fn choices(offers: &[String], kind: &str) -> Vec<(String, Answer)> {
    let first = offers.iter().find_map(|offer| time(offer)).unwrap_or(ONCE);
    let choice = |offer: &String| choice(offer, first, kind);
    offers.iter().filter_map(choice).collect()
}

/// An offer in words, and the answer that takes it; `usual` is for how many seconds a yes is where the offer does not say so. `kind`: what
/// is asked; an HTTP request or a statement passes once, however long a yes is for.
fn choice(offer: &str, usual: u64, kind: &str) -> Option<(String, Answer)> {
    let lasting = |seconds| format_duration(Duration::from_secs(seconds));
    let for_a_while = lasting(usual);
    let mut answer = Answer {
        seconds: Some(usual),
        ..nothing()
    };
    let words = match offer.split_once('=') {
        Some(("for", _)) => {
            let seconds = time(offer)?;
            answer.seconds = Some(seconds);
            if kind != "connect" {
                format!("yes, once within {}", lasting(seconds))
            } else {
                format!("yes, for {}", lasting(seconds))
            }
        }
        Some(("connections", count)) => {
            answer.connections = Some(count.parse().ok()?);
            format!("yes, to {count} connection within {for_a_while}")
        }
        Some(("requests", count)) => {
            answer.requests = Some(count.parse().ok()?);
            format!("yes, to {count} request within {for_a_while}")
        }
        Some(("scope", scope @ ("prefix" | "writes"))) => {
            scope.clone_into(&mut answer.scope);
            let what = match (scope, kind) {
                ("prefix", _) => "all of the prefix",
                (_, "sql") => "all that change something there",
                _ => "all that change something at its host",
            };
            format!("yes, to {what}, for {for_a_while}")
        }
        Some(("path", path)) => {
            "path".clone_into(&mut answer.scope);
            format!("yes, to all with this method and the path {path}, for {for_a_while}")
        }
        None if offer == "read-only" => {
            answer.read_only = true;
            format!("yes, to reads alone, for {for_a_while}")
        }
        _ => return None,
    };
    Some((words, answer))
}

fn time(offer: &str) -> Option<u64> {
    offer.strip_prefix("for=")?.parse().ok()
}

fn signed_by(key: &SigningKey, answer: Vec<u8>, args: &SignArgs) -> Result<Signed, Failure> {
    let (public, signature) = key
        .sign(NAMESPACE, &answer)
        .map_err(|why| not_signed(&why, args))?;
    Ok(Signed {
        answer: String::from_utf8(answer).map_err(|error| not_signed(&error.to_string(), args))?,
        key: public.fingerprint(),
        kind: Kind::Ssh,
        signature: BASE64URL_NOPAD.encode(&signature),
        authenticator_data: None,
        client_data: None,
    })
}

/// A key that `ssh-keygen` can sign with, known before anybody is asked anything.
pub(crate) struct SigningKey {
    file: PathBuf,
    /// The public half of a key of ssh-agent.
    _kept: Option<tempfile::NamedTempFile>,
}

impl SigningKey {
    /// That of a file; else the only one of ssh-agent, or its only FIDO key; or one of the usual files.
    ///
    /// # Errors
    ///
    /// That there is none, or that it is of a kind that nobody here understands.
    pub(crate) fn of(named: Option<&Path>) -> Result<Self, String> {
        match named {
            Some(file) => {
                is_understood(file)?;
                Ok(Self {
                    file: file.to_owned(),
                    _kept: None,
                })
            }
            None => chosen(),
        }
    }

    /// Has `ssh-keygen` sign.
    ///
    /// # Errors
    ///
    /// Why it has not.
    pub(crate) fn sign(
        &self,
        namespace: &str,
        bytes: &[u8],
    ) -> Result<(SshPublicKey, Vec<u8>), String> {
        let mut keygen = Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", namespace, "-f"])
            .arg(&self.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("ssh-keygen cannot be started: {error}"))?;
        if let Some(mut stdin) = keygen.stdin.take() {
            // That it does not read, its status says.
            let _ = stdin.write_all(bytes);
        }
        let done = keygen.wait_with_output();
        let done = done.map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err("ssh-keygen has not signed".to_owned());
        }
        let signature = unarmour(&String::from_utf8_lossy(&done.stdout));
        let signature = signature.map_err(|why| why.to_string())?;
        let public = SshPublicKey::of_signature(&signature).map_err(|why| why.to_string())?;
        let checked = public.verify(namespace, bytes, &signature);
        checked.map_err(|why| why.to_string())?;
        Ok((public, signature))
    }
}

/// Whether a key is of a kind that is understood, where its public half lies beside it, as ssh-keygen leaves it.
fn is_understood(file: &Path) -> Result<(), String> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".pub");
    let lines = [Path::new(&beside), file].map(fs::read_to_string);
    let mut lines = lines.into_iter().flatten();
    // A private key has no such line.
    match lines.find_map(|line| kind_of(&line)) {
        Some(why) => Err(format!("{}: {why}", file.display())),
        None => Ok(()),
    }
}

/// What is to be said of a public key that is of another kind.
fn kind_of(line: &str) -> Option<AnswerRefusal> {
    let refused = SshPublicKey::parse(line).err()?;
    matches!(refused, AnswerRefusal::Algorithm(_) if !line.starts_with('-')).then_some(refused)
}

fn chosen() -> Result<SigningKey, String> {
    let listed = Command::new("ssh-add")
        .arg("-L")
        .stderr(Stdio::null())
        .output();
    // Without a key it says so in words, on standard output.
    let listed = listed.map(|done| {
        if done.status.success() {
            String::from_utf8_lossy(&done.stdout).into_owned()
        } else {
            String::new()
        }
    });
    let listed = listed.unwrap_or_default();
    let keys: Vec<_> = listed
        .lines()
        .filter_map(|line| SshPublicKey::parse(line).ok())
        .collect();
    let fido: Vec<_> = keys.iter().filter(|key| key.is_fido()).collect();
    let only = match (&fido[..], &keys[..]) {
        ([one], _) => Some(*one),
        (_, [one]) => Some(one),
        _ => None,
    };
    if let Some(key) = only {
        let kept = tempfile::Builder::new().suffix(".pub").tempfile();
        let kept = kept.and_then(|mut file| writeln!(file, "{}", key.line()).map(|()| file));
        let kept = kept.map_err(|error| error.to_string())?;
        return Ok(SigningKey {
            file: kept.path().to_owned(),
            _kept: Some(kept),
        });
    }
    if !keys.is_empty() {
        return Err("ssh-agent has several keys".to_owned());
    }
    let dir = std::env::home_dir().map(|home| home.join(".ssh"));
    let files = dir
        .into_iter()
        .flat_map(|dir| FILES.map(|name| dir.join(name)));
    let mut there = files.filter(|file| fs::exists(file).unwrap_or(false));
    let others = listed.lines().find_map(kind_of);
    let others = others.map_or_else(String::new, |why| format!(" ({why})"));
    match there.next() {
        Some(file) => Ok(SigningKey { file, _kept: None }),
        None => Err(format!(
            "there is no such key in ssh-agent{others}, and none of the usual ones in ~/.ssh"
        )),
    }
}

fn unread(why: &str) -> Failure {
    Failure {
        what: "cannot read the question".to_owned(),
        why: why.to_owned(),
        fix: "guard question ID --bytes | guard sign > answer".to_owned(),
    }
}

fn no_terminal(error: &io::Error) -> Failure {
    Failure {
        what: "cannot ask you".to_owned(),
        why: format!("there is no terminal: {error}"),
        fix: "run it in a terminal of your own: it shows what is asked, and signs what you say"
            .to_owned(),
    }
}

fn not_signed(why: &str, args: &SignArgs) -> Failure {
    let typed = args.typed.as_deref().unwrap_or("guard sign");
    Failure {
        what: "the answer was not signed".to_owned(),
        why: why.to_owned(),
        fix: format!("name the key: {typed} --key ~/.ssh/id_ed25519_sk"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_kind_is_refused_before_anybody_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, is_refused) in [("rsa", true), ("ed25519", false)] {
            let file = dir.path().join(kind);
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-N", "", "-t", kind, "-f"]);
            assert!(keygen.arg(&file).status().unwrap().success());
            let public = dir.path().join(format!("{kind}.pub"));
            for named in [&file, &public] {
                let of = SigningKey::of(Some(named)).map(|_| ());
                assert_eq!(of.is_err(), is_refused, "{of:?}");
                if let Err(why) = of {
                    assert!(why.contains("keys of the kind ssh-rsa"), "{why}");
                }
            }
        }
    }

    #[test]
    fn what_is_offered_can_be_chosen_and_nothing_else() {
        let offers = [
            "for=600",
            "for=300",
            "connections=1",
            "scope=prefix",
            "path=/a/*",
            "read-only",
            "scope=everything",
            "for=x",
            "?",
        ];
        let offers = offers.map(str::to_owned);
        let of_request = super::choices(&offers[..2], "http");
        assert_eq!(of_request[1].0, "yes, once within 5m");
        for (kind, words) in [
            (
                "http",
                "yes, to all that change something at its host, for 1m",
            ),
            ("sql", "yes, to all that change something there, for 1m"),
        ] {
            let writes = super::choices(&["scope=writes".to_owned()], kind);
            assert_eq!(writes[0].0, words);
        }
        let choices = choices(&offers, "connect");
        let words: Vec<_> = choices.iter().map(|(words, _)| words.as_str()).collect();
        insta::assert_snapshot!(words.join("\n"), @r"
        yes, for 10m
        yes, for 5m
        yes, to 1 connection within 10m
        yes, to all of the prefix, for 10m
        yes, to all with this method and the path /a/*, for 10m
        yes, to reads alone, for 10m
        ");
        let said: Vec<_> = choices
            .iter()
            .map(|(_, one)| (one.seconds, one.connections, &*one.scope, one.read_only))
            .collect();
        assert_eq!(said[1], (Some(300), None, "one", false));
        assert_eq!(said[2], (Some(600), Some(1), "one", false));
        assert_eq!(said[3], (Some(600), None, "prefix", false));
        assert_eq!(said[5], (Some(600), None, "one", true));
    }
}
