//! Blocks that look at what happened: the journal, the audit log, JSON and Varlink.

use std::path::Path;

use guard_lab::{PATIENCE, Production, Running, Tested, V4};
use rustix::process::Signal;

use super::block::{ADMIN, JSON, block, line, text};
use super::person::Person;
use crate::packages::machine::{guard, said};

/// A session with a request, which goes on.
fn asked(person: &Person) -> Running {
    let command =
        format!("guard run --policy asks -- sh -c 'curl -sS -m 5 http://{V4}/; echo asked; cat'");
    let mut session = person.begins(&command);
    session.line_with("asked", PATIENCE).unwrap();
    session
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn an_answer_is_in_the_journal_and_in_the_trail() -> Tested {
    let person = Person::at_a_fresh_machine();
    person.succeeds(&block(ADMIN, "sudo apt install ./guard_0"));
    person.machine.write_policy("asks", crate::packages::POLICY);
    let production = Production::start(&person.network)?;
    person.succeeds(&format!("curl -sS -m 5 http://{V4}/"));
    let seen = production.reached_at(V4, 80)?.len();
    let session = asked(&person);
    assert_eq!(production.reached_at(V4, 80)?.len(), seen);
    person.succeeds("guard approve r1 --for 5m");

    let said = person.succeeds(&block(ADMIN, "sudo journalctl _UID"));
    assert!(said.contains("h1"), "{said}");
    assert!(said.contains("GUARD_KIND=answered"), "{said}");
    let said = person.succeeds(&block(JSON, "sudo guard log --json"));
    assert!(said.contains("\"hole-open\""), "{said}");
    assert!(said.lines().any(|line| line == "true"), "{said}");
    let rotates = "/etc/logrotate.d/guard";
    assert!(ADMIN.contains(rotates));
    person.succeeds(&format!("sudo logrotate --force {rotates}"));
    assert!(Path::new("/var/log/guard/audit.jsonl.1").exists());
    // Over the end of a file, as it says.
    let verify = line(&text(ADMIN, "console", "guard log --verify"), "$ ");
    let said = person.succeeds(verify.trim_start_matches("$ "));
    assert!(
        said.contains("whole.") && said.contains("in 2 files"),
        "{said}"
    );
    drop(session);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn varlinkctl_asks_guardd() -> Tested {
    if !Path::new("/usr/bin/varlinkctl").exists() {
        eprintln!("systemd 252 has no varlinkctl: the other kernel's machines do");
        return Ok(());
    }
    let person = Person::at_a_fresh_machine();
    person.succeeds(&block(ADMIN, "sudo apt install ./guard_0"));
    person.machine.write_policy("asks", crate::packages::POLICY);
    let session = asked(&person);
    let all = block(JSON, "varlinkctl introspect");
    let (once, follows) = all.trim_end().rsplit_once('\n').unwrap();
    let output = person.types(once);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("interface org.guardd.Control"));
    assert_eq!(guard(&["holes"])[0]["destination"], format!("{V4}/32"));
    let mut following = person.begins(&line(follows, "--more"));
    following.line_with("requests", PATIENCE)?;
    following.signal(Signal::TERM)?;
    following.wait()?;
    drop(session);
    Ok(())
}
