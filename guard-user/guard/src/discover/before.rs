//! Before `guard run` starts its command: what looks like production and is in reach of it, and what the policy leaves open.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs};

use guard_discover::{Bounds, Discovery};
use guard_launch::CommandIdentity;
use guard_policy::{self as policy, Parsed};
use guard_proto::{
    Call, Failure, Started,
    production::{ProductionFound, ProductionPlace},
};
use rustix::process::geteuid;
use serde_json::Value;

use super::dismissals::Dismissals;
use super::drift::{Audience, Drift, SessionToWatch, Unseen};
use super::items::{Discovered, InReach, seen};
use super::{look, proxies, unless};
use crate::around::Base;
use crate::client::Client;
use crate::error::CliError;
use crate::person::Person;
use crate::policy_file::PolicyFile;
use crate::render::Output;
use crate::render::page::{BAD, COMMAND, GOOD, HEAD, Page, WARN};

/// A command is not kept longer by it, unless the settings say that it is to wait.
pub(super) const TIME: Duration = Duration::from_millis(150);
/// Threads are gone by then.
const GONE: Duration = Duration::from_secs(1);
/// Where nothing is open that looks like production, so many are shown that may be.
const MOST_THAT_MAY_BE: usize = 3;
/// No more lines are shown.
const LINES: usize = 8;

/// What to say before a command, and to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before<'r> {
    /// The identity that the command runs as.
    pub(crate) identity: &'r CommandIdentity,
    /// Whether the person wants little output.
    pub(crate) quiet: bool,
    /// How it is printed.
    pub(crate) output: Output,
}

impl Before<'_> {
    /// Says it, on a terminal, and gives what says it of what comes later.
    ///
    /// # Errors
    ///
    /// Where guardd's settings say that nothing runs while something is open, and something is, or it is not known; and where they
    /// have what comes into reach asked about, and nobody would see it come.
    pub(crate) fn tell(
        self,
        started: &Started,
        text: Option<&str>,
        beside: Option<Parsed>,
        socket: &Path,
    ) -> Result<Option<Drift>, CliError> {
        let is_shown = !self.quiet && !self.output.is_json() && io::stderr().is_terminal();
        // The outermost session's command has shown it.
        let is_inner = started.session.parent.is_some();
        if is_inner || !(is_shown || started.covered || started.asks) {
            return Ok(None);
        }
        let since = SystemTime::now();
        let judging = self.judging(started, text, beside);
        match judging.and_then(|judging| self.judged(started, judging, socket)) {
            Ok((all, judging)) => {
                let page = page(&all, &started.unresolved);
                if is_shown {
                    // That nobody reads it keeps no command from running.
                    let proxies = proxies::page(&all);
                    let shown = format!("{}{}", proxies.as_str(), page.as_str());
                    let _ = anstream::stderr().write_all(shown.as_bytes());
                }
                if started.covered && !all.is_clean() {
                    return Err(open(&all).into());
                }
                tell_guardd(&all, &started.session.id, socket);
                let audience = Audience {
                    is_shown,
                    asks: started.asks,
                    output: self.output,
                };
                let session = SessionToWatch {
                    identity: self.identity.clone(),
                    socket,
                    id: &started.session.id,
                };
                Drift::new(session, audience, &all, judging, since)
            }
            Err(why) if started.covered => Err(not_known(why).into()),
            Err(why) if started.asks => Err(Unseen::of(why).failure().into()),
            Err(why) => {
                let line = Page::of(format_args!(
                    "guard: did not look for production in reach: {why}"
                ));
                let _ = anstream::stderr().write_all(line.as_str().as_bytes());
                Ok(None)
            }
        }
    }

    fn judging(
        self,
        started: &Started,
        text: Option<&str>,
        beside: Option<Parsed>,
    ) -> Result<Judging, String> {
        let name = started.session.policy.as_str();
        let text = match text.or(started.text.as_deref()) {
            Some(text) => text.to_owned(),
            None => {
                PolicyFile::named(name)
                    .map_err(|failure| failure.to_string())?
                    .text
            }
        };
        let mut parsed = policy::parse(&format!("{name}.toml"), &text)
            .map_err(|_| format!("the policy {name} is not understood here"))?;
        if started.session.observed {
            parsed.policy.observe();
        }
        let around = started.around.as_deref().map(Base::of).transpose()?;
        Ok(Judging {
            parsed,
            beside,
            around,
            uid: geteuid().is_root().then_some(self.identity.uid()),
        })
    }

    fn judged(
        self,
        started: &Started,
        judging: Judging,
        socket: &Path,
    ) -> Result<(Discovered, Judging), String> {
        let time = if started.covered {
            Bounds::default().time
        } else {
            Some(TIME)
        };
        let person = Person::of(self.identity);
        let dismissals = judging.dismissals(socket, &person)?;
        let before = threads();
        let found = self.identity.with_rights(|| looked(&person, time));
        settle(before);
        let found = found.map_err(|error| error.to_string())??;
        let all = judging.judge(found, &dismissals).ok_or_else(|| {
            let name = &started.session.policy;
            format!("the policy {name} is not understood here")
        })?;
        Ok((all, judging))
    }
}

