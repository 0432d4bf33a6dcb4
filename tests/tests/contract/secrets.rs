//! A thousand secrets in all places of all formats that `guard discover` reads: none is said, kept or recorded.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use guard_lab::{AGENT, Json as _, Running, Tested, is_slow};

use serde_json::Value;

use super::discover::Project;
use crate::watch::terminal::Tmux;

/// Each format with `@@` where a secret is, as the reading's own tests have them.
const PLACES: &str = include_str!("../../../guard-user/discover/tests/secrets.txt");

/// How often each format of a project is there.
const TIMES: usize = 10;

fn secret() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

/// Writes a file with a secret in it, below a directory.
fn put(dir: &Path, path: &str, text: &str) -> Tested<(PathBuf, String)> {
    let secret = secret();
    let file = dir.join(path);
    let parents = file.ancestors().skip(1);
    let made: Vec<_> = parents.take_while(|parent| !parent.exists()).collect();
    fs::create_dir_all(file.parent().unwrap_or(dir))?;
    fs::write(&file, text.replace("@@", &secret))?;
    for path in made.into_iter().chain([&*file]) {
        chown(path, Some(AGENT), Some(AGENT))?;
    }
    Ok((file, secret))
}

/// All that is in the files below a directory, but for some.
fn text_below(dir: &Path, but: &BTreeSet<PathBuf>, text: &mut Vec<u8>) -> Tested {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        if but.contains(&path) {
            continue;
        }
        if kind.is_dir() {
            text_below(&path, but, text)?;
        } else if kind.is_file() {
            text.extend(fs::read(&path)?);
        }
    }
    Ok(())
}

/// Secrets wherever they may be, and all that guard says meanwhile.
struct Planted {
    project: Project,
    /// Files that have them.
    but: BTreeSet<PathBuf>,
    secrets: Vec<String>,
    /// How many of the project's files are read.
    files: usize,
    environment: Vec<(String, String)>,
    told: Vec<u8>,
}

