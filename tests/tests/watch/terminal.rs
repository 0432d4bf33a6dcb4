//! A terminal: windows of a tmux of one's own.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use guard_lab::reap::Reaper;
use guard_lab::{Guard, Tested, eventually};

/// A tmux server, which ends with this value.
pub(crate) struct Tmux {
    socket: PathBuf,
    server: Child,
    _reaper: Reaper,
}

impl Tmux {
    pub(crate) fn start(dir: &Path) -> Self {
        let socket = dir.join("tmux");
        let mut reaper = Reaper::start().unwrap();
        let server = Command::new("tmux")
            .arg("-S")
            .arg(&socket)
            .args(["-f", "/dev/null", "-D"])
            .stdin(Stdio::null())
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .env("LC_ALL", "C.UTF-8")
            .spawn()
            .expect("tmux is here");
        reaper.process(server.id()).unwrap();
        let tmux = Self {
            socket,
            server,
            _reaper: reaper,
        };
        eventually("tmux listens", || UnixStream::connect(&tmux.socket).is_ok()).unwrap();
        tmux
    }

    /// A shell in a window of its own.
    pub(crate) fn window(&self, name: &str) -> Window<'_> {
        self.window_of(name, 100, 30)
    }

    pub(crate) fn window_of(&self, name: &str, columns: u16, lines: u16) -> Window<'_> {
        let window = self.start_in(name, [columns, lines], &["env", "PS1=ready$ ", "sh"]);
        window.expect("ready$");
        window
    }

    /// A `guard` command in a window of its own, by other words (such as `unshare`) or none, and without any shell.
    pub(crate) fn window_without_shell(
        &self,
        name: &str,
        by: &[&str],
        guard: &Guard<'_>,
    ) -> Window<'_> {
        let words = words(guard);
        let words = by.iter().copied().chain(words.iter().map(String::as_str));
        self.start_in(name, [100, 30], &words.collect::<Vec<_>>())
    }

    /// A command in a window of its own.
    pub(crate) fn start_in(&self, name: &str, size: [u16; 2], command: &[&str]) -> Window<'_> {
        let [columns, lines] = size.map(|number| number.to_string());
        let sized = ["-x", &*columns, "-y", &*lines];
        let new = ["-u", "new-session", "-d", "-s", name];
        self.tmux(&[&new[..], &sized, command].concat());
        Window {
            tmux: self,
            name: name.to_owned(),
        }
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        let output = tmux
            .arg("-S")
            .arg(&self.socket)
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Its windows are hung up on.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A `guard` command with its environment.
fn words(guard: &Guard<'_>) -> Vec<String> {
    let command = guard.command().unwrap();
    let envs = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let envs = envs.map(|(name, value)| format!("{}={}", name.display(), value.display()));
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| word.display().to_string());
    let env = std::iter::once("env".to_owned());
    env.chain(envs).chain(words).collect()
}

/// One terminal.
pub(crate) struct Window<'t> {
    tmux: &'t Tmux,
    name: String,
}

impl Window<'_> {
    /// Types a `guard` command.
    pub(crate) fn guard(&self, guard: &Guard<'_>) {
        let quoted = words(guard).into_iter().map(|word| format!("'{word}'"));
        self.enter(&quoted.collect::<Vec<_>>().join(" "));
    }

    /// Presses keys, by tmux's names for them.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.tmux
            .tmux(&[&["send-keys", "-t", &self.name][..], keys].concat());
    }

    /// Types text as it is.
    pub(crate) fn type_text(&self, text: &str) {
        self.tmux.tmux(&["send-keys", "-t", &self.name, "-l", text]);
    }

    /// Pastes text.
    pub(crate) fn paste(&self, text: &str) {
        self.tmux.tmux(&["set-buffer", "-b", "pasted", text]);
        self.tmux
            .tmux(&["paste-buffer", "-p", "-b", "pasted", "-t", &self.name]);
    }

    /// What it shows.
    pub(crate) fn screen(&self) -> String {
        self.tmux.tmux(&["capture-pane", "-p", "-t", &self.name])
    }

    /// The same with its colours, as escapes.
    pub(crate) fn coloured(&self) -> String {
        self.tmux
            .tmux(&["capture-pane", "-e", "-p", "-t", &self.name])
    }

    /// Types a line.
    pub(crate) fn enter(&self, text: &str) {
        self.type_text(text);
        self.press(&["Enter"]);
    }

    /// Waits until it shows some text, and gives all that it shows then.
    pub(crate) fn expect(&self, text: &str) -> String {
        self.expect_that(text, |screen| screen.contains(text))
    }

    /// Waits until it shows it no more.
    pub(crate) fn expect_no(&self, text: &str) -> String {
        self.expect_that(&format!("no {text}"), |screen| !screen.contains(text))
    }

    pub(crate) fn expect_that(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let seen = eventually(what, || {
            screen = self.screen();
            is(&screen)
        });
        assert!(seen.is_ok(), "{what}:\n{screen}");
        screen
    }

    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux.tmux(&[
            "resize-window",
            "-t",
            &self.name,
            "-x",
            &columns,
            "-y",
            &lines,
        ]);
    }

    /// What tmux knows of it, by the names of its formats.
    pub(crate) fn state(&self, formats: &str) -> String {
        let said = self
            .tmux
            .tmux(&["display-message", "-p", "-t", &self.name, formats]);
        said.trim().to_owned()
    }

    /// Whether it is as a shell has it: the usual screen, a cursor, lines that go on in the next one, echo.
    pub(crate) fn expect_restored(&self) -> Tested {
        let state = || self.state("#{alternate_on} #{cursor_flag} #{wrap_flag}");
        eventually("the terminal as it was", || state() == "0 1 1")?;
        self.enter("stty -a | tr ' ' '\\n' | grep -cxE 'echo|icanon|isig'");
        // The terminal echoes what comes before the shell asks for it, and then the prompt follows.
        let says_3 = |line: &str| line.trim().trim_start_matches("ready$ ") == "3";
        self.expect_that("echo, icanon, isig", |screen| {
            screen.contains("grep -cxE") && screen.lines().any(says_3)
        });
        Ok(())
    }

    /// The process that runs in front in it, which is `guard watch` once it shows anything.
    pub(crate) fn watching(&self) -> Tested<rustix::process::Pid> {
        let shell = self.state("#{pane_pid}");
        let mut found = String::new();
        // Under what it was started by: env, nsenter and setpriv become what they start.
        eventually("guard watch runs", || {
            let path = format!("/proc/{shell}/task/{shell}/children");
            found = std::fs::read_to_string(path).unwrap_or_default();
            let words =
                std::fs::read(format!("/proc/{}/cmdline", found.trim())).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|word| word == b"watch")
        })?;
        Ok(rustix::process::Pid::from_raw(found.trim().parse()?).unwrap())
    }

    /// Ends the window as a connection that is lost does.
    pub(crate) fn hang_up(&self) {
        self.tmux.tmux(&["kill-session", "-t", &self.name]);
    }
}