/// Has guardd know what is in reach, for the session's own processes that ask. That an older one takes no such call keeps no command
/// from running: it answers then that nobody has looked.
fn tell_guardd(all: &Discovered, session: &str, socket: &Path) {
    let call = Call::InReach {
        session: session.to_owned(),
        found: Box::new(in_reach(all)),
    };
    let _ = Client::connect(socket).and_then(|mut client| client.call::<Value>(&call));
}

/// What looks like production, without what says where it is found. Whatever a project has planted, what is not the project's alone has
/// room.
fn in_reach(all: &Discovered) -> ProductionFound {
    let places = all.items.iter().filter(|one| one.is_production());
    let mut places: Vec<_> = places.collect();
    places.sort_by_key(|one| !one.is_everywhere());
    let told = places
        .iter()
        .take(ProductionFound::MOST)
        .map(|one| ProductionPlace {
            host: one.host.clone(),
            ports: one.ports.clone(),
            service: one.service.clone(),
            verdict: one.now.verdict.to_owned(),
        });
    ProductionFound {
        places: told.collect(),
        complete: all.complete && places.len() <= ProductionFound::MOST,
    }
}

/// What judges a session's places.
pub(super) struct Judging {
    parsed: Parsed,
    /// The project's policy, which has to allow, too.
    beside: Option<Parsed>,
    /// The fleet's policy.
    around: Option<Base>,
    /// Whose decisions count; none: the caller's.
    uid: Option<u32>,
}

impl Judging {
    /// What the person has dismissed by now.
    pub(super) fn dismissals(&self, socket: &Path, person: &Person) -> Result<Dismissals, String> {
        Dismissals::known(socket, self.uid, person, Path::new("."))
            .map_err(|error| error.to_string())
    }

    /// What was found, with what becomes of it.
    pub(super) fn judge(&self, found: Discovery, dismissals: &Dismissals) -> Option<Discovered> {
        let all = Discovered::of(found, &self.parsed, dismissals, false).ok()?;
        let all = match &self.beside {
            Some(beside) => all.beside_project(beside).ok()?,
            None => all,
        };
        match &self.around {
            Some(base) => all.within(base).ok(),
            None => Some(all),
        }
    }
}

pub(super) fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// Threads that have ended count for a moment yet, and a process with more than one cannot be copied.
pub(super) fn settle(before: usize) {
    let deadline = Instant::now() + GONE;
    while threads() > before && Instant::now() < deadline {
        thread::sleep(Duration::from_micros(50));
    }
}

/// Looks for production with the thread's present credentials.
pub(super) fn looked(person: &Person, time: Option<Duration>) -> Result<Discovery, String> {
    if geteuid().is_root() {
        return Err("that is not done as root".to_owned());
    }
    let bounds = Bounds {
        time,
        ..Bounds::default()
    };
    look(Path::new("."), person, bounds).map_err(|error| unlooked(&error))
}

/// Why nobody could look, and where: root may start a command for somebody who may not enter root's directory.
fn unlooked(error: &io::Error) -> String {
    match (error.kind(), env::current_dir()) {
        (io::ErrorKind::PermissionDenied, Ok(dir)) => format!(
            "whom the command runs as may not enter {}: start it in another directory",
            dir.display()
        ),
        _ => error.to_string(),
    }
}

/// Nothing where there is nothing to say.
fn page(all: &Discovered, unresolved: &[String]) -> Page {
    let mut page = Page::default();
    let counted = Counted::of(all);
    match counted.places.is_empty() {
        false => counted.say_production(&mut page, unresolved),
        true if counted.maybe > 0 => counted.say_maybe(&mut page),
        true => {}
    }
    counted.list_open(&mut page);
    page
}

