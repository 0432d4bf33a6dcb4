//! guardd begins to judge Unix sockets in the kernel while services run that it judges nothing of.

use std::fs;

use guard_lab::{Tested, eventually};

use crate::services::{
    machine::{machine, ok, run},
    questions::has_hook,
};

const SERVER: &str = r#"
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    listener.accept()[0].close()
"#;

/// Connects, again and again, and writes down what came of it.
const ASKER: &str = r#"
import socket, sys
at, told = sys.argv[1:]
count = 0
with open(told, "a") as log:
    while True:
        one = socket.socket(socket.AF_UNIX)
        try:
            one.connect(at)
        except PermissionError as why:
            print("refused", why, file=log, flush=True)
        one.close()
        count += 1
        if count % 100 == 0:
            print("connected", file=log, flush=True)
"#;

/// Without the kernel's types guardd judges no Unix sockets.
struct NoTypes;

impl NoTypes {
    fn hide() -> Tested<Self> {
        fs::create_dir_all("/run/no-types")?;
        ok(&["mount", "--bind", "/run/no-types", "/sys/kernel/btf"]);
        Ok(Self)
    }
}

impl Drop for NoTypes {
    fn drop(&mut self) {
        run(&["umount", "/sys/kernel/btf"]);
    }
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_service_is_refused_nothing_while_guardd_begins_to_judge() -> Tested {
    let _machine = machine();
    let [server, asker] = ["begins-server.service", "begins-asker.service"];
    let (at, told) = ("/run/begins.sock", "/run/begins.log");
    let hidden = NoTypes::hide()?;
    // Nothing of an earlier guardd judges.
    run(&["systemctl", "stop", "guard.slice"]);
    ok(&["systemctl", "stop", "guardd.service"]);
    ok(&["guardd", "teardown"]);
    ok(&["systemctl", "start", "guardd.service", "guard.slice"]);
    assert!(!has_hook("unix_stream_connect"));
    let unit = |name: &str| format!("--unit={name}");
    ok(&["systemd-run", &unit(server), "python3", "-c", SERVER, at]);
    eventually("it listens", || fs::exists(at).unwrap_or(false))?;
    let slice = "--slice=guard.slice";
    ok(&[
        "systemd-run",
        &unit(asker),
        slice,
        "python3",
        "-c",
        ASKER,
        at,
        told,
    ]);
    ok(&["guard", "assign", "--policy", "open", asker]);
    let log = || fs::read_to_string(told).unwrap_or_default();
    eventually("it connects", || log().ends_with("connected\n"))?;

    drop(hidden);
    ok(&["systemctl", "restart", "guardd.service"]);
    let begun = has_hook("unix_stream_connect");
    let so_far = log().len();
    eventually("it goes on", || log().len() > so_far)?;
    let log = log();
    ok(&["systemctl", "stop", asker, server]);
    let _ = [at, told].map(fs::remove_file);
    assert!(begun, "this kernel takes no programs at its security hooks");
    assert!(!log.contains("refused"), "{log}");
    Ok(())
}
