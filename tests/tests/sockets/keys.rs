//! Agents for keys that are started in a session. They keep others from looking at them, and so do clients of some builds.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use guard_lab::{AGENT, Tested, exec, mounts};

use super::scene::UnixSockets;

/// What it takes. `cargo xtask test` installs it, and machines that are without leave this module out.
const PROGRAMS: [&str; 5] = ["git", "gpg", "gpg-agent", "ssh-add", "ssh-agent"];

fn missing() -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let is_there = |program: &str| dirs.iter().any(|dir| dir.join(program).exists());
    let programs = PROGRAMS.into_iter();
    programs.filter(|program| !is_there(program)).collect()
}

/// What a command signs that runs the script in a home of its own. Such programs ask what their user is called.
fn signs(scene: &UnixSockets, name: &str, mut command: Command) -> Tested<String> {
    let home = PathBuf::from(scene.place(name)?);
    fs::create_dir(&home)?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    chown(&home, Some(AGENT), Some(AGENT))?;
    let script = Path::new(&scene.place("keys.sh")?).to_owned();
    fs::write(&script, include_str!("keys.sh"))?;
    let accounts = scene.place("passwd")?;
    let user = format!("agent:x:{AGENT}:{AGENT}::/nonexistent:/bin/sh\n");
    fs::write(&accounts, fs::read_to_string("/etc/passwd")? + &user)?;
    command.arg("sh").arg(script).env("HOME", home);
    for set in ["GNUPGHOME", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"] {
        command.env_remove(set);
    }
    let mut command = mounts::with_file(&command, accounts.as_ref(), "/etc/passwd");
    let done = exec::output(&mut command)?;
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}: {done:?}\n{said}");
    Ok(String::from_utf8(done.stdout)?)
}

#[test]
fn agents_of_a_sessions_own_sign_in_it() -> Tested {
    assert_eq!(missing(), [""; 0], "install them");
    let scene = UnixSockets::new()?;
    let signed = "ssh\ngpg\ngit by gpg\ngit by ssh\n";
    let outside = scene.daemon.on_machine(AGENT, "env");
    assert_eq!(signs(&scene, "outside", outside)?, signed);
    let run = ["run", "--policy", "open", "--quiet", "--"];
    let inside = scene.daemon.agent(run).command()?;
    assert_eq!(signs(&scene, "inside", inside)?, signed);
    Ok(())
}
