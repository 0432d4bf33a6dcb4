//! Where no guardd runs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use guard_lab::{Json as _, Network, Tested, eventually, mounts};

use crate::doctor::{Rows, built};

/// What guards that were started for a moment have there.
fn moments(dir: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name());
    let is_such = |name: &OsString| {
        let name = name.to_string_lossy();
        let number = name.strip_prefix("guard-").filter(|rest| rest.len() == 8);
        let is_digit = |c: char| c.is_ascii_hexdigit();
        number.is_some_and(|rest| rest.chars().all(is_digit)) || name.starts_with("guard-probe-")
    };
    names.filter(is_such).collect()
}

#[test]
fn root_looks_with_one_of_its_own_and_takes_it_down() -> Tested {
    let network = Network::new()?;
    let daemon = built(&network).prepare()?;
    let places = [mounts::cgroup2()?, mounts::BPFFS.into()];
    let before = places.each_ref().map(|dir| moments(dir));
    let rows = Rows::by_root(&daemon);
    let (detail, fix) = rows.open("guardd");
    assert!(
        detail.contains("no guardd listens") && detail.contains("taken down"),
        "{detail}"
    );
    assert!(fix.contains("systemctl start guardd"), "{fix}");
    for check in [
        "hook connect4",
        "programs at cgroups",
        "TCP over IPv4",
        "control verbs",
    ] {
        rows.ok(check);
    }
    assert!(rows.find("one version").is_none());
    // Other tests may look at the same time: theirs go, too.
    eventually("it leaves nothing", || {
        let mut now = places.iter().zip(&before);
        now.all(|(dir, before)| moments(dir).is_subset(before))
    })?;
    Ok(())
}

#[test]
fn a_user_sees_what_a_user_can() -> Tested {
    let network = Network::new()?;
    let daemon = built(&network).prepare()?;
    let rows = Rows::by_agent(&daemon);
    let (detail, _) = rows.open("guardd");
    assert!(detail.contains("no guardd listens"), "{detail}");
    for check in [
        "programs at cgroups",
        "TCP over IPv4",
        "unix sockets by path",
    ] {
        let (detail, fix) = rows.open(check);
        assert!(detail.starts_with("could not tell: "), "{check}: {detail}");
        assert!(fix.contains("systemctl start guardd"), "{check}: {fix}");
    }
    // What takes no rights was tried: the lab's kernel has it, or says so.
    let asks = rows.row("seccomp asks a supervisor")["detail"].text()?;
    assert!(asks.starts_with("a call "), "{asks}");
    rows.ok("network devices as files");
    Ok(())
}

#[test]
fn what_cannot_be_asked_is_no_answer() -> Tested {
    let network = Network::new()?;
    let daemon = built(&network).prepare()?;
    let closed = daemon.dir().join("closed.sock");
    let _listens = UnixListener::bind(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600))?;
    let socket = closed.display().to_string();
    let asked = daemon.agent(["doctor", "--json", "--socket", &socket]);
    let output = asked.run()?;
    assert_eq!(
        (output.code(), output.stdout.as_str()),
        (Some(2), ""),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("you may not use that socket"),
        "{output:?}"
    );
    let output = daemon.agent(["doctor", "--user", "no-such-user"]).run()?;
    assert_eq!(output.code(), Some(2), "{output:?}");
    assert!(output.stderr.contains("no-such-user"), "{output:?}");
    Ok(())
}

#[test]
fn what_a_killed_look_has_left_goes_with_the_next() -> Tested {
    let (_network, daemon) = crate::doctor::started()?;
    let mut gone = std::process::Command::new("true").spawn()?;
    gone.wait()?;
    // guardd looks in a cgroup below its own, which is this test's.
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap();
    let cgroups = mounts::cgroup2()?.join(own);
    let left = cgroups.join(format!("guard-probe-{}", gone.id()));
    fs::create_dir(&left)?;
    Rows::by_agent(&daemon).ok("cgroup v2");
    assert!(!left.exists());
    Ok(())
}
