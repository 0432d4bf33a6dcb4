//! Policies for a fleet: signed here, put in force on other machines, each of which verifies the signatures itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use guard_proto::{Call, Failure, fleet::FleetPolicies};
use guard_signed::bundle::{LONGEST, MAX_REVOKED, POLICY_NAMESPACE};
use guard_signed::ssh::SshPublicKey;
use guard_signed::visible::visible;
use guard_signed::{Bundle, Document as _, SignedBundle};
use jiff::Timestamp;
use rustix::termios::{QueueSelector, tcflush};
use toml_edit::DocumentMut;

use crate::args::PolicySignArgs;
use crate::ask::yes;
use crate::client::Client;
use crate::elsewhere::{SigningKey, print};
use crate::error::{CliError, Exit};
use crate::policy::valid;
use crate::policy_file::PolicyFile;
use crate::render::page::{GOOD, Page};
use crate::render::{Output, failure, path_word, status};

/// Bytes of a file with a bundle that are read at most.
const MOST: u64 = 4 * LONGEST as u64;

/// `guard policy sign`
pub(crate) fn sign(args: &PolicySignArgs) -> Result<Exit, CliError> {
    let mut signed = if args.from.is_dir() {
        SignedBundle {
            bundle: text_of(&bundle_in(args)?)?,
            signatures: Vec::new(),
        }
    } else {
        bundle_of_file(args)?
    };
    let bundle = read_bundle(&signed)?;
    let keys = signed.keys().map_err(|why| {
        not_signed(
            &format!("a signature of it is not of these bytes: {why}"),
            "have it made again: guard policy sign DIR",
        )
    })?;
    let no_key = |why: String| {
        not_signed(
            &why,
            "name the key: guard policy sign --key ~/.ssh/id_ed25519_sk …",
        )
    };
    let key = SigningKey::of(args.key.as_deref()).map_err(no_key)?;
    show(&bundle, &keys).map_err(|error| CliError::output(&error))?;
    if !args.yes && !is_agreed()? {
        return Ok(Exit::NO);
    }
    let signature = key.sign(POLICY_NAMESPACE, signed.bundle.as_bytes());
    let (public, signature) = signature.map_err(no_key)?;
    if keys.contains(&public) {
        return Err(not_signed(
            "that key has signed it already",
            "another person signs it: guard policy sign BUNDLE --key KEY",
        )
        .into());
    }
    signed.signatures.push(BASE64URL_NOPAD.encode(&signature));
    print(&signed)?;
    Ok(Exit::DONE)
}

/// A bundle that others have signed, or somebody made elsewhere.
fn bundle_of_file(args: &PolicySignArgs) -> Result<SignedBundle, Failure> {
    if !args.from.exists() && args.from != Path::new("-") {
        return Err(not_signed(
            &format!("there is no file or directory {}", args.from.display()),
            "name a directory with policies, or a bundle",
        ));
    }
    let is_new = !args.groups.is_empty()
        || args.base.is_some()
        || args.serial.is_some()
        || !args.revoked.is_empty();
    if is_new {
        return Err(not_signed(
            "its groups, base, serial and revoked keys are signed already",
            "give the bundle alone: guard policy sign BUNDLE",
        ));
    }
    read(&args.from)
}

/// `guard policy offer`
pub(crate) fn offer(mut client: Client, file: &Path, output: Output) -> Result<Exit, CliError> {
    let SignedBundle { bundle, signatures } = read(file)?;
    let done: FleetPolicies = client.call(&Call::OfferPolicies { bundle, signatures })?;
    output.print(&done, |done, clock| {
        let mut page = Page::default();
        page.styled(GOOD, "In force")
            .line(", as the kernel has it.");
        status::fleet(&mut page, done, clock);
        page
    })?;
    Ok(Exit::DONE)
}

