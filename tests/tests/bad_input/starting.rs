//! Places and privileges that guardd cannot work with.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use guard_lab::{AGENT, Daemon, Tested, exec};

/// Where a guardd is to live, in a lab of its own.
struct Places {
    daemon: Daemon,
    state: PathBuf,
    pins: PathBuf,
    root: PathBuf,
    config: Option<PathBuf>,
}

impl Places {
    fn new() -> Tested<Self> {
        let daemon = Daemon::on_this_machine().prepare()?;
        Ok(Self {
            state: daemon.state_dir(),
            pins: daemon.pin_dir().to_owned(),
            root: daemon.cgroup_root().to_owned(),
            config: None,
            daemon,
        })
    }

    fn file(&self, name: &str, text: &str) -> Tested<PathBuf> {
        let path = self.daemon.dir().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts guardd there, behind other words, and gives what it says. It must end, and leave nothing.
    fn refused(&self, before: &[&str]) -> Tested<String> {
        let guardd = self.daemon.program("guardd")?;
        let mut words = before.iter().map(PathBuf::from).collect::<Vec<_>>();
        words.push(guardd);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        for (option, path) in [
            ("--state-dir", &self.state),
            ("--pin-dir", &self.pins),
            ("--cgroup-root", &self.root),
        ] {
            command.arg(option).arg(path);
        }
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let places = [&self.state, &self.pins, &self.root];
        let before = places.map(|path| path.exists());
        let output = exec::output(&mut command)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let after = places.map(|path| path.exists());
        assert_eq!(before, after, "of {places:?} is left: {said}");
        Ok(said)
    }
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn without_privileges() -> Tested {
    let places = Places::new()?;
    let agent = AGENT.to_string();
    let uid = format!("--reuid={agent}");
    let said = places.refused(&["setpriv", &uid, "--clear-groups", "--"])?;
    says(&said, &["root"]);
    let said = places.refused(&["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"])?;
    says(&said, &["capabilities"]);
    let said = places.refused(&["setpriv", "--bounding-set=-bpf,-sys_admin", "--"])?;
    says(&said, &["CAP_BPF"]);
    let said = places.refused(&["unshare", "--user", "--map-root-user", "--"])?;
    says(&said, &["root", "container"]);
    Ok(())
}

#[test]
fn without_cgroup_v2() -> Tested {
    let mut places = Places::new()?;
    places.root = places.daemon.dir().join("cgroup");
    let said = places.refused(&[])?;
    says(&said, &["cgroup v2", "--cgroup-root"]);
    let places = Places::new()?;
    let hidden = "for d in $(findmnt -n -t cgroup2 -o TARGET); do umount -l $d; done; exec \"$@\"";
    let said = places.refused(&["unshare", "--mount", "sh", "-c", hidden, "sh"])?;
    says(&said, &["cgroup v2", "mount"]);
    Ok(())
}

#[test]
fn places_that_cannot_be_made() -> Tested {
    let mut places = Places::new()?;
    let file = places.file("file", "")?;
    places.state = file.clone();
    says(&places.refused(&[])?, &["file", "--state-dir"]);
    places.state = "/proc/guard-lab".into();
    says(&places.refused(&[])?, &["/proc/guard-lab", "--state-dir"]);
    let mut places = Places::new()?;
    places.pins = file;
    says(&places.refused(&[])?, &["file", "--pin-dir"]);
    places.pins = "/proc/guard-lab".into();
    says(&places.refused(&[])?, &["/proc/guard-lab", "--pin-dir"]);
    let mut places = Places::new()?;
    places.root = places.daemon.cgroup_root().join("a/b");
    says(&places.refused(&[])?, &["a/b", "--cgroup-root"]);
    Ok(())
}

#[test]
fn a_root_that_is_not_roots() -> Tested {
    let places = Places::new()?;
    fs::create_dir(&places.root)?;
    chown(&places.root, Some(AGENT), None)?;
    says(&places.refused(&[])?, &["root does not own", "chown"]);
    Ok(())
}

#[test]
fn settings_that_are_wrong() -> Tested {
    let mut places = Places::new()?;
    for (text, words) in [
        (
            "defualt_policy = \"ci\"\n",
            &["defualt_policy", "line 1"][..],
        ),
        ("max_requests = \"many\"\n", &["max_requests", "line 1"]),
        ("resolvers = [\"192.0.2.53\"]\n", &["resolvers", "line 1"]),
        ("name_grace = -1\n", &["name_grace", "line 1"]),
        ("max_requests = \n", &["line 1"]),
    ] {
        places.config = Some(places.file("guardd.toml", text)?);
        let said = places.refused(&[])?;
        says(&said, words);
        says(&said, &["guardd.toml"]);
    }
    places.config = Some(Path::new("/nowhere/guardd.toml").into());
    says(
        &places.refused(&[])?,
        &["/nowhere/guardd.toml", "No such file"],
    );
    Ok(())
}
