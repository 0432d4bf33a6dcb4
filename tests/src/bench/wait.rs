//! Connections that wait: begun without blocking, and looked at later.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::{Pool, monotonic};

/// Those that were begun.
#[derive(Default)]
pub(super) struct Waiting {
    sockets: Vec<Socket>,
    epoll: Option<OwnedFd>,
}

impl Waiting {
    /// Begins `count` connections, each to the next address: when, by `CLOCK_MONOTONIC`.
    pub(super) fn begin(&mut self, pool: &Pool, count: u64) -> Result<Value> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        self.sockets.clear();
        let at = monotonic();
        for turn in 0..count {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&pool.address(turn).into()) {
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
                other => ensure!(false, "it did not begin to connect: {other:?}"),
            }
            let flags = EventFlags::OUT | EventFlags::ONESHOT;
            epoll::add(&epoll, &socket, EventData::new_u64(turn), flags)?;
            self.sockets.push(socket);
        }
        self.epoll = Some(epoll);
        Ok(json!({"at": at, "begun": count}))
    }

    /// Waits for the end of all: when each was connected, by `CLOCK_MONOTONIC`; 0 for one that was not.
    pub(super) fn end(&mut self, patience: Duration) -> Result<Value> {
        let mut at = vec![0; self.sockets.len()];
        let mut left = at.len();
        let deadline = Instant::now() + patience;
        let mut events = Vec::with_capacity(64);
        while let (Some(epoll), 1.., true) = (&self.epoll, left, Instant::now() < deadline) {
            events.clear();
            let nap = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            let found = epoll::wait(
                epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&nap),
            );
            found.map_err(io::Error::from)?;
            let now = monotonic();
            for event in &events {
                let turn = event.data.u64() as usize;
                left -= 1;
                if let (Some(socket), Some(at)) = (self.sockets.get(turn), at.get_mut(turn)) {
                    *at = if socket.take_error()?.is_none() {
                        now
                    } else {
                        0
                    };
                }
            }
        }
        *self = Self::default();
        Ok(json!({"at": at}))
    }
}
