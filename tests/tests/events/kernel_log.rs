//! The kernel log: what the kernel half decides, by what, in guardd's own log. Off unless somebody wants it, and bounded.

use anyhow::{Context as _, Result, ensure};
use guard_lab::{
    ASKS, Attempt, Daemon, NEVER, Network, OPEN, Production, Shell, V4, V6, eventually,
};

use super::{often, started};

/// What each line of it ends the words of the log with.
const LINE: &str = "decided in the kernel";
/// More lines than that there are not in a second: `guard-ebpf/src/log.rs`.
const A_SECOND: usize = 64;

/// The lines about a destination, as its address is written there with a port.
fn lines(daemon: &Daemon, destination: &str) -> Vec<String> {
    let log = daemon.log();
    let about = log.lines().filter(|line| line.contains(LINE));
    let about = about.filter(|line| line.contains(&format!("destination=\"{destination}\"")));
    about.map(str::to_owned).collect()
}

/// Waits for a line about a destination that has all these words.
fn wait_for(daemon: &Daemon, destination: &str, words: &[&str]) -> Result<()> {
    let has = |line: &String| words.iter().all(|word| line.contains(word));
    eventually("the decision is logged", || {
        lines(daemon, destination).iter().any(has)
    })
    .with_context(|| format!("{words:?} about {destination} in {}", daemon.log()))
}

fn switch(daemon: &Daemon, of: &str) -> Result<()> {
    daemon.ask(["debug", "kernel-log", of])?.success().map(drop)
}

#[test]
fn it_says_what_decided_and_of_whom_it_was_asked_for() -> Result<()> {
    let network = Network::new()?;
    let daemon = started(&network);
    let _production = Production::start(&network)?;
    let [mut shell, mut other] = [(); 2].map(|()| Shell::start(&daemon, "asks").unwrap());
    // Off unless somebody wants it.
    ensure!(shell.reaches(&Attempt::tcp(OPEN, 443))?);
    ensure!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);

    switch(&daemon, "s1")?;
    daemon.wait_for_log("the kernel half logs what it decides")?;
    ensure!(!daemon.log().contains(LINE), "{}", daemon.log());
    ensure!(other.reaches(&Attempt::tcp(OPEN, 80))?);
    each_verdict_is_said(&daemon, &mut shell)?;
    ensure!(
        lines(&daemon, "198.51.100.7:80").is_empty(),
        "{}",
        daemon.log()
    );

    switch(&daemon, "all")?;
    ensure!(other.reaches(&Attempt::tcp(OPEN, 80))?);
    wait_for(&daemon, "198.51.100.7:80", &["s2"])?;
    switch(&daemon, "off")?;
    let before = daemon.log().matches(LINE).count();
    ensure!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    daemon.wait_for_log("the kernel half logs nothing")?;
    ensure!(daemon.log().matches(LINE).count() == before);
    // All that was switched under a session that lives, and enforced all the while.
    ensure!(shell.reaches(&Attempt::tcp(OPEN, 443))?);
    Ok(())
}

/// Of a session that may, may not, is asked about, and has a hole.
fn each_verdict_is_said(daemon: &Daemon, shell: &mut Shell) -> Result<()> {
    ensure!(shell.reaches(&Attempt::tcp(OPEN, 443))?);
    let allowed = [
        "s1",
        "connect4",
        "tcp",
        "verdict=\"allow\"",
        "policy=\"asks\"",
        "rule=\"default\"",
    ];
    wait_for(daemon, "198.51.100.7:443", &allowed)?;
    let packet = ["s1", "egress", "verdict=\"allow\"", "outcome=\"allowed\""];
    wait_for(daemon, "198.51.100.7:443", &packet)?;
    wait_for(
        daemon,
        "198.51.100.7:443",
        &["egress", "outcome=\"cached\""],
    )?;
    ensure!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    let denied = [
        "connect4",
        "verdict=\"deny\"",
        "rule=\"never\"",
        "outcome=\"refused\"",
    ];
    wait_for(daemon, "192.0.2.99:443", &denied)?;
    ensure!(!shell.reaches(&Attempt::tcp(V6, 443))?);
    let asked = [
        "connect6",
        "verdict=\"confirm\"",
        "rule=\"production\"",
        "outcome=\"refused\"",
    ];
    wait_for(daemon, "[2001:db8:7::10]:443", &asked)?;
    daemon
        .root(["open", V4, "--session", "s1", "--ports", "tcp/443"])
        .run()?
        .success()?;
    ensure!(shell.reaches(&Attempt::tcp(V4, 443))?);
    let opened = [
        "connect4",
        "rule=\"production\"",
        "hole=\"h1\"",
        "outcome=\"allowed\"",
    ];
    wait_for(daemon, "192.0.2.10:443", &opened)
}

