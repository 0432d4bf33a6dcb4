//! This machine's name.

/// What this machine is called in questions.
pub(crate) fn machine() -> &'static str {
    static MACHINE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    MACHINE.get_or_init(|| {
        let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        guard_signed::machine(&id)
    })
}
