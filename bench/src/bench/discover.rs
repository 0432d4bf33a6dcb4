//! How long `guard discover` takes over very many files, from memory and from the disk, and what it takes of memory; and how much later
//! a command starts because guard looks first.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Daemon, Network, bins};
use serde_json::Value;
use tempfile::TempDir;

use super::Plan;
use super::client::Client;
use super::figure::{Figure, Other, Target, Unit};
use super::rounds::interleave;
use super::samples::Samples;

const MILLISECOND: f64 = 1e6;
const SECOND: f64 = 1e9;
const MIB: f64 = 1024.0 * 1024.0;

/// Files of a directory, one of them with settings.
const IN_DIRECTORY: usize = 1000;
/// A project of the usual size.
const USUAL: usize = 20_000;
/// How often the peak of its memory is looked at.
const GLANCE: Duration = Duration::from_millis(1);

/// A project, and an empty home.
struct Project {
    dir: TempDir,
    files: usize,
}

impl Project {
    /// On a disk, for what is only in memory is never read from one.
    fn new(files: usize) -> Result<Self> {
        let dir = tempfile::tempdir_in("/var/tmp")?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        fs::create_dir(dir.path().join("home"))?;
        for at in 0..files / IN_DIRECTORY {
            let part = dir.path().join(format!("project/part-{at}"));
            fs::create_dir_all(&part)?;
            let settings = format!("DATABASE_URL=postgres://app:word@db{at}.example.net/app\n");
            fs::write(part.join(".env"), settings)?;
            for file in 1..IN_DIRECTORY {
                File::create(part.join(format!("file-{file}.rs")))?;
            }
        }
        Ok(Self { dir, files })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Looks through all of it: how long that takes, and the most memory meanwhile.
    fn discover(&self, guard: &Path) -> Result<[f64; 2]> {
        let began = Instant::now();
        let mut child = Command::new(guard)
            .args(["discover", "--json", "--socket", "/nonexistent/guardd.sock"])
            .env_clear()
            .env("HOME", self.home())
            .current_dir(self.path())
            .uid(AGENT)
            .gid(AGENT)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start guard")?;
        let mut output = child.stdout.take().context("it has no output")?;
        let reader = thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        let mut peak = 0.0;
        let status = loop {
            peak = high_water(child.id()).unwrap_or(peak);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(GLANCE);
        };
        let took = began.elapsed().as_nanos() as f64;
        let text = reader.join().ok().context("its output was not read")??;
        ensure!(status.success(), "guard discover ended with {status}");
        let found: Value = serde_json::from_str(&text)?;
        ensure!(
            found["complete"] == true && found["project_files"] == self.files / IN_DIRECTORY,
            "it did not read all: {}",
            found["passed_over"]
        );
        Ok([took, peak])
    }
}

/// The most that a process has had in memory, in bytes.
fn high_water(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}

/// Has all that is read come from the disk. drop_caches in the kernel's admin-guide/sysctl/vm.rst
fn forget() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the page cache")
}

/// A million files, and what is looked through before a command starts.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn discover(plan: &Plan) -> Result<Vec<Figure>> {
    let (files, named) = if plan.quick {
        (100_000, "100,000 files")
    } else {
        (1_000_000, "1,000,000 files")
    };
    let [warm, cold, peak] = many(plan, files)?;
    let figure = |name: &str, unit, samples, most| {
        Figure::alone(
            &format!("guard discover, {named}{name}"),
            unit,
            samples,
            Target::AtMost(most),
        )
    };
    let mut figures = vec![
        figure("", Unit::Time, warm, SECOND),
        figure(" from the disk", Unit::Time, cold, 3.0 * SECOND),
        figure(", its memory", Unit::Memory, peak, 32.0 * MIB),
    ];
    figures.push(before(plan)?);
    Ok(figures)
}

fn many(plan: &Plan, files: usize) -> Result<[Samples; 3]> {
    let daemon = Daemon::on_this_machine().prepare()?;
    let guard = bins::for_everybody("guard", daemon.tag())?;
    let project = Project::new(files)?;
    let [mut warm, mut cold, mut peak] = [const { Samples(Vec::new()) }; 3];
    for _ in 0..plan.fewest {
        forget()?;
        let [took, most] = project.discover(&guard)?;
        cold.0.push(took);
        peak.0.push(most);
        let [took, most] = project.discover(&guard)?;
        warm.0.push(took);
        peak.0.push(most);
    }
    Ok([warm, cold, peak])
}

/// `guard run -- true` where guard looks first, beside the same where it does not.
fn before(plan: &Plan) -> Result<Figure> {
    let network = Network::new()?;
    let daemon = |config: &str| {
        let policy = "version = 1\nname = \"bench\"\ndefault = \"confirm\"\n";
        let daemon = Daemon::in_network(&network).policy("bench", policy);
        daemon.config(config).start()
    };
    let looks = daemon("discover = { require = \"covered\" }\n")?;
    let looks_not = daemon("")?;
    let project = Project::new(USUAL)?;
    let guard = bins::for_everybody("guard", looks.tag())?;
    let [first, second] = [&looks, &looks_not].map(|daemon| {
        let words = [
            "env".to_owned(),
            format!("--chdir={}", project.path().display()),
            format!("HOME={}", project.home().display()),
            guard.display().to_string(),
            "run".to_owned(),
            format!("--socket={}", daemon.socket().display()),
            "--policy=bench".to_owned(),
            "--".to_owned(),
            "/bin/true".to_owned(),
        ];
        words.to_vec()
    });
    let mut client = Client::free(&network)?;
    let [looking, not] = interleave(
        plan.few,
        &mut client,
        [&mut |client| client.spawn(&first), &mut |client| {
            client.spawn(&second)
        }],
    )?;
    let target = Target::More(50.0 * MILLISECOND);
    Ok(
        Figure::alone("guard run, 20,000 files", Unit::Time, looking, target)
            .beside(Other::Measured("without a look", not)),
    )
}
