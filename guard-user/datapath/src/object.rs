//! The kernel half as a value: an eBPF object, and its identity.

use std::borrow::Cow;

use memchr::memmem;

/// guardd's own, built by `cargo xtask build`.
static BUILT_IN: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guard-ebpf.o"));

/// An eBPF object.
#[derive(Clone)]
pub struct Object {
    bytes: Cow<'static, [u8]>,
    build: u64,
    knows_names: bool,
    has_gate: bool,
}

impl Object {
    /// This program's own object.
    #[must_use]
    pub fn built_in() -> Self {
        Self::new(Cow::Borrowed(BUILT_IN))
    }

    /// An object that was built elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::new(Cow::Owned(bytes))
    }

    fn new(bytes: Cow<'static, [u8]>) -> Self {
        let build = fnv1a(&bytes);
        // The name of a map is plain text in an ELF object.
        let has = |map: &[u8]| memmem::find(&bytes, map).is_some();
        let knows_names = has(b"\0NAMED\0");
        let has_gate = has(b"\0GATE_SOCKETS\0");
        Self {
            bytes,
            build,
            knows_names,
            has_gate,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it judges by names, and redirects questions to a resolver.
    pub(super) fn knows_names(&self) -> bool {
        self.knows_names
    }

    /// Whether it looks at TLS.
    pub(super) fn has_gate(&self) -> bool {
        self.has_gate
    }

    /// The object's identity, a number that is never 0: programs of another object are replaced.
    pub(super) fn build(&self) -> u64 {
        self.build.max(1)
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Object({:016x})", self.build())
    }
}

/// FNV-1a, 64 bits: std's hashers promise no stable result.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_tells_what_it_does() {
        let before = include_bytes!("../../../tests/fixtures/0.2.0/guard-ebpf.o");
        let before = Object::from_bytes(before.to_vec());
        let now = Object::built_in();
        assert!(now.knows_names());
        assert!(!before.knows_names());
    }
}
