//! Job control on a real terminal, with a real shell.

use guard_lab::Tested;
use std::fs;
use std::time::Duration;

use crate::launch::bench::{Bench, UID, USER, content, wait_until};
use crate::launch::screen::{Terminal, state};
use crate::launch::signals::{TALKER, make_quiet_pipe};

#[test]
fn the_terminals_keys_work_as_without_guard() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    let said = bench.path("said");
    make_quiet_pipe(&bench)?;
    fs::write(bench.path("talker"), format!("echo $$ > pid\n{TALKER}"))?;
    terminal.press(&format!(
        "./probe run --user {USER} -- bash talker; echo 'status' $?\n"
    ));
    wait_until("ready", || content(&said) == "ready\n");
    let pid = content(&bench.path("pid")).trim().to_owned();

    // ^C reaches it once, and guard stays.
    terminal.press("\x03");
    wait_until("int", || content(&said) == "ready\nint\n");

    // ^Z stops both, and the shell is there again.
    terminal.press("\x1a");
    terminal.expect("Stopped");
    wait_until("stop", || state(&pid) == Some('T'));
    terminal.press("echo shell is back\n");
    terminal.expect("shell is back");

    terminal.press("fg\n");
    wait_until("start", || state(&pid) != Some('T'));
    // That a second one does not come has no event.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(content(&said), "ready\nint\n", "^C was not doubled");

    // In the background and back.
    terminal.press("\x1a");
    terminal.expect("Stopped");
    terminal.press("bg\n");
    wait_until("start", || state(&pid) != Some('T'));
    terminal.press("kill -TERM %1; wait %1; echo status $((4 + $?))\n");
    terminal.expect("status 13");
    assert_eq!(content(&said), "ready\nint\n");
    Ok(())
}

#[test]
fn an_interactive_shell_owns_the_terminal() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    terminal.press(&format!("./probe run --user {USER} -- bash --norc -i\n"));
    terminal.press("id -u\n");
    terminal.expect(UID);
    terminal.press("sleep 100\n");
    let sleeps = bench.process("sleep")?;
    terminal.press("\x1a");
    terminal.expect("Stopped");
    terminal.press("fg\n");
    wait_until("start", || state(&sleeps) != Some('T'));
    terminal.press("\x03");
    terminal.press("exit 7\n");
    // What is typed before the outer shell asks is for the inner one.
    terminal.expect("exit\r\n$ ");
    terminal.press("echo outer status $?\n");
    terminal.expect("outer status 7");
    Ok(())
}
