//! The machine, and the units that it starts when it boots.

use guard_lab::Tested;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the units write what came of their attempts, and the tests which boots they have seen.
pub(crate) const RESULTS: &str = "/var/lib/guard-reboot";
pub(crate) const BOOTS: &str = "/var/lib/guard-reboot/boots";

pub(crate) const POLICY: &str = "version = 1
default = \"deny\"

[[rule]]
name = \"discard\"
to = [\"127.0.0.0/8\"]
ports = [\"udp/9\"]
action = \"allow\"
";

/// Three services that each try port 9 and port 10 as the first thing that they do, and then stay: one outside of
/// the guard, one in the slice, and one there with a policy.
pub(crate) const UNITS: [&str; 3] = ["outside", "unassigned", "assigned"];

/// The text of a unit.
pub(crate) fn unit(name: &str) -> String {
    // A datagram for nobody. `connect` is refused with EPERM, or it succeeds.
    let attempts = format!(
        "for port in 9 10; do if (: >/dev/udp/127.0.0.1/$$port) 2>/dev/null; then echo yes; else echo no; fi; done \
         >{RESULTS}/{name}.new; cat /proc/sys/kernel/random/boot_id >>{RESULTS}/{name}.new; \
         mv {RESULTS}/{name}.new {RESULTS}/{name}; exec sleep infinity"
    );
    let guarded = match name {
        "outside" => "",
        "unassigned" => "Slice=guard.slice\n",
        _ => "Slice=guard.slice\nExecStartPre=+guard assign --policy discard\n",
    };
    format!(
        "[Service]\nUser=nobody\nNoNewPrivileges=yes\n{guarded}ExecStart=/bin/bash -c '{attempts}'\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

/// What the service of that name could reach when it started in this boot: port 9, and port 10.
pub(crate) fn reached(name: &str) -> [bool; 2] {
    let file = Path::new(RESULTS).join(name);
    let wanted = boot_id();
    let of_this_boot = || fs::read_to_string(&file).is_ok_and(|text| text.contains(&wanted));
    guard_lab::eventually(&format!("{name} has tried"), of_this_boot).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    [(); 2].map(|()| match lines.next() {
        Some("yes") => true,
        Some("no") => false,
        other => panic!("{name} wrote {other:?}"),
    })
}

/// Which boot this is.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    id.trim().to_owned()
}

/// What a program writes that has to succeed.
pub(crate) fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// That systemd runs here: else this is no machine to reboot.
pub(crate) fn check() {
    assert!(
        Path::new("/run/systemd/system").is_dir(),
        "this needs a machine of its own with systemd as PID 1: cargo xtask vm reboot"
    );
}

/// What the package has enabled.
const ENABLED: [&str; 3] = ["guardd.service", "guardd.socket", "guard.slice"];

/// That guardd runs as a service, now and after each boot, and enforces.
pub(crate) fn guardd_enforces() -> Tested {
    // Whoever was too slow to start is started again.
    let active = || {
        let status = Command::new("systemctl")
            .args(["is-active", "--quiet", "guardd"])
            .status();
        status.is_ok_and(|status| status.success())
    };
    guard_lab::eventually("guardd is active", active)?;
    let status: serde_json::Value = serde_json::from_str(&said("guard", &["status", "--json"]))?;
    assert_eq!(status["enforcing"], true, "{status}");
    for unit in ENABLED {
        assert_eq!(said("systemctl", &["is-enabled", unit]).trim(), "enabled");
        let active = || property(unit, "ActiveState") == "active";
        guard_lab::eventually(&format!("{unit} is active"), active)?;
    }
    for unit in ["guardd-pins.service", "guardd-ready.service"] {
        assert_eq!(property(unit, "Result"), "success", "{unit}");
    }
    Ok(())
}

fn property(unit: &str, property: &str) -> String {
    let args = ["show", "--value", "--property", property, unit];
    said("systemctl", &args).trim().to_owned()
}

/// What the three services may reach: all, nothing, and what the policy allows.
pub(crate) fn services_are_judged() {
    assert_eq!(reached("outside"), [true, true]);
    assert_eq!(reached("unassigned"), [false, false]);
    assert_eq!(reached("assigned"), [true, false]);
    let sessions = said("guard", &["sessions", "--json"]);
    assert!(sessions.contains("assigned"), "{sessions}");
}
