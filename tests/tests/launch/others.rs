//! Other processes of the same user: out of reach from inside, and in reach of each other inside.

use guard_lab::Tested;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use guard_launch::landlock::layers;

use crate::launch::bench::{Bench, UID, USER, text};

/// Who is attacked. It is killed on drop.
struct Victim {
    process: Child,
    pid: String,
    secret: String,
    descriptor: String,
    name: String,
}

impl Victim {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        let words: Vec<_> = said.split_whitespace().map(String::from).collect();
        let [victim, pid, secret, descriptor, name] = words.try_into().unwrap();
        assert_eq!(victim, "victim");
        Self {
            process,
            pid,
            secret,
            descriptor,
            name,
        }
    }

    /// A process of the session's user that has nothing to do with the session.
    fn outside(bench: &Bench) -> Self {
        let mut command = bench.command("setpriv");
        command.args(["--reuid", UID, "--regid", UID, "--clear-groups"]);
        command.args(["./probe", "victim"]);
        Self::start(command)
    }

    /// Every way to have it do something, or to have what it has.
    fn ways_to_trace(&self) -> Vec<String> {
        let Self {
            pid,
            secret,
            descriptor,
            ..
        } = self;
        vec![
            format!("ptrace {pid}"),
            format!("vm-readv {pid} {secret}"),
            format!("vm-writev {pid} {secret}"),
            format!("mem {pid} {secret}"),
            format!("environ {pid}"),
            format!("descriptor {pid}"),
            format!("getfd {pid} {descriptor}"),
        ]
    }

    fn ways_to_connect(&self) -> Vec<String> {
        ["stream", "dgram", "seqpacket"]
            .map(|kind| format!("abstract {} {kind}", self.name))
            .into()
    }

    /// Whether a signal waits at it.
    fn has_got(&self, signal: u32) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let waiting = status.lines().filter_map(|line| {
            let (name, bits) = line.split_once(":\t")?;
            let bits = u64::from_str_radix(bits, 16).ok()?;
            matches!(name, "SigPnd" | "ShdPnd").then_some(bits)
        });
        waiting.fold(0, |all, some| all | some) & (1 << (signal - 1)) != 0
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The ways to send a signal, each with one of its own (none that glibc uses itself).
const SIGNALS: [(&str, u32); 5] = [
    ("kill", 40),
    ("tgkill", 41),
    ("pidfd-signal", 42),
    ("sigqueue", 43),
    ("sigio", 44),
];

/// What came of an attempt by a process of the same user.
fn outside(bench: &Bench, attempt: &str) -> Tested<String> {
    let mut command = bench.command("setpriv");
    command.args(["--reuid", UID, "--regid", UID, "--clear-groups"]);
    command.args(["./probe", "do-to"]).args(attempt.split(' '));
    Ok(text(&command.output()?)?.trim().to_owned())
}

/// What came of an attempt inside.
fn inside(bench: &Bench, attempt: &str) -> Tested<String> {
    let said = bench.script(&format!("./probe do-to {attempt}"))?;
    Ok(text(&said)?.trim().to_owned())
}

fn is_refused(said: &str) -> bool {
    [libc::EPERM, libc::EACCES]
        .map(|error| error.to_string())
        .contains(&said.to_owned())
}

#[test]
fn processes_outside_cannot_be_traced() -> Tested {
    let bench = Bench::new()?;
    let victim = Victim::outside(&bench);
    for way in victim.ways_to_trace() {
        assert_eq!(outside(&bench, &way)?, "ok", "{way}, without guard");
        if layers()?.tracing {
            let said = inside(&bench, &way)?;
            assert!(is_refused(&said), "{way}: {said}");
        }
    }
    Ok(())
}

#[test]
fn processes_outside_cannot_be_signalled() -> Tested {
    let bench = Bench::new()?;
    for (way, signal) in SIGNALS {
        let victim = Victim::outside(&bench);
        let attempt = format!("{way} {} {signal}", victim.pid);
        if layers()?.signals {
            let said = inside(&bench, &attempt)?;
            // The kernel takes an owner of a descriptor whom it then does not tell.
            assert!(is_refused(&said) || way == "sigio", "{attempt}: {said}");
            assert!(!victim.has_got(signal), "{attempt}");
        }
        assert_eq!(outside(&bench, &attempt)?, "ok", "{attempt}, without guard");
        assert!(victim.has_got(signal), "{attempt}, without guard");
    }
    Ok(())
}

