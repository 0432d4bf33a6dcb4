//! A person's own policy that comes to speak of names, or ceases to, while sessions run under it (`guard policy apply`): sockets to
//! name servers, and addresses that are known.

use std::{fs, path::PathBuf};

use guard_lab::{Attempt, Production, Shell, Tested, eventually};

use super::{
    before::{SOCKETS, asks},
    place::{API, DNS, ResolverScene},
};
use crate::names::scene::with_resolvers;

/// All is open.
const OPEN: &str = "version = 1\ndefault = \"allow\"\nhold = \"0s\"\n";
/// But what has names of one zone.
const NAMED: &str =
    "\n[[rule]]\nname = \"api\"\nto = [\"*.api.example.com\"]\naction = \"confirm\"\n";

/// Nothing is open.
const CLOSED: &str = "version = 1\ndefault = \"deny\"\nhold = \"0s\"\n";
/// But what has names of one zone, and any name may be asked for.
const LET: &str = r#"
[dns]
names = "any"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"
"#;

const NAME: &str = "v1.api.example.com";

/// Two sessions under one file: one has sockets to the name server, the other looks up and connects.
struct Spoken {
    place: ResolverScene,
    _production: Production,
    file: PathBuf,
    sockets: Shell,
    shell: Shell,
}

impl Spoken {
    fn under(text: &str) -> Tested<Self> {
        let place = ResolverScene::new()?;
        let production = place.production()?;
        let daemon = &place.daemon;
        let outside = Attempt::tcp(API, 443).outside(place.network.dev(), 0)?;
        assert!(outside.ok, "nothing stops it without the guard");
        let file = daemon.write_for_agents("own", &with_resolvers(text))?;
        let session = || Shell::run_by(daemon, daemon.agent(["run", "--policy"]).args([&file]));
        let (mut sockets, shell) = (session()?, session()?);
        let before = daemon.write_for_agents("before.py", SOCKETS)?;
        sockets.tell(&format!("exec /usr/bin/python3 {} {DNS}", before.display()))?;
        sockets.line_with("reads lines")?;
        Ok(Self {
            place,
            _production: production,
            file,
            sockets,
            shell,
        })
    }

    /// Has both be judged by another text.
    fn apply(&self, text: &str) -> Tested {
        fs::write(&self.file, with_resolvers(text))?;
        let apply = self.place.daemon.agent(["policy", "apply"]);
        let apply = apply.args([&self.file]).args(["--widen"]);
        for one in apply.list()? {
            assert_eq!(one["changed"], true, "{one}");
        }
        Ok(())
    }

    /// Has the name looked up that leads to the address.
    fn learn(&mut self) -> Tested {
        let question = format!("udp {DNS} {NAME}");
        let said = self.place.asked(&mut self.shell, &question)?;
        assert_eq!(said, format!("answered {API}"));
        Ok(())
    }

    fn reaches(&mut self) -> Tested<bool> {
        Ok(self.shell.reaches(&Attempt::tcp(API, 443))?)
    }

    /// How a question goes on a socket of that kind.
    fn asks(&mut self, how: &str, name: &str) -> Tested<String> {
        asks(&mut self.sockets, how, name)
    }

    /// That questions on new sockets are answered.
    fn is_answered_anew(&mut self) -> Tested {
        for how in ["new-udp", "new-tcp"] {
            eventually("new sockets are answered", || {
                Ok(self.asks(how, NAME)? == "0")
            })?;
        }
        Ok(())
    }
}

#[test]
fn a_text_that_comes_to_speak_of_names_judges_new_sockets_and_what_is_looked_up_from_then_on()
-> Tested {
    let mut spoken = Spoken::under(OPEN)?;
    spoken.learn()?;
    assert!(spoken.reaches()?);
    for how in ["udp", "tcp"] {
        assert_eq!(spoken.asks(how, "first.evil.example")?, "0", "{how}");
    }
    assert!(spoken.place.dns.has_heard(b"first"));
    spoken.apply(&format!("{OPEN}{NAMED}"))?;
    // Its question went past the resolver: by its address it is open as before.
    assert!(spoken.reaches()?);
    assert_eq!(spoken.asks("udp", "second.evil.example")?, "EPERM");
    // Packets of TCP are dropped, and sent again: nobody tells the program.
    assert_eq!(spoken.asks("sends", "second.evil.example")?, "None");
    spoken.is_answered_anew()?;
    assert!(!spoken.place.dns.has_heard(b"second"));
    spoken.learn()?;
    assert!(!spoken.reaches()?, "its name is asked about");
    Ok(())
}

#[test]
fn a_text_that_speaks_of_names_no_more_opens_nothing_by_what_is_known() -> Tested {
    let mut spoken = Spoken::under(&format!("{CLOSED}{LET}"))?;
    assert!(!spoken.reaches()?);
    spoken.learn()?;
    assert!(spoken.reaches()?);
    for how in ["udp", "tcp"] {
        assert_eq!(spoken.asks(how, "first.evil.example")?, "0", "{how}");
    }
    spoken.apply(CLOSED)?;
    assert!(!spoken.reaches()?, "no rule has the name any more");
    spoken.is_answered_anew()?;
    spoken.learn()?;
    assert!(!spoken.reaches()?, "nor is it learned again");
    // A socket that was redirected is refused or answered, and goes on where it connects again.
    let said = spoken.asks("udp", "second.evil.example")?;
    let answers = ["0", "2", "3", "EPERM"];
    assert!(answers.contains(&&*said), "{said}");
    spoken.is_answered_anew()?;
    Ok(())
}
