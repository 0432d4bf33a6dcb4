//! Whoever has many names looked up from inside pays alone.

use std::fs;

use guard_lab::{ALLOWS, Daemon, PATIENCE, Running, Tested, bins, eventually};

use super::{HostNames, OLD};

/// Asks guardd for names over its socket, as `guard request` does. For each line it is told it goes on until one is not looked
/// up any more, and says what a session inside its own is told right then.
const ASKS: &str = r#"
import json, os, socket, subprocess, sys
role, guard, inner = sys.argv[1:]
guardd = socket.socket(socket.AF_UNIX)
guardd.connect(os.environ["GUARD_SOCKET"])
guardd = guardd.makefile("rwb", buffering=0)
count = 0

def ask(name):
    call = {"method": "org.guardd.Control.Request", "parameters": {"destination": name + ":443", "ports": []}}
    guardd.write(json.dumps(call).encode() + b"\0")
    said = b""
    while not said.endswith(b"\0"):
        said += guardd.read(65536)
    return said.decode()

def new_name():
    global count
    count += 1
    return f"n{count}.{role}.example.com"

if role == "inner":
    for _ in sys.stdin:
        print("too many" if "try again in" in ask(new_name()) else "looked up", flush=True)
    sys.exit()

nested = [guard, "run", "--policy", inner, "--", sys.executable, "-c", os.environ["ASKS"], "inner", guard, inner]
nested = subprocess.Popen(nested, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for line in sys.stdin:
    if line.strip() == "one":
        print("verdict", json.loads(ask("one.example.com")[:-1])["parameters"].get("verdict"), flush=True)
        continue
    while "try again in" not in ask(new_name()):
        pass
    nested.stdin.write(b"ask\n")
    nested.stdin.flush()
    print("inside", nested.stdout.readline().decode().strip(), "after", count, flush=True)
"#;

fn session(daemon: &Daemon, role: &str) -> Tested<Running> {
    let guard = bins::for_everybody("guard", daemon.tag())?;
    let inner = daemon.write_for_agents("inner", &format!("{ALLOWS}name = \"inner\"\n"))?;
    let run = daemon.agent(["run", "--policy", "open", "--", "sh", "-c"]);
    let script = "ASKS=$0; export ASKS; exec python3 -c \"$ASKS\" \"$@\"";
    let run = run.args([script, ASKS, role]).args([guard, inner]);
    Ok(run.spawn()?)
}

fn verdict_on_one(session: &mut Running) -> Tested<String> {
    session.write("one\n")?;
    Ok(session.line_with("verdict", PATIENCE)?)
}

#[test]
fn many_names_from_inside_are_looked_up_slowly_and_written_nowhere() -> Tested {
    let bench = HostNames::new()?;
    bench.server.set("one.example.com", &[OLD]);
    let daemon = bench.daemon_with(&[("open", ALLOWS)])?;
    let mut flooder = session(&daemon, "first")?;
    assert_eq!(verdict_on_one(&mut flooder)?, "verdict allow");
    let mut told = String::new();
    eventually("a session inside has no share of its own", || {
        flooder.write("flood\n")?;
        told = flooder.line_with("inside", PATIENCE)?;
        Ok(told.starts_with("inside too many"))
    })?;
    assert!(bench.server.was_asked("n1.first"), "{told}");

    let names = daemon.state_dir().join("names/known.json");
    let names = fs::read_to_string(names).unwrap_or_default();
    assert!(!names.contains("first.example.com"), "{names}");
    let log = daemon.log();
    assert!(!log.contains("does not resolve"), "{log}");
    let mut other = session(&daemon, "second")?;
    assert_eq!(verdict_on_one(&mut other)?, "verdict allow");
    Ok(())
}