impl Planted {
    fn new(project: Project) -> Self {
        Self {
            but: BTreeSet::from([project.project.clone()]),
            project,
            secrets: Vec::new(),
            files: 1,
            environment: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Puts a secret into each place, and into those of a project so many times.
    fn plant(&mut self, times: usize) -> Tested {
        let places = PLACES.strip_prefix("-- ").unwrap_or(PLACES).split("\n-- ");
        let places = places.filter_map(|one| one.split_once('\n')).enumerate();
        for (at, (path, text)) in places {
            match (path, path.strip_prefix("~/")) {
                ("env", _) => {
                    let secret = secret();
                    let variables = text.lines().filter_map(|line| line.split_once('='));
                    let with = |value: &str| value.replace("@@", &secret);
                    let variables = variables.map(|(key, value)| (key.to_owned(), with(value)));
                    self.environment.extend(variables);
                    self.secrets.push(secret);
                }
                // The machine's list, and what is read by a variable: the reading's own tests have them.
                (path, _) if path.starts_with('/') || path.contains('=') => {}
                (_, Some(path)) => {
                    let (file, secret) = put(&self.project.home, path, text)?;
                    self.but.insert(file);
                    self.secrets.push(secret);
                }
                (path, None) => {
                    for time in 0..times {
                        let path = format!("{time}/{at}/{path}");
                        self.secrets
                            .push(put(&self.project.project, &path, text)?.1);
                    }
                    self.files += times;
                }
            }
        }
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.project.command(&self.project.project, args);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// A file of shell that sets the variables: what is typed is seen.
    fn exported(&mut self) -> Tested<PathBuf> {
        let file = self.project.lab.daemon.dir().join("variables");
        let lines = self.environment.iter();
        let lines = lines.map(|(key, value)| format!("export {key}='{value}'\n"));
        fs::write(&file, lines.collect::<String>())?;
        self.but.insert(file.clone());
        Ok(file)
    }

    /// Runs `guard`, and keeps what it says.
    fn guard(&mut self, args: &[&str]) -> Tested<(Option<i32>, String)> {
        let output = self.command(args).output()?;
        self.told.extend(&output.stdout);
        self.told.extend(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.code(), said))
    }

    /// That none of them is in what was said, in guardd's files, and in its records.
    fn tells_none(mut self) -> Tested {
        let lab = &self.project.lab;
        // What is told holds what was found, so that nothing would be in it by accident alone.
        assert!(String::from_utf8_lossy(&self.told).contains("db.example.net"));
        for verb in ["log", "pending", "sessions"] {
            let said = lab.root(&[verb, "--json"])?.stdout;
            self.told.extend(said.into_bytes());
        }
        self.told.extend(lab.daemon.log().into_bytes());
        text_below(lab.daemon.dir(), &self.but, &mut self.told)?;
        let told = String::from_utf8_lossy(&self.told).to_lowercase();
        for secret in &self.secrets {
            assert!(!told.contains(secret.as_str()), "{secret} is told");
        }
        Ok(())
    }
}

#[test]
fn no_secret_that_is_in_reach_is_said_kept_or_recorded() -> Tested {
    let mut planted = Planted::new(Project::new("")?);
    // An emulated processor reads few files in the time that there is.
    let times = if is_slow() { 1 } else { TIMES };
    planted.plant(times)?;
    assert!(
        planted.secrets.len() > 100 * times,
        "{}",
        planted.secrets.len()
    );
    for args in [
        &["discover", "--all"][..],
        &["discover", "--all", "--deep"],
        &["discover", "--why", "1"],
        &["discover", "--why", "2", "--json"],
        &["discover", "--check"],
        &["discover", "--write", "shop", "--yes", "--policy", "open"],
        &["discover", "--dismiss", "1"],
        &["explain", "db.example.net:5432", "--policy", "open"],
        &["setup", "--print"],
    ] {
        let before = planted.told.len();
        planted.guard(args)?;
        assert!(planted.told.len() > before, "{args:?}");
    }
    // All of it was read, and not as much as there was time or room for.
    let (_, said) = planted.guard(&["discover", "--all", "--deep", "--json"])?;
    let found: Value = serde_json::from_str(&said)?;
    assert_eq!(found["project_files"], planted.files);
    for one in found["passed_over"].list()? {
        let why = one["why"].text()?;
        let is_late = why.starts_with("out of time") || why.starts_with("more files");
        assert!(!is_late, "{one}");
    }
    // What is said before a command, to whoever sits at a terminal.
    let tmux = Tmux::start(planted.project.lab.daemon.dir());
    let window = tmux.window_of("run", 200, 60);
    let variables = planted.exported()?;
    window.enter(&format!(
        "cd '{}'; . '{}'",
        planted.project.project.display(),
        variables.display()
    ));
    let run = ["run", "--policy", "open", "--", "echo", "it", "ran"];
    let guard = planted.project.lab.daemon.agent(run);
    window.guard(&guard.env("HOME", &planted.project.home));
    let screen = window.expect("it ran\n");
    assert!(screen.contains("in reach"), "{screen}");
    planted.told.extend(screen.into_bytes());
    planted.tells_none()
}

#[test]
fn no_secret_is_said_where_nothing_starts_or_something_comes_into_reach() -> Tested {
    let (project, _told, file) = Project::telling()?;
    let tmux = Tmux::start(project.lab.daemon.dir());
    let [watch, bell] = project.screens(&tmux);
    let mut session = project.in_session(&["--policy", &project.asks()?])?;
    watch.expect("policy quiet");
    let mut planted = Planted::new(project);
    planted.plant(1)?;
    guard_lab::eventually("much is recorded", || {
        let appeared = planted.project.appeared()?;
        let is_host = |one: &Value| one.to_string().contains("db.example.net");
        Ok(appeared.len() > 10 && appeared.iter().any(is_host))
    })?;
    let lines = || fs::read_to_string(&file).unwrap_or_default();
    guard_lab::eventually("the command is told", || lines().ends_with('\n'))?;
    planted.told.extend(lines().into_bytes());
    for (window, said) in [(&watch, "came into reach"), (&bell, ", by ")] {
        planted.told.extend(window.expect(said).into_bytes());
    }
    end(&mut session)?;
    // By then it is open, and nothing starts.
    let (code, _) = planted.guard(&["run", "--policy", "open", "--", "true"])?;
    assert_eq!(code, Some(125));
    let refused = planted.project.lab.daemon.logged("start-refused")?;
    assert_eq!(refused.len(), 1, "{refused:?}");
    planted.tells_none()
}

/// Ends a shell, and waits for it.
fn end(session: &mut Running) -> Tested {
    session.write("exit\n")?;
    session.wait()?;
    Ok(())
}