#[test]
fn abstract_sockets_outside_cannot_be_reached() -> Tested {
    let bench = Bench::new()?;
    let victim = Victim::outside(&bench);
    for way in victim.ways_to_connect() {
        assert_eq!(outside(&bench, &way)?, "ok", "{way}, without guard");
        if layers()?.abstract_sockets {
            let said = inside(&bench, &way)?;
            assert!(is_refused(&said), "{way}: {said}");
        }
    }
    Ok(())
}

/// As debuggers, job control, timeouts and test suites do it.
#[test]
fn processes_of_one_session_may_do_all_of_that_to_each_other() -> Tested {
    let bench = Bench::new()?;
    let mut command = bench.run(&["--user", USER]);
    // Both in one domain: the victim comes from the shell that then makes each attempt.
    let script = "mkfifo in; exec 4<>in; ./probe victim <in | { read -r line; echo \"$line\"; \
                  while read -r attempt; do ./probe do-to $attempt; done <&5; }";
    command.args(["bash", "-c", &format!("exec 5<&0; {script}")]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut session = command.spawn()?;
    let mut said = BufReader::new(session.stdout.take().unwrap()).lines();
    let words = said.next().unwrap()?;
    let words: Vec<_> = words.split_whitespace().map(String::from).collect();
    let [_, pid, secret, descriptor, name] = words.try_into().unwrap();
    let mut keys = session.stdin.take().unwrap();
    let victim = Victim {
        process: session,
        pid,
        secret,
        descriptor,
        name,
    };
    let signals = SIGNALS.map(|(way, signal)| format!("{way} {} {signal}", victim.pid));
    let ways = [
        victim.ways_to_trace(),
        victim.ways_to_connect(),
        signals.into(),
    ];
    for way in ways.concat() {
        use std::io::Write as _;
        writeln!(keys, "{way}")?;
        assert_eq!(said.next().unwrap()?, "ok", "{way}");
    }
    assert!(SIGNALS.iter().all(|(_, signal)| victim.has_got(*signal)));
    Ok(())
}

#[test]
fn a_session_in_a_session_is_in_reach_of_the_outer_one_and_not_the_other_way_round() -> Tested {
    let bench = Bench::new()?;
    let run = |script: &str| {
        let mut run = bench.run(&["--user", USER]);
        text(&run.args(["bash", "-c", script]).output()?)
    };
    // The last command is the shell's own: another would take its place, and then the victim's input ends.
    let inwards = "coproc ./probe run -- ./probe victim; read -r _ pid _ <&${COPROC[0]}; \
                   ./probe do-to kill $pid 40; ./probe do-to ptrace $pid; :";
    assert_eq!(run(inwards)?, "ok\nok\n");
    if layers()?.signals {
        let outwards = "coproc ./probe victim; read -r _ pid _ <&${COPROC[0]}; \
                        ./probe do-to kill $pid 40; \
                        ./probe run -- ./probe do-to kill $pid 40; \
                        ./probe run -- ./probe do-to ptrace $pid; :";
        let refused = libc::EPERM;
        assert_eq!(run(outwards)?, format!("ok\n{refused}\n{refused}\n"));
    }
    Ok(())
}

#[test]
fn more_sandboxes_than_the_kernel_takes_are_refused_in_so_many_words() -> Tested {
    let bench = Bench::new()?;
    let deep = "./probe run -- ".repeat(16);
    let mut run = bench.run(&["--user", USER]);
    let output = run.args(["sh", "-c", &format!("{deep} true")]).output();
    let output = output?;
    if layers()?.tracing {
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        let said = String::from_utf8(output.stderr)?;
        assert!(said.contains("16, each within the other"), "{said}");
    }
    Ok(())
}

/// What sandboxes inside need: bubblewrap and rootless containers mount, Codex enters a Landlock domain of its own.
#[test]
fn a_session_has_the_files_that_it_had() -> Tested {
    let bench = Bench::new()?;
    let link = "mkdir from to; touch from/file; ln from/file to/file && echo linked; ";
    let said = text(&bench.script(link)?)?;
    assert_eq!(said, "linked\n");
    let mount = "unshare --map-root-user --mount sh -c 'mount -t tmpfs none /mnt && echo mounted'";
    if layers()?.signals {
        assert_eq!(text(&bench.script(mount)?)?, "mounted\n");
    }
    Ok(())
}
