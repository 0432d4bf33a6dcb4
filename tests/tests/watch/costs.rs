//! That a request is on the screen before anything else happens, and what the screen costs when nothing does.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use guard_lab::{PATIENCE, Tested, is_slow, patience};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::watch::scene::{WatchScene, reaches};

/// `guard watch` on a bare terminal, whose bytes are read as they come.
struct Bare {
    child: Child,
    ours: File,
}

impl Bare {
    fn start(scene: &WatchScene) -> Tested<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let path = ptsname(&ours, Vec::new())?.into_string()?;
        let theirs = File::options().read(true).write(true).open(path)?;
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&theirs, size)?;
        let end = || Stdio::from(OwnedFd::from(theirs.try_clone().unwrap()));
        let mut command = scene.daemon.root(["watch"]).command()?;
        command.env("TERM", "xterm").stdin(end()).stdout(end());
        let child = command.spawn()?;
        let mut bare = Self {
            child,
            ours: ours.into(),
        };
        bare.until("sessions")?;
        Ok(bare)
    }

    /// Reads until some text has been drawn.
    fn until(&mut self, text: &str) -> Tested {
        let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
        let deadline = Instant::now() + patience(PATIENCE);
        while !String::from_utf8_lossy(&seen).contains(text) {
            let more = PollFd::new(&self.ours, PollFlags::IN);
            // The screen counts seconds: there is always something to read.
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left)?;
            let is_there = poll(&mut [more], Some(&left))? > 0;
            assert!(
                is_there,
                "no {text:?} in {:?}",
                String::from_utf8_lossy(&seen)
            );
            let length = self.ours.read(&mut bytes)?;
            seen.extend_from_slice(&bytes[..length]);
        }
        Ok(())
    }

    /// The time that it has computed so far.
    fn computed(&self) -> Tested<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        // The 14th and 15th field, proc_pid_stat(5); the 3rd is the first here.
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_request_is_on_the_screen_without_a_key() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let mut screen = Bare::start(&scene)?;
    let mut times = Vec::new();
    for number in 1..=15 {
        let start = Instant::now();
        // From before the agent's process is made, so that is measured with it.
        assert!(!reaches(&mut shell, &format!("192.0.2.{}", 20 + number))?);
        screen.until(&format!("r{number}"))?;
        times.push(start.elapsed());
        scene.daemon.json(["deny", &format!("r{number}")])?;
        // Only what changes is drawn: the next one over this one would be a digit.
        screen.until("none")?;
    }
    times.sort();
    let median = times[times.len() / 2];
    // What that is worth depends on what else the machine does.
    println!(
        "a request is on the screen after {median:?} (median), {:?} at most",
        times.last()
    );
    Ok(())
}

#[test]
fn nothing_happens_at_next_to_no_cost() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let mut screen = Bare::start(&scene)?;
    // A hole and a request, whose times change on the screen.
    scene.daemon.json(["open", "192.0.2.20", "--all-ports"])?;
    assert!(!reaches(&mut shell, "192.0.2.21")?);
    screen.until("r1 ")?;
    std::thread::sleep(Duration::from_secs(2));
    let (start, before) = (Instant::now(), screen.computed()?);
    std::thread::sleep(Duration::from_secs(30));
    let share = (screen.computed()? - before).as_secs_f64() / start.elapsed().as_secs_f64();
    println!("idle, it takes {:.2} % of a core", share * 100.0);
    assert!(share <= 0.01 || is_slow(), "{share}");
    Ok(())
}
