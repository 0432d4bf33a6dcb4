//! `guard discover`: what looks like production and is in reach, and what a policy does with it.

use std::collections::BTreeMap;
use std::env;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use guard_common::Verdict;
use guard_discover::{
    Bounds, Discovery, Finding, Inputs, KeyAlone, Label, PassedOver, Reason, Seen,
};
use guard_policy::{self as policy, Destination, Explanation, Parsed, PortSpec, Target};
use guard_proto::Failure;
use rustix::process::geteuid;
use serde::Serialize;

use super::args::DiscoverArgs;
use super::error::{CliError, Exit};
use super::policy::explain::environment_with;
use super::policy_file::PolicyFile;
use super::render::page::{HEAD, Page, STRONG, WARN};
use super::render::{Output, explain};

/// What was found.
#[derive(Debug, Serialize)]
struct Discovered {
    /// The places, the gravest first.
    items: Vec<InReach>,
    /// Credentials whose host no file here says.
    keys: Vec<KeyAlone>,
    /// Files and lines that were not read.
    passed_over: Vec<PassedOver>,
    /// Whether nothing was passed over.
    complete: bool,
    /// The policy.
    policy: String,
    /// Files read in the home.
    home_files: usize,
    /// Files read in the directory.
    project_files: usize,
    /// Milliseconds.
    ms: u128,
}

/// A place.
#[derive(Debug, Serialize)]
struct InReach {
    /// Its number, for `--why`.
    number: usize,
    /// `production`, `maybe`, `unknown`, `staging`, `dev`, `local`, `tool`, `placeholder` or `template`.
    label: Label,
    /// The sum of the reasons; 55 is production, 30 maybe.
    points: u8,
    /// The reasons: `points` and `text`.
    because: Vec<Reason>,
    /// What answers there.
    service: String,
    /// An address or a name.
    host: String,
    /// `tcp/5432`.
    ports: String,
    /// Whether places of another stage may have its address.
    shared: bool,
    /// Where: `file`, `line`, `key`, and `dormant` where it is commented out.
    found: Vec<Seen>,
    /// The kind of credential beside it; null: none.
    credential: Option<String>,
    /// What the policy does.
    now: Now,
    /// The rule for it; null: none.
    proposed: Option<Proposed>,
    /// `narrows`, `same` or `widens`; null without a rule.
    effect: Option<&'static str>,
}

/// What a policy does with a place.
#[derive(Debug, Serialize)]
struct Now {
    /// The least strict verdict for it.
    verdict: &'static str,
    /// The rule; null: the policy's default.
    rule: Option<String>,
}

/// A rule.
#[derive(Debug, Serialize)]
struct Proposed {
    /// `read-only` or `confirm`.
    action: &'static str,
    /// Protocols under `read-only`.
    profile: Vec<&'static str>,
    /// No hole is longer; null: the policy's.
    max_hole: Option<&'static str>,
}

/// Addresses that stand for a name, which is looked up nowhere: nothing is sent to them.
const SOME_PUBLIC: [&str; 3] = ["11.22.33.44", "101.102.103.104", "151.152.153.154"];

/// Looks, and says what the policy does with what was found.
pub(crate) fn discover(args: &DiscoverArgs, output: Output) -> Result<Exit, CliError> {
    is_persons()?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let file = PolicyFile::named(&args.policy)?;
    let parsed = file.parse(output)?;
    let found = look(&dir).map_err(|error| Failure {
        what: format!("cannot look through {}", dir.display()),
        why: error.to_string(),
        fix: "name a directory that you may open:\nguard discover DIR".into(),
    })?;
    let mut discovered = Discovered::of(found, &parsed, args.all)
        .map_err(|diagnostics| file.invalid(&diagnostics, output))?;
    if let Some(number) = args.why {
        let found = (number as usize).checked_sub(1);
        let count = discovered.items.len();
        let found = found.filter(|at| *at < count).ok_or_else(|| Failure {
            what: format!("cannot explain {number}"),
            why: format!("{count} places are listed"),
            fix: "list them:\nguard discover".into(),
        })?;
        let one = discovered.items.swap_remove(found);
        output.print(&one, |one, _| why(one))?;
        return Ok(Exit::DONE);
    }
    output.print(&discovered, |discovered, _| page(discovered))?;
    Ok(Exit::answer(!args.check || discovered.is_clean()))
}

/// An agent would get a map to credentials, and root reads what its user may not.
fn is_persons() -> Result<(), Failure> {
    let refuse = |why: &str, fix: &str| {
        Err(Failure {
            what: "cannot look for what is in reach".into(),
            why: why.into(),
            fix: fix.into(),
        })
    };
    if env::var_os("GUARD_SESSION").is_some() {
        return refuse(
            "this is inside of a session",
            "ask the person who started it to run it outside:\nguard discover",
        );
    }
    if geteuid().is_root() {
        return refuse(
            "it reads as whoever starts the agent, and never as root",
            "run it as that user:\nsudo -u USER guard discover",
        );
    }
    Ok(())
}

