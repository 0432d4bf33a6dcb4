//! Answers from elsewhere: who may give them, what they are about, and handing them in. Signing is in `sign.rs`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use guard_proto::{
    Call, Failure,
    approvers::{Approvers, Asked, Enrolment, Invited, Presented, PresentedKey, Taken},
};
use guard_signed::{Document as _, Kind, Question, Signed};

use super::args::{AnswerArgs, ApproverVerb, EnrolmentArgs, QuestionArgs};
use super::client::Client;
use super::error::{CliError, Exit};
use super::ids::not_an_id;
use super::render::{self, Output};

mod sign;

pub(crate) use sign::{SigningKey, print, sign};

/// A question or a signed answer has at most so many bytes.
const LONGEST: u64 = 64 * 1024;
/// How the lines of public keys begin, whether they can be enrolled or not.
const KINDS: [&str; 4] = ["ecdsa-", "sk-", "ssh-", "webauthn-"];

/// `guard approver`
pub(crate) fn approver(
    mut client: Client,
    verb: ApproverVerb,
    output: Output,
) -> Result<Exit, CliError> {
    match verb {
        ApproverVerb::List => {
            let all: Approvers = client.call(&Call::Approvers {})?;
            output.warnings(&all.warnings);
            output.print(all.approvers.as_slice(), render::elsewhere::list)?;
        }
        ApproverVerb::Invite {
            name,
            duration,
            person,
        } => {
            let invited: Invited = client.call(&Call::Invite {
                who: enrolment(name, person),
                seconds: duration.map(|time| time.as_secs_f64()),
            })?;
            output.warnings(&invited.warnings);
            output.print(&invited, render::elsewhere::invited)?;
        }
        ApproverVerb::Present {
            invitation,
            ssh_key,
        } => {
            let key = PresentedKey {
                ssh: Some(key_in(&ssh_key)?),
                passkey: None,
            };
            let presented: Presented = client.call(&Call::Present { invitation, key })?;
            output.print(&presented, render::elsewhere::presented)?;
        }
        verb => return changed(client, verb, output),
    }
    Ok(Exit::DONE)
}

/// What adds or removes somebody.
fn changed(mut client: Client, verb: ApproverVerb, output: Output) -> Result<Exit, CliError> {
    let removes = matches!(verb, ApproverVerb::Remove { .. });
    let call = match verb {
        ApproverVerb::Accept {
            name,
            fingerprint,
            plain,
        } => Call::Accept {
            name,
            fingerprint,
            plain,
        },
        ApproverVerb::Add {
            name,
            ssh_key,
            passkey,
            plain,
            person,
        } => Call::Enrol {
            who: enrolment(name, person),
            key: match (ssh_key, passkey) {
                (Some(file), _) => key_in(&file)?,
                // clap wants one of them.
                (None, made) => format!("passkey {}", made.unwrap_or_default()),
            },
            plain,
        },
        ApproverVerb::Remove { called } => Call::Remove { called },
        ApproverVerb::List | ApproverVerb::Invite { .. } | ApproverVerb::Present { .. } => {
            Call::Approvers {}
        }
    };
    let done: Approvers = client.call(&call)?;
    output.warnings(&done.warnings);
    let page = if removes {
        render::elsewhere::removed
    } else {
        render::elsewhere::list
    };
    output.print(done.approvers.as_slice(), page)?;
    Ok(Exit::DONE)
}

fn enrolment(name: String, person: EnrolmentArgs) -> Enrolment {
    let said = |all: Vec<String>| (!all.is_empty()).then_some(all);
    Enrolment {
        name,
        answers_for: said(person.answers_for),
        policies: said(person.policies),
        max_for: person.max_for.map(|time| time.as_secs_f64()),
    }
}

/// The first line of a `.pub` file.
fn key_in(file: &Path) -> Result<String, Failure> {
    let unread = |why: String| Failure {
        what: format!("cannot read the key in {}", file.display()),
        why,
        fix: "give the public half: --ssh-key ~/.ssh/id_ed25519_sk.pub".to_owned(),
    };
    let text = fs::read_to_string(file).map_err(|error| unread(error.to_string()))?;
    if text.contains("PRIVATE KEY") {
        return Err(unread(
            "it is a private key, which stays with you".to_owned(),
        ));
    }
    let line = text.lines().find(|line| !line.trim().is_empty());
    let line = line.ok_or_else(|| unread("it is empty".to_owned()))?;
    let is_key = KINDS.iter().any(|kind| line.trim_start().starts_with(kind));
    if is_key {
        Ok(line.to_owned())
    } else {
        Err(unread(
            "it is no public key of SSH, which begins with its kind, such as ssh-ed25519"
                .to_owned(),
        ))
    }
}

/// `guard question`
pub(crate) fn question(
    mut client: Client,
    args: QuestionArgs,
    output: Output,
) -> Result<Exit, CliError> {
    if let Some(wrong) = not_an_id("question", 'r', &args.id) {
        return Err(wrong.into());
    }
    let asked: Asked = client.call(&Call::Question { id: args.id })?;
    if args.bytes {
        // As they are: another newline would be another question.
        let mut out = io::stdout().lock();
        out.write_all(asked.question.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| CliError::output(&error))?;
        return Ok(Exit::DONE);
    }
    output.print(&asked, |asked, _| {
        match Question::from_bytes(asked.question.as_bytes()) {
            Ok(question) => render::elsewhere::question(&question),
            Err(why) => render::page::Page::of(why),
        }
    })?;
    Ok(Exit::DONE)
}

/// `guard answer --signed`
pub(crate) fn answer(
    mut client: Client,
    args: &AnswerArgs,
    output: Output,
) -> Result<Exit, CliError> {
    let text = read(&args.signed)?;
    let signed: Signed = serde_json::from_str(text.trim()).map_err(|error| Failure {
        what: format!("cannot hand in {}", shown(&args.signed)),
        why: if text.trim().is_empty() {
            "it is empty".to_owned()
        } else {
            format!("it is no signed answer: {error}")
        },
        fix: "guard question ID --bytes | guard sign | guard answer --signed -".to_owned(),
    })?;
    let kind = match signed.kind {
        Kind::Ssh => "ssh",
        Kind::Passkey => "passkey",
    };
    let taken: Taken = client.call(&Call::AnswerSigned {
        answer: signed.answer,
        key: signed.key,
        kind: kind.to_owned(),
        signature: signed.signature,
        authenticator_data: signed.authenticator_data,
        client_data: signed.client_data,
    })?;
    output.warnings(&taken.warnings);
    output.print(&taken, render::elsewhere::taken)?;
    if !output.is_json() {
        output.print_things(&taken.holes, render::holes::opened)?;
    }
    Ok(Exit::DONE)
}

fn shown(file: &Path) -> String {
    if file == Path::new("-") {
        "what came on standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

/// A file, or standard input where that is `-`.
fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let done = if file == Path::new("-") {
        io::stdin().take(LONGEST).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|from| from.take(LONGEST).read_to_string(&mut text))
    };
    done.map_err(|error| Failure {
        what: format!("cannot read {}", shown(file)),
        why: error.to_string(),
        fix: "name a file, or - for standard input".to_owned(),
    })?;
    Ok(text)
}
