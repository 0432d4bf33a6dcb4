//! Unix sockets: a session reaches its own, whatever their names, and nobody else's.

mod hangs;
mod keys;
mod scene;

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::Stdio,
};

use guard_lab::{AGENT, ALLOWS_NAMED, Json as _, Shell, Tested, eventually};
use guard_launch::landlock::has_scopes;
use scene::{APART, UnixSockets, said};

#[test]
fn listeners_outside_are_out_of_reach_of_every_kind() -> Tested {
    let scene = UnixSockets::new()?;
    let mut shell = scene.shell()?;
    for (name, kind) in [
        ("stream", "stream"),
        ("datagrams", "dgram"),
        ("packets", "seqpacket"),
        ("@stream", "stream"),
        ("@datagrams", "dgram"),
    ] {
        let mut outside = scene.listens(name, kind)?;
        let words = format!("connect {} {kind}", outside.name);
        assert_eq!(scene.inside(&mut shell, &words)?, "EPERM", "{words}");
        if kind == "dgram" {
            let send = format!("sendto {}", outside.name);
            assert_eq!(scene.inside(&mut shell, &send)?, "EPERM", "{send}");
        }
        // Without the guard it answers, and nobody came before.
        assert!(scene.outside(&words)?.starts_with("ok"), "{words}");
        assert!(outside.is_first()?, "{words}");
    }
    Ok(())
}

#[test]
fn a_sessions_own_sockets_work_under_every_name() -> Tested {
    let scene = UnixSockets::new()?;
    let mut shell = scene.shell()?;
    let own = scene.place("own")?;
    shell.tell(&scene.line(&format!("serve {own} &"))?)?;
    shell.line_with("listening")?;
    let (link, moved) = (scene.place("link")?, scene.place("moved")?);
    let mut reaches = |words: &str| -> Tested {
        let found = scene.inside(&mut shell, words)?;
        assert!(found.starts_with("ok"), "{words}: {found}");
        Ok(())
    };
    reaches(&format!("connect {own}"))?;
    reaches(&format!("nonblocking {own}"))?;
    std::os::unix::fs::symlink(&own, &link)?;
    reaches(&format!("connect {link}"))?;
    fs::rename(&own, &moved)?;
    reaches(&format!("connect {moved}"))?;
    let abstract_name = format!("@{}-own", scene.daemon.tag().name());
    reaches(&format!("loop {abstract_name}"))?;
    reaches(&format!("loop {}", scene.place("loop")?))?;
    let many = scene.inside(&mut shell, &format!("threads {moved}"))?;
    assert!(many.starts_with("all 320 of 320"), "{many}");
    let dir = scene.place("")?;
    let relative = said(
        &mut shell,
        &format!("cd {dir} && {}", scene.line("connect moved")?),
    )?;
    assert_eq!(relative, "ok hi");
    let by_descriptor = format!(
        "exec 9< {dir} && {}",
        scene.line("connect /proc/self/fd/9/moved")?
    );
    assert_eq!(said(&mut shell, &by_descriptor)?, "ok hi");
    // What fails, fails as it does without the guard.
    for (name, error) in [("absent", "ENOENT"), ("sockets.py", "ECONNREFUSED")] {
        let words = format!("connect {}", scene.place(name)?);
        assert_eq!(scene.inside(&mut shell, &words)?, error);
        assert_eq!(scene.outside(&words)?, error);
    }
    Ok(())
}

#[test]
fn a_session_that_root_starts_for_a_user_reaches_its_own_and_nobody_elses() -> Tested {
    let scene = UnixSockets::new()?;
    let mut outside = scene.listens("outside", "stream")?;
    // As under sudo: the user need not be listed.
    let agent = AGENT.to_string();
    let run = scene.daemon.root(["run", "--policy", "open"]);
    let run = run.env("SUDO_UID", &agent).env("SUDO_GID", &agent);
    let mut shell = Shell::run_by(&scene.daemon, run)?;
    let own = scene.place("own")?;
    shell.tell(&scene.line(&format!("serve {own} &"))?)?;
    shell.line_with("listening")?;
    let to_own = format!("connect {own}");
    assert_eq!(scene.inside(&mut shell, &to_own)?, "ok hi");
    let to_outside = format!("connect {}", outside.name);
    assert_eq!(scene.inside(&mut shell, &to_outside)?, "EPERM");
    assert_eq!(scene.outside(&to_outside)?, "ok hi");
    assert!(outside.is_first()?);
    Ok(())
}

