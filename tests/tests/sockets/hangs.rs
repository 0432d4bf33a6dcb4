//! Whoever has a look at its processes take long waits alone.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use guard_lab::{Tested, eventually, exec};

use super::scene::{UnixSockets, said};

const PROGRAM: &str = include_str!("hangs.py");

/// A device for file systems of one's own, as most distributions let everybody open it.
fn device(scene: &UnixSockets) -> Tested<Option<String>> {
    let supported = || -> Tested<_> {
        let known = fs::read_to_string("/proc/filesystems")?;
        Ok(known.split_whitespace().any(|one| one == "fuse"))
    };
    if !supported()? {
        let _ = Command::new("modprobe").arg("fuse").output();
    }
    let device = scene.place("fuse")?;
    let mut made = Command::new("mknod");
    made.args(["-m", "666", &device, "c", "10", "229"]);
    let made = exec::output(&mut made)?;
    Ok((supported()? && made.status.success()).then_some(device))
}

/// Whether guardd waits for what it reads of another process' memory.
fn is_reading(scene: &UnixSockets) -> Tested<bool> {
    let guardd = scene.daemon.pid().unwrap();
    let threads = fs::read_dir(format!("/proc/{guardd}/task"))?;
    let reads = format!("{} ", libc::SYS_process_vm_readv);
    let mut threads = threads.flatten();
    Ok(threads.any(|thread| {
        let call = fs::read_to_string(thread.path().join("syscall"));
        call.is_ok_and(|call| call.starts_with(&reads))
    }))
}

#[test]
fn an_address_that_nobody_can_read_keeps_nobody_else_waiting() -> Tested {
    let scene = UnixSockets::new()?;
    let Some(device) = device(&scene)?.filter(|_| !scene.kernel_judges().unwrap()) else {
        eprintln!("this kernel has no FUSE, or asks nobody where programs connect");
        return Ok(());
    };
    let (program, point) = (scene.place("hangs.py")?, scene.place("point")?);
    fs::write(&program, PROGRAM)?;
    fs::create_dir(&point)?;
    fs::set_permissions(&point, Permissions::from_mode(0o777))?;
    let mut other = scene.shell()?;
    let own = scene.place("own")?;
    other.tell(&scene.line(&format!("serve_secret {own} &"))?)?;
    other.line_with("listening")?;

    let mut shell = scene.shell()?;
    for _ in 0..6 {
        let hangs = format!("/usr/bin/python3 {program} {device} {point} &");
        shell.tell(&hangs)?;
        shell.line_with("read")?;
    }
    eventually("guardd reads", || is_reading(&scene))?;
    scene.daemon.ask(["status"])?.success()?;
    for verb in ["connect", "secret"] {
        let words = format!("{verb} {own}");
        assert_eq!(scene.inside(&mut other, &words)?, "ok hi", "{words}");
    }
    // In the end guardd gives up, and whoever asks is told.
    let guard = scene.daemon.program("guard")?;
    let why = format!("{} why", guard.display());
    eventually("it is told", || {
        Ok(said(&mut shell, &why)?.contains("it could not be told where"))
    })?;
    let stopped = scene.daemon.ask(["stop", shell.session()])?;
    stopped.success()?;
    Ok(())
}
