//! What was found, for people; and rules as policies have them.

use std::fmt::Write as _;

use guard_discover::{LINK, Label, PLAIN};

use super::items::{ANY, Discovered, InReach, Proposed, Unread, at, seen};
use super::unless;
use crate::render::page::{HEAD, Page, STRONG, WARN};
use crate::render::{command_line, explain};

/// What was found, and what to type next.
pub(super) fn page(all: &Discovered) -> Page {
    let mut page = list(all);
    if !all.items.is_empty() {
        page.commands("guard discover --why 1");
        if all.items.iter().any(InReach::is_missing) {
            page.commands("guard discover --write NAME");
        }
    }
    page
}

/// What was found.
pub(super) fn list(all: &Discovered) -> Page {
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
        places(&mut page, all);
    }
    unkept(&mut page, all);
    left_out(&mut page, all);
    for one in all.tunnels.iter().filter(|one| one.default) {
        page.styled(HEAD, "tunnel  ");
        page.line(format_args!(
            "{} ({}): what no other route is for goes through it",
            one.device, one.kind
        ));
    }
    for key in all.keys.iter().take(SHOWN) {
        page.styled(HEAD, "key to elsewhere  ");
        page.line(format_args!("{}: {}", key.what, seen(&key.seen)));
    }
    more(&mut page, all.keys.len());
    unread(&mut page, all);
    let open: Vec<_> = all.items.iter().filter(|one| one.is_open()).collect();
    if !open.is_empty() {
        page.line(format_args!(
            "The {} lets everything through to {} that {} like production{}.",
            all.judged_by(),
            open.len(),
            if open.len() == 1 { "looks" } else { "look" },
            unless::of_all(open.iter().map(|one| &one.now))
        ));
    }
    page
}

/// The table of the places.
fn places(page: &mut Page, all: &Discovered) {
    let rows = all.items.iter().map(|one| {
        [
            one.number.to_string(),
            match one.dismissed {
                Some(_) => "dismissed".to_owned(),
                None => one.label.as_str().to_owned(),
            },
            one.at(),
            one.service.clone(),
            one.reached_by(),
            one.now.words(),
            one.rule(),
        ]
    });
    let head = [
        "N",
        "LOOKS LIKE",
        "PLACE",
        "SERVICE",
        "REACHED BY",
        "NOW",
        "PROPOSED",
    ];
    page.end().table(head, rows);
}

/// What was not read, and which of it nobody has to.
fn unread(page: &mut Page, all: &Discovered) {
    for Unread { one, dismissed } in all.passed_over.iter().take(SHOWN) {
        let line = one.line.map_or_else(String::new, |line| format!(":{line}"));
        let (style, word) = match dismissed {
            Some(_) => (HEAD, "dismissed"),
            None => (WARN, "passed over"),
        };
        page.styled(style, format_args!("{word}  "));
        page.text(format_args!("{}{line}: {}", one.file, one.why));
        match dismissed {
            Some(said) => page.line(format_args!(" ({}: {})", said.when.by, said.says)),
            None => page.end(),
        };
    }
    more(page, all.passed_over.len());
    if !all.complete {
        page.line("What was passed over was not read: this is not all that there is.");
    }
    if let Some(one) = all.unread().find(|one| one.sha256.is_some()) {
        page.line(match one.why {
            PLAIN => "Anybody can read a file that is only named encrypted. To say that this is all right:",
            LINK => "No link is followed out of the directory. To say that this is all right:",
            _ => "Nobody knows here what is in an encrypted file. To say that this is all right:",
        });
        let file = command_line(std::slice::from_ref(&one.file));
        page.commands(format_args!("guard discover --dismiss-file {file}"));
    }
}

/// What the person has dismissed where guardd did not hear of it: what runs as that person may have written the same.
fn unkept(page: &mut Page, all: &Discovered) {
    let unkept = all
        .items
        .iter()
        .filter_map(|one| Some((one, one.unkept.as_ref()?)));
    let unkept: Vec<_> = unkept.collect();
    for (one, said) in unkept.iter().take(SHOWN) {
        page.styled(WARN, "dismissed without guardd  ");
        page.line(format_args!(
            "{} {}: not production, says {} on {}",
            one.number,
            one.at(),
            said.by,
            said.day()
        ));
    }
    more(page, unkept.len());
    if !unkept.is_empty() {
        let places = unkept.iter().map(|(one, _)| one.at());
        page.line(
            "That counts for nothing while guardd runs. To have it keep what is right of it:",
        );
        page.commands(format_args!(
            "guard discover --dismiss {}",
            places.collect::<Vec<_>>().join(",")
        ));
    }
}