/// What is in reach, counted.
struct Counted<'d> {
    all: &'d Discovered,
    /// What looks like production, what is open first.
    places: Vec<&'d InReach>,
    /// How many of them are open.
    open: usize,
    /// How many more are open that may be.
    maybe: usize,
    /// Whether there was no time for all.
    is_late: bool,
}

impl<'d> Counted<'d> {
    fn of(all: &'d Discovered) -> Self {
        let mut places: Vec<_> = all.items.iter().filter(|one| one.is_production()).collect();
        places.sort_by_key(|one| !one.is_open());
        Self {
            open: places.iter().filter(|one| one.is_open()).count(),
            maybe: all.items.iter().filter(|one| one.may_be_open()).count(),
            is_late: all
                .unread()
                .any(|one| one.why == guard_discover::OUT_OF_TIME),
            all,
            places,
        }
    }

    /// That nothing looks like production, and some may be.
    fn say_maybe(&self, page: &mut Page) {
        let (noun, is, them) = match self.maybe {
            1 => ("place", "is", "it"),
            _ => ("places", "are", "them"),
        };
        page.text(format_args!(
            "guard: {} {noun} that may be production {is} in reach; {} leaves ",
            self.maybe,
            self.all.judged_by()
        ));
        let maybe = self.all.items.iter().filter(|one| one.may_be_open());
        page.styled(WARN, format_args!("{them} open"));
        page.text(unless::of_all(maybe.map(|one| &one.now))).end();
    }

    /// How much of production is in reach, and open.
    fn say_production(&self, page: &mut Page, unresolved: &[String]) {
        let (noun, looks, is) = match self.places.len() {
            1 => ("place", "looks", "is"),
            _ => ("places", "look", "are"),
        };
        page.text(format_args!(
            "guard: {} {noun} that {looks} like production {is} in reach; {} leaves ",
            self.places.len(),
            self.all.judged_by()
        ));
        match self.open {
            0 => page
                .styled(GOOD, "none open")
                .text(if self.all.complete || self.is_late {
                    ""
                } else {
                    " of what was read"
                }),
            open => {
                let open_ones = self.places.iter().filter(|one| one.is_open());
                page.styled(BAD, format_args!("{open} open"))
                    .text(unless::of_all(open_ones.map(|one| &one.now)))
            }
        };
        if self.maybe > 0 {
            page.text(", and ")
                .styled(WARN, format_args!("{} open", self.maybe));
            page.text(" that may be");
        }
        self.say_unresolved(page, unresolved);
        page.end();
    }

    /// What a rule is for and has no address, no rule covers yet.
    fn say_unresolved(&self, page: &mut Page, unresolved: &[String]) {
        let has_none = |one: &&&InReach| !one.is_open() && unresolved.contains(&one.host);
        let without: Vec<_> = self.places.iter().filter(has_none).collect();
        let (which, whose) = match without[..] {
            [] => return,
            [one] => (
                format!("{} does not resolve", one.host),
                ": its rule covers no address yet",
            ),
            [_, ..] => (
                format!("{} do not resolve", without.len()),
                ": their rules cover no address yet",
            ),
        };
        page.text(", but ").styled(WARN, which).text(whose);
    }

    /// The places, where any is open, and what to type next.
    fn list_open(&self, page: &mut Page) {
        let most = LINES - 2 - usize::from(self.is_late);
        let may_be = self.all.items.iter().filter(|one| one.may_be_open());
        let (listed, most) = match self.open {
            0 => (may_be.collect(), most.min(MOST_THAT_MAY_BE)),
            _ => (self.places.clone(), most),
        };
        let shown = listed.len().min(most);
        for one in &listed[..shown] {
            line(page, one);
        }
        if self.is_late {
            page.styled(WARN, "  not all was looked at");
            page.line(": the time was up, and there may be more");
        }
        let is_open = self.open > 0 || self.maybe > 0;
        if !is_open && !self.is_late {
            return;
        }
        page.text("  ");
        if listed.len() > shown {
            page.text(format_args!("… {} more.   ", listed.len() - shown));
        }
        page.styled(COMMAND, "guard discover");
        if is_open {
            page.text("        ")
                .styled(COMMAND, "guard discover --write NAME");
        }
        page.end();
    }
}