/// Asks at the terminal, whatever standard input is; where there is none, whoever has the key has decided.
fn is_agreed() -> Result<bool, CliError> {
    if io::stdin().is_terminal() {
        return yes("Sign it?");
    }
    let Ok(tty) = fs::File::options().read(true).write(true).open("/dev/tty") else {
        return Ok(true);
    };
    let ask = || {
        tcflush(&tty, QueueSelector::IFlush)?;
        write!(&tty, "Sign it? [y/N] ")?;
        let mut answer = String::new();
        BufReader::new(&tty).read_line(&mut answer)?;
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    };
    ask().map_err(|error: io::Error| CliError::output(&error))
}

/// The texts of a directory's policies by name, each of them valid.
fn policies_in(dir: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let unread = |error: io::Error| {
        not_signed(
            &format!("{} cannot be read: {error}", dir.display()),
            "name a directory with policies, or a bundle",
        )
    };
    let mut policies = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let is_policy = path.extension().is_some_and(|kind| kind == "toml");
        let Some(name) = name.filter(|_| is_policy) else {
            continue;
        };
        if !Bundle::is_name(name) {
            return Err(not_signed(
                &format!("{name:?} is no policy's name"),
                "a name has letters, digits, -, _ and ., and begins with a letter or digit",
            ));
        }
        let file = PolicyFile::read(&path)?;
        if let Err(diagnostics) = valid(&file) {
            file.show(&diagnostics);
            return Err(not_signed(
                &format!("{} is not valid", path.display()),
                &format!("guard check {}", path_word(&path)),
            ));
        }
        policies.insert(name.to_owned(), file.text);
    }
    Ok(policies)
}

/// What a directory's policies make.
fn bundle_in(args: &PolicySignArgs) -> Result<Bundle, CliError> {
    let dir = &args.from;
    let policies = policies_in(dir)?;
    let wrong = match &args.base {
        _ if args.groups.is_empty() => Some("it is for no group".to_owned()),
        _ if !args.groups.iter().all(|group| Bundle::is_group(group)) => {
            Some("a group has 1 to 32 of a-z, 0-9 and -".to_owned())
        }
        _ if policies.is_empty() => Some(format!("there is no policy in {}", dir.display())),
        Some(base) if !policies.contains_key(base) => {
            Some(format!("there is no {base}.toml in {}", dir.display()))
        }
        _ => no_fingerprint(&args.revoked),
    };
    if let Some(wrong) = wrong {
        let fix = "guard policy sign --group GROUP --base NAME DIR";
        return Err(not_signed(&wrong, fix).into());
    }
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    Ok(Bundle {
        base: args.base.clone(),
        groups: args.groups.clone(),
        policies,
        serial: args.serial.unwrap_or(now),
        v: if args.revoked.is_empty() { 1 } else { 2 },
        revoked: args.revoked.clone(),
    })
}

/// What of these is no key's fingerprint, or too much.
fn no_fingerprint(revoked: &[String]) -> Option<String> {
    if revoked.len() > MAX_REVOKED {
        return Some(format!("it revokes more than {MAX_REVOKED} keys"));
    }
    let wrong = revoked.iter().find(|one| !Bundle::is_fingerprint(one))?;
    Some(format!(
        "{wrong:?} is no fingerprint: guard approver list has them, as SHA256:…"
    ))
}

fn text_of(bundle: &Bundle) -> Result<String, Failure> {
    let too_long = |_| {
        not_signed(
            &format!("all policies together are longer than {LONGEST} bytes"),
            "put fewer into one bundle",
        )
    };
    let bytes = bundle.to_bytes().map_err(too_long)?;
    String::from_utf8(bytes).map_err(|error| not_signed(&error.to_string(), "report it as a bug"))
}