#[test]
fn a_program_that_may_not_be_looked_at_reaches_what_others_reach() -> Tested {
    let scene = UnixSockets::new()?;
    let mut outside = scene.listens("outside", "stream")?;
    let allowed = scene.listens("allowed", "stream")?;
    let policy = scene.place("policy.toml")?;
    let text = format!("{ALLOWS_NAMED}\n[unix]\nallow = [\"{}\"]\n", allowed.name);
    fs::write(&policy, text)?;
    let run = scene.daemon.agent(["run", "--policy", &policy]);
    let mut shell = Shell::run_by(&scene.daemon, run)?;
    let own = scene.place("own")?;
    shell.tell(&scene.line(&format!("serve {own} &"))?)?;
    shell.line_with("listening")?;
    for (name, found) in [
        (&own, "ok hi"),
        (&allowed.name, "ok hi"),
        (&outside.name, "EPERM"),
        (&scene.place("absent")?, "ENOENT"),
    ] {
        for verb in ["connect", "secret"] {
            let words = format!("{verb} {name}");
            assert_eq!(scene.inside(&mut shell, &words)?, found, "{words}");
        }
    }
    let packets = scene.place("packets")?;
    let serve = scene.line(&format!("serve {packets} seqpacket &"))?;
    shell.tell(&serve)?;
    shell.line_with("listening")?;
    let words = format!("secret {packets} seqpacket");
    assert_eq!(scene.inside(&mut shell, &words)?, "ok hi");
    // What is about no Unix socket is the kernel's to judge, as ever.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let words = format!("secret_tcp {port}");
    assert_eq!(scene.inside(&mut shell, &words)?, "ok tcp");
    let words = format!("secret {}", outside.name);
    assert_eq!(scene.outside(&words)?, "ok hi");
    assert!(outside.is_first()?);
    Ok(())
}

#[test]
fn a_server_that_may_not_be_looked_at_serves_its_session_and_no_other() -> Tested {
    let scene = UnixSockets::new()?;
    let (mut shell, mut other) = (scene.shell()?, scene.shell()?);
    let own = scene.place("own")?;
    // As ssh-agent and gpg-agent are.
    shell.tell(&scene.line(&format!("serve_secret {own} &"))?)?;
    shell.line_with("listening")?;
    for verb in ["connect", "secret"] {
        let words = format!("{verb} {own}");
        assert_eq!(scene.inside(&mut other, &words)?, "EPERM", "{words}");
        assert_eq!(scene.inside(&mut shell, &words)?, "ok hi", "{words}");
        assert_eq!(scene.outside(&words)?, "ok hi", "{words}");
    }
    Ok(())
}

/// As builds and browsers make them. A path leads across, where a name does not.
#[test]
fn a_sessions_own_sockets_work_in_network_namespaces_of_its_own() -> Tested {
    let scene = UnixSockets::new()?;
    let (mut shell, mut other) = (scene.shell()?, scene.shell()?);
    let mut outside = scene.listens("outside", "stream")?;
    let mut outside_apart = scene.listens_apart("outside-apart")?;
    let serve = |shell: &mut Shell, apart: &str, words: &str| -> Tested {
        let line = format!("{apart} {} &", scene.line(words)?);
        shell.tell(&line)?;
        shell.line_with("listening")?;
        Ok(())
    };
    let [here, apart, secret, datagrams] =
        ["here", "apart", "secret", "datagrams"].map(|name| scene.place(name).unwrap());
    serve(&mut shell, "", &format!("serve {here}"))?;
    serve(&mut shell, APART, &format!("serve {apart}"))?;
    serve(&mut shell, APART, &format!("serve_secret {secret}"))?;
    serve(&mut shell, APART, &format!("serve {datagrams} dgram"))?;
    // Somebody of the other session is apart, too.
    let others = scene.place("others")?;
    serve(&mut other, APART, &format!("serve {others}"))?;
    for (words, found) in [
        (format!("connect {here}"), "ok hi"),
        (format!("connect {apart}"), "ok hi"),
        (format!("secret {apart}"), "ok hi"),
        (format!("connect {secret}"), "ok hi"),
        (format!("connect {datagrams} dgram"), "ok sent"),
    ] {
        assert_eq!(scene.outside(&words)?, found, "{words}");
        for from in ["", APART] {
            let line = format!("{from} {}", scene.line(&words)?);
            assert_eq!(said(&mut shell, &line)?, found, "{from} {words}");
            let refused = said(&mut other, &line)?;
            assert!(!refused.starts_with("ok"), "{from} {words}: {refused}");
        }
    }
    for name in [&outside.name, &outside_apart.name, &others] {
        let words = format!("connect {name}");
        for from in ["", APART] {
            let line = format!("{from} {}", scene.line(&words)?);
            let refused = said(&mut shell, &line)?;
            assert!(!refused.starts_with("ok"), "{from} {words}: {refused}");
        }
        assert_eq!(scene.outside(&words)?, "ok hi", "{words}");
    }
    assert!(outside.is_first()? && outside_apart.is_first()?);
    // Nobody listens there any more, as without the guard.
    let gone = scene.place("gone")?;
    drop(std::os::unix::net::UnixListener::bind(&gone)?);
    fs::set_permissions(&gone, fs::Permissions::from_mode(0o777))?;
    let words = format!("connect {gone}");
    assert_eq!(scene.inside(&mut shell, &words)?, "ECONNREFUSED");
    assert_eq!(scene.outside(&words)?, "ECONNREFUSED");
    Ok(())
}

