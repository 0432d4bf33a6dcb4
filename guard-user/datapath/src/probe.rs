//! What aya can tell of a kernel before anything is loaded.

use aya::Btf;
use aya_obj::btf::BtfKind;
use guard_sys::btf;

use super::lsm::SecurityHooks;

/// How this kernel runs programs at its security hooks.
///
/// # Errors
///
/// Why it does not.
pub fn security_hooks() -> Result<SecurityHooks, String> {
    let types = btf::Btf::of_kernel().map_err(|error| format!("no BTF: {error}"))?;
    SecurityHooks::find(&types)
}

/// Whether the kernel's types can be read, and include sockets.
///
/// # Errors
///
/// Why not.
pub fn has_types() -> Result<(), String> {
    let types = Btf::from_sys_fs().map_err(|error| error.to_string())?;
    let socket = types.id_by_type_name_kind("sock", BtfKind::Struct);
    socket
        .map(drop)
        .map_err(|_| "the type of sockets is not in it".to_owned())
}