/// The signer reads it here, on standard error: standard output is for the bundle.
fn show(bundle: &Bundle, keys: &[SshPublicKey]) -> io::Result<()> {
    let mut err = anstream::stderr().lock();
    let base = bundle.base.as_deref();
    for (name, text) in &bundle.policies {
        let around = if base == Some(name) {
            ", around each session"
        } else {
            ""
        };
        writeln!(err, "{name}{around}:\n")?;
        for line in text.lines() {
            // All of it: what is not shown would be signed all the same.
            writeln!(err, "    {}", visible(line, usize::MAX))?;
        }
        writeln!(err)?;
    }
    if let Some((name, text)) = bundle.policies.iter().find(|(name, _)| base == Some(name)) {
        for warning in without_effect(name, text) {
            write!(err, "{}", failure::warning(&warning).as_str())?;
        }
    }
    if base.is_none() {
        writeln!(err, "No policy lies around sessions, whatever did before.")?;
    }
    for key in &bundle.revoked {
        writeln!(err, "Revoked: nobody answers by the key {key} any more.")?;
    }
    for key in keys {
        writeln!(err, "Signed by the key {}.", key.fingerprint())?;
    }
    let groups = bundle.groups.join(", ");
    writeln!(err, "For {groups}, serial {}.", bundle.serial)
}

/// What a policy says that does not count where it lies around others: it is theirs to say.
fn without_effect(name: &str, text: &str) -> Vec<String> {
    let keys = text.parse::<DocumentMut>();
    let keys = keys.iter().flat_map(|text| text.iter());
    let keys = keys.filter_map(|(key, _)| match key {
        "hold" | "inbound" => Some(format!("`{key}`")),
        "unix" => Some("`[unix]`".to_owned()),
        _ => None,
    });
    keys.map(|key| {
        format!("{key} of {name} does not count around sessions: each policy says it for itself")
    })
    .collect()
}

/// A file's, or that of standard input where that is `-`.
fn read(file: &Path) -> Result<SignedBundle, Failure> {
    let mut text = String::new();
    let done = if file == Path::new("-") {
        io::stdin().take(MOST).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|from| from.take(MOST).read_to_string(&mut text))
    };
    let no_bundle = |why: String, dir: &str| Failure {
        what: format!("there is no bundle in {}", file.display()),
        why,
        fix: format!("make one: guard policy sign --group GROUP {dir} > BUNDLE"),
    };
    done.map_err(|error| no_bundle(error.to_string(), "DIR"))?;
    serde_json::from_str(text.trim()).map_err(|error| {
        let is_toml = !text.trim().is_empty() && text.parse::<DocumentMut>().is_ok();
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new(".")).to_string_lossy();
        if is_toml {
            no_bundle(
                "it is one policy, and a directory of them is signed".to_owned(),
                &dir,
            )
        } else {
            no_bundle(
                format!("it is not what guard policy sign prints: {error}"),
                "DIR",
            )
        }
    })
}

fn read_bundle(signed: &SignedBundle) -> Result<Bundle, Failure> {
    let bundle = Bundle::from_bytes(signed.bundle.as_bytes());
    let bundle = bundle.and_then(|bundle| bundle.is_sound().map(|()| bundle));
    bundle.map_err(|why| {
        not_signed(
            &why.to_string(),
            "have it made again: guard policy sign DIR",
        )
    })
}

fn not_signed(why: &str, fix: &str) -> Failure {
    Failure {
        what: "the policies were not signed".to_owned(),
        why: why.to_owned(),
        fix: fix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_around_sessions_is_warned_of() {
        let warned = |text: &str| without_effect("floor", text).join("\n");
        insta::assert_snapshot!(warned("hold = \"5s\"\ninbound = false\nmax_hole = \"5m\"\n[unix]\nallow = [\"ssh-agent\"]\n"), @r"
        `hold` of floor does not count around sessions: each policy says it for itself
        `inbound` of floor does not count around sessions: each policy says it for itself
        `[unix]` of floor does not count around sessions: each policy says it for itself
        ");
        assert_eq!(warned("version = 1\n[dns]\nnames = \"ask\"\n"), "");
    }
}