#[test]
fn a_name_or_an_address_that_changes_meanwhile_gains_nothing() -> Tested {
    let scene = UnixSockets::new()?;
    let mut outside = scene.listens("outside", "stream")?;
    let mut shell = scene.shell()?;
    let own = scene.place("own")?;
    let serve = scene.line(&format!("serve {own}"))?;
    shell.tell(&format!("{serve} > {own}.seen &"))?;
    eventually("it listens", || fs::metadata(&own).is_ok())?;
    let words = format!("swap {} {own} {}", outside.name, scene.place("link")?);
    let swapped = scene.inside(&mut shell, &words)?;
    assert!(
        swapped.contains("'ok hi'") && swapped.contains("'EPERM'"),
        "{swapped}"
    );
    let words = format!("rewrite {} {own}", outside.name);
    let rewritten = scene.inside(&mut shell, &words)?;
    assert!(rewritten.starts_with("rewritten "), "{rewritten}");
    assert_ne!(rewritten, "rewritten 0");
    let words = format!("connect {}", outside.name);
    assert_eq!(scene.outside(&words)?, "ok hi");
    assert!(outside.is_first()?);
    Ok(())
}

#[test]
fn a_policy_lets_a_session_connect_to_what_was_there() -> Tested {
    let scene = UnixSockets::new()?;
    let (allowed, other) = (
        scene.listens("agent-1", "stream")?,
        scene.listens("x", "stream")?,
    );
    let keys = scene.listens("keys", "stream")?;
    let pattern = scene.place("agent-*")?;
    let policy = format!("{ALLOWS_NAMED}\n[unix]\nallow = [\"{pattern}\", \"ssh-agent\"]\n");
    let file = scene.place("policy.toml")?;
    fs::write(&file, policy)?;
    let run = scene.daemon.agent(["run", "--policy", &file]);
    let run = run.env("SSH_AUTH_SOCK", &keys.name);
    let mut shell = Shell::run_by(&scene.daemon, run)?;
    for (name, said) in [
        (&allowed.name, "ok hi"),
        (&keys.name, "ok hi"),
        (&other.name, "EPERM"),
    ] {
        assert_eq!(scene.inside(&mut shell, &format!("connect {name}"))?, said);
    }
    // Another that gets an allowed name is none of those that were there, be it new or moved there.
    let late = scene.listens("agent-2", "stream")?;
    fs::rename(&other.name, &allowed.name)?;
    for name in [&late.name, &allowed.name] {
        let words = format!("connect {name}");
        assert_eq!(scene.inside(&mut shell, &words)?, "EPERM");
        assert_eq!(scene.outside(&words)?, "ok hi");
    }
    Ok(())
}

