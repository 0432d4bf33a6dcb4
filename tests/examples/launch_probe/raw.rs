//! System calls as an escaping program would make them.

use std::io;

use anyhow::{Context, Result, bail};

/// Makes the call that `words` name.
pub(crate) fn attempt(words: &[&str]) -> Result<io::Result<()>> {
    Ok(match *words {
        ["socket", family] => call(libc::SYS_socket, [number(family)?, kind(family)?, 0]),
        ["socketpair", family] => {
            let mut pair = [0_i32; 2];
            let pair = pair.as_mut_ptr().addr() as i64;
            call4(libc::SYS_socketpair, [number(family)?, 1, 0, pair])
        }
        ["io-uring"] => {
            let mut parameters = [0_u8; 120];
            let parameters = parameters.as_mut_ptr().addr() as i64;
            call(libc::SYS_io_uring_setup, [1, parameters, 0])
        }
        ["io-uring-enter"] => call(libc::SYS_io_uring_enter, [-1, 0, 0]),
        ["io-uring-register"] => call(libc::SYS_io_uring_register, [-1, 0, 0]),
        ["tiocsti"] => {
            let byte = b' ';
            let byte = (&raw const byte).addr() as i64;
            call(libc::SYS_ioctl, [0, libc::TIOCSTI as i64, byte])
        }
        // The upper half of the argument is not the kernel's.
        ["tiocsti-wide"] => {
            let wide = libc::TIOCSTI as i64 | 1 << 40;
            call(libc::SYS_ioctl, [0, wide, 0])
        }
        ["tioclinux"] => {
            let eleven = 11_u8;
            let argument = (&raw const eleven).addr() as i64;
            call(libc::SYS_ioctl, [0, libc::TIOCLINUX as i64, argument])
        }
        ["ui-dev-create"] => call(libc::SYS_ioctl, [0, 0x5501, 0]),
        ["tunsetiff"] => call(libc::SYS_ioctl, [0, libc::TUNSETIFF as i64, 0]),
        ["request-key", described] => {
            let (kind, name) = (c"user".as_ptr().addr(), c"guard".as_ptr().addr());
            let described = if described == "described" { name } else { 0 };
            call(
                libc::SYS_request_key,
                [kind as i64, name as i64, described as i64],
            )
        }
        ["x32", nr] => call(number(nr)? | 0x4000_0000, [libc::AF_PACKET.into(), 1, 0]),
        #[cfg(target_arch = "x86_64")]
        ["i386"] => {
            getpid_of_i386();
            Ok(())
        }
        ["setuid"] => call(libc::SYS_setresuid, [0, 0, 0]),
        _ => bail!("what is {words:?}?"),
    })
}

fn number(text: &str) -> Result<i64> {
    text.parse().with_context(|| format!("{text} is no number"))
}

/// A socket type that the family has.
fn kind(family: &str) -> Result<i64> {
    Ok(match number(family)? as i32 {
        libc::AF_PACKET | libc::AF_XDP | libc::AF_NETLINK => libc::SOCK_RAW,
        libc::AF_ALG => libc::SOCK_SEQPACKET,
        _ => libc::SOCK_STREAM,
    }
    .into())
}

fn call(number: i64, [one, two, three]: [i64; 3]) -> io::Result<()> {
    call4(number, [one, two, three, 0])
}

fn call4(number: i64, [one, two, three, four]: [i64; 4]) -> io::Result<()> {
    // SAFETY: the callers pass plain numbers, or addresses of as much memory as the call takes, which
    // lives until it returns.
    match unsafe { libc::syscall(number, one, two, three, four) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The call that a 32-bit program would make; it works in a 64-bit one too.
#[cfg(target_arch = "x86_64")]
fn getpid_of_i386() {
    // SAFETY: getpid touches no memory, and the registers that the kernel may change are declared.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inout("rax") 20_u64 => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
}
