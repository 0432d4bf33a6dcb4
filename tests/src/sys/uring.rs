//! `io_uring`, one request at a time. Layouts are those of linux/io_uring.h.

use std::io;
use std::mem::size_of;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{c_long, c_void, iovec};
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use socket2::SockAddr;

use super::{check_long, header};

const OP_SENDMSG: u8 = 9;
const OP_CONNECT: u8 = 16;
const OP_SEND: u8 = 26;
const ENTER_GETEVENTS: u32 = 1;
const OFF_SQ_RING: i64 = 0;
const OFF_SQES: i64 = 0x1000_0000;
const SQE: usize = 64;
const CQE: usize = 16;

/// `struct io_uring_params` as words: which of them say where things are in the shared memory.
type Params = [u32; 30];
const SQ_TAIL: usize = 11;
const SQ_MASK: usize = 12;
const SQ_ARRAY: usize = 16;
const CQ_HEAD: usize = 20;
const CQ_TAIL: usize = 21;
const CQ_MASK: usize = 22;
const CQ_CQES: usize = 25;

/// A ring and its memory.
pub(crate) struct Ring {
    fd: OwnedFd,
    params: Params,
    queues: Map,
    entries: Map,
}

struct Map {
    start: NonNull<u8>,
    length: usize,
}

impl Ring {
    /// One with room for a request.
    pub(crate) fn new() -> io::Result<Self> {
        let mut params: Params = [0; 30];
        // SAFETY: the kernel reads and writes 120 bytes at params.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_usize, params.as_mut_ptr()) };
        let fd = check_long(fd as isize)? as i32;
        // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Self::over(fd, params)
    }

    /// One that was set up elsewhere, by what the kernel said of it there.
    fn over(fd: OwnedFd, params: Params) -> io::Result<Self> {
        let (entries, completions) = (params[0] as usize, params[1] as usize);
        let submission = params[SQ_ARRAY] as usize + entries * 4;
        let completion = params[CQ_CQES] as usize + completions * CQE;
        Ok(Self {
            // Both queues are in one piece since Linux 5.4.
            queues: Map::new(&fd, OFF_SQ_RING, submission.max(completion))?,
            entries: Map::new(&fd, OFF_SQES, entries * SQE)?,
            params,
            fd,
        })
    }

    /// One that this process was started with, and what its maker told of it.
    pub(crate) fn told(fd: OwnedFd, told: &str) -> io::Result<Self> {
        let mut params: Params = [0; 30];
        let words = told.split(',').map(|word| word.parse().unwrap_or(0));
        params
            .iter_mut()
            .zip(words)
            .for_each(|(param, word)| *param = word);
        Self::over(fd, params)
    }

    /// What has to be told of it.
    pub(crate) fn tell(&self) -> String {
        let words: Vec<_> = self.params.iter().map(ToString::to_string).collect();
        words.join(",")
    }

    pub(crate) fn connect(&mut self, socket: impl AsFd, to: &SockAddr) -> io::Result<()> {
        let address = to.as_ptr() as u64;
        // SAFETY: the address lives until the request is done.
        unsafe { self.run(OP_CONNECT, &socket, address, 0, u64::from(to.len())) }
    }

    pub(crate) fn send(&mut self, socket: impl AsFd, data: &[u8]) -> io::Result<()> {
        let start = data.as_ptr() as u64;
        // SAFETY: the data live until the request is done.
        unsafe { self.run(OP_SEND, &socket, start, data.len() as u32, 0) }
    }

    pub(crate) fn send_to(
        &mut self,
        socket: impl AsFd,
        data: &[u8],
        to: &SockAddr,
    ) -> io::Result<()> {
        let mut data = iovec {
            iov_base: data.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: data.len(),
        };
        let message = header(to, &mut data, &mut []);
        let message = (&raw const message) as u64;
        // SAFETY: the header and what it points to live until the request is done, and are only read.
        unsafe { self.run(OP_SENDMSG, &socket, message, 1, 0) }
    }

    /// # Safety
    ///
    /// What `address` points to lives until this returns, and is what `operation` takes.
    unsafe fn run(
        &mut self,
        operation: u8,
        socket: &impl AsFd,
        address: u64,
        length: u32,
        offset: u64,
    ) -> io::Result<()> {
        let mut entry = [0; SQE];
        entry[0] = operation;
        entry[4..8].copy_from_slice(&socket.as_fd().as_raw_fd().to_ne_bytes());
        entry[8..16].copy_from_slice(&offset.to_ne_bytes());
        entry[16..24].copy_from_slice(&address.to_ne_bytes());
        entry[24..28].copy_from_slice(&length.to_ne_bytes());
        let tail = self.word(SQ_TAIL);
        let at = tail.load(Ordering::Acquire);
        let slot = at & self.word(SQ_MASK).load(Ordering::Relaxed);
        // SAFETY: the slot is one of the ring's entries, and nothing else writes to it.
        unsafe {
            self.entries
                .at(slot as usize * SQE)
                .cast::<[u8; SQE]>()
                .write(entry)
        };
        // SAFETY: the array has a place for each slot.
        unsafe {
            let place = self.params[SQ_ARRAY] as usize + slot as usize * 4;
            self.queues.at(place).cast::<u32>().write(slot);
        }
        tail.store(at.wrapping_add(1), Ordering::Release);
        self.enter()?;
        self.result()
    }

    /// Submits one request and waits until it is done.
    fn enter(&self) -> io::Result<()> {
        let (fd, flags): (c_long, u32) = (self.fd.as_raw_fd().into(), ENTER_GETEVENTS);
        // SAFETY: no signal mask is given; the ring's memory is mapped.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                1_usize,
                1_usize,
                flags,
                null_mut::<u8>(),
                0_usize,
            )
        };
        check_long(done as isize).map(drop)
    }

    fn result(&self) -> io::Result<()> {
        let head = self.word(CQ_HEAD);
        let at = head.load(Ordering::Acquire);
        if at == self.word(CQ_TAIL).load(Ordering::Acquire) {
            return Err(io::Error::other("the ring says nothing"));
        }
        let slot = (at & self.word(CQ_MASK).load(Ordering::Relaxed)) as usize;
        let place = self.params[CQ_CQES] as usize + slot * CQE + size_of::<u64>();
        // SAFETY: the result stands behind the entry's first word.
        let result = unsafe { self.queues.at(place).cast::<i32>().read() };
        head.store(at.wrapping_add(1), Ordering::Release);
        match result {
            ..0 => Err(io::Error::from_raw_os_error(-result)),
            _ => Ok(()),
        }
    }

    /// A number that the kernel shares, by where the parameters say that it is.
    fn word(&self, param: usize) -> &AtomicU32 {
        // SAFETY: the kernel keeps an aligned 32-bit number there for as long as the ring is mapped.
        unsafe { AtomicU32::from_ptr(self.queues.at(self.params[param] as usize).cast()) }
    }
}

impl Map {
    fn new(fd: &OwnedFd, offset: i64, length: usize) -> io::Result<Self> {
        let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, wherever the kernel likes.
        let start = unsafe { libc::mmap(null_mut(), length, rights, kind, fd.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("no memory"))?;
        Ok(Self { start, length })
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.start.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this mapping is nobody else's, and ends here.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
