//! A virtual private network: a TUN device on the developer's machine, whose packets reach production by another road.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};

use crate::{Network, Side, exec, sys};

/// The developer's address in it, and production's.
const DEV: &str = "10.66.0.2";
const PROD: &str = "10.66.0.1";
/// No packet is longer: the devices' usual MTU.
const LONGEST: usize = 1500;

/// One that carries packets as long as this value lives.
#[derive(Debug)]
pub struct Tunnel {
    stop: Option<UnixStream>,
    carriers: Vec<JoinHandle<()>>,
}

impl Tunnel {
    /// Makes one, by a device of that name, and has production answer behind it at each address of these networks.
    ///
    /// # Errors
    ///
    /// That the kernel has no such devices, or what `ip` said.
    pub fn new(network: &Network, name: &str, behind: &[&str]) -> Result<Self> {
        network.answer_for(behind)?;
        Self::leading(network, name, behind)
    }

    /// The same, where production answers as it did.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn leading(network: &Network, name: &str, to: &[&str]) -> Result<Self> {
        let (dev, prod) = (device(network.dev(), name)?, device(network.prod(), name)?);
        let up = |address| format!("addr add {address}/24 dev {name}\nlink set {name} up");
        network.prod().ip(&up(PROD))?;
        let routes = to.iter().map(|to| format!("\nroute add {to} dev {name}"));
        let routes: String = routes.collect();
        network.dev().ip(&format!("{}{routes}", up(DEV)))?;
        let (stop, stopped) = UnixStream::pair()?;
        let ways = [
            (dev.try_clone()?, prod.try_clone()?, stopped.try_clone()?),
            (prod, dev, stopped),
        ];
        let carriers =
            ways.map(|(from, to, stopped)| thread::spawn(move || carry(from, to, &stopped)));
        Ok(Self {
            stop: Some(stop),
            carriers: carriers.into(),
        })
    }
}

fn device(side: &Side, name: &str) -> Result<File> {
    const DEVICES: &str = "/dev/net/tun";
    // The file is there once the module is, where nothing has made it at boot.
    if !Path::new(DEVICES).exists() {
        exec::run(Command::new("modprobe").arg("tun"))?;
    }
    side.enter(|| {
        let tun = File::options().read(true).write(true).open(DEVICES)?;
        sys::attach_tun(&tun, name)?;
        Ok(tun)
    })
}

/// Until the other end of `stopped` is closed.
fn carry(mut from: File, mut to: File, stopped: &UnixStream) {
    let mut packet = [0; LONGEST];
    loop {
        let mut ready = [
            PollFd::new(&from, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        let polled = poll(&mut ready, None);
        if polled.is_err() || !ready[1].revents().is_empty() {
            return;
        }
        // A device that is not up yet takes none.
        if let Ok(length) = from.read(&mut packet) {
            let _ = to.write_all(&packet[..length]);
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.stop.take());
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}
