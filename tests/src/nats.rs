//! Real servers of NATS, at an address of a side, by TLS.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{Company, Running, Side, bins, wait};

/// Where the first one listens for clients, for others of its cluster, and for whoever asks how it is.
const PORTS: [u16; 3] = [4222, 6222, 8222];

/// Servers that pass on each other's messages. They end with it.
#[derive(Debug)]
pub struct Nats<'n> {
    side: &'n Side,
    at: Ipv4Addr,
    dir: PathBuf,
    servers: Vec<Option<Running>>,
    /// Whether they keep messages (JetStream).
    keeps: bool,
    /// How much of them.
    most: &'static str,
    /// Whether what they keep is on a disk of one MiB, which goes with each.
    little: bool,
}

impl<'n> Nats<'n> {
    /// Starts so many on the loopback, which know the users of an `authorization` block. Their files are in a directory that is
    /// made.
    ///
    /// # Errors
    ///
    /// That there is no nats-server here, or one does not serve.
    pub fn start(side: &'n Side, dir: PathBuf, count: u16, users: &str) -> Result<Self> {
        Self::start_at(side, (Ipv4Addr::LOCALHOST, false), dir, count, users)
    }

    /// The same, which keep messages on the disk.
    ///
    /// # Errors
    ///
    /// As for [`Self::start`].
    pub fn keeping(side: &'n Side, dir: PathBuf, count: u16, users: &str) -> Result<Self> {
        Self::start_at(side, (Ipv4Addr::LOCALHOST, true), dir, count, users)
    }

    /// The same at an address of the side's, and whether they keep messages.
    ///
    /// # Errors
    ///
    /// As for [`Self::start`].
    pub fn start_at(
        side: &'n Side,
        (at, keeps): (Ipv4Addr, bool),
        dir: PathBuf,
        count: u16,
        users: &str,
    ) -> Result<Self> {
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let company = Company::new("Messages")?;
        fs::write(dir.join("ca.pem"), company.pem())?;
        fs::write(
            dir.join("server.pem"),
            company.issue(&["localhost", &at.to_string()])?,
        )?;
        let mut nats = Self {
            side,
            at,
            dir,
            servers: Vec::new(),
            keeps,
            most: "256MB",
            little: false,
        };
        nats.admit(count, users)?;
        for number in 0..count {
            nats.write(number, count)?;
            nats.servers.push(None);
        }
        for number in 0..count {
            nats.begin(number)?;
        }
        for number in 0..count {
            nats.serves(number)?;
        }
        Ok(nats)
    }

    /// The certificates that its servers are believed by.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Where they are.
    #[must_use]
    pub fn at(&self) -> Ipv4Addr {
        self.at
    }

