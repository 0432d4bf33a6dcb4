//! `guard report`: what a CI job, or a person, is told of what was stopped.

use std::fs;
use std::thread;
use std::time::Duration;

use guard_lab::{AGENT, Attempt, Daemon, NEVER, Network, Output, Shell, eventually};
use serde_json::Value;

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24"]
action = "confirm"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
"#;

const ASKED: &str = "192.0.2.10";

/// A job of that name that was stopped twice, and asked once, and was let once.
fn job(daemon: &Daemon, name: &str) -> Shell {
    let run = daemon.agent(["run", "--policy", "asks", "--name", name]);
    let mut shell = Shell::run_by(daemon, run).unwrap();
    for to in [NEVER, ASKED, NEVER] {
        assert!(!shell.reaches(&Attempt::tcp(to, 443)).unwrap());
        // A destination is reported once a second; what comes sooner is counted at the session's end.
        thread::sleep(Duration::from_millis(600));
    }
    shell
}

fn report(daemon: &Daemon, args: &[&str]) -> Output {
    daemon.agent(["report"]).args(args).run().unwrap()
}

fn json(daemon: &Daemon, args: &[&str]) -> Value {
    let output = report(daemon, &[args, &["--json"]].concat());
    output.success().unwrap().json().unwrap()
}

fn lab() -> (Network, Daemon) {
    let network = Network::new().unwrap();
    let daemon = Daemon::in_network(&network).policy("asks", POLICY);
    let daemon = daemon.start().unwrap();
    (network, daemon)
}

#[test]
fn it_sums_up_what_happened() {
    let (_network, daemon) = lab();
    let quiet = report(&daemon, &[]).success().unwrap();
    assert_eq!(quiet.stdout, "Nothing was stopped in 0 sessions.\n");
    let mut shell = job(&daemon, "job 7");
    eventually("it is asked", || {
        json(&daemon, &[])["requests"][0]["id"] == "r1"
    })
    .unwrap();
    daemon.ask(["approve", "r1"]).unwrap().success().unwrap();
    shell.tell("exit").unwrap();
    shell.wait().unwrap();
    eventually("it ends", || {
        !json(&daemon, &[])["sessions"][0]["ended_at"].is_null()
    })
    .unwrap();
    let all = json(&daemon, &[]);
    assert_eq!(all["refused"], 3);
    assert_eq!(all["sessions"][0]["name"], "job 7");
    assert_eq!(all["sessions"][0]["refused"], 3);
    let stopped = all["stopped"].as_array().unwrap();
    let never = stopped.iter().find(|one| one["rule"] == "never").unwrap();
    assert_eq!(never["destination"], "tcp 192.0.2.99:443");
    assert_eq!(never["verdict"], "deny");
    assert!(
        never["programs"][0]
            .as_str()
            .unwrap()
            .ends_with("guard-lab")
    );
    assert_eq!(all["requests"][0]["answer"], "yes");
    assert_eq!(all["holes"][0]["ended"], "the session has ended");
    let text = report(&daemon, &[]).success().unwrap().stdout;
    assert!(
        text.starts_with("3 refused, of 2 destinations, in 1 session.\n"),
        "{text}"
    );
}

#[test]
fn a_job_fails_where_it_is_told_to() {
    let (_network, daemon) = lab();
    assert_eq!(report(&daemon, &["--fail-on", "stopped"]).code(), Some(0));
    let run = daemon.agent(["run", "--policy", "asks", "--name", "asks only"]);
    let mut shell = Shell::run_by(&daemon, run).unwrap();
    assert!(!shell.reaches(&Attempt::tcp(ASKED, 443)).unwrap());
    let code = |what| report(&daemon, &["--fail-on", what]).code();
    eventually("something was stopped", || code("stopped") == Some(1)).unwrap();
    assert_eq!(code("denied"), Some(0));
    assert!(!shell.reaches(&Attempt::tcp(NEVER, 443)).unwrap());
    eventually("something was denied", || code("denied") == Some(1)).unwrap();
    let quiet = daemon.agent(["run", "--policy", "asks", "--name", "quiet", "true"]);
    quiet.run().unwrap().success().unwrap();
    let quiet = ["--name", "quiet", "--fail-on", "stopped"];
    assert_eq!(report(&daemon, &quiet).code(), Some(0));
    assert_eq!(report(&daemon, &["--format", "html"]).code(), Some(2));
}

#[test]
fn a_session_that_is_not_there_is_no_session_without_refusals() {
    let (_network, daemon) = lab();
    let run = daemon.agent(["run", "--policy", "asks", "--name", "job"]);
    let shell = Shell::run_by(&daemon, run).unwrap();
    for known in [["--name", "job"], ["--session", shell.session()]] {
        let args = [&known[..], &["--fail-on", "denied"]].concat();
        assert_eq!(report(&daemon, &args).code(), Some(0), "{args:?}");
        // It lives, and nothing has happened in that time.
        let lately = [&known[..], &["--since", "1s"]].concat();
        eventually("it began before", || {
            json(&daemon, &lately)["sessions"] == Value::Array(Vec::new())
        })
        .unwrap();
    }
    for unknown in [["--name", "jbo"], ["--session", "s999"]] {
        for fail_on in [&[][..], &["--fail-on", "denied"]] {
            let said = report(&daemon, &[&unknown[..], fail_on].concat());
            assert_eq!(said.code(), Some(2), "{unknown:?}: {}", said.stdout);
            assert!(said.stderr.contains(unknown[1]), "{}", said.stderr);
        }
    }
}