/// What the policy does with it, in a word.
pub(super) fn word(one: &InReach) -> (anstyle::Style, &'static str) {
    match one.now.verdict {
        "allow" => (BAD, "open"),
        "confirm" => (GOOD, "asks"),
        "read-only" => (GOOD, "reads"),
        _ => (HEAD, "shut"),
    }
}

fn line(page: &mut Page, one: &InReach) {
    let (style, word) = word(one);
    let found = one.found.first().map_or_else(String::new, seen);
    page.text("  ").styled(style, format_args!("{word:<6}"));
    let unless = unless::of_all([&one.now].into_iter());
    page.line(format_args!("{:<30} {found}{unless}", one.at()));
}

fn open(all: &Discovered) -> Failure {
    let open: Vec<_> = all.items.iter().filter(|one| one.is_open()).collect();
    let why = match (open.first(), all.unread().next()) {
        (Some(first), _) => format!(
            "the settings say so while production is open, and {} lets everything through to {}{}",
            all.judged_by(),
            first.at(),
            match open.len() {
                1 => unless::of_all([&first.now].into_iter()),
                more => format!(" and {} more", more - 1),
            }
        ),
        (None, Some(first)) => format!(
            "the settings say so while it is not known whether production is open, and {} was passed over: {}",
            first.file, first.why
        ),
        (None, None) => "the settings say so while production is open".to_owned(),
    };
    let sealed = all.unread().any(|one| one.sha256.is_some());
    let sealed = if sealed {
        "\nguard discover --dismiss-file FILE"
    } else {
        ""
    };
    Failure {
        what: "the command was not started".into(),
        why,
        fix: format!(
            "have a policy that covers it, or say that it is not production:\nguard discover --check --policy {}\nguard discover --write NAME\nguard discover --dismiss HOST:PORT{sealed}",
            all.policy
        ),
    }
}

