//! Blocks that install guard, run it as a service, and use it in CI.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use guard_lab::{PATIENCE, Production, Running, Tested, V4, eventually};
use rustix::process::{Signal, kill_process};

use super::block::{ADMIN, CI, DOCTOR, START, block, line};
use super::person::{Person, add_user, clock, follower};
use crate::packages::install::assert_enforces;
use crate::packages::machine::{guard, quiet, said, succeeds};

/// The router that docs/start.md goes to.
const ROUTER: &str = "192.168.1.1";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn getting_started_ends_with_a_request_answered() -> Tested {
    let person = Person::at_a_fresh_machine();
    person.network.answer_for(&["192.168.1.1/32"])?;
    let production = Production::start(&person.network)?;
    let run = block(START, "guard run");
    // What it asks for is there, and nothing stops it yet.
    let curl = run.split(" -- ").nth(1).unwrap();
    person.succeeds(curl);
    assert!(run.contains(&format!("http://{ROUTER}/")));
    let seen = production.reached_at(ROUTER, 80)?.len();

    let begun = Instant::now();
    let mut first = person.watches(&block(START, "sudo apt install"))?;
    let installed = begun.elapsed();
    let mut second = person.begins(&run);
    let request = first.line_with("r1", PATIENCE)?;
    assert!(request.contains("wants tcp 192.168.1.1:80"), "{request}");
    first.line_with("guard approve r1", PATIENCE)?;
    assert_eq!(production.reached_at(ROUTER, 80)?.len(), seen);
    person.succeeds(&block(START, "guard approve"));
    assert!(second.wait()?.success(), "curl was let through, and failed");
    clock("an answered request", begun.elapsed(), installed);
    assert!(production.reached_at(ROUTER, 80)?.len() > seen);
    end(first);
    Ok(())
}

/// Ends `guard pending --follow`, which goes on until somebody ends it: what is around it hands no signal on.
fn end(mut running: Running) {
    kill_process(follower().unwrap(), Signal::INT).unwrap();
    running.wait().unwrap();
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_package_is_installed_as_the_documents_say() -> Tested {
    let person = Person::at_a_fresh_machine();
    let said = person.succeeds(&block(ADMIN, "sudo apt install ./guard_0"));
    assert!(said.contains("Enforcing"), "{said}");
    assert_enforces()?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_service_is_enabled_and_says_what_it_enforces() -> Tested {
    let person = Person::at_a_machine_with_guard();
    succeeds(quiet("systemctl").args(["disable", "--now", "guardd", "guardd.socket"]));
    let said = person.succeeds(&block(ADMIN, "sudo systemctl enable --now guardd"));
    assert!(said.contains("enforcing: 0 sessions"), "{said}");
    assert_enforces()?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_of_the_slice_is_denied() -> Tested {
    let person = Person::at_a_machine_with_guard();
    let block = block(ADMIN, "sudo systemd-run");
    // A unit runs beside the lab's networks, so the address is this machine's for a while.
    succeeds(quiet("ip").args(["address", "add", &format!("{V4}/32"), "dev", "lo"]));
    let mut server = quiet("python3");
    server.args(["-m", "http.server", "--bind", V4, "80"]);
    server.current_dir("/usr/share/doc").stdout(Stdio::null());
    let mut server = server.spawn()?;
    let curl = &block[block.find("curl").unwrap()..];
    let curl = line(curl, "curl");
    let mut without = quiet("bash");
    without.args(["-c", &curl]);
    eventually("it is served", || Ok(without.output()?.status.success()))?;
    let output = person.types(&block);
    server.kill()?;
    server.wait()?;
    succeeds(quiet("ip").args(["address", "delete", &format!("{V4}/32"), "dev", "lo"]));
    assert!(!output.status.success(), "it was let through");
    assert!(said(&output).contains("curl: (7)"), "{}", said(&output));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn doctor_says_what_is_wrong() -> Tested {
    let person = Person::at_a_machine_with_guard();
    add_user("agent");
    let said = person.succeeds(&block(DOCTOR, "guard doctor"));
    // Of the last line nothing: no required row is amiss.
    assert!(said.contains("ok "), "{said}");
    assert!(!said.contains("null"), "{said}");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn metrics_are_served_where_the_socket_says() -> Tested {
    let _person = Person::at_a_machine_with_guard();
    // On the machine's own loopback, where the person's network is another.
    let typed = block(ADMIN, "sudo systemctl enable --now guard-metrics");
    let said = quiet("bash").args(["-e", "-c", &typed]).output()?;
    succeeds(quiet("systemctl").args(["disable", "--now", "guard-metrics.socket"]));
    assert!(said.status.success());
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("guard_enforcing 1"), "{said}");
    Ok(())
}

/// A job that makes something, and tries what the policy `ci` denies.
const MAKEFILE: &str = "test:\n\tcurl -sS -m 5 http://192.0.2.10/ || true\n\techo made\n";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_job_is_guarded_and_says_what_was_stopped() -> Tested {
    let person = Person::at_a_machine_with_guard();
    let production = Production::start(&person.network)?;
    fs::write(person.home().join("Makefile"), MAKEFILE)?;
    person.succeeds("make test && test -n \"$(curl -sS -m 5 http://192.0.2.10/)\"");
    let seen = production.reached_at(V4, 80)?.len();
    let reported = |id: &str, block: &str| {
        let output = person.types(&format!("ID={id}\n{block}"));
        let said = said(&output);
        assert!(said.contains("made\n"), "{said}");
        assert!(said.contains("192.0.2.10"), "{said}");
        output.status.success()
    };
    // As its remark says: 1, for something was denied.
    assert!(!reported("1", &block(CI, "guard run --policy ci --name")));
    add_user("runner");
    assert!(reported("2", &block(CI, "sudo guard run --policy ci")));

    // A copy of `ci` in the repository.
    let dir = person.home().join(".ci");
    fs::create_dir_all(&dir)?;
    fs::copy("/usr/share/guard/policies/ci.toml", dir.join("guard.toml"))?;
    let said = person.succeeds(&block(CI, "guard check"));
    assert!(said.contains("made\n"), "{said}");
    assert_eq!(production.reached_at(V4, 80)?.len(), seen);
    assert_eq!(guard(&["sessions"]), serde_json::json!([]));
    Ok(())
}
