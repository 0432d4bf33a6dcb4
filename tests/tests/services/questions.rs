//! What guardd asks systemd, and how little depends on the answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guard_lab::{Network, OPEN, Tested, V4, eventually};

use crate::services::machine::{
    USER, Unit, attempt_in, configure, has_ended, is_refused, machine, ok, pause, probe, reload,
    run, session, sessions,
};

const SLICE: &str = "/sys/fs/cgroup/guard.slice";
const GUARDD: &str = "/sys/fs/cgroup/system.slice/guardd.service/cgroup.procs";

/// As root in a unit that has no policy: as many calls at once as there can be, again and again.
const FLOOD: &str = "import socket, threading
def ask():
    while True:
        try:
            s = socket.socket(socket.AF_UNIX); s.connect('/run/guard/guardd.sock')
            while True:
                s.sendall(b'{\"method\":\"org.guardd.Control.Assign\",\"parameters\":{\"policy\":{\"name\":\"open\"}}}\\0')
                if not s.recv(65536): break
        except OSError: pass
for _ in range(32): threading.Thread(target=ask).start()
";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_flood_of_calls_from_a_unit_delays_nobody_else() -> Tested {
    let _one = machine();
    let network = Network::new()?;
    let script = "/run/flood.py";
    fs::write(script, FLOOD)?;
    let flood = Unit::new(
        "flood.service",
        &network,
        &format!("ExecStart=/usr/bin/python3 {script}"),
    );
    assert!(flood.start());
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(10) {
        let processes = fs::read_to_string(GUARDD)?.lines().count();
        most = most.max(processes);
        pause(10);
    }
    // guardd itself, two requests of callers, and one of its own.
    assert!((2..=4).contains(&most), "{most}");
    ok(&["guard", "status"]);
    let text =
        format!("User={USER}\nExecStartPre=+guard assign --policy asks\nExecStart=sleep 1000");
    let unit = Unit::new("honest.service", &network, &text);
    assert!(unit.start(), "{}", unit.journal());
    // The flood has not ended meanwhile.
    assert_eq!(
        flood.show("ActiveState").trim(),
        "active",
        "{}",
        flood.journal()
    );
    assert_eq!(session("honest.service")["policy"], "asks");
    assert!(sessions().iter().all(|one| one["name"] != "flood.service"));
    drop((unit, flood));
    has_ended("honest.service");
    fs::remove_file(script)?;
    Ok(())
}

/// systemd itself, which answers nobody until this is dropped.
struct Frozen;

impl Frozen {
    const FILE: &str = "/sys/fs/cgroup/init.scope/cgroup.freeze";

    fn systemd() -> Self {
        fs::write(Self::FILE, "1").unwrap();
        let events = "/sys/fs/cgroup/init.scope/cgroup.events";
        let is_frozen = || fs::read_to_string(events).unwrap().contains("frozen 1");
        let frozen = Self;
        eventually("frozen", is_frozen).unwrap();
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, "0");
    }
}

/// A cgroup in the slice, as an engine makes one that does not ask systemd.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let path = Path::new(SLICE).join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_systemd_that_answers_nobody_delays_no_policy_of_the_settings() -> Tested {
    let _one = machine();
    configure("[[assign]]\nunit = \"docker-*.scope\"\npolicy = \"asks\"\n");
    let (network, _production) = Network::with_production()?;
    let mut cgroups = Vec::new();
    {
        let _frozen = Frozen::systemd();
        for number in 0..3 {
            let name = format!("docker-{number}.scope");
            cgroups.push(Cgroup::new(&name));
            assert_eq!(session(&name)["command"], serde_json::json!([]));
            assert!(attempt_in(&name, &network, OPEN).ok);
            assert!(is_refused(&attempt_in(&name, &network, V4)));
            // Somebody asks what it is by now.
            pause(1000);
        }
        cgroups.extend((3..300).map(|number| Cgroup::new(&format!("docker-{number}.scope"))));
        eventually("all", || sessions().len() == 300)?;
    }
    // What they are is found out when it answers again.
    let described =
        || session("docker-0.scope")["command"] == serde_json::json!(["docker-0.scope"]);
    eventually("described", described)?;
    drop(cgroups);
    eventually("ended", || sessions().is_empty())?;
    Ok(())
}

/// What guard status warns of once something has come up in the slice.
fn warns_of(unit: &str, text: &str) -> bool {
    let status: serde_json::Value =
        serde_json::from_str(&ok(&["guard", "status", "--json"])).unwrap();
    let warnings = status["warnings"].as_array().unwrap();
    let mut warnings = warnings.iter().map(|one| one.as_str().unwrap());
    warnings.any(|one| one.starts_with(unit) && one.contains(text))
}

/// Whether a hook has its program, on this kernel.
pub(crate) fn has_hook(name: &str) -> bool {
    let status: serde_json::Value =
        serde_json::from_str(&ok(&["guard", "status", "--json"])).unwrap();
    let mut hooks = status["hooks"].as_array().unwrap().iter();
    hooks.any(|hook| hook["name"] == name && hook["attached"] == true)
}

