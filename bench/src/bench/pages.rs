//! The pages of guard-console, and people who look at them.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use guard_lab::bench::monotonic;
use guard_lab::{Daemon, Network, PATIENCE, Running, bins, exec};

use super::crowd::cpu_of;
use super::starts::resident_of;

/// As whom the console runs, and where.
pub(super) const CONSOLE: u32 = 61242;
const HOST: &str = "guard.localhost";
/// Pages at once, of each console.
const PAGES: usize = 200;
/// After so long a page asks for the next stream, as it is told.
const RETRY: Duration = Duration::from_millis(500);

/// A console, and somebody who looks at it.
pub(super) struct Page {
    console: Running,
    /// Each event, and when it came.
    pub(super) events: Receiver<(u64, String)>,
    looks: Looks,
}

/// What it takes to look.
#[derive(Clone)]
struct Looks {
    netns: PathBuf,
    port: u16,
    cookie: String,
}

impl Page {
    /// Starts it, logs in, and looks at it from then on.
    pub(super) fn start(
        network: &Network,
        daemon: &Daemon,
        port: u16,
        of: [&OsStr; 2],
    ) -> Result<Self> {
        let state = daemon.dir().join(format!("pages{port}"));
        fs::create_dir(&state)?;
        chown(&state, Some(CONSOLE), Some(CONSOLE))?;
        let program = bins::for_everybody("guard-console", daemon.tag())?;
        let origin = format!("http://{HOST}:{port}");
        let console = |args: &[&str]| {
            let mut command = daemon.on_machine(CONSOLE, &program);
            command.args(["--config", "/nonexistent", "--origin", &origin, "--listen"]);
            command.arg(format!("localhost:{port}")).args(of);
            command.arg("--state-dir").arg(&state).args(args);
            command
        };
        let running = Running::start(&mut console(&[]))?;
        let mut looks = Looks {
            netns: network.dev().path(),
            port,
            cookie: String::new(),
        };
        guard_lab::eventually("the console serves", || looks.connect().is_ok())?;
        let mut link = String::new();
        guard_lab::eventually("a link is made", || -> guard_lab::Tested<bool> {
            let made = exec::output(&mut console(&["login", "alice"]))?;
            link = String::from_utf8(made.stdout)?.trim().to_owned();
            Ok(!link.is_empty())
        })?;
        looks.log_in(&link)?;
        let (to, events) = channel();
        let looking = looks.clone();
        thread::spawn(move || {
            // Until the console ends.
            while looking.follow(&to).is_ok() {}
        });
        Ok(Self {
            console: running,
            events,
            looks,
        })
    }

    /// When it had a question that was asked since.
    pub(super) fn asked_since(&self, at: u64) -> Result<u64> {
        loop {
            let (moment, event) = self.events.recv_timeout(PATIENCE)?;
            if moment >= at && event.contains("\"questions\":[{") {
                return Ok(moment);
            }
        }
    }

    /// What the console has in memory with one page, and with so many.
    pub(super) fn memory(&self) -> Result<[f64; 2]> {
        let one = resident_of(self.console.pid())?;
        let streams = (0..PAGES).map(|_| self.looks.stream());
        let mut streams: Vec<_> = streams.collect::<Result<_>>()?;
        for stream in &mut streams {
            stream.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("data: ")));
        }
        Ok([one, resident_of(self.console.pid())?])
    }

    /// Has so many look at it until it ends, as browsers do.
    pub(super) fn fill(&self) -> Result<()> {
        let (to, events) = channel();
        for _ in 0..PAGES {
            let (to, looks) = (to.clone(), self.looks.clone());
            thread::spawn(move || {
                while looks.follow(&to).is_ok() {
                    thread::sleep(RETRY);
                }
            });
        }
        // Each is told first what there is.
        for _ in 0..PAGES {
            events.recv_timeout(PATIENCE)?;
        }
        thread::spawn(move || for _ in events {});
        Ok(())
    }

    /// What the console has had of a processor.
    pub(super) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.console.pid())
    }
}

impl Looks {
    fn connect(&self) -> Result<TcpStream> {
        let (netns, port) = (fs::File::open(&self.netns)?, self.port);
        let connected = thread::spawn(move || -> Result<TcpStream> {
            rustix::thread::move_into_link_name_space(
                netns.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
        });
        connected.join().map_err(|_| anyhow!("no thread"))?
    }

    fn log_in(&mut self, link: &str) -> Result<()> {
        let secret = link.rsplit('/').next().context("no link")?;
        let (host, body) = (format!("{HOST}:{}", self.port), format!("secret={secret}"));
        let mut stream = self.connect()?;
        write!(
            stream,
            "POST /login HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let mut lines = answer.lines();
        let cookie = lines.find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookie.and_then(|set| set.split(';').next());
        cookie.context("no session")?.clone_into(&mut self.cookie);
        Ok(())
    }

    /// One stream of events, line by line.
    fn stream(&self) -> Result<Lines<BufReader<TcpStream>>> {
        let mut stream = self.connect()?;
        write!(
            stream,
            "GET /events HTTP/1.1\r\nhost: {HOST}:{}\r\ncookie: {}\r\nconnection: close\r\n\r\n",
            self.port, self.cookie
        )?;
        Ok(BufReader::new(stream).lines())
    }

    /// One, which ends by itself.
    fn follow(&self, to: &Sender<(u64, String)>) -> Result<()> {
        for line in self.stream()? {
            if let Some(data) = line?.strip_prefix("data: ") {
                to.send((monotonic(), data.to_owned()))?;
            }
        }
        Ok(())
    }
}