#[test]
fn a_flood_hides_no_denial_from_a_job_that_is_to_fail() {
    let (_network, daemon) = lab();
    let code = |name| report(&daemon, &["--name", name, "--fail-on", "denied"]).code();
    for (name, ends) in [("ends", true), ("stays", false)] {
        let run = daemon.agent(["run", "--policy", "asks", "--name", name]);
        let mut shell = Shell::run_by(&daemon, run).unwrap();
        let probe = guard_lab::bins::for_everybody("guard-lab", daemon.tag()).unwrap();
        let tries = Attempt::tcp(ASKED, 7000).args().join(" ");
        let flood = format!(
            "port=7000; while [ $port -lt 7100 ]; do {} {} >/dev/null; port=$((port+1)); done",
            probe.display(),
            tries.replace("7000", "$port"),
        );
        shell.status_of(&flood).unwrap();
        assert!(!shell.reaches(&Attempt::tcp(NEVER, 443)).unwrap());
        if ends {
            shell.tell("exit").unwrap();
            shell.wait().unwrap();
        }
        eventually("it fails", || code(name) == Some(1)).unwrap();
    }
}

#[test]
fn what_is_stopped_in_a_session_inside_counts_for_the_one_around_it() {
    let (_network, daemon) = lab();
    let run = daemon.agent(["run", "--policy", "asks", "--name", "job"]);
    let mut shell = Shell::run_by(&daemon, run).unwrap();
    daemon
        .write_policy(
            "narrow",
            "version = 1\nname = \"narrow\"\ndefault = \"deny\"\n",
        )
        .unwrap();
    let guard = guard_lab::bins::for_everybody("guard", daemon.tag()).unwrap();
    let probe = guard_lab::bins::for_everybody("guard-lab", daemon.tag()).unwrap();
    let attempt = Attempt::tcp(NEVER, 443).args().join(" ");
    let inner = format!(
        "GUARD_SOCKET={} {} run --policy narrow --name innocent -- {} {attempt}",
        daemon.socket().display(),
        guard.display(),
        probe.display()
    );
    shell.status_of(&inner).unwrap();
    for which in [["--name", "job"], ["--session", "s1"]] {
        eventually("it is counted", || json(&daemon, &which)["refused"] == 1).unwrap();
        let found = json(&daemon, &which);
        assert_eq!(found["stopped"][0]["session"], "s2", "{found}");
        assert_eq!(found["sessions"][1]["parent"], "s1", "{found}");
    }
    assert_eq!(json(&daemon, &["--name", "innocent"])["refused"], 1);
}

#[test]
fn users_are_told_of_their_own_sessions() {
    let (_network, daemon) = lab();
    let _shell = job(&daemon, "job");
    eventually("it is known", || json(&daemon, &[])["refused"] == 3).unwrap();
    let stranger = daemon.user(AGENT + 1, ["report"]).json().unwrap();
    assert_eq!(stranger["refused"], 0);
    assert_eq!(stranger["sessions"].as_array().unwrap().len(), 0);
    assert_eq!(daemon.root(["report"]).json().unwrap()["refused"], 3);
}

#[test]
fn github_gets_annotations_and_a_summary_and_no_commands_of_the_jobs() {
    let (_network, daemon) = lab();
    let hostile = "x::error::%0A::add-mask::y,file=z|`<b>";
    let _shell = job(&daemon, hostile);
    eventually("it is known", || json(&daemon, &[])["refused"] == 3).unwrap();
    let summary = daemon.dir().join("summary.md");
    fs::write(&summary, "# Mine\n").unwrap();
    let run = daemon.root(["report", "--format", "github"]);
    let run = run.env("GITHUB_STEP_SUMMARY", summary.as_os_str());
    let said = run.run().unwrap().success().unwrap().stdout;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    let never = "::warning title=guard stopped tcp 192.0.2.99%3A443::2 times by ";
    assert!(lines.iter().any(|line| line.starts_with(never)), "{said}");
    assert!(!said.contains("%0A"), "{said}");
    assert!(
        lines[2].starts_with("::notice title=guard::Stopped in 1 session: "),
        "{said}"
    );
    let page = fs::read_to_string(&summary).unwrap();
    assert!(page.starts_with("# Mine\n### guard\n"), "{page}");
    assert!(
        page.contains("| `tcp 192.0.2.99:443` | 2 | `deny` | `never` |"),
        "{page}"
    );
    assert!(!page.contains("`<b>`"), "{page}");
    let nowhere = daemon.root(["report", "--format", "github"]);
    let nowhere = nowhere.env("GITHUB_STEP_SUMMARY", "/no/such/dir/summary.md");
    assert_eq!(nowhere.run().unwrap().code(), Some(2));
}

#[test]
fn gitlab_gets_a_section_and_markdown_a_page() {
    let (_network, daemon) = lab();
    let _shell = job(&daemon, "job");
    eventually("it is known", || json(&daemon, &[])["refused"] == 3).unwrap();
    let section = report(&daemon, &["--format", "gitlab"])
        .success()
        .unwrap()
        .stdout;
    assert!(section.starts_with("\u{1b}[0Ksection_start:"), "{section}");
    assert!(
        section.trim_end().ends_with("guard_report\r\u{1b}[0K"),
        "{section}"
    );
    let page = report(&daemon, &["--format", "markdown"])
        .success()
        .unwrap()
        .stdout;
    assert!(
        page.starts_with("### guard\n\nStopped in 1 session: 3 attempts"),
        "{page}"
    );
}