const PAM: &str = "/etc/pam.d/guard-lab";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_that_pam_takes_out_of_the_slice_is_not_assigned_and_is_warned_of() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    fs::write(
        PAM,
        "account required pam_permit.so\nsession required pam_systemd.so\n",
    )?;
    let unit = |rest: &str| {
        let text = format!("User={USER}\n{rest}\nExecStart=sleep 1000");
        Unit::new("login.service", &network, &text)
    };
    // It is what it is without PAM.
    let plain = unit("");
    assert!(plain.start());
    ok(&["guard", "assign", "--policy", "asks", "login.service"]);
    drop(plain);
    has_ended("login.service");

    let login = unit("PAMName=guard-lab");
    if has_hook("unix_stream_connect") {
        // PAM, too, is in the slice, and reaches nothing that could take it out.
        // A unit of this type has started before PAM is asked.
        login.start();
        eventually("over", || login.show("ActiveState") == "failed")?;
        assert!(login.journal().contains("PAM"), "{}", login.journal());
        assert!(!warns_of("login.service", "elsewhere"));
        fs::remove_file(PAM)?;
        return Ok(());
    }
    assert!(login.start(), "{}", login.journal());
    let main = login.show("MainPID");
    let cgroup = || fs::read_to_string(format!("/proc/{main}/cgroup")).unwrap();
    eventually("moved", || cgroup().contains("/user.slice/"))?;
    let assigned = run(&["guard", "assign", "--policy", "asks", "login.service"]);
    let said = String::from_utf8_lossy(&assigned.stderr).into_owned();
    assert_eq!(assigned.status.code(), Some(2), "{assigned:?}");
    assert!(said.contains("PAMName=guard-lab"), "{said}");
    let elsewhere = format!("its main process {main} runs elsewhere");
    eventually("warned", || warns_of("login.service", &elsewhere))?;
    drop(login);
    let _come = Cgroup::new("come.scope");
    eventually("over", || !warns_of("login.service", "elsewhere"))?;
    fs::remove_file(PAM)?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_slice_that_changes_while_a_unit_runs_changes_nothing_before_it_starts_again() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let drop_in = |unit: &str, slice: &str| {
        let dir = format!("/run/systemd/system/{unit}.d");
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            format!("{dir}/slice.conf"),
            format!("[Service]\nSlice={slice}\n"),
        )
        .unwrap();
        reload();
        dir
    };
    let text = format!("User={USER}\nExecStart=sleep 1000");
    // From the slice elsewhere: it stays guarded, and its session goes on.
    let inside = Unit::new("stays.service", &network, &text);
    assert!(inside.start());
    ok(&["guard", "assign", "--policy", "asks", "stays.service"]);
    let before = session("stays.service");
    let set = run(&[
        "systemctl",
        "set-property",
        "stays.service",
        "Slice=system.slice",
    ]);
    assert!(!set.status.success());
    let dir = drop_in("stays.service", "system.slice");
    assert_eq!(session("stays.service"), before);
    assert!(is_refused(&attempt_in("stays.service", &network, V4)));
    assert_eq!(inside.show("ControlGroup"), "/guard.slice/stays.service");
    fs::remove_dir_all(dir)?;
    drop(inside);
    has_ended("stays.service");

    // From elsewhere into the slice: it is not guarded yet, and that is said.
    let outside = Unit::new(
        "comes.service",
        &network,
        &format!("{text}\nSlice=system.slice"),
    );
    assert!(outside.start());
    let dir = drop_in("comes.service", "guard.slice");
    assert_eq!(outside.show("Slice"), "guard.slice");
    let assigned = run(&["guard", "assign", "--policy", "asks", "comes.service"]);
    assert_eq!(assigned.status.code(), Some(2), "{assigned:?}");
    let come = Cgroup::new("comes.service");
    let assigned = run(&["guard", "assign", "--policy", "asks", "comes.service"]);
    let said = String::from_utf8_lossy(&assigned.stderr).into_owned();
    assert!(
        said.contains("systemd says that it is at /system.slice"),
        "{said}"
    );
    eventually("warned", || warns_of("comes.service", "runs elsewhere"))?;
    drop(come);
    ok(&["systemctl", "restart", "comes.service"]);
    eventually("over", || !warns_of("comes.service", "runs elsewhere"))?;
    assert!(is_refused(&attempt_in("comes.service", &network, OPEN)));
    drop(outside);
    fs::remove_dir_all(dir)?;
    reload();
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn commands_of_root_around_the_main_one_are_judged_as_it_is() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let probe = |to| {
        format!(
            "sh -c '{} >> /run/judged-by 2>&1 || true'",
            probe(to).join(" ")
        )
    };
    let both = |when: &str| {
        let (open, asks) = (probe(OPEN), probe(V4));
        format!("{when}=+{open}\n{when}=+{asks}\n")
    };
    let text = format!(
        "User={USER}\nExecStartPre=+guard assign --policy asks\nExecStart=sleep 1000\n{}{}{}",
        both("ExecStartPost"),
        both("ExecReload"),
        both("ExecStop")
    );
    let unit = Unit::new("around.service", &network, &text);
    let judged = || {
        let said = fs::read_to_string("/run/judged-by").unwrap_or_default();
        let count = |text: &str| said.matches(text).count();
        (count("\"ok\":true"), count("EPERM"))
    };
    assert!(unit.start(), "{}", unit.journal());
    eventually("started", || judged() == (1, 1))?;
    ok(&["systemctl", "reload", "around.service"]);
    assert_eq!(judged(), (2, 2));
    unit.stop();
    assert_eq!(judged(), (3, 3));
    fs::remove_file("/run/judged-by")?;
    Ok(())
}
