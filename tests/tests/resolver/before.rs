//! Sockets to name servers from before a policy has rules for names: they were not redirected, and nothing redirects them any more.
//! And those from before a resolver's end, which were redirected to that one.

use guard_lab::{Shell, Tested, eventually, lives};
use rustix::process::{Pid, Signal, kill_process};

use super::place::{DNS, ResolverScene};
use crate::names::scene::with_resolvers;

pub(super) const SOCKETS: &str = include_str!("programs/before.py");

/// Any name may be asked for, and nobody judges it.
const FREE: &str = "version = 1\nname = \"free\"\ndefault = \"deny\"\n";

/// The same with rules for names.
const JUDGED: &str = r#"
[dns]
names = "rules"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"
"#;

/// No such name.
const NXDOMAIN: &str = "3";

/// How a question went.
pub(super) fn asks(shell: &mut Shell, how: &str, name: &str) -> Tested<String> {
    shell.tell(&format!("{how} {name}"))?;
    let said = shell.line_with(&format!("asked {how} "))?;
    let last = said.trim().rsplit(' ').next();
    Ok(last.unwrap_or_default().to_owned())
}

#[test]
fn sockets_from_before_names_are_judged_ask_for_none() -> Tested {
    let (place, mut shell) = ResolverScene::under("free", &with_resolvers(FREE))?;
    let file = place.daemon.write_for_agents("before.py", SOCKETS)?;
    shell.tell(&format!("exec /usr/bin/python3 {} {DNS}", file.display()))?;
    shell.line_with("reads lines")?;
    for how in ["udp", "tcp", "new-udp", "new-tcp"] {
        let name = format!("{how}.first.example");
        assert_eq!(asks(&mut shell, how, &name)?, "0", "{how}");
        assert!(place.dns.has_heard(how.as_bytes()), "{how}");
    }
    let judged = with_resolvers(&format!("{FREE}{JUDGED}"));
    place.daemon.write_policy("free", &judged)?;
    eventually("names are judged", || {
        Ok(asks(&mut shell, "new-udp", "new.second.example")? == NXDOMAIN)
    })?;
    place.dns.forget();
    assert_eq!(asks(&mut shell, "udp", "udp.third.example")?, "EPERM");
    // Packets of TCP are dropped, and sent again: nobody tells the program.
    assert_eq!(asks(&mut shell, "sends", "tcp.third.example")?, "None");
    for protocol in ["udp", "tcp"] {
        let of_it = |one: &serde_json::Value| {
            let to = &one["destination"];
            let why = one["why"].as_str().unwrap_or_default();
            to["address"] == DNS
                && to["protocol"] == protocol
                && why.contains("past guard's resolver")
                && why.contains("open a new socket")
        };
        let written = eventually("the refusal is written down", || {
            Ok(place.daemon.audited("denied")?.iter().any(of_it))
        });
        assert!(
            written.is_ok(),
            "{protocol}: {:?}",
            place.daemon.audited("denied")?
        );
    }
    for (how, name, code) in [
        ("new-udp", "v1.api.example.com", "0"),
        ("new-tcp", "v2.api.example.com", "0"),
        ("new-tcp", "tcp.third.example", NXDOMAIN),
    ] {
        assert_eq!(asks(&mut shell, how, name)?, code, "{how} {name}");
    }
    assert!(place.dns.has_heard(b"v1") && place.dns.has_heard(b"v2"));
    assert!(!place.dns.has_heard(b"third"));
    Ok(())
}

/// A socket is connected to the resolver for as long as it is open: what it asks comes to the server that was meant.
#[test]
fn a_socket_from_when_names_were_judged_is_answered_where_none_are_any_more() -> Tested {
    let (free, judged) = (
        with_resolvers(FREE),
        with_resolvers(&format!("{FREE}{JUDGED}")),
    );
    let (place, mut shell) = ResolverScene::under("free", &judged)?;
    let file = place.daemon.write_for_agents("before.py", SOCKETS)?;
    shell.tell(&format!("exec /usr/bin/python3 {} {DNS}", file.display()))?;
    shell.line_with("reads lines")?;
    assert_eq!(asks(&mut shell, "udp", "v1.api.example.com")?, "0");
    assert_eq!(asks(&mut shell, "udp", "first.example")?, NXDOMAIN);
    assert!(!place.dns.has_heard(b"first"));
    place.daemon.write_policy("free", &free)?;
    eventually("a new socket asks for any name", || {
        Ok(asks(&mut shell, "new-udp", "new.second.example")? == "0")
    })?;
    eventually("so does the old one", || {
        Ok(asks(&mut shell, "udp", "old.second.example")? == "0")
    })?;
    assert!(place.dns.has_heard(b"old"));
    // Names are judged again, on the same socket.
    place.daemon.write_policy("free", &judged)?;
    eventually("names are judged", || {
        Ok(asks(&mut shell, "new-udp", "new.third.example")? == NXDOMAIN)
    })?;
    place.dns.forget();
    assert_eq!(asks(&mut shell, "udp", "old.third.example")?, NXDOMAIN);
    assert!(!place.dns.has_heard(b"third"));
    // With the session ends what needs a resolver.
    place.daemon.write_policy("free", &free)?;
    eventually("a new socket asks for any name again", || {
        Ok(asks(&mut shell, "new-udp", "new.fourth.example")? == "0")
    })?;
    assert!(place.resolver().is_some());
    drop(shell);
    eventually("no resolver runs", || place.resolver().is_none())?;
    Ok(())
}

/// Who asks again on the same socket, since no answer came, is refused or answered by the next one: nobody else is asked.
#[test]
fn a_socket_from_before_a_resolvers_end_asks_nobody_past_the_next_one() -> Tested {
    let place = ResolverScene::new()?;
    let file = place.daemon.write_for_agents("before.py", SOCKETS)?;
    let secret = "secret.evil.example";
    assert!(
        place
            .outside(&["udp", DNS, secret])?
            .starts_with("answered")
    );
    assert!(place.dns.has_heard(b"secret"));
    place.dns.forget();
    let mut shell = Shell::start(&place.daemon, "names")?;
    shell.tell(&format!("exec /usr/bin/python3 {} {DNS}", file.display()))?;
    shell.line_with("reads lines")?;
    let (known, next) = ("v1.api.example.com", "v2.api.example.com");
    assert_eq!(asks(&mut shell, "udp", known)?, "0");
    let resolver = place.resolver().unwrap();
    kill_process(Pid::from_raw(resolver.cast_signed()).unwrap(), Signal::KILL)?;
    // What is sent to one that is about to end has no answer, and is waited for.
    eventually("it has ended", || !lives(resolver))?;
    eventually("another one answers", || {
        Ok(asks(&mut shell, "new-udp", next)? == "0")
    })?;
    assert_ne!(place.resolver(), Some(resolver));
    for name in [known, next, "v3.api.example.com"] {
        let said = asks(&mut shell, "udp", name)?;
        assert!(["0", "EPERM"].contains(&&*said), "{name}: {said}");
    }
    let said = asks(&mut shell, "udp", secret)?;
    assert!([NXDOMAIN, "EPERM"].contains(&&*said), "{said}");
    assert_eq!(asks(&mut shell, "new-udp", secret)?, NXDOMAIN);
    assert!(!place.dns.has_heard(b"secret"));
    Ok(())
}