/// As a policy of root's for a command of another user's, in a directory where that user may plant links.
#[test]
fn what_the_commands_user_cannot_find_under_a_name_is_not_allowed_by_it() -> Tested {
    let scene = UnixSockets::new()?;
    let [allowed, closed] =
        ["allowed", "closed"].map(|name| scene.listens(name, "stream").unwrap());
    let dir = scene.place("roots")?;
    fs::create_dir(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    let (inner, link) = (format!("{dir}/socket"), scene.place("link")?);
    fs::hard_link(&closed.name, &inner)?;
    std::os::unix::fs::symlink(&inner, &link)?;
    let policy = format!(
        "{ALLOWS_NAMED}\n[unix]\nallow = [\"{}\", \"{link}\"]\n",
        allowed.name
    );
    let file = scene.place("policy.toml")?;
    fs::write(&file, policy)?;
    let agent = AGENT.to_string();
    let run = scene.daemon.root(["run", "--policy", &file]);
    let run = run.env("SUDO_UID", &agent).env("SUDO_GID", &agent);
    let mut shell = Shell::run_by(&scene.daemon, run)?;
    for (name, found) in [(&allowed.name, "ok hi"), (&closed.name, "EPERM")] {
        let words = format!("connect {name}");
        assert_eq!(scene.inside(&mut shell, &words)?, found);
        assert_eq!(scene.outside(&words)?, "ok hi");
    }
    Ok(())
}

#[test]
fn an_abstract_name_that_the_policy_allows_is_reached_and_no_other() -> Tested {
    let scene = UnixSockets::new()?;
    let [allowed, other] =
        ["@allowed", "@other"].map(|name| scene.listens(name, "stream").unwrap());
    let policy = format!("{ALLOWS_NAMED}\n[unix]\nallow = [\"{}\"]\n", allowed.name);
    let file = scene.place("policy.toml")?;
    fs::write(&file, policy)?;
    let run = scene.daemon.agent(["run", "--policy", &file]);
    let mut shell = Shell::run_by(&scene.daemon, run)?;
    for (name, found) in [(&allowed.name, "ok hi"), (&other.name, "EPERM")] {
        let words = format!("connect {name}");
        assert_eq!(scene.inside(&mut shell, &words)?, found);
        assert_eq!(scene.outside(&words)?, "ok hi");
    }
    Ok(())
}

#[test]
fn what_is_mounted_over_a_harmless_name_is_not_harmless() -> Tested {
    let scene = UnixSockets::new()?;
    let mut outside = scene.listens("outside", "stream")?;
    let mut shell = scene.shell()?;
    let control = scene.daemon.socket().display().to_string();
    let mounted = format!(
        "unshare --user --map-root-user --mount sh -c 'mount --bind {} {control} && {}'",
        outside.name,
        scene.line(&format!("connect {control}"))?
    );
    let found = said(&mut shell, &mounted)?;
    // Where Landlock scopes nothing, its domain keeps the session from mounting at all.
    if has_scopes() {
        assert_eq!(found, "EPERM")
    } else {
        assert!(found.starts_with("unshare: cannot change root"), "{found}")
    }
    let mut unguarded = scene.daemon.on_machine(AGENT, "sh");
    let found = unguarded.args(["-c", &mounted]).output()?;
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "ok hi");
    assert!(outside.is_first()?);
    Ok(())
}

#[test]
fn a_socket_that_was_made_outside_is_judged_by_who_connects_it() -> Tested {
    let scene = UnixSockets::new()?;
    let mut outside = scene.listens("outside", "stream")?;
    let words = format!("stdin {}", outside.name);
    let connects = |guarded: bool| -> Tested<_> {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let line = scene.line(&words)?;
        let run = [
            "run", "--policy", "open", "--quiet", "--", "sh", "-c", &line,
        ];
        let mut command = if guarded {
            scene.daemon.agent(run).command()?
        } else {
            let mut command = scene.daemon.on_machine(AGENT, "sh");
            command.args(["-c", &line]);
            command
        };
        let socket = std::os::fd::OwnedFd::from(socket?);
        let done = command.stdin(Stdio::from(socket)).output()?;
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    };
    assert_eq!(connects(true)?, "EPERM");
    assert_eq!(connects(false)?, "ok hi");
    assert!(outside.is_first()?);
    Ok(())
}

