//! Running other programs to their end, which has to come.

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::patience;

/// How long a program may run that is to end by itself: less than the six minutes after which cargo-nextest ends a test,
/// so that the test can say which one did not.
const LIFE: Duration = Duration::from_secs(240);

/// Runs a command to its end, without input, and gives what it said.
///
/// # Errors
///
/// That it cannot be started, or does not end: it is killed then.
pub fn output(command: &mut Command) -> Result<Output> {
    let child = start(command, Stdio::null())?;
    said(child).with_context(|| format!("{command:?} was to end"))
}

/// The same, with text on its standard input, of which it may leave some.
///
/// # Errors
///
/// As [`output`].
pub fn output_with(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = start(command, Stdio::piped())?;
    let (stdin, input) = (child.stdin.take(), input.to_owned());
    // On a thread: who does not read does not hold up the test.
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
    said(child).with_context(|| format!("{command:?} was to end"))
}

fn start(command: &mut Command, stdin: Stdio) -> Result<Child> {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = piped.stdin(stdin).spawn();
    started.with_context(|| format!("cannot start {command:?}"))
}

/// Waits for the end of a child and of what it says, which others may hold open.
///
/// # Errors
///
/// That they do not come: it is killed then.
pub fn said(mut child: Child) -> Result<Output> {
    let deadline = Instant::now() + patience(LIFE);
    let stdout = child.stdout.take().map(Said::collect);
    let stderr = child.stderr.take().map(Said::collect);
    let status = ended_by(&mut child, deadline);
    let text = |said: Option<Said>| said.map_or(Ok(Vec::new()), |said| said.all(deadline));
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.with_context(|| format!("it said {stdout:?} and {stderr:?}"))?;
    Ok(Output {
        status,
        stdout: stdout?,
        stderr: stderr?,
    })
}

/// Waits for the end of a child.
///
/// # Errors
///
/// That it does not come: it is killed then.
pub fn ended(child: &mut Child) -> Result<ExitStatus> {
    ended_by(child, Instant::now() + patience(LIFE))
}

fn ended_by(child: &mut Child, deadline: Instant) -> Result<ExitStatus> {
    // Its end is read below no second time.
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).context("so long is no time")?;
    let is_over = loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ended => break ended? == 0,
        }
    };
    if is_over {
        child.kill()?;
        child.wait()?;
        bail!("process {} did not end, and was killed", child.id());
    }
    Ok(child.wait()?)
}

/// What somebody says, while it is said.
struct Said {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Said {
    fn collect(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let written = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 1 << 14];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let mut text = written.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(&buffer[..length]);
            }
        });
        Self { text, reader }
    }

    fn all(self, deadline: Instant) -> Result<Vec<u8>> {
        while !self.reader.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(
            self.reader.is_finished(),
            "it ended, and somebody whom it started holds its output open: {}",
            String::from_utf8_lossy(&text)
        );
        Ok(text.clone())
    }
}

/// Runs `command` and gives its standard output.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    text(command, &output)
}

/// The same, with `input` on its standard input.
pub(crate) fn run_with(command: &mut Command, input: &str) -> Result<String> {
    let output = output_with(command, input)?;
    text(command, &output)
}

fn text(command: &Command, output: &Output) -> Result<String> {
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}): {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same command, run by another one whose last words it is.
#[must_use]
pub fn by(mut runner: Command, command: &Command) -> Command {
    runner.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => runner.env(name, value),
            None => runner.env_remove(name),
        };
    }
    runner
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tested, eventually};

    fn sh(script: &str) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", script]);
        sh
    }

    #[test]
    fn what_a_program_says_and_how_it_ends_is_known() -> Tested {
        let output = output(&mut sh("echo out; echo err >&2; exit 3"))?;
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr, b"err\n");
        let told = output_with(&mut sh("cat"), "told")?;
        assert_eq!(told.stdout, b"told");
        Ok(())
    }

    #[test]
    fn one_that_does_not_end_is_killed() -> Tested {
        let mut goes_on = sh("exec sleep 1000").spawn()?;
        let pid = goes_on.id();
        let error = ended_by(&mut goes_on, Instant::now()).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        let status = goes_on.try_wait()?.context("it goes on")?;
        assert_eq!(status.code(), None, "{pid}");
        assert_eq!(ended(&mut goes_on)?, status);
        Ok(())
    }

    #[test]
    fn what_holds_the_output_open_is_not_waited_for() -> Tested {
        let mut child = start(&mut sh("echo told; sleep 1000 & echo $!"), Stdio::null())?;
        let said = Said::collect(child.stdout.take().context("no output")?);
        ended(&mut child)?;
        let mut pid = String::new();
        eventually("it says whom it left", || {
            let text = said.text.lock().unwrap().clone();
            let text = String::from_utf8(text)?;
            pid = text.lines().nth(1).unwrap_or_default().to_owned();
            Ok(text.ends_with('\n') && !pid.is_empty())
        })?;
        let error = said.all(Instant::now()).unwrap_err().to_string();
        let left = Pid::from_raw(pid.parse()?).context("no process")?;
        rustix::process::kill_process(left, rustix::process::Signal::KILL)?;
        assert!(error.contains("holds its output open: told"), "{error}");
        Ok(())
    }
}