fn look(dir: &Path) -> std::io::Result<Discovery> {
    let variables = env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let home = env::home_dir();
    guard_discover::discover(&Inputs {
        project: dir,
        home: home.as_deref(),
        hosts: Some(Path::new("/etc/hosts")),
        environment: &variables.collect::<Vec<_>>(),
        uid: geteuid().as_raw(),
        bounds: Bounds::default(),
    })
}

impl Discovered {
    fn of(found: Discovery, parsed: &Parsed, all: bool) -> Result<Self, Vec<policy::Diagnostic>> {
        let shown = found
            .findings
            .into_iter()
            .filter(|one| all || one.label >= Label::Maybe);
        let items = shown
            .enumerate()
            .map(|(at, one)| InReach::of(at + 1, one, parsed));
        Ok(Self {
            items: items.collect::<Result<_, _>>()?,
            keys: found.keys,
            complete: found.passed_over.is_empty(),
            passed_over: found.passed_over,
            policy: parsed.policy.name.clone(),
            home_files: found.home_files,
            project_files: found.project_files,
            ms: found.took.as_millis(),
        })
    }

    /// Whether all was read, and the policy lets not everything through to any of it that looks like production. What was not
    /// read may be the place that matters.
    fn is_clean(&self) -> bool {
        self.complete && !self.items.iter().any(InReach::is_open)
    }
}

impl InReach {
    fn of(number: usize, one: Finding, parsed: &Parsed) -> Result<Self, Vec<policy::Diagnostic>> {
        let ports = format!("tcp/{}", one.port);
        let explained = explained(one.host.as_str(), &ports, parsed)?;
        let strictness = |one: &Explanation| verdict(&one.verdict).strictness();
        let loosest = explained.iter().min_by_key(|one| strictness(one));
        let effect = one.proposed.map(|proposed| {
            let proposed = verdict(proposed.action).strictness();
            let all = || explained.iter().map(strictness);
            match (
                all().any(|now| proposed < now),
                all().any(|now| proposed > now),
            ) {
                (true, _) => "widens",
                (false, true) => "narrows",
                (false, false) => "same",
            }
        });
        Ok(Self {
            number,
            label: one.label,
            points: one.points,
            because: one.because,
            service: one.service.as_str().to_owned(),
            host: one.host.as_str().to_owned(),
            ports,
            shared: one.is_shared,
            found: one.found,
            credential: one.credential.map(str::to_owned),
            now: Now {
                verdict: loosest
                    .map_or(Verdict::Allow, |one| verdict(&one.verdict))
                    .as_str(),
                rule: loosest.and_then(|one| one.rule.clone()),
            },
            proposed: one.proposed.map(|proposed| Proposed {
                action: proposed.action,
                profile: proposed.profile.to_vec(),
                max_hole: proposed.max_hole,
            }),
            effect,
        })
    }

    fn is_open(&self) -> bool {
        self.label == Label::Production && self.now.verdict == Verdict::Allow.as_str()
    }

    fn at(&self) -> String {
        let port = self.ports.trim_start_matches("tcp/");
        match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }

    /// "DATABASE_URL  .env:3, and 2 more"
    fn reached_by(&self) -> String {
        let first = self.found.first().map_or_else(String::new, seen);
        match self.found.len() {
            0 | 1 => first,
            more => format!("{first}, and {} more", more - 1),
        }
    }

    fn rule(&self) -> String {
        let Some(proposed) = &self.proposed else {
            return "-".to_owned();
        };
        let profile: String = proposed
            .profile
            .iter()
            .map(|one| format!(", {one}"))
            .collect();
        let effect = match self.effect {
            Some("widens") => " (widens)",
            Some("same") => " (same)",
            _ => "",
        };
        format!("{}{profile}{effect}", proposed.action)
    }
}

/// What is unknown is taken for what lets most through.
fn verdict(text: &str) -> Verdict {
    [Verdict::Deny, Verdict::Confirm, Verdict::ReadOnly]
        .into_iter()
        .find(|verdict| verdict.as_str() == text)
        .unwrap_or(Verdict::Allow)
}

/// What `guard explain` says of it, for a name that is looked up nowhere as for a public address that no rule but this name's is for.
fn explained(
    host: &str,
    ports: &str,
    parsed: &Parsed,
) -> Result<Vec<Explanation>, Vec<policy::Diagnostic>> {
    let (Ok(to), Ok(ports)) = (host.parse::<Target>(), ports.parse::<PortSpec>()) else {
        return Ok(Vec::new());
    };
    let Target::Name(name) = &to else {
        return explained_with(to, ports, BTreeMap::new(), parsed);
    };
    let mut last = Vec::new();
    for address in SOME_PUBLIC
        .iter()
        .filter_map(|text| text.parse::<IpAddr>().ok())
    {
        let alone = explained_with(
            Target::Prefix(address.into()),
            ports,
            BTreeMap::new(),
            parsed,
        )?;
        let names = BTreeMap::from([(name.as_str().to_owned(), vec![address])]);
        last = explained_with(to.clone(), ports, names, parsed)?;
        let is_anyones = |one: &Explanation| {
            let matched = one.matched.as_deref().unwrap_or_default();
            one.rule.is_none()
                || ["@public", "0.0.0.0/0", "::/0"]
                    .iter()
                    .any(|wide| matched.starts_with(wide))
        };
        if alone.iter().all(is_anyones) {
            break;
        }
    }
    Ok(last)
}

