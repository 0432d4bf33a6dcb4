//! `guard report`: what a CI job, or a person, is told of what was stopped.

use std::fs;
use std::thread;
use std::time::Duration;

use guard_lab::{
    AGENT, ASKS, Attempt, Daemon, Json as _, NEVER, Output, Scene, Shell, Tested, eventually,
};
use serde_json::Value;

const ASKED: &str = "192.0.2.10";

/// A job of that name that was stopped twice, and asked once, and was let once.
fn job(daemon: &Daemon, name: &str) -> Tested<Shell> {
    let run = daemon.agent(["run", "--policy", "asks", "--name", name]);
    let mut shell = Shell::run_by(daemon, run)?;
    for to in [NEVER, ASKED, NEVER] {
        assert!(!shell.reaches(&Attempt::tcp(to, 443))?);
        // A destination is reported once a second; what comes sooner is counted at the session's end.
        thread::sleep(Duration::from_millis(600));
    }
    Ok(shell)
}

fn report(daemon: &Daemon, args: &[&str]) -> Tested<Output> {
    Ok(daemon.agent(["report"]).args(args).run()?)
}

fn told(daemon: &Daemon, args: &[&str]) -> Tested<Value> {
    Ok(daemon.agent(["report"]).args(args).json()?)
}

#[test]
fn it_sums_up_what_happened() -> Tested {
    let scene = Scene::new("asks", ASKS)?;
    let daemon = &scene.daemon;
    let quiet = report(daemon, &[])?.success()?;
    assert_eq!(quiet.stdout, "Nothing was stopped in 0 sessions.\n");
    let mut shell = job(daemon, "job 7")?;
    eventually("it is asked", || {
        Ok(told(daemon, &[])?["requests"][0]["id"] == "r1")
    })?;
    daemon.ask(["approve", "r1"])?.success()?;
    shell.tell("exit")?;
    shell.wait()?;
    eventually("it ends", || {
        Ok(!told(daemon, &[])?["sessions"][0]["ended_at"].is_null())
    })?;
    let all = told(daemon, &[])?;
    assert_eq!(all["refused"], 3);
    assert_eq!(all["sessions"][0]["name"], "job 7");
    assert_eq!(all["sessions"][0]["refused"], 3);
    let stopped = all["stopped"].list()?;
    let never = stopped.iter().find(|one| one["rule"] == "never").unwrap();
    assert_eq!(never["destination"], "tcp 192.0.2.99:443");
    assert_eq!(never["verdict"], "deny");
    assert!(never["programs"][0].text()?.ends_with("guard-lab"));
    assert_eq!(all["requests"][0]["answer"], "yes");
    assert_eq!(all["holes"][0]["ended"], "the session has ended");
    let text = report(daemon, &[])?.success()?.stdout;
    assert!(
        text.starts_with("3 refused, of 2 destinations, in 1 session.\n"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_job_fails_where_it_is_told_to() -> Tested {
    let scene = Scene::new("asks", ASKS)?;
    let daemon = &scene.daemon;
    assert_eq!(report(daemon, &["--fail-on", "stopped"])?.code(), Some(0));
    let run = daemon.agent(["run", "--policy", "asks", "--name", "asks only"]);
    let mut shell = Shell::run_by(daemon, run)?;
    assert!(!shell.reaches(&Attempt::tcp(ASKED, 443))?);
    let code = |what| Tested::Ok(report(daemon, &["--fail-on", what])?.code());
    eventually("something was stopped", || Ok(code("stopped")? == Some(1)))?;
    assert_eq!(code("denied")?, Some(0));
    assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    eventually("something was denied", || Ok(code("denied")? == Some(1)))?;
    let quiet = daemon.agent(["run", "--policy", "asks", "--name", "quiet", "true"]);
    quiet.run()?.success()?;
    let quiet = ["--name", "quiet", "--fail-on", "stopped"];
    assert_eq!(report(daemon, &quiet)?.code(), Some(0));
    assert_eq!(report(daemon, &["--format", "html"])?.code(), Some(2));
    Ok(())
}

#[test]
fn a_session_that_is_not_there_is_no_session_without_refusals() -> Tested {
    let scene = Scene::new("asks", ASKS)?;
    let daemon = &scene.daemon;
    let run = daemon.agent(["run", "--policy", "asks", "--name", "job"]);
    let shell = Shell::run_by(daemon, run)?;
    for known in [["--name", "job"], ["--session", shell.session()]] {
        let args = [&known[..], &["--fail-on", "denied"]].concat();
        assert_eq!(report(daemon, &args)?.code(), Some(0), "{args:?}");
        // It lives, and nothing has happened in that time.
        let lately = [&known[..], &["--since", "1s"]].concat();
        eventually("it began before", || {
            Ok(told(daemon, &lately)?["sessions"] == Value::Array(Vec::new()))
        })?;
    }
    for unknown in [["--name", "jbo"], ["--session", "s999"]] {
        for fail_on in [&[][..], &["--fail-on", "denied"]] {
            let said = report(daemon, &[&unknown[..], fail_on].concat())?;
            assert_eq!(said.code(), Some(2), "{unknown:?}: {}", said.stdout);
            assert!(said.stderr.contains(unknown[1]), "{}", said.stderr);
        }
    }
    Ok(())
}

#[test]
fn a_flood_hides_no_denial_from_a_job_that_is_to_fail() -> Tested {
    let scene = Scene::new("asks", ASKS)?;
    let daemon = &scene.daemon;
    let code = |name| {
        let denied = ["--name", name, "--fail-on", "denied"];
        Tested::Ok(report(daemon, &denied)?.code())
    };
    for (name, ends) in [("ends", true), ("stays", false)] {
        let run = daemon.agent(["run", "--policy", "asks", "--name", name]);
        let mut shell = Shell::run_by(daemon, run)?;
        let probe = daemon.program("guard-lab")?;
        let tries = Attempt::tcp(ASKED, 7000).args().join(" ");
        let flood = format!(
            "port=7000; while [ $port -lt 7100 ]; do {} {} >/dev/null; port=$((port+1)); done",
            probe.display(),
            tries.replace("7000", "$port"),
        );
        shell.status_of(&flood)?;
        assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
        if ends {
            shell.tell("exit")?;
            shell.wait()?;
        }
        eventually("it fails", || Ok(code(name)? == Some(1)))?;
    }
    Ok(())
}

#[test]
fn what_is_stopped_in_a_session_inside_counts_for_the_one_around_it() -> Tested {
    let scene = Scene::new("asks", ASKS)?;
    let daemon = &scene.daemon;
    let run = daemon.agent(["run", "--policy", "asks", "--name", "job"]);
    let mut shell = Shell::run_by(daemon, run)?;
    daemon.write_policy(
        "narrow",
        "version = 1\nname = \"narrow\"\ndefault = \"deny\"\n",
    )?;
    let guard = daemon.program("guard")?;
    let probe = daemon.program("guard-lab")?;
    let attempt = Attempt::tcp(NEVER, 443).args().join(" ");
    let inner = format!(
        "GUARD_SOCKET={} {} run --policy narrow --name innocent -- {} {attempt}",
        daemon.socket().display(),
        guard.display(),
        probe.display()
    );
    shell.status_of(&inner)?;
    for which in [["--name", "job"], ["--session", "s1"]] {
        eventually(
            "it is counted",
            || Ok(told(daemon, &which)?["refused"] == 1),
        )?;
        let found = told(daemon, &which)?;
        assert_eq!(found["stopped"][0]["session"], "s2", "{found}");
        assert_eq!(found["sessions"][1]["parent"], "s1", "{found}");
    }
    assert_eq!(told(daemon, &["--name", "innocent"])?["refused"], 1);
    Ok(())
}

#[test]
fn users_are_told_of_their_own_sessions() -> Tested {
    let scene = Scene::new("asks", ASKS)?;
    let daemon = &scene.daemon;
    let _shell = job(daemon, "job")?;
    eventually("it is known", || Ok(told(daemon, &[])?["refused"] == 3))?;
    let stranger = daemon.user(AGENT + 1, ["report"]).json()?;
    assert_eq!(stranger["refused"], 0);
    assert_eq!(stranger["sessions"].list()?.len(), 0);
    assert_eq!(daemon.json(["report"])?["refused"], 3);
    Ok(())
}

#[test]
fn github_gets_annotations_and_a_summary_and_no_commands_of_the_jobs() -> Tested {
    let scene = Scene::new("asks", ASKS)?;
    let daemon = &scene.daemon;
    let hostile = "x::error::%0A::add-mask::y,file=z|`<b>";
    let _shell = job(daemon, hostile)?;
    eventually("it is known", || Ok(told(daemon, &[])?["refused"] == 3))?;
    let summary = daemon.dir().join("summary.md");
    fs::write(&summary, "# Mine\n")?;
    let run = daemon.root(["report", "--format", "github"]);
    let run = run.env("GITHUB_STEP_SUMMARY", summary.as_os_str());
    let said = run.run()?.success()?.stdout;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    let never = "::warning title=guard stopped tcp 192.0.2.99%3A443::2 times by ";
    assert!(lines.iter().any(|line| line.starts_with(never)), "{said}");
    assert!(!said.contains("%0A"), "{said}");
    assert!(
        lines[2].starts_with("::notice title=guard::Stopped in 1 session: "),
        "{said}"
    );
    let page = fs::read_to_string(&summary)?;
    assert!(page.starts_with("# Mine\n### guard\n"), "{page}");
    assert!(
        page.contains("| `tcp 192.0.2.99:443` | 2 | `deny` | `never` |"),
        "{page}"
    );
    assert!(!page.contains("`<b>`"), "{page}");
    let nowhere = daemon.root(["report", "--format", "github"]);
    let nowhere = nowhere.env("GITHUB_STEP_SUMMARY", "/no/such/dir/summary.md");
    assert_eq!(nowhere.run()?.code(), Some(2));
    Ok(())
}

#[test]
fn gitlab_gets_a_section_and_markdown_a_page() -> Tested {
    let scene = Scene::new("asks", ASKS)?;
    let daemon = &scene.daemon;
    let _shell = job(daemon, "job")?;
    eventually("it is known", || Ok(told(daemon, &[])?["refused"] == 3))?;
    let section = report(daemon, &["--format", "gitlab"])?.success()?.stdout;
    assert!(section.starts_with("\u{1b}[0Ksection_start:"), "{section}");
    assert!(
        section.trim_end().ends_with("guard_report\r\u{1b}[0K"),
        "{section}"
    );
    let page = report(daemon, &["--format", "markdown"])?.success()?.stdout;
    assert!(
        page.starts_with("### guard\n\nStopped in 1 session: 3 attempts"),
        "{page}"
    );
    Ok(())
}
