//! Names of one address: each session, and of its programs each, is told by the one that it asked for itself.

use guard_lab::{Daemon, Shell, Tested, eventually};
use serde_json::{Value, json};

use super::{BARE, PKG, find, flows, observed, scene};
use crate::names::scene::{DNS, NameScene};

const SEVERAL: &str = include_str!("several.py");

const FIRST: &str = "pkg.example.com";
const SECOND: &str = "cdn.example.net";

/// Programs in a session.
pub(crate) struct Several(Shell);

impl Several {
    /// Has a shell become them.
    pub(crate) fn new(daemon: &Daemon, mut shell: Shell) -> Tested<Self> {
        let several = daemon.write_for_agents("several.py", SEVERAL)?;
        shell.tell(&format!("exec python3 {} {DNS}", several.display()))?;
        shell.line_with("reads lines")?;
        Ok(Self(shell))
    }

    pub(crate) fn session(&self) -> &str {
        self.0.session()
    }

    /// Has one of them look up a name.
    pub(crate) fn ask(&mut self, program: &str, name: &str) -> Tested {
        self.does(&format!("{program} ask {name}"), "0")
    }

    /// Has one of them go to an address.
    pub(crate) fn go(&mut self, program: &str, address: &str) -> Tested {
        self.does(&format!("{program} go {address}"), "reached")
    }

    fn does(&mut self, line: &str, came: &str) -> Tested {
        self.0.tell(line)?;
        let said = self.0.line_with("did ")?;
        assert!(said.trim().ends_with(&format!(" {came}")), "{line}: {said}");
        Ok(())
    }
}

fn several(scene: &NameScene) -> Tested<Several> {
    Several::new(&scene.daemon, observed(&scene.daemon)?)
}

/// By which names a program of a session went to an address.
fn names<'f>(flows: &'f [Value], program: &str, address: &str) -> &'f Value {
    let mut of_it = flows
        .iter()
        .filter(|flow| flow["program"] == program && flow["address"] == address);
    of_it.next().map_or(&Value::Null, |flow| &flow["names"])
}

/// What a policy that is suggested from a session's flows says of an address.
fn suggests(scene: &NameScene, session: &str) -> Tested<[bool; 3]> {
    let suggest = ["suggest", "--from-flows", "--session", session];
    let text = scene.daemon.agent(suggest).run()?.success()?.stdout;
    Ok([FIRST, SECOND, PKG].map(|said| text.contains(&format!("\"{said}"))))
}

#[test]
fn a_session_goes_by_no_name_that_another_has_asked_for() -> Tested {
    let scene = scene()?;
    scene.server.set(SECOND, &[PKG]);
    let (mut one, mut other, mut silent) = (several(&scene)?, several(&scene)?, several(&scene)?);
    one.ask("job", FIRST)?;
    other.ask("job", SECOND)?;
    for session in [&mut one, &mut other, &mut silent] {
        session.go("job", PKG)?;
    }
    let of = |session: &Several| flows(&scene.daemon, &["--session", session.session()]);
    for (session, name) in [(&one, FIRST), (&other, SECOND)] {
        eventually("it goes by its name", || {
            Ok(*names(&of(session)?, "job", PKG) == json!([name]))
        })?;
        assert_eq!(find(&of(session)?, PKG, 443).unwrap()["host"], name);
    }
    let bare = of(&silent)?;
    let bare = find(&bare, PKG, 443).unwrap();
    assert_eq!(bare["host"], Value::Null, "{bare}");
    assert_eq!(suggests(&scene, one.session())?, [true, false, false]);
    assert_eq!(suggests(&scene, other.session())?, [false, true, false]);
    assert_eq!(suggests(&scene, silent.session())?, [false, false, true]);
    Ok(())
}

/// Where a program has asked for none, it is likely to have the session's last from another.
#[test]
fn a_program_goes_by_the_name_that_it_has_asked_for_itself() -> Tested {
    let scene = scene()?;
    scene.server.set(SECOND, &[PKG, BARE]);
    let mut session = several(&scene)?;
    session.ask("one", FIRST)?;
    session.ask("two", SECOND)?;
    for program in ["one", "two", "three"] {
        session.go(program, PKG)?;
    }
    session.go("one", BARE)?;
    let id = session.session().to_owned();
    let of_it = || flows(&scene.daemon, &["--session", &id]);
    eventually("all are known by names", || {
        let all = of_it()?;
        let is_named = |program| names(&all, program, PKG) != &json!([]);
        Ok(["one", "two", "three"].into_iter().all(is_named))
    })?;
    let all = of_it()?;
    for (program, address, name) in [
        ("one", PKG, FIRST),
        ("two", PKG, SECOND),
        ("three", PKG, SECOND),
        ("one", BARE, SECOND),
    ] {
        let said = names(&all, program, address);
        assert_eq!(*said, json!([name]), "{program} {address}: {all:?}");
    }
    Ok(())
}
