//! What the seccomp filter refuses, tried for real.

use guard_lab::Tested;
use std::os::unix::process::ExitStatusExt;

use crate::launch::bench::{Bench, text};

const EPERM: &str = "1";

#[test]
fn families_that_no_hook_sees_are_refused() -> Tested {
    let bench = Bench::new()?;
    let attempt = |words: &str| {
        let script = format!("./probe try {words}");
        let outside = bench.command("sh").args(["-c", &script]).output()?;
        let inside = text(&bench.script(&script)?)?;
        Tested::Ok((text(&outside)?.trim().to_owned(), inside.trim().to_owned()))
    };
    for family in [1, 2, 10, 16] {
        let (outside, inside) = attempt(&format!("socket {family}"))?;
        assert_eq!((&*outside, &*inside), ("ok", "ok"), "family {family}");
    }
    for packet_or_xdp in [17, 44] {
        let (outside, inside) = attempt(&format!("socket {packet_or_xdp}"))?;
        assert_eq!((&*outside, &*inside), ("ok", EPERM));
    }
    // Whether or not this kernel has them; the upper half of the argument is not the kernel's.
    for family in (0_i64..46).chain([1 << 32 | 17, (1 << 32) + 40, -1]) {
        if ![1, 2, 10, 16].contains(&family) {
            let (_, inside) = attempt(&format!("socket {family}"))?;
            assert_eq!(inside, EPERM, "family {family}");
        }
    }
    assert_eq!(attempt("socketpair 1")?, ("ok".into(), "ok".into()));
    assert_eq!(attempt("socketpair 30")?.1, EPERM);
    Ok(())
}

#[test]
fn ways_round_the_filter_are_refused() -> Tested {
    let bench = Bench::new()?;
    let inside = |words: &str| {
        let said = text(&bench.script(&format!("./probe try {words}"))?)?;
        Tested::Ok(said.trim().to_owned())
    };
    let calls = [
        "io-uring",
        "io-uring-enter",
        "io-uring-register",
        "tiocsti",
        "tiocsti-wide",
        "tioclinux",
        "tunsetiff",
        "ui-dev-create",
        "request-key described",
        "setuid",
    ];
    for words in calls {
        assert_eq!(inside(words)?, EPERM, "{words}");
    }
    let no_such_key = libc::ENOKEY.to_string();
    assert_eq!(inside("request-key found")?, no_such_key);
    for x32 in [16, 41, 53, 425, 426, 427, 514] {
        if cfg!(target_arch = "x86_64") {
            assert_eq!(inside(&format!("x32 {x32}"))?, EPERM, "{x32}");
        }
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_another_architecture_end_the_process() -> Tested {
    let bench = Bench::new()?;
    let outside = bench.command("./probe").args(["try", "i386"]).output();
    let outside = outside?.status;
    // Where the kernel has no such calls it is a fault instead.
    assert!(
        outside.success() || outside.signal() == Some(11),
        "{outside}"
    );
    let inside = bench.script("./probe try i386")?.status.code();
    assert_eq!(inside, Some(128 + 31), "SIGSYS");
    Ok(())
}