fn not_known(why: String) -> Failure {
    Failure {
        what: "the command was not started".into(),
        why: format!(
            "the settings say so while it is not known whether production is open, and nobody could look: {why}"
        ),
        fix: "look yourself, as the user of the command:\nguard discover --check".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::items::Unread;
    use super::super::page::why;
    use super::super::tests::{SETTINGS, Tested, discovered, shipped};
    use super::*;
    use crate::around::tests::around;

    #[test]
    fn what_is_open_is_said_in_a_few_lines() -> Tested {
        let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
        insta::assert_snapshot!(page(&all, &[]).plain(), @r"
        guard: 2 places that look like production are in reach; policy default leaves 1 open, unless private
          open  db.example.net:5432            DATABASE_URL  .env:1, unless private
          asks  192.168.7.20:2283              IMMICH_URL  .env:2
          guard discover        guard discover --write NAME
        ");
        let many: String = (0..30)
            .map(|n| format!("A{n}_URL=postgres://u:p@db{n}.example.net/a\n"))
            .collect();
        let all = discovered(&[(".env", &many)], shipped(), false)?;
        let text = page(&all, &[]).plain();
        assert_eq!(text.lines().count(), LINES, "{text}");
        assert!(text.contains("… 24 more"), "{text}");
        Ok(())
    }

    /// An agent sees it: no map to credentials.
    #[test]
    fn what_guardd_is_told_has_neither_file_nor_key_nor_secret() -> Tested {
        let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
        let json = serde_json::to_string(&in_reach(&all))?;
        assert_eq!(
            json,
            r#"{"places":[{"host":"192.168.7.20","ports":"tcp/2283","service":"immich","verdict":"confirm"},{"host":"db.example.net","ports":"tcp/5432","service":"postgres","verdict":"allow"}],"complete":true}"#
        );
        let maybe = ("~/.ssh/config", "Host web\nHostName web.example.net\n");
        let all = discovered(&[maybe, (".env.vault", "x")], shipped(), false)?;
        let told = in_reach(&all);
        assert_eq!((told.places.len(), told.complete), (0, false));
        // What a project has planted takes no place of the home's.
        let planted: String = (0..100)
            .map(|n| format!("A{n}_URL=postgres://u:p@prod{n}.example.net/a\n"))
            .collect();
        let own = ("~/.railway/config.json", "{\"token\": \"hunter2hunter2\"}");
        let all = discovered(&[own, (".env", &planted)], shipped(), false)?;
        let told = in_reach(&all);
        assert_eq!(
            (told.places.len(), told.complete),
            (ProductionFound::MOST, false)
        );
        assert_eq!(told.places[0].host, "backboard.railway.com");
        Ok(())
    }

    #[test]
    fn nothing_is_said_where_there_is_nothing_to_say() -> Tested {
        let all = discovered(&[(".env", "A=redis://localhost\n")], shipped(), false)?;
        assert_eq!(page(&all, &[]).plain(), "");
        let all = discovered(&[(".env", SETTINGS)], "version = 1\n", false)?;
        insta::assert_snapshot!(page(&all, &[]).plain(), @"guard: 2 places that look like production are in reach; policy agent leaves none open");
        Ok(())
    }

    #[test]
    fn what_may_be_production_is_counted() -> Tested {
        let may_be = (
            "~/.ssh/config",
            "Host web\nHostName web.example.net\nHost db\nHostName db.example.org\n",
        );
        let all = discovered(&[may_be], shipped(), false)?;
        insta::assert_snapshot!(page(&all, &[]).plain(), @r"
        guard: 2 places that may be production are in reach; policy default leaves them open, unless private
          open  db.example.org:22              db  ~/.ssh/config:3, unless private
          open  web.example.net:22             web  ~/.ssh/config:1, unless private
          guard discover        guard discover --write NAME
        ");
        let all = discovered(&[may_be, (".env", SETTINGS)], shipped(), false)?;
        insta::assert_snapshot!(page(&all, &[]).plain(), @r"
        guard: 2 places that look like production are in reach; policy default leaves 1 open, unless private, and 2 open that may be
          open  db.example.net:5432            DATABASE_URL  .env:1, unless private
          asks  192.168.7.20:2283              IMMICH_URL  .env:2
          guard discover        guard discover --write NAME
        ");
        let all = discovered(&[may_be], "version = 1\n", false)?;
        assert_eq!(page(&all, &[]).plain(), "");
        let files = [(".env", SETTINGS), (".env.vault", "x")];
        let all = discovered(&files, "version = 1\n", false)?;
        let text = page(&all, &[]).plain();
        assert!(
            text.ends_with("leaves none open of what was read\n"),
            "{text}"
        );
        Ok(())
    }

    #[test]
    fn what_does_not_resolve_is_not_said_to_be_covered() -> Tested {
        let settings = "DATABASE_URL=postgres://app:hunter2@db.example.net/app\n";
        let rule = "[[rule]]\nto = [\"db.example.net\"]\naction = \"confirm\"\n";
        let policy = format!("version = 1\ndefault = \"allow\"\n{rule}");
        let all = discovered(&[(".env", settings)], &policy, false)?;
        let text = page(&all, &["db.example.net".to_owned()]).plain();
        insta::assert_snapshot!(text, @"guard: 1 place that looks like production is in reach; policy agent leaves none open, but db.example.net does not resolve: its rule covers no address yet");
        assert!(
            !page(&all, &["other.example.net".to_owned()])
                .plain()
                .contains("resolve")
        );
        // Without a rule it is open, which is said.
        let all = discovered(&[(".env", settings)], "default = \"allow\"\n", false)?;
        let text = page(&all, &["db.example.net".to_owned()]).plain();
        assert!(text.contains("1 open\n"), "{text}");
        Ok(())
    }

    #[test]
    fn what_the_fleet_denies_is_not_open() -> Tested {
        let base = "default = \"allow\"\n[[rule]]\nname = \"never\"\nto = [\"db.example.net\"]\naction = \"deny\"\n";
        let base = around(base).base_alone().ok_or("it is a policy")?;
        let all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
        let all = all.within(&base).map_err(|all| format!("{all:?}"))?;
        insta::assert_snapshot!(page(&all, &[]).plain(), @"guard: 2 places that look like production are in reach; policy default with the fleet's floor around it leaves none open");
        assert!(all.is_clean());
        let now: Vec<_> = all.items.iter().map(|one| &one.now).collect();
        assert_eq!(
            (now[0].verdict, now[0].policy.as_deref()),
            ("confirm", Some("default"))
        );
        assert_eq!(
            (now[1].verdict, now[1].policy.as_deref()),
            ("deny", Some("floor"))
        );
        let text = why(&all.items[1], true).plain();
        assert!(
            text.contains("now      deny, by rule never of floor"),
            "{text}"
        );
        Ok(())
    }

    /// An agent may have written it, so that it would keep silent what is open.
    #[test]
    fn what_a_projects_policy_lets_through_by_http_is_open() -> Tested {
        let settings = [(".env", "HCLOUD_TOKEN=hunter2hunter2\n")];
        let judged = |rule: &str| -> Tested<_> {
            let all = discovered(&settings, "default = \"allow\"\n", false)?;
            assert!(!all.is_clean());
            let wide = "to = [\"0.0.0.0/1\", \"128.0.0.0/1\", \"::/1\", \"8000::/1\"]";
            let text = format!("default = \"allow\"\n[[rule]]\n{wide}\n{rule}");
            let parsed = policy::parse("a.toml", &text).map_err(|all| format!("{all:?}"))?;
            let all = all
                .beside_project(&parsed)
                .map_err(|all| format!("{all:?}"))?;
            Ok((all.items[0].now.verdict, all.is_clean()))
        };
        let reads = "action = \"read-only\"\n";
        assert_eq!(judged(reads)?, ("read-only", true));
        assert_eq!(judged("action = \"confirm\"\n")?, ("confirm", true));
        for more in [
            "[[rule.http]]\naction = \"allow\"\n",
            "profile = [\"elasticsearch\"]\n[[rule.http]]\npath = \"/x\"\naction = \"deny\"\n[[rule.http]]\npath = \"*\"\naction = \"allow\"\n",
        ] {
            assert_eq!(
                judged(&format!("{reads}{more}"))?,
                ("allow", false),
                "{more}"
            );
        }
        // Of two rules that are as strict the first by name decides.
        let own = |name: &str, http: &str| {
            let wide = "to = [\"0.0.0.0/1\", \"128.0.0.0/1\", \"::/1\", \"8000::/1\"]";
            format!("[[rule]]\nname = \"{name}\"\n{wide}\n{reads}{http}")
        };
        let http = "[[rule.http]]\naction = \"allow\"\n";
        let both = |first: &str, second: &str| {
            format!("name = \"{first}\"\n{reads}{http}{}", own(second, ""))
        };
        assert_eq!(judged(&both("a", "b"))?, ("allow", false));
        assert_eq!(judged(&both("b", "a"))?, ("read-only", true));
        let asks = format!("{reads}[[rule.http]]\npath = \"/x\"\naction = \"confirm\"\n");
        assert_eq!(judged(&asks)?, ("read-only", true));
        Ok(())
    }

    #[test]
    fn no_more_lines_are_said_whatever_there_is_to_say() -> Tested {
        let late = || Unread {
            one: guard_discover::PassedOver {
                file: ".".into(),
                line: None,
                why: guard_discover::OUT_OF_TIME,
                sha256: None,
            },
            dismissed: None,
        };
        let production: String = (0..30)
            .map(|n| format!("A{n}_URL=postgres://u:p@db{n}.example.net/a\n"))
            .collect();
        let may_be: String = (0..30)
            .map(|n| format!("Host web{n}\nHostName web{n}.example.net\n"))
            .collect();
        let may_be = ("~/.ssh/config", may_be.as_str());
        let settings = (".env", production.as_str());
        for (files, is_late, lines) in [
            (&[settings, may_be][..], true, LINES),
            (&[settings, may_be][..], false, LINES),
            (&[may_be][..], true, MOST_THAT_MAY_BE + 3),
            (&[may_be][..], false, MOST_THAT_MAY_BE + 2),
        ] {
            let mut all = discovered(files, shipped(), false)?;
            all.passed_over.extend(is_late.then(late));
            let text = page(&all, &["db1.example.net".to_owned()]).plain();
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(text.contains(" more.   guard discover"), "{text}");
        }
        Ok(())
    }

    #[test]
    fn that_the_time_was_up_is_said() -> Tested {
        let mut all = discovered(&[(".env", SETTINGS)], shipped(), false)?;
        let one = guard_discover::PassedOver {
            file: ".".into(),
            line: None,
            why: guard_discover::OUT_OF_TIME,
            sha256: None,
        };
        let dismissed = None;
        all.passed_over.push(Unread { one, dismissed });
        insta::assert_snapshot!(page(&all, &[]).plain(), @r"
        guard: 2 places that look like production are in reach; policy default leaves 1 open, unless private
          open  db.example.net:5432            DATABASE_URL  .env:1, unless private
          asks  192.168.7.20:2283              IMMICH_URL  .env:2
          not all was looked at: the time was up, and there may be more
          guard discover        guard discover --write NAME
        ");
        all.items.clear();
        insta::assert_snapshot!(page(&all, &[]).plain(), @r"
          not all was looked at: the time was up, and there may be more
          guard discover
        ");
        Ok(())
    }
}
