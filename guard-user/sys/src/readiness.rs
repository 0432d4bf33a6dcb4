//! Waiting for a descriptor without blocking the thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when a descriptor can be read. It holds a duplicate, so the one that it was made from can
/// be closed at any time.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Watches `fd` in the tokio runtime of the caller.
    ///
    /// # Errors
    ///
    /// The system's, among them that for files that are always ready.
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` is open for as long as it lives and never changes its number, and
        // the `AsyncFd` owns it.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Waits until there is something to read, then has `drain` read all that there is.
    ///
    /// # Errors
    ///
    /// Where the runtime is shutting down.
    pub async fn drained(&self, drain: impl FnOnce()) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        drain();
        ready.clear_ready();
        Ok(())
    }
}

/// A descriptor that does not block, and that is waited for only to be read.
#[derive(Debug)]
pub struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Takes it into the tokio runtime of the caller.
    ///
    /// # Errors
    ///
    /// The system's, among them that for files that are always ready.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: as for `Readiness`.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Reads by `read` when there is something: again where that would block.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub async fn read<T>(
        &self,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let read = |fd: &OwnedFd| read(fd.as_fd());
        self.0.async_io(Interest::READABLE, read).await
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_told_once_it_is_there() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (read, write) = rustix::pipe::pipe().unwrap();
            let readiness = Readiness::of(&read).unwrap();
            for sent in [b"a", b"b"] {
                rustix::io::write(&write, sent).unwrap();
                let mut got = [0; 8];
                let drain = || assert_eq!(rustix::io::read(&read, &mut got).unwrap(), 1);
                readiness.drained(drain).await.unwrap();
                assert_eq!(got[0], sent[0]);
            }
        });
    }

    #[test]
    fn what_is_not_there_yet_is_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (read, write) = rustix::pipe::pipe().unwrap();
            rustix::io::ioctl_fionbio(&read, true).unwrap();
            let readable = Readable::new(read).unwrap();
            let mut got = [0; 8];
            let reading = readable.read(|fd| Ok(rustix::io::read(fd, &mut got)?));
            let writing = async { rustix::io::write(&write, b"ab").unwrap() };
            let (length, _) = tokio::join!(reading, writing);
            assert_eq!(&got[..length.unwrap()], b"ab");
        });
    }
}
