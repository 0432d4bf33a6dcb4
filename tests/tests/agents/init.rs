//! `guard init`: what it writes works, and what others wrote stays.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use guard_lab::{AGENT, Json as _, Running, Tested, bins};
use serde_json::{Value, json};

use crate::agents::scene::{AgentScene, Mcp};

fn init(dir: &Path, args: &[&str]) -> Tested<Output> {
    let mut guard = Command::new(bins::find("guard")?);
    guard
        .arg("init")
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("SUDO_UID")
        .stdin(Stdio::null());
    Ok(guard.output()?)
}

/// What stands in a file now.
fn written(file: &Path) -> Tested<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

#[test]
fn nothing_is_written_that_nobody_has_said_yes_to() -> Tested {
    let dir = tempfile::tempdir()?;
    let output = init(dir.path(), &["claude-code"])?;
    assert_eq!(output.status.code(), Some(2));
    let [shown, said] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(shown.contains("+    \"guard\": {"), "{shown}");
    assert!(said.contains("--yes"), "{said}");
    let output = init(dir.path(), &["codex", "--print"])?;
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("[mcp_servers.guard]"));
    assert_eq!(fs::read_dir(dir.path())?.count(), 0);
    Ok(())
}

#[test]
fn root_writes_no_settings_of_another_user() -> Tested {
    let [project, roots] = [tempfile::tempdir()?, tempfile::tempdir()?];
    let dir = project.path();
    let servers = dir.join(".mcp.json");
    let theirs = "{\n  \"mcpServers\": {\n    \"docs\": {\"command\": \"docs\"}\n  }\n}\n";
    fs::write(&servers, theirs)?;
    for own in [dir, &servers] {
        chown(own, Some(AGENT), Some(AGENT))?;
    }
    let owner = |file: &Path| -> Tested<u32> { Ok(fs::metadata(file)?.uid()) };
    let agent = AGENT.to_string();
    let guard = bins::find("guard")?;
    let own = |args: &[&str]| -> Tested<Output> {
        let mut guarded = Command::new("setpriv");
        guarded.args(["--reuid", &agent, "--regid", &agent, "--clear-groups"]);
        guarded.arg(&guard).arg("init").args(args).current_dir(dir);
        Ok(guarded.env("HOME", dir).env_remove("SUDO_UID").output()?)
    };
    let by_sudo = |args: &[&str]| -> Tested<Output> {
        let mut sudo = Command::new(&guard);
        sudo.arg("init").args(args).current_dir(dir);
        Ok(sudo
            .env("SUDO_UID", &agent)
            .env("SUDO_GID", &agent)
            .output()?)
    };
    // A shell of root's, no matter whose the project is; and sudo.
    let refused = init(dir, &["claude-code", "--yes"])?;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr)?;
    assert!(
        said.contains("sudo -u USER guard init claude-code --yes"),
        "{said}"
    );
    let refused = by_sudo(&["claude-code", "--yes"])?;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert_eq!(fs::read_to_string(&servers)?, theirs);
    // What is taken out under sudo leaves the files whose they were.
    assert!(own(&["claude-code", "--yes"])?.status.success());
    assert!(fs::read_to_string(&servers)?.contains("guard"));
    let removed = by_sudo(&["claude-code", "--remove", "--yes"])?;
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(fs::read_to_string(&servers)?, theirs);
    assert_eq!(owner(&servers)?, AGENT);
    assert!(!dir.join(".claude").exists());
    // A link leads no further than its owner may go.
    assert!(
        init(roots.path(), &["claude-code", "--yes"])?
            .status
            .success()
    );
    let target = roots.path().join(".mcp.json");
    let before = fs::read_to_string(&target)?;
    fs::remove_file(&servers)?;
    symlink(&target, &servers)?;
    let refused = by_sudo(&["claude-code", "--remove", "--yes"])?;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert_eq!(fs::read_to_string(&target)?, before);
    Ok(())
}

