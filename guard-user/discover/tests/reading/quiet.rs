//! Nothing is run, looked up or connected to, whatever files say: under a filter of system calls that kills whoever does.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use super::*;

/// What is to be tried under the filter.
const TRY: &str = "GUARD_DISCOVER_TRY";

/// Files that have others run something, where they are read as their programs read them.
const FILES: [(&str, &str); 15] = [
    (
        "~/.kube/config",
        "clusters: [{name: a, cluster: {server: 'https://203.0.113.40:6443'}}]\ncontexts:\n- {name: prod, context: {cluster: a, user: b}}\nusers: [{name: b, user: {exec: {command: /bin/true, apiVersion: v1}}}]\n",
    ),
    (
        "~/.aws/config",
        "[profile live]\ncredential_process = /bin/true\nsso_start_url = https://sso.example.net\n",
    ),
    ("~/.aws/credentials", "[default]\naws_access_key_id = A\n"),
    (
        "~/.ssh/config",
        "Match exec \"/bin/true\"\nHost web\nHostName web.prod.example.net\nProxyCommand /bin/true\n",
    ),
    (
        "~/.bashrc",
        "export DATABASE_URL=$(/bin/true)\n. /bin/true\n",
    ),
    ("~/.pgpass", "db.example.net:5432:shop_live:u:word\n"),
    (
        ".git/config",
        "[core]\nfsmonitor = /bin/true\nsshCommand = /bin/true\n[credential]\nhelper = !/bin/true\n[remote \"production\"]\nurl = me@git.example.net:a\nuploadpack = /bin/true\n",
    ),
    (
        ".env",
        "A=$(/bin/true)\nB=`/bin/true`\nPROD_URL=postgres://a:word@db.example.org/a\n",
    ),
    (".envrc", "export C=$(/bin/true)\nsource_env /bin/true\n"),
    (
        "Makefile",
        "X := $(shell /bin/true)\ndeploy:\n\tssh me@203.0.113.9\n",
    ),
    ("hosts", "#!/bin/true\n[web]\nweb.example.org\n"),
    (
        "main.tf",
        "data \"external\" \"a\" {\n  program = [\"/bin/true\"]\n}\n",
    ),
    (
        ".mcp.json",
        "{\"mcpServers\": {\"a\": {\"command\": \"/bin/true\", \"args\": [\"redis://:word@cache.example.net\"]}}}",
    ),
    (
        ".claude/settings.json",
        "{\"apiKeyHelper\": \"/bin/true\", \"env\": {\"API_URL\": \"https://api.prod.example.net\"}}",
    ),
    (
        "~/.docker/contexts/meta/0/meta.json",
        "{\"Name\": \"prod\", \"Endpoints\": {\"docker\": {\"Host\": \"ssh://me@swarm.example.net\"}}}",
    ),
];

fn filter(calls: BTreeMap<i64, Vec<SeccompRule>>, action: SeccompAction) -> Tested<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, action, arch)?;
    Ok(filter.try_into()?)
}

/// From then on this thread, and what comes from it, starts no program or process and has no socket.
fn keep_to_itself() -> Tested {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    // What a thread is made by cannot be told from what a process is made by: the older call says it.
    let newer = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    apply_filter(&filter(
        newer,
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
    )?)?;
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let is_process = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(thread),
        0,
    )?;
    let mut calls = BTreeMap::from([
        (libc::SYS_clone, vec![SeccompRule::new(vec![is_process])?]),
        (libc::SYS_execve, vec![]),
        (libc::SYS_execveat, vec![]),
        (libc::SYS_io_uring_setup, vec![]),
        (libc::SYS_socket, vec![]),
        (libc::SYS_socketpair, vec![]),
    ]);
    #[cfg(target_arch = "x86_64")]
    calls.extend([(libc::SYS_fork, vec![]), (libc::SYS_vfork, vec![])]);
    apply_filter(&filter(calls, SeccompAction::KillProcess)?)?;
    Ok(())
}

#[test]
#[ignore = "the test below has it run, in a process of its own"]
fn tried() -> Tested {
    match std::env::var(TRY)?.as_str() {
        "look" => return looked(),
        what => {
            keep_to_itself()?;
            match what {
                "run" => _ = Command::new("/bin/true").status(),
                "connect" => _ = TcpStream::connect("127.0.0.1:1"),
                _ => _ = ("db.example.invalid", 1).to_socket_addrs(),
            }
        }
    }
    Ok(())
}

/// Looks under the filter, and finds what is there.
fn looked() -> Tested {
    let mut scene = Scene::new()?;
    for (path, text) in FILES {
        scene = scene.with(path, text)?;
    }
    keep_to_itself()?;
    let found = scene.look()?;
    let read = passed_over(&found);
    let hosts: Vec<_> = found.findings.iter().map(|one| one.host.as_str()).collect();
    for host in [
        "203.0.113.40",
        "203.0.113.9",
        "api.prod.example.net",
        "cache.example.net",
        "db.example.net",
        "db.example.org",
        "git.example.net",
        "sts.amazonaws.com",
        "swarm.example.net",
        "web.prod.example.net",
    ] {
        assert!(hosts.contains(&host), "{host}: {hosts:?} {read:?}");
    }
    Ok(())
}

#[test]
fn nothing_is_run_and_nothing_is_connected_to() -> Tested {
    for (what, ends_well) in [
        ("run", false),
        ("connect", false),
        ("look up", false),
        ("look", true),
    ] {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["quiet::tried", "--exact", "--ignored", "--nocapture"]);
        let output = child.env(TRY, what).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = format!("{what}: {said} {}", String::from_utf8_lossy(&output.stdout));
        if ends_well {
            assert!(output.status.success(), "{said}")
        } else {
            assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{said}")
        }
    }
    Ok(())
}