#[test]
fn network_sockets_that_are_handed_in_serve_nobody() -> Tested {
    let scene = UnixSockets::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let mut shell = scene.shell()?;
    let inside = scene.place("inside")?;
    let take = scene.line(&format!("take {inside} {port} &"))?;
    shell.tell(&take)?;
    shell.line_with("listening")?;
    assert_eq!(scene.outside(&format!("give {inside}"))?, "given");
    let took = shell.line_with("took")?;
    if scene.kernel_judges()? {
        assert_eq!(took.trim(), "took none")
    } else {
        assert_eq!(took.trim(), "took EPERM EPERM")
    }
    // What the session makes itself reaches the same place; and outside so does what is handed over.
    let own =
        "import socket; print('own', socket.create_connection(('127.0.0.1', int('PORT'))) and 1)";
    let own = format!("python3 -c \"{}\"", own.replace("PORT", &port.to_string()));
    assert_eq!(said(&mut shell, &own)?, "own 1");
    let outside = scene.place("outside")?;
    let (take, give) = (
        scene.line(&format!("take {outside} {port}"))?,
        scene.line(&format!("give {outside}"))?,
    );
    let mut unguarded = scene.daemon.on_machine(AGENT, "sh");
    let line = both(&take, &outside, &give);
    let done = unguarded.args(["-c", &line]).output()?;
    let said = String::from_utf8(done.stdout)?;
    assert_eq!(said.lines().last(), Some("took ok tcp ok udp 1"), "{said}");
    Ok(())
}

