//! How much of a message is held back until it is whole.

/// What is longer is refused. All lengths are in bytes, line ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A request line or a status line. RFC 9112 3 wants 8,000 at least.
    pub start_line: usize,
    /// A head: start line, fields, and the empty line.
    pub head: usize,
    /// The fields of a head, and those of a trailer section. hyper reads no more than 100 by default.
    pub fields: usize,
    /// A trailer section. hyper reads less than 16 KiB.
    pub trailers: usize,
}

impl Limits {
    /// For what a server answers: some have a field for each of many things.
    #[must_use]
    pub fn of_answers() -> Self {
        Self {
            fields: 500,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start_line: 16 * 1024,
            head: 64 * 1024,
            fields: 100,
            trailers: 8 * 1024,
        }
    }
}
