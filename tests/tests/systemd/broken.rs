//! What is wrong is in the unit's status, and nothing is let through meanwhile.

use guard_lab::Tested;
use std::fs;

use super::machine::{
    DropIn, Machine, Target, Unit, fails, ok, root, run, show, state, status_says,
};

/// Without a guardd that enforces.
fn no_unit_of_the_slice_starts() -> Tested {
    let unit = Unit::guarded("never.service", "/bin/sleep 600")?;
    fails("systemctl", &["start", &unit.name])?;
    assert_eq!(unit.pid()?, 0);
    Ok(())
}

/// Something else than a bpffs where one is expected, for as long as this lives.
struct NoBpffs;

impl NoBpffs {
    fn new() -> Tested<Self> {
        ok("umount", &["/sys/fs/bpf"])?;
        ok("mount", &["-t", "tmpfs", "tmpfs", "/sys/fs/bpf"])?;
        Ok(Self)
    }
}

impl Drop for NoBpffs {
    fn drop(&mut self) {
        let _ = run("umount", &["/sys/fs/bpf"]);
        let _ = run("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"]);
    }
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_broken_policy_is_in_the_status() -> Tested {
    let _machine = Machine::new()?;
    fs::create_dir_all("/etc/guard/policies")?;
    fs::write(
        "/etc/guard/policies/bad.toml",
        "version = 1\nname = \"bad\"\ndefault = \"perhaps\"\n",
    )?;
    status_says("; the policy bad cannot be used")?;
    fs::remove_file("/etc/guard/policies/bad.toml")?;
    status_says("enforcing")?;
    Target::new()?.is_out_of_reach()?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn broken_settings_are_in_the_status_until_they_are_mended() -> Tested {
    let machine = Machine::new()?;
    let target = Target::new()?;
    machine.settings("max_requests = \"many\"\n")?;
    fails("systemctl", &["restart", "guardd.service"])?;
    status_says("the settings in /etc/guard/guardd.toml are wrong")?;
    // What was enforced before still is.
    target.is_out_of_reach()?;
    machine.settings("max_requests = 10\n")?;
    guard_lab::eventually("it starts by itself", || {
        Ok(state("guardd.service")? == "active")
    })?;
    target.is_out_of_reach()?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_full_disk_is_in_the_status() -> Tested {
    let _machine = Machine::without_guardd()?;
    let target = Target::new()?;
    let trail = "/var/log/guard";
    ok(
        "mount",
        &["-t", "tmpfs", "-o", "size=64k,mode=750", "tmpfs", trail],
    )?;
    fs::write(format!("{trail}/big"), vec![0_u8; 60 * 1024])?;
    run(
        "dd",
        &["if=/dev/zero", &format!("of={trail}/rest"), "bs=512"],
    )?;
    ok("systemctl", &["start", "guardd.socket"])?;
    run("systemctl", &["start", "guardd.service"])?;
    status_says("No space left on device")?;
    target.is_out_of_reach()?;
    fs::remove_file(format!("{trail}/rest"))?;
    fs::remove_file(format!("{trail}/big"))?;
    target.is_out_of_reach()?;
    status_says("enforcing")?;
    ok("systemctl", &["stop", "guardd.service"])?;
    ok("umount", &["--lazy", trail])?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_read_only_etc_is_no_obstacle() -> Tested {
    let _machine = Machine::without_guardd()?;
    ok("mount", &["--bind", "/etc", "/etc"])?;
    ok("mount", &["-o", "remount,ro,bind", "/etc"])?;
    let started = run("systemctl", &["start", "guardd.socket", "guardd.service"])?;
    ok("umount", &["--lazy", "/etc"])?;
    assert!(started.status.success());
    Target::new()?.is_out_of_reach()?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_missing_bpffs_is_mounted_where_everybody_sees_it() -> Tested {
    let _machine = Machine::without_guardd()?;
    let target = Target::new()?;
    ok("umount", &["/sys/fs/bpf"])?;
    ok("systemctl", &["start", "guardd.socket", "guardd.service"])?;
    ok("mountpoint", &["/sys/fs/bpf"])?;
    // The pins outlive guardd, so they are not in its own namespace.
    ok("systemctl", &["stop", "guardd.service"])?;
    assert!(fs::exists("/sys/fs/bpf/guard/live")?);
    target.is_out_of_reach()?;
    ok("systemctl", &["start", "guardd.service"])?;
    assert!(fs::read_to_string("/var/log/guard/audit.jsonl")?.contains("adopted"));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_bpffs_that_cannot_be_had_is_in_the_status() -> Tested {
    let _machine = Machine::without_guardd()?;
    let _bpffs = NoBpffs::new()?;
    run("systemctl", &["start", "guardd.service"])?;
    status_says("/sys/fs/bpf")?;
    no_unit_of_the_slice_starts()?;
    ok("systemctl", &["stop", "guardd.service"])?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_second_guardd_is_in_the_status_of_its_unit() -> Tested {
    let _machine = Machine::without_guardd()?;
    let first = Unit::new(
        "first-guardd.service",
        "[Service]\nType=notify\nExecStart=/usr/bin/guardd\n",
    )?;
    ok("systemctl", &["start", &first.name])?;
    run("systemctl", &["start", "guardd.service"])?;
    status_says("another guardd")?;
    no_unit_of_the_slice_starts()?;
    ok("systemctl", &["stop", "guardd.service"])?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_bpffs_that_is_unmounted_under_guardd_does_not_stop_enforcement() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    target.is_out_of_reach()?;
    run("umount", &["--lazy", "/sys/fs/bpf"])?;
    target.is_out_of_reach()?;
    ok("systemctl", &["restart", "guardd.service"])?;
    target.is_out_of_reach()?;
    assert!(ok("guard", &["status"])?.starts_with("Enforcing"));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_root_that_is_no_cgroup_v2_is_in_the_status() -> Tested {
    let _machine = Machine::without_guardd()?;
    let wrong = DropIn::new(
        "guardd.service",
        "[Service]\nExecStart=\nExecStart=/usr/bin/guardd --cgroup-root /run/guard/nowhere\n",
    )?;
    fails("systemctl", &["start", "guardd.service"])?;
    status_says("is not in a cgroup v2 hierarchy")?;
    no_unit_of_the_slice_starts()?;
    ok("systemctl", &["stop", "guardd.service"])?;
    drop(wrong);
    Ok(())
}

/// A kernel cannot be made older. One without bpf(2) can be had, as far as guardd sees, and one that says a lower number.
#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn an_old_kernel_and_one_without_bpf_are_in_the_status() -> Tested {
    let _machine = Machine::without_guardd()?;
    let target = Target::new()?;
    for (exec, said) in [
        ("/usr/bin/guardd", "Function not implemented"),
        (
            "/usr/bin/setarch --uname-2.6 -- /usr/bin/guardd",
            "Linux 6.1 or later is needed, and this is 2.6",
        ),
    ] {
        let lacking = DropIn::new(
            "guardd.service",
            &format!(
                "[Service]\nSystemCallFilter=\nSystemCallFilter=~bpf:ENOSYS\nLockPersonality=no\n\
                 ExecStart=\nExecStart={exec}\n"
            ),
        )?;
        fails("systemctl", &["start", "guardd.service"])?;
        status_says(said)?;
        no_unit_of_the_slice_starts()?;
        ok("systemctl", &["stop", "guardd.service"])?;
        drop(lacking);
    }
    ok("systemctl", &["start", "guardd.service"])?;
    status_says("enforcing")?;
    target.is_out_of_reach()?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_cgroup_that_somebody_removed_is_made_anew_before_a_unit_of_the_slice_starts() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    // It is not the end of guardd that brings it back.
    let later = DropIn::new("guardd.service", "[Service]\nRestartSec=1h\n")?;
    let before = show("guardd.service", "MainPID")?;
    ok("systemctl", &["kill", "--signal=STOP", "guardd.service"])?;
    fs::remove_dir(root()?.join("guardd"))?;
    fs::remove_dir(root()?)?;
    ok("systemctl", &["kill", "--signal=CONT", "guardd.service"])?;
    let is_gone = || Tested::Ok(show("guardd.service", "MainPID")? != before);
    guard_lab::eventually("guardd has noticed", is_gone)?;
    target.is_out_of_reach()?;
    status_says("enforcing")?;
    drop(later);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_of_the_slice_that_somebody_deleted_is_in_the_status() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    let unit = "/usr/lib/systemd/system/guard.slice";
    let kept = fs::read(unit)?;
    fs::remove_file(unit)?;
    ok("systemctl", &["daemon-reload"])?;
    status_says("; the unit guard.slice is gone")?;
    assert!(ok("guard", &["status"])?.contains("the unit guard.slice is gone"));
    // Whoever runs is enforced upon.
    target.is_out_of_reach()?;
    fs::write(unit, kept)?;
    ok("systemctl", &["daemon-reload"])?;
    let is_well = || Tested::Ok(!ok("guard", &["status"])?.contains("is gone"));
    guard_lab::eventually("it is there again", is_well)?;
    target.is_out_of_reach()?;
    Ok(())
}
