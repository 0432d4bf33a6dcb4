//! Bytes on their way from one terminal to the other.

use std::io;
use std::os::fd::AsFd;

use rustix::io::{Errno, read, write};

/// As much as a terminal gives at once, and some.
const ROOM: usize = 16 * 1024;

/// Bytes that were read and not written yet. More is read when all are written, so that a fast writer waits for a slow reader,
/// as at a terminal.
#[derive(Debug, Default)]
pub(super) struct Flow {
    bytes: Vec<u8>,
    written: usize,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There is something to write.
    Some,
    /// There is nothing to read now.
    Nothing,
    /// There will be nothing more.
    End,
}

impl Flow {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// How much there is to write.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Reads, if all is written, without waiting.
    ///
    /// # Errors
    ///
    /// The system's, above all EIO: the terminal is gone, or another process group has its foreground.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<Filled> {
        if !self.is_empty() {
            return Ok(Filled::Some);
        }
        self.written = 0;
        self.bytes.resize(ROOM, 0);
        let got = read(from, &mut self.bytes[..]);
        self.bytes.truncate(got.unwrap_or(0));
        match got {
            Ok(0) => Ok(Filled::End),
            Ok(_) => Ok(Filled::Some),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Filled::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// What is still to be written.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Adds a byte after those that are still to be written.
    pub(super) fn put(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// The same of several.
    pub(super) fn put_all(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        match write(to, &self.bytes[self.written..]) {
            Ok(count) => self.written += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read as _, Write as _};

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    fn pipe() -> (PipeReader, PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        (reader, writer)
    }

    #[test]
    fn nothing_is_lost_where_the_reader_is_slow() {
        let (from, mut source) = pipe();
        let (mut sink, to) = pipe();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
        let (mut left, mut got) = (&sent[..], Vec::new());
        let mut flow = Flow::default();
        while got.len() < sent.len() {
            if let Ok(count) = source.write(&left[..left.len().min(50_000)]) {
                left = &left[count..];
            }
            assert_ne!(flow.fill(&from).unwrap(), Filled::End);
            flow.drain(&to).unwrap();
            let mut some = [0; 777];
            if let Ok(count) = sink.read(&mut some) {
                got.extend_from_slice(&some[..count]);
            }
        }
        assert!(got == sent);
        drop(source);
        assert_eq!(flow.fill(&from).unwrap(), Filled::End);
    }
}
