//! Servers in production.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use guard_lab::{Running, Tested, eventually};

use crate::clients::scene::{ClientScene, HOST};

/// A server that runs as long as this value.
pub(crate) struct Server {
    /// What it prints.
    pub(crate) lines: Running,
    log: PathBuf,
}

impl Server {
    /// Starts it, and waits until it takes connections at a port of every address.
    pub(crate) fn start(scene: &ClientScene, command: &mut Command, port: u16) -> Tested<Self> {
        let log = scene.dir().join(format!("{port}.log"));
        let lines = Running::start(command.stderr(File::create(&log)?))?;
        let server = Self { lines, log };
        let to: SocketAddr = format!("{HOST}:{port}").parse()?;
        let takes = || {
            let connect = || Ok(TcpStream::connect_timeout(&to, Duration::from_secs(1))?);
            scene.network.dev().enter(connect).is_ok()
        };
        if let Err(error) = eventually("the server takes connections", takes) {
            panic!("{error}: {command:?}: {}", server.log()?);
        }
        Ok(server)
    }

    /// One that is a program of these tests.
    pub(crate) fn python(
        scene: &ClientScene,
        program: &str,
        args: &[&str],
        port: u16,
    ) -> Tested<Self> {
        let mut command = scene.on_production("/usr/bin/python3")?;
        let program = scene.dir().join(program);
        Self::start(
            scene,
            command.arg(program).arg(port.to_string()).args(args),
            port,
        )
    }

    /// All that it has said on standard error.
    pub(crate) fn log(&self) -> Tested<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }
}