fn explained_with(
    target: Target,
    ports: PortSpec,
    names: BTreeMap<String, Vec<IpAddr>>,
    parsed: &Parsed,
) -> Result<Vec<Explanation>, Vec<policy::Diagnostic>> {
    let environment = environment_with(names);
    let compiled = policy::compile(&parsed.policy, &environment)?;
    let to = Destination { target, port: None };
    Ok(policy::explain(
        &parsed.policy,
        &compiled,
        &environment,
        &to,
        &[ports],
    ))
}

fn seen(seen: &Seen) -> String {
    let line = seen
        .line
        .map_or_else(String::new, |line| format!(":{line}"));
    let dormant = if seen.dormant { " (commented out)" } else { "" };
    format!("{}  {}{line}{dormant}", seen.key, seen.file)
}

fn page(all: &Discovered) -> Page {
    let mut page = Page::default();
    page.line(format_args!(
        "Files read: {} (home {}, directory {}). Nothing was connected to.",
        all.home_files + all.project_files,
        all.home_files,
        all.project_files
    ));
    if all.items.is_empty() {
        page.line("Nothing that looks like production was found.");
    } else {
        let rows = all.items.iter().map(|one| {
            [
                one.number.to_string(),
                one.label.as_str().to_owned(),
                one.at(),
                one.service.clone(),
                one.reached_by(),
                one.now.verdict.to_owned(),
                one.rule(),
            ]
        });
        page.end();
        page.table(
            [
                "N",
                "LOOKS LIKE",
                "PLACE",
                "SERVICE",
                "REACHED BY",
                "NOW",
                "PROPOSED",
            ],
            rows,
        );
    }
    for key in all.keys.iter().take(SHOWN) {
        page.styled(HEAD, "key to elsewhere  ");
        page.line(format_args!("{}: {}", key.what, seen(&key.seen)));
    }
    more(&mut page, all.keys.len());
    for one in all.passed_over.iter().take(SHOWN) {
        let line = one.line.map_or_else(String::new, |line| format!(":{line}"));
        page.styled(WARN, "passed over  ");
        page.line(format_args!("{}{line}: {}", one.file, one.why));
    }
    more(&mut page, all.passed_over.len());
    if !all.complete {
        page.line("What was passed over was not read: this is not all that there is.");
    }
    let open = all.items.iter().filter(|one| one.is_open()).count();
    if open > 0 {
        page.line(format_args!(
            "The policy {} lets everything through to {open} that {} like production.",
            all.policy,
            if open == 1 { "looks" } else { "look" }
        ));
    }
    if !all.items.is_empty() {
        page.commands("guard discover --why 1");
    }
    page
}

/// So many lines are shown of each list; JSON has all.
const SHOWN: usize = 20;

fn more(page: &mut Page, count: usize) {
    if count > SHOWN {
        page.line(format_args!(
            "… {} more: guard discover --json",
            count - SHOWN
        ));
    }
}

fn why(one: &InReach) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, one.at())
        .text("  ")
        .text(&one.service)
        .text("  ")
        .line(one.label.as_str());
    for at in &one.found {
        page.field("found", seen(at));
    }
    for reason in &one.because {
        page.field(
            "because",
            format_args!("{} ({} points)", reason.text, reason.points),
        );
    }
    if one.shared {
        page.paragraph(
            "shared",
            "others have its address, of another stage perhaps: a rule holds for them too",
        );
    }
    page.styled(HEAD, format_args!("    {:<9}", "now"));
    page.styled(explain::style(one.now.verdict), one.now.verdict);
    page.line(format_args!(
        ", by {}",
        one.now
            .rule
            .as_deref()
            .map_or("the policy's default".to_owned(), |rule| format!(
                "rule {rule}"
            ))
    ));
    let (Some(proposed), Some(effect)) = (&one.proposed, one.effect) else {
        return page;
    };
    page.field("rule", format_args!("{}: it {effect}", proposed.action))
        .end();
    for line in toml(one, proposed).lines() {
        page.line(line);
    }
    page
}

/// The rule, to be pasted. All in it is guard's own words or of the grammar of hosts.
fn toml(one: &InReach, proposed: &Proposed) -> String {
    let mut text = format!(
        "[[rule]]\nname = \"{} {}\"\nto = [\"{}\"]\nports = [\"{}\"]\naction = \"{}\"\n",
        one.host, one.service, one.host, one.ports, proposed.action
    );
    if !proposed.profile.is_empty() {
        let names: Vec<_> = proposed
            .profile
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        text.push_str(&format!("profile = [{}]\n", names.join(", ")));
    }
    if let Some(max_hole) = proposed.max_hole {
        text.push_str(&format!("max_hole = \"{max_hole}\"\n"));
    }
    let reason = match one.label {
        Label::Production => "looks like production",
        _ => "may be production",
    };
    text.push_str(&format!("reason = \"{reason}\"\n"));
    text
}

#[cfg(test)]
mod tests;