#[test]
fn a_connection_that_waits_for_a_person_is_logged_as_held() -> Result<()> {
    let network = Network::new()?;
    let daemon = started(&network);
    let _production = Production::start(&network)?;
    let run = daemon.agent(["run", "--policy", "asks", "--hold", "60s"]);
    let mut shell = Shell::run_by(&daemon, run)?;
    switch(&daemon, "all")?;
    shell.begin(&Attempt::new("hold-open", V4, 443))?;
    wait_for(
        &daemon,
        "192.0.2.10:443",
        &["connect4", "verdict=\"confirm\"", "outcome=\"held\""],
    )?;
    wait_for(
        &daemon,
        "192.0.2.10:443",
        &["egress", "verdict=\"confirm\"", "outcome=\"held\""],
    )?;
    daemon.root(["approve", "r1"]).run()?.success()?;
    shell.line_with("echo")?;
    wait_for(
        &daemon,
        "192.0.2.10:443",
        &["egress", "hole=\"h1\"", "outcome=\"allowed\""],
    )
}

#[test]
fn a_flood_fills_no_log_and_what_is_left_out_is_said() -> Result<()> {
    let network = Network::new()?;
    let daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    switch(&daemon, "all")?;
    let began = std::time::Instant::now();
    shell.attempt(&often(NEVER, 20_000))?;
    daemon.wait_for_log("left_out=")?;
    // Of the second in which it begins, and of each that begins until its log was read.
    let seconds = began.elapsed().as_secs() as usize + 2;
    let logged = lines(&daemon, "192.0.2.99:443").len();
    ensure!(
        logged <= seconds * A_SECOND,
        "{logged} lines in {seconds} s"
    );
    ensure!(logged > 0);
    Ok(())
}

#[test]
fn root_alone_switches_it_and_it_ends_with_guardd() -> Result<()> {
    let network = Network::new()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", ASKS)
        .prepare()?;
    let mut guardd = daemon.guardd()?;
    guardd.args(["--kernel-log", "all"]);
    daemon.start_as(guardd)?;
    let refused = daemon.agent(["debug", "kernel-log", "off"]).run()?;
    ensure!(
        refused.code() == Some(2) && refused.stderr.contains("only root"),
        "{refused:?}"
    );
    let unknown = daemon.ask(["debug", "kernel-log", "s7"])?;
    ensure!(
        unknown.code() == Some(2) && unknown.stderr.contains("s7"),
        "{unknown:?}"
    );
    let shouted = daemon.ask(["debug", "kernel-log", "ALL"])?;
    ensure!(
        shouted.code() == Some(2) && shouted.stderr.contains("guard debug kernel-log all"),
        "{shouted:?}"
    );
    let mut shell = Shell::start(&daemon, "asks")?;
    ensure!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    wait_for(&daemon, "192.0.2.99:443", &["s1", "outcome=\"refused\""])?;
    daemon.kill()?;
    // Nobody reads what the programs that are left log, and they go on enforcing.
    ensure!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    daemon.start()?;
    daemon.wait_for_log("replaced the programs that an earlier guardd had log their decisions")?;
    ensure!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    ensure!(!daemon.log().contains(LINE), "{}", daemon.log());
    Ok(())
}