#[test]
fn a_connection_that_is_handed_in_does_not_arrive_where_the_kernel_judges_that() -> Tested {
    let scene = UnixSockets::new()?;
    if !scene.kernel_judges()? {
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    let mut shell = scene.shell()?;
    for (name, what, took) in [
        ("tcp", port.as_str(), "took"),
        // What is no way to anywhere comes in as ever.
        ("unix", "unix", "took ok sent 1"),
    ] {
        let at = scene.place(name)?;
        let take = scene.line(&format!("take_connected {at} &"))?;
        shell.tell(&take)?;
        shell.line_with("listening")?;
        let give = format!("give_connected {at} {what}");
        assert_eq!(scene.outside(&give)?, "given");
        assert_eq!(shell.line_with("took")?.trim(), took);
    }
    let (at, again) = (scene.place("outside")?, scene.place("again")?);
    let line = both(
        &scene.line(&format!("take_connected {at}"))?,
        &at,
        &scene.line(&format!("give_connected {at} {port}"))?,
    );
    let mut unguarded = scene.daemon.on_machine(AGENT, "sh");
    let done = unguarded.args(["-c", &line]).output()?;
    let words = String::from_utf8(done.stdout)?;
    assert_eq!(words.lines().last(), Some("took ok sent 1"), "{words}");
    // Its own it may hand about.
    let line = both(
        &scene.line(&format!("take_connected {again}"))?,
        &again,
        &scene.line(&format!("give_connected {again} {port}"))?,
    );
    shell.tell(&line)?;
    let took = shell.line_with("took")?;
    let guard = scene.daemon.program("guard")?;
    let told = said(&mut shell, &format!("{} why", guard.display()))?;
    assert_eq!(took.trim(), "took ok sent 1", "{told}");
    assert!(told.contains("handed a socket made outside"), "{told}");
    Ok(())
}

#[test]
fn processes_outside_get_no_signal_where_the_kernel_judges_that() -> Tested {
    let scene = UnixSockets::new()?;
    if !scene.kernel_judges()? {
        return Ok(());
    }
    let mut shell = scene.shell()?;
    let mut sleep = scene.daemon.on_machine(AGENT, "sleep");
    let mut outside = sleep.arg("60").spawn()?;
    let words = format!("signal {}", outside.id());
    assert_eq!(scene.inside(&mut shell, &words)?, "EPERM EPERM");
    assert!(outside.try_wait()?.is_none());
    // Where Landlock scopes signals it is asked first, and tells nobody.
    if !has_scopes() {
        let guard = scene.daemon.program("guard")?;
        let told = said(&mut shell, &format!("{} why", guard.display()))?;
        assert!(
            told.contains(&format!("signal process {}", outside.id())),
            "{told}"
        );
    }
    assert!(scene.outside(&words)?.starts_with("ok sent"));
    assert!(!outside.wait()?.success());
    // Its own it may, and those of a session inside it. What is left would be waited for at the end.
    let own = format!("sleep 60 & {}; kill $!", scene.line("signal $! 0")?);
    assert_eq!(said(&mut shell, &own)?, "ok sent ok sent");
    let policy = scene.place("inner.toml")?;
    fs::write(&policy, ALLOWS_NAMED.replace("open", "inner"))?;
    let guard = scene.daemon.program("guard")?;
    let file = scene.place("pid")?;
    let within = format!(
        "{} run --quiet --policy {policy} -- sh -c 'echo $$ > {file}; exec sleep 60' & \
         until test -s {file}; do sleep 0.1; done; {}; kill $!",
        guard.display(),
        scene.line(&format!("signal $(cat {file}) 0"))?,
    );
    assert_eq!(said(&mut shell, &within)?, "ok sent ok sent");
    Ok(())
}

/// There is one listener in a chain of filters, and where the kernel does not judge it is the guard's.
#[test]
fn who_supervises_by_seccomp_cannot_where_the_guard_does() -> Tested {
    let scene = UnixSockets::new()?;
    assert_eq!(scene.outside("supervise")?, "ok listens");
    let mut shell = scene.shell()?;
    let wanted = if scene.kernel_judges()? {
        "ok listens"
    } else {
        "EBUSY"
    };
    assert_eq!(scene.inside(&mut shell, "supervise")?, wanted);
    Ok(())
}

/// As docs/use.md has it: what guard does by itself it does there, but for what takes a supervisor of its own.
#[test]
fn guard_starts_inside_of_who_supervises_by_seccomp() -> Tested {
    let scene = UnixSockets::new()?;
    let shut = "version = 1\nname = \"shut\"\ndefault = \"deny\"\n";
    scene.daemon.write_policy("shut", shut)?;
    let guard = scene.daemon.program("guard")?;
    let control = scene.daemon.socket().display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let mut outside = scene.listens("outside", "stream")?;
    let own = scene.line(&format!("loop {}", scene.place("own")?))?;
    let own_by_guard = if scene.kernel_judges()? {
        "ok hi"
    } else {
        "EPERM"
    };
    for (policy, command, found) in [
        ("open", scene.line(&format!("secret_tcp {port}"))?, "ok tcp"),
        ("shut", scene.line(&format!("secret_tcp {port}"))?, "EPERM"),
        (
            "open",
            scene.line(&format!("connect {}", outside.name))?,
            "EPERM",
        ),
        ("open", own, own_by_guard),
    ] {
        let run = format!(
            "supervise {} --socket {control} run --quiet --policy {policy} -- {command}",
            guard.display()
        );
        assert_eq!(scene.outside(&run)?, found, "{run}");
    }
    let words = format!(
        "supervise {}",
        scene.line(&format!("connect {}", outside.name))?
    );
    assert_eq!(scene.outside(&words)?, "ok hi");
    assert!(outside.is_first()?);
    Ok(())
}

#[test]
fn a_session_inside_a_session_reaches_its_own_only() -> Tested {
    let scene = UnixSockets::new()?;
    let mut shell = scene.shell()?;
    let (outer, inner) = (scene.place("outer")?, scene.place("inner")?);
    let serve = scene.line(&format!("serve {outer} &"))?;
    shell.tell(&serve)?;
    shell.line_with("listening")?;
    let policy = scene.place("inner.toml")?;
    fs::write(&policy, ALLOWS_NAMED.replace("open", "inner"))?;
    let guard = scene.daemon.program("guard")?;
    let connects = |name: &str| {
        let all = ["connect", "secret"].map(|verb| scene.line(&format!("{verb} {name}")).unwrap());
        all.join("; ")
    };
    let within = format!(
        "{} run --quiet --policy {policy} -- sh -c '{}; {} > {inner}.said & until grep -qs listening {inner}.said; do sleep 0.1; done; {}; kill $!'",
        guard.display(),
        connects(&outer),
        scene.line(&format!("serve {inner}"))?,
        connects(&inner),
    );
    assert_eq!(said(&mut shell, &within)?, "EPERM EPERM ok hi ok hi");
    let words = format!("connect {outer}");
    assert_eq!(scene.inside(&mut shell, &words)?, "ok hi");
    Ok(())
}

#[test]
fn whoever_was_refused_is_told_why_and_it_is_written_down() -> Tested {
    let scene = UnixSockets::new()?;
    let outside = scene.listens("outside", "stream")?;
    let mut shell = scene.shell()?;
    let words = format!("connect {}", outside.name);
    assert_eq!(scene.inside(&mut shell, &words)?, "EPERM");
    let guard = scene.daemon.program("guard")?;
    let why = format!("{} why", guard.display());
    eventually("it is told", || {
        Ok(said(&mut shell, &why)?.contains(&outside.name))
    })?;
    let told = said(&mut shell, &why)?;
    assert!(told.contains("listens at"), "{told}");
    assert!(told.contains("under [unix]"), "{told}");
    let log = scene.daemon.root(["log", "--json"]).run()?;
    let records = log.json_lines()?;
    let denied = records.iter().find(|one| one["kind"] == "denied").unwrap();
    assert_eq!(denied["destination"]["address"], outside.name.as_str());
    assert_eq!(denied["destination"]["protocol"], "unix");
    assert_eq!(denied["session"], shell.session());
    // The program may have gone before guardd has looked: only its name is there then.
    let program = denied["comm"].as_str().unwrap_or_default();
    assert!(program.contains("python"), "{denied}");
    // From outside as well, in words.
    let log = scene.daemon.root(["log"]).run()?.stdout;
    assert!(log.contains(&format!("unix {}", outside.name)), "{log}");
    Ok(())
}

/// Files may have other names for a program that has mounts of its own, and one that nobody may look at does not say which.
#[test]
fn nobody_is_said_to_listen_where_that_is_not_known() -> Tested {
    let scene = UnixSockets::new()?;
    if scene.kernel_judges()? {
        return Ok(());
    }
    let mut shell = scene.shell()?;
    let own = scene.place("own")?;
    shell.tell(&scene.line(&format!("serve {own} &"))?)?;
    shell.line_with("listening")?;
    let words = format!("secret_apart {own}");
    assert_eq!(scene.outside(&words)?, "ok hi");
    assert_eq!(scene.inside(&mut shell, &words)?, "EPERM");
    let guard = scene.daemon.program("guard")?;
    let why = format!("{} why", guard.display());
    eventually("it is told", || Ok(said(&mut shell, &why)?.contains(&own)))?;
    let told = said(&mut shell, &why)?;
    assert!(told.contains("could not be told who listens"), "{told}");
    assert!(!told.contains("Somebody outside"), "{told}");
    let log = scene.daemon.root(["log", "--json"]).run()?;
    let records = log.json_lines()?;
    let denied = records.iter().find(|one| one["kind"] == "denied").unwrap();
    assert_eq!(denied["destination"]["address"], own.as_str());
    assert_eq!(denied["why"], "it could not be told who listens there");
    Ok(())
}

#[test]
fn without_guardd_all_is_as_before() -> Tested {
    let mut scene = UnixSockets::new()?;
    let mut outside = scene.listens("outside", "stream")?;
    let mut shell = scene.shell()?;
    let own = scene.place("own")?;
    shell.tell(&scene.line(&format!("serve {own} &"))?)?;
    shell.line_with("listening")?;
    let programs = scene.programs()?;
    let to_own = format!("connect {own}");
    let to_outside = format!("connect {}", outside.name);
    scene.daemon.kill()?;
    assert_eq!(scene.inside(&mut shell, &to_own)?, "ok hi");
    assert_eq!(scene.inside(&mut shell, &to_outside)?, "EPERM");
    scene.daemon.start()?;
    assert_eq!(scene.programs()?, programs);
    assert_eq!(scene.inside(&mut shell, &to_own)?, "ok hi");
    assert_eq!(scene.inside(&mut shell, &to_outside)?, "EPERM");
    assert_eq!(scene.outside(&to_outside)?, "ok hi");
    assert!(outside.is_first()?);
    Ok(())
}

#[test]
fn what_a_command_leaves_behind_goes_on() -> Tested {
    let scene = UnixSockets::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let own = scene.place("own")?;
    let line = scene.line(&format!("leave {own} {port}"))?;
    let run = [
        "run", "--policy", "open", "--quiet", "--", "sh", "-c", &line,
    ];
    scene.daemon.agent(run).run()?.success()?;
    let found = format!("{own}.found");
    eventually("it has tried", || fs::metadata(&found).is_ok())?;
    assert_eq!(fs::read_to_string(&found)?, "ok hi ok tcp");
    eventually("the session ends", || {
        let sessions = scene.daemon.json(["sessions"])?;
        Ok(sessions.list()?.is_empty())
    })?;
    Ok(())
}

/// A script that has one command listen, another one connect to it, and says what the first said.
fn both(listen: &str, at: &str, connect: &str) -> String {
    format!(
        "{listen} > {at}.said & until grep -qs listening {at}.said; do sleep 0.1; done; {connect} > /dev/null; wait; cat {at}.said"
    )
}

/// A server that accepts when it is told to, and three that connect to it, of which its queue takes one.
const QUEUE: &str = r#"
import os, socket, sys, time
own = sys.argv[1]
server = socket.socket(socket.AF_UNIX)
server.bind(own)
server.listen(0)
for number in range(3):
    if os.fork() == 0:
        client = socket.socket(socket.AF_UNIX)
        open(f"{own}.started", "a").write(f"{os.getpid()}\n")
        client.connect(own)
        open(f"{own}.found", "a").write(client.recv(2).decode())
        os._exit(0)
while not os.path.exists(f"{own}.accept"):
    time.sleep(0.05)
for number in range(3):
    server.accept()[0].send(b"hi")
"#;

#[test]
fn what_waits_when_the_command_ends_goes_on() -> Tested {
    let scene = UnixSockets::new()?;
    let own = scene.place("own")?;
    let script = "python3 -c \"$1\" \"$2\" & until test -e \"$2.end\"; do sleep 0.05; done";
    let run = [
        "run", "--policy", "open", "--quiet", "--", "sh", "-c", script, "sh", QUEUE, &own,
    ];
    let file = |end: &str| format!("{own}.{end}");
    let read = |end: &str| fs::read_to_string(file(end)).unwrap_or_default();
    let mut running = scene.daemon.agent(run).spawn()?;
    // By its number: proc_pid_syscall(5).
    let connects = |pid: &str| {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        call.starts_with(&format!("{} ", libc::SYS_connect))
    };
    eventually("two wait", || {
        read("started").lines().filter(|pid| connects(pid)).count() == 2
    })?;
    fs::write(file("end"), "")?;
    assert!(running.wait()?.success());
    fs::write(file("accept"), "")?;
    eventually("all are connected", || read("found") == "hihihi")?;
    Ok(())
}

#[test]
fn a_connection_that_waits_for_its_server_holds_up_no_other() -> Tested {
    let scene = UnixSockets::new()?;
    let mut shell = scene.shell()?;
    let (full, own) = (scene.place("full")?, scene.place("own")?);
    // Nobody accepts there: a connection more than fit waits.
    let server = format!(
        "python3 -c \"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('{full}'); s.listen(0); print('listening', flush=True); time.sleep(60)\" &"
    );
    shell.tell(&server)?;
    shell.line_with("listening")?;
    for _ in 0..3 {
        let waits = scene.line(&format!("connect {full} > /dev/null &"))?;
        shell.tell(&waits)?;
    }
    shell.tell(&scene.line(&format!("serve {own} &"))?)?;
    shell.line_with("listening")?;
    assert_eq!(
        scene.inside(&mut shell, &format!("connect {own}"))?,
        "ok hi"
    );
    Ok(())
}

#[test]
fn the_control_socket_is_not_the_supervisors_to_connect() -> Tested {
    let scene = UnixSockets::new()?;
    if scene.kernel_judges()? {
        return Ok(());
    }
    let mut shell = scene.shell()?;
    // By another name it would be connected by a process outside, which may answer.
    let link = scene.place("control")?;
    std::os::unix::fs::symlink(scene.daemon.socket(), &link)?;
    let words = format!("connect {link}");
    assert_eq!(scene.inside(&mut shell, &words)?, "EPERM");
    assert!(UnixStream::connect(&link).is_ok());
    Ok(())
}

#[test]
fn nor_is_it_by_a_link_at_an_allowed_name() -> Tested {
    let scene = UnixSockets::new()?;
    if scene.kernel_judges()? {
        return Ok(());
    }
    let outside = scene.listens("outside", "stream")?;
    let [keys, link, other] = ["keys", "control", "other"].map(|name| scene.place(name).unwrap());
    let control = scene.daemon.socket().display().to_string();
    for (to, at) in [
        (&control, &keys),
        (&control, &link),
        (&outside.name, &other),
    ] {
        std::os::unix::fs::symlink(to, at)?;
    }
    let file = scene.place("policy.toml")?;
    let allow = format!("allow = [\"{link}\", \"{other}\", \"ssh-agent\"]");
    fs::write(&file, format!("{ALLOWS_NAMED}\n[unix]\n{allow}\n"))?;
    let run = scene.daemon.agent(["run", "--policy", &file]);
    let mut shell = Shell::run_by(&scene.daemon, run.env("SSH_AUTH_SOCK", &keys))?;
    for (name, said) in [(&keys, "EPERM"), (&link, "EPERM"), (&other, "ok hi")] {
        let words = format!("connect {name}");
        assert_eq!(scene.inside(&mut shell, &words)?, said, "{words}");
        assert!(UnixStream::connect(name).is_ok(), "{name}");
    }
    Ok(())
}
