//! What aya knows of a kernel before anything is loaded for good.

use std::os::fd::AsFd as _;

use aya::Btf;
use aya_obj::btf::BtfKind;

use crate::sys::{
    bpf::{
        MapLayout, ProgramKind, attach_to_function, counting, create_map, first_of_array,
        load_program,
    },
    errno::errno,
    process::ask_for_session,
};

/// Asked where a process wants to know the session of another: seldom, and harmless.
const HOOK: &str = "bpf_lsm_task_getsid";

/// How often a program at a security module's hook was called that was loaded and attached: never, where `bpf` is not among
/// the modules of this boot. The program only counts.
///
/// # Errors
///
/// Why it was not attached.
pub fn security_hooks() -> Result<u64, String> {
    let types = Btf::from_sys_fs().map_err(|error| format!("no BTF: {error}"))?;
    let function = types
        .id_by_type_name_kind(HOOK, BtfKind::Func)
        .map_err(|_| format!("this kernel has no {HOOK}"))?;
    let layout = MapLayout {
        // BPF_MAP_TYPE_ARRAY
        kind: 2,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        flags: 0,
    };
    let array = create_map("guard_probe", layout).map_err(|error| errno(&error))?;
    let kind = ProgramKind::security_hook(function);
    let program = load_program(kind, "guard_probe", &counting(array.as_fd()))
        .map_err(|error| format!("a program does not load: {}", errno(&error)))?;
    let _link = attach_to_function(&program)
        .map_err(|error| format!("a program is not attached: {}", errno(&error)))?;
    ask_for_session(std::process::id()).map_err(|error| errno(&error))?;
    first_of_array(array.as_fd()).map_err(|error| errno(&error))
}

/// Whether the kernel's types can be read, and know sockets.
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
