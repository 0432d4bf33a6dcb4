//! Memory that the allocator keeps.

/// Returns freed memory to the kernel, as far as the C library can: `malloc_trim(3)` of glibc. Pages that were used for a moment
/// stay the process's otherwise, where anything above them is in use.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