/// What is in no line of the table, as it looks like nothing that matters, or has no host yet.
fn left_out(page: &mut Page, all: &Discovered) {
    if all.lists_all {
        for one in all.placeholders.iter().take(SHOWN) {
            page.styled(HEAD, "placeholder  ").line(seen(one));
        }
        more(page, all.placeholders.len());
        for one in all.dismissed_apart.iter().take(SHOWN) {
            page.styled(HEAD, "dismissed, not found  ");
            page.line(format_args!(
                "{}: not production, says {}{}",
                at(&one.host, one.port),
                one.by,
                one.dir
                    .as_ref()
                    .map_or_else(String::new, |dir| format!(", in {dir}"))
            ));
        }
        more(page, all.dismissed_apart.len());
        return;
    }
    let number = |count: usize, one: &str, many: &str| {
        let what = if count == 1 { one } else { many };
        (count > 0).then(|| format!("{count} {what}"))
    };
    let places = number(
        all.unlisted,
        "place that does not look like production",
        "places that do not look like production",
    );
    let placeholders = number(
        all.placeholders.len(),
        "placeholder in place of a host",
        "placeholders in place of a host",
    );
    let both: Vec<_> = places.into_iter().chain(placeholders).collect();
    if !both.is_empty() {
        page.line(format_args!(
            "Not listed: {} (guard discover --all).",
            both.join(", ")
        ));
    }
}

/// Limit of the lines shown of each list; JSON has all.
const SHOWN: usize = 20;

fn more(page: &mut Page, count: usize) {
    if count > SHOWN {
        page.line(format_args!(
            "… {} more: guard discover --json",
            count - SHOWN
        ));
    }
}

/// One of them, with its reasons; `is_around`: the fleet's policy judges it, too.
pub(super) fn why(one: &InReach, is_around: bool) -> Page {
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
    if let Some(dismissed) = &one.dismissed {
        page.field(
            "dismissed",
            format_args!("by {}, {}: not production", dismissed.by, dismissed.day()),
        );
    }
    if one.shared {
        page.paragraph(
            "shared",
            "others have its address, of another stage perhaps: a rule holds for them too",
        );
    }
    if let [first, more @ ..] = &one.others[..] {
        let and = match more.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        page.field(
            "opens",
            format_args!("{first}{and}, by the same credential"),
        );
    }
    judged(&mut page, one, is_around);
    rule(&mut page, one);
    page
}

/// What the policy does with it now.
fn judged(page: &mut Page, one: &InReach, is_around: bool) {
    page.styled(HEAD, format_args!("    {:<9}", "now"));
    page.styled(explain::style(one.now.verdict), one.now.verdict);
    let rule = one.now.rule.as_deref();
    let rule = rule.map_or("the policy's default".to_owned(), |rule| {
        format!("rule {rule}")
    });
    let whose = one.now.policy.as_ref().filter(|_| is_around);
    let whose = whose.map_or_else(String::new, |policy| format!(" of {policy}"));
    let unknown = one.now.unless.map_or_else(String::new, |unless| {
        format!(", unless {}: it was not looked up", unless.words())
    });
    page.line(format_args!(", by {rule}{whose}{unknown}"));
}

/// The rule for it, and what becomes of the policy by it.
fn rule(page: &mut Page, one: &InReach) {
    let (Some(proposed), Some(effect)) = (&one.proposed, one.effect) else {
        return;
    };
    let does = match effect {
        "same" => "changes nothing",
        effect => effect,
    };
    let may = one.now.unless;
    let may = may.filter(|_| one.may_widen());
    let may = may.map_or_else(String::new, |unless| {
        format!(", and widens if {}", unless.words())
    });
    page.field("rule", format_args!("{}: it {does}{may}", proposed.action));
    if let Some(by) = &one.beats {
        page.paragraph("beats", by.words());
    }
    page.end();
    for line in toml(one, &one.name(), proposed).lines() {
        page.line(line);
    }
}

/// A longer list has a line for each: what is shown of a line ends somewhere, and it is to be pasted whole.
const LIST: usize = 60;

/// The rule, to be pasted. All in it is guard's own words or of the grammar of hosts.
pub(super) fn toml(one: &InReach, name: &str, proposed: &Proposed) -> String {
    let addresses = one.addresses.iter().map(ToString::to_string);
    let to: Vec<_> = [one.host.clone()]
        .into_iter()
        .chain(addresses)
        .chain(one.others.iter().cloned())
        .map(|to| format!("\"{to}\""))
        .collect();
    let ports = match one.ports.as_str() {
        ANY => String::new(),
        ports => format!("ports = [\"{ports}\"]\n"),
    };
    let to = match to.join(", ") {
        short if short.len() <= LIST => format!("[{short}]"),
        _ => format!("[\n    {},\n]", to.join(",\n    ")),
    };
    let mut text = format!(
        "[[rule]]\nname = \"{name}\"\nto = {to}\n{ports}action = \"{}\"\n",
        proposed.action
    );
    if !proposed.profile.is_empty() {
        let names: Vec<_> = proposed
            .profile
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        let _ = writeln!(text, "profile = [{}]", names.join(", "));
    }
    if let Some(max_hole) = proposed.max_hole {
        let _ = writeln!(text, "max_hole = \"{max_hole}\"");
    }
    let reason = match one.label {
        Label::Production => "looks like production",
        _ => "may be production",
    };
    let _ = writeln!(text, "reason = \"{reason}\"");
    text
}