#[test]
fn a_person_at_a_terminal_is_asked() -> Tested {
    let dir = tempfile::tempdir()?;
    let guard = format!("{} init gemini", bins::find("guard")?.display());
    for (answer, status, said) in [
        ("n", 1, "Nothing was written."),
        ("y", 0, "guard run -- gemini"),
    ] {
        let mut terminal = Command::new("script");
        terminal
            .args(["-qec", &guard, "/dev/null"])
            .current_dir(dir.path())
            .env_remove("SUDO_UID")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut terminal = terminal.spawn()?;
        let mut keys = terminal.stdin.take().unwrap();
        let mut screen = terminal.stdout.take().unwrap();
        // What is typed before the question counts for nothing.
        let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&shown).contains("[y/N] ") {
            let read = screen.read(&mut piece)?;
            assert!(read > 0, "{}", String::from_utf8_lossy(&shown));
            shown.extend_from_slice(&piece[..read]);
        }
        writeln!(keys, "{answer}")?;
        screen.read_to_end(&mut shown)?;
        let shown = String::from_utf8_lossy(&shown);
        assert_eq!(terminal.wait()?.code(), Some(status), "{shown}");
        assert!(
            shown.contains("Write this? [y/N]") && shown.contains(said),
            "{shown}"
        );
        assert_eq!(
            dir.path().join(".gemini/settings.json").exists(),
            status == 0
        );
        drop(keys);
    }
    Ok(())
}

#[test]
fn what_it_writes_is_what_agents_run() -> Tested {
    let scene = AgentScene::new()?;
    let dir = tempfile::tempdir()?;
    let output = init(dir.path(), &["claude-code", "--yes"])?;
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("guard run -- claude"));
    let server = written(&dir.path().join(".mcp.json"))?["mcpServers"]["guard"].clone();
    let mut command = Command::new(server["command"].text()?);
    let args = server["args"]
        .list()?
        .iter()
        .map(|arg| arg.as_str().unwrap());
    command
        .args(args)
        .env("GUARD_SOCKET", scene.daemon.socket());
    let mut mcp = Mcp::over(Running::start(&mut command)?);
    assert_eq!(mcp.begin()?["serverInfo"]["name"], "guard");
    let settings = written(&dir.path().join(".claude/settings.json"))?;
    for event in ["PostToolUse", "PostToolUseFailure"] {
        let group = &settings["hooks"][event][0];
        assert_eq!(group["matcher"], "Bash");
        let hook = group["hooks"][0]["command"].text()?;
        let ran = Command::new("sh")
            .args(["-c", hook])
            .stdin(Stdio::null())
            .output()?;
        assert!(ran.status.success() && ran.stdout.is_empty(), "{ran:?}");
    }
    let again = init(dir.path(), &["claude-code"])?;
    assert!(again.status.success() && String::from_utf8_lossy(&again.stdout).contains("already"));
    Ok(())
}

#[test]
fn what_others_wrote_stays_and_what_is_broken_is_left_alone() -> Tested {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join(".mcp.json");
    let theirs =
        "{\n\t\"zeta\": 1,\n\t\"mcpServers\": {\n\t\t\"docs\": {\"command\": \"docs\"}\n\t}\n}\n";
    fs::write(&file, theirs)?;
    let output = init(dir.path(), &["claude-code", "--yes", "--json"])?;
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(shown[0]["written"], true, "{shown}");
    assert_eq!(
        written(&file)?["mcpServers"]["docs"],
        json!({"command": "docs"})
    );
    assert!(
        fs::read_to_string(&file)?
            .starts_with("{\n\t\"zeta\": 1,\n\t\"mcpServers\": {\n\t\t\"docs\"")
    );
    let removed = init(dir.path(), &["claude-code", "--remove", "--yes"])?;
    assert!(removed.status.success());
    let said = String::from_utf8(removed.stdout)?;
    // The one file had something else in it, the other was guard's alone, as was its directory.
    let settings = dir.path().join(".claude/settings.json");
    let settings = settings.display().to_string();
    assert!(said.contains(&format!("Removed: {settings}")), "{said}");
    assert!(said.contains("Written: "), "{said}");
    assert_eq!(fs::read_to_string(&file)?, theirs);
    assert!(!dir.path().join(".claude").exists());
    fs::write(&file, "{ broken")?;
    let refused = init(dir.path(), &["claude-code", "--yes"])?;
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&file)?, "{ broken");
    assert!(!dir.path().join(".claude/settings.json").exists());
    Ok(())
}