    /// Where each of them is, as `fleet.toml` has it.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        (0..self.servers.len())
            .map(|number| format!("tls://{}:{}", self.at, PORTS[0] as usize + number))
            .collect()
    }

    /// Has all of them know other users.
    ///
    /// # Errors
    ///
    /// That nothing can be written, or one has ended.
    pub fn reload(&mut self, users: &str) -> Result<()> {
        self.admit(u16::try_from(self.servers.len())?, users)?;
        for server in self.servers.iter_mut().flatten() {
            server.signal(Signal::HUP)?;
        }
        Ok(())
    }

    /// Kills one.
    pub fn kill(&mut self, number: u16) {
        self.servers[usize::from(number)] = None;
    }

    /// Sends one a signal.
    ///
    /// # Errors
    ///
    /// That it has ended.
    pub fn signal(&mut self, number: u16, signal: Signal) -> Result<()> {
        let server = self.servers[usize::from(number)].as_mut();
        server.context("it was killed")?.signal(signal)
    }

    /// Starts one that was killed.
    ///
    /// # Errors
    ///
    /// That it does not serve.
    pub fn start_again(&mut self, number: u16) -> Result<()> {
        self.begin(number)?;
        self.serves(number)
    }

    /// Has one that was killed lose what it has kept.
    ///
    /// # Errors
    ///
    /// That it has kept nothing.
    pub fn lose(&self, number: u16) -> Result<()> {
        let store = self.store(number);
        fs::remove_dir_all(&store).with_context(|| format!("cannot remove {}", store.display()))
    }

    /// From its next start on, one that was killed keeps messages on a disk of one MiB, or on its own again.
    pub fn have_little(&mut self, little: bool) {
        self.little = little;
    }

    /// From the next start on, each keeps so much at most.
    ///
    /// # Errors
    ///
    /// That its settings cannot be written.
    pub fn keep_at_most(&mut self, most: &'static str) -> Result<()> {
        self.most = most;
        let count = u16::try_from(self.servers.len())?;
        (0..count).try_for_each(|number| self.write(number, count))
    }

    /// Fills that disk.
    ///
    /// # Errors
    ///
    /// That it does not run, or what it keeps is on no such disk.
    pub fn fill(&self, number: u16) -> Result<()> {
        ensure!(self.little, "it has a disk that others want, too");
        let pid = fs::read_to_string(self.pid_file(number))?;
        // Its own mounts.
        let root = PathBuf::from(format!("/proc/{}/root", pid.trim()));
        let store = self.store(number);
        let store = root.join(store.strip_prefix("/").unwrap_or(&store));
        let mut file = fs::File::create(store.join("fill"))?;
        while let Ok(1..) = file.write(&[0; 4096]) {}
        while let Ok(1..) = file.write(&[0]) {}
        Ok(())
    }

    fn store(&self, number: u16) -> PathBuf {
        self.dir.join(format!("n{number}.kept"))
    }

    /// How many clients one has, as it says itself.
    ///
    /// # Errors
    ///
    /// That it does not say.
    pub fn clients(&self, number: u16) -> Result<u64> {
        let said = self.ask(number, "/varz")?;
        said["connections"].as_u64().context("it does not say")
    }

    /// Whether one has a client of that name.
    ///
    /// # Errors
    ///
    /// That it does not say.
    pub fn serves_one(&self, number: u16, name: &str) -> Result<bool> {
        let said = self.ask(number, "/connz")?;
        let clients = said["connections"].as_array();
        let mut clients = clients.context("it does not say")?.iter();
        Ok(clients.any(|one| one["name"] == name))
    }

    fn admit(&self, count: u16, users: &str) -> Result<()> {
        (0..count)
            .map(|number| self.users(number))
            .try_for_each(|file| {
                fs::write(&file, users).with_context(|| format!("cannot write {}", file.display()))
            })
    }

    fn write(&self, number: u16, count: u16) -> Result<()> {
        let [client, route, monitor] = PORTS.map(|port| port + number);
        let at = self.at;
        let pem = self.dir.join("server.pem");
        let (pem, pid) = (pem.display(), self.pid_file(number));
        let pid = pid.display();
        let routes: Vec<_> = (0..count)
            .filter(|other| *other != number)
            .map(|other| format!("\"nats://{at}:{}\"", PORTS[1] + other))
            .collect();
        let cluster = if routes.is_empty() {
            String::new()
        } else {
            format!(
                "cluster {{ name: lab, listen: \"{at}:{route}\", routes: [{}] }}\n",
                routes.join(", ")
            )
        };
        let store = self.store(number);
        let keeps = if self.keeps {
            format!(
                "jetstream {{ store_dir: \"{}\", max_memory_store: 16MB, max_file_store: {} }}\n",
                store.display(),
                self.most
            )
        } else {
            String::new()
        };
        let text = format!(
            "server_name: n{number}\npid_file: \"{pid}\"\nlisten: \"{at}:{client}\"\nhttp: \"{at}:{monitor}\"\ntls {{ cert_file: \"{pem}\", key_file: \"{pem}\", timeout: 10 }}\n{keeps}{cluster}include {users}\n",
            users = users_of(number)
        );
        Ok(fs::write(self.config(number), text)?)
    }

    /// Where one writes its number.
    #[must_use]
    pub fn pid_file(&self, number: u16) -> PathBuf {
        self.dir.join(format!("n{number}.pid"))
    }

    /// What says to one whom it knows.
    #[must_use]
    pub fn users(&self, number: u16) -> PathBuf {
        self.dir.join(users_of(number))
    }

    fn config(&self, number: u16) -> PathBuf {
        self.dir.join(format!("n{number}.conf"))
    }

    fn begin(&mut self, number: u16) -> Result<()> {
        let mut command = if self.little {
            let store = self.store(number);
            fs::create_dir_all(&store)?;
            let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" && shift && exec \"$@\"";
            let mut command = self.side.command("unshare");
            command.args(["--mount", "sh", "-ec", script, "sh"]);
            command.arg(store).arg(bins::nats()?);
            command
        } else {
            self.side.command(bins::nats()?)
        };
        command.arg("-c").arg(self.config(number));
        command.stderr(Stdio::from(fs::File::create(self.log(number))?));
        self.servers[usize::from(number)] = Some(Running::start(&mut command)?);
        Ok(())
    }

    fn log(&self, number: u16) -> PathBuf {
        self.dir.join(format!("n{number}.log"))
    }

    /// Waits until it takes clients, and knows the others that run.
    fn serves(&self, number: u16) -> Result<()> {
        let others = self.servers.iter().flatten().count() - 1;
        let is_ready = || {
            let routes = self.ask(number, "/routez").ok();
            let routes = routes.and_then(|said| said["num_routes"].as_u64());
            routes.is_some_and(|routes| routes >= others as u64) && self.greets(number).is_ok()
        };
        wait::eventually(&format!("the server {number} serves"), is_ready).with_context(|| {
            fs::read_to_string(self.log(number)).unwrap_or_else(|error| error.to_string())
        })
    }

    fn greets(&self, number: u16) -> Result<()> {
        let at = self.at;
        let line = self.side.enter(|| {
            let stream = TcpStream::connect((at, PORTS[0] + number))?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        })?;
        ensure!(line.starts_with("INFO "), "it says {line:?}");
        Ok(())
    }

    fn ask(&self, number: u16, path: &str) -> Result<Value> {
        let at = self.at;
        let text = self.side.enter(|| {
            let mut stream = TcpStream::connect((at, PORTS[2] + number))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })?;
        let (_, body) = text.split_once("\r\n\r\n").context("no answer")?;
        Ok(serde_json::from_str(body)?)
    }
}

fn users_of(number: u16) -> String {
    format!("n{number}.users.conf")
}
