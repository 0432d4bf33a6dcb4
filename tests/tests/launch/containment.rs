//! What is taken away from the command.

use guard_lab::Tested;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::launch::bench::{Bench, UID, USER, content, text, wait_until};

#[test]
fn nothing_privileged_is_left() -> Tested {
    let bench = Bench::new()?;
    let status = text(&bench.script("cat /proc/self/status")?)?;
    let has = |line: &str| assert!(status.lines().any(|is| is == line), "{line} in {status}");
    has(&format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}"));
    has(&format!("Gid:\t{UID}\t{UID}\t{UID}\t{UID}"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        has(&format!("{set}:\t0000000000000000"));
    }
    has("NoNewPrivs:\t1");
    has("Seccomp:\t2");
    let groups = text(&bench.script("id -G")?)?;
    assert_eq!(groups.trim(), UID, "root's groups are gone");
    Ok(())
}

#[test]
fn an_ordinary_caller_keeps_no_capability_either() -> Tested {
    let bench = Bench::new()?;
    let caller = |command: &[&str]| {
        let mut setpriv = bench.command("setpriv");
        setpriv.args(["--reuid", UID, "--regid", UID, "--clear-groups"]);
        setpriv.args(["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]);
        setpriv.args(command);
        text(&setpriv.output()?)
    };
    let look = ["grep", "CapEff", "/proc/self/status"];
    let before = caller(&look)?;
    assert_eq!(before.trim(), "CapEff:\t0000000000002000");
    let run = ["./probe", "run", "--"];
    let inside = caller(&[&run[..], &look].concat())?;
    assert_eq!(inside.trim(), "CapEff:\t0000000000000000");
    let user = caller(&[&run[..], &["id", "-u"]].concat())?;
    assert_eq!(user.trim(), UID);
    Ok(())
}

#[test]
fn inherited_descriptors_are_closed() -> Tested {
    let bench = Bench::new()?;
    let listing = |command: &str| {
        let script = format!("exec 7</etc/passwd 300</etc/passwd; exec {command}");
        let mut bash = bench.command("bash");
        text(&bash.args(["-c", &script]).output()?)
    };
    let outside = listing("ls /proc/self/fd")?;
    assert!(outside.contains("7\n") && outside.contains("300\n"));
    let run = format!("./probe run --user {USER} -- ls /proc/self/fd");
    // The last one is the directory that ls itself reads.
    assert_eq!(listing(&run)?, "0\n1\n2\n3\n");
    Ok(())
}

#[test]
fn a_network_socket_for_input_is_refused() -> Tested {
    let bench = Bench::new()?;
    let made = bench.path("made");
    let run = |input: OwnedFd| {
        let mut run = bench.run(&["--user", USER]);
        run.arg("touch").arg(&made).stdin(Stdio::from(input));
        run.output().unwrap()
    };
    let server = TcpListener::bind("127.0.0.1:0")?;
    let socket = TcpStream::connect(server.local_addr()?)?;
    let refused = run(socket.into());
    assert_eq!(refused.status.code(), Some(125));
    let said = String::from_utf8(refused.stderr)?;
    assert!(
        said.contains("standard input is a network socket"),
        "{said}"
    );
    let nothing = rustix::event::EventfdFlags::empty();
    let refused = run(rustix::event::eventfd(0, nothing)?);
    assert_eq!(refused.status.code(), Some(125));
    let said = String::from_utf8(refused.stderr)?;
    assert!(said.contains("standard input is a kernel object"), "{said}");
    assert!(!made.exists());
    let (unix, _other) = UnixStream::pair()?;
    assert!(run(unix.into()).status.success());
    assert!(made.exists());
    Ok(())
}

#[test]
fn the_parent_is_closed_to_processes_of_the_same_user() -> Tested {
    let bench = Bench::new()?;
    let mut setpriv = bench.command("setpriv");
    setpriv.args(["--reuid", UID, "--regid", UID, "--clear-groups"]);
    setpriv.args([
        "./probe",
        "run",
        "--",
        "sh",
        "-c",
        "echo $$ > pid; sleep 60",
    ]);
    let mut guard = setpriv.spawn()?;
    wait_until("pid", || content(&bench.path("pid")).ends_with('\n'));
    // /proc/PID belongs to root where the process can be traced by root only.
    let owner = |pid: &str| {
        fs::metadata(format!("/proc/{pid}/fd"))
            .unwrap()
            .uid()
            .to_string()
    };
    assert_eq!(owner(content(&bench.path("pid")).trim()), UID);
    assert_eq!(owner(&guard.id().to_string()), "0");
    guard.kill()?;
    guard.wait()?;
    Ok(())
}
