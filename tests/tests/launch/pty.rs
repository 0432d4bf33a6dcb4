//! The terminal of its own that a command gets.

use guard_lab::Tested;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::launch::bench::{Bench, UID, USER, content, wait_until};
use crate::launch::screen::{Terminal, state};

/// `guard run` as the user who types.
const RUN: &str = "./probe run --user nobody -- ";

/// Long enough for what must not come.
const A_WHILE: Duration = Duration::from_millis(700);
/// For what has to be seen, on a slow machine too.
const LONG: Duration = guard_lab::PATIENCE;

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

#[test]
fn the_command_does_not_have_the_persons_terminal() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    let mut open = |how: &str, said: &str| {
        terminal.press(&format!(
            "{how} bash -c 'readlink /proc/$$/fd/* > {said}; tty > {said}-tty; echo x > $(tty); echo ctty > /dev/tty'\n"
        ));
        terminal.expect("ctty\r\n");
        content(&bench.path(said))
    };
    let without = open("", "without");
    let with = open(RUN, "with");
    assert!(
        without.lines().any(|file| file == terminal.name()),
        "{without}"
    );
    assert!(with.lines().all(|file| file != terminal.name()), "{with}");
    let own = content(&bench.path("with-tty"));
    assert!(
        own.starts_with("/dev/pts/") && own.trim() != terminal.name(),
        "{own}"
    );
    assert_eq!(
        with.lines().filter(|file| *file == own.trim()).count(),
        3,
        "{with}"
    );
    Ok(())
}

#[test]
fn what_it_leaves_behind_cannot_paint_or_read_any_more() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    let paint = "(sleep 0.4; echo pain''ted; read -r x; echo $x > said) 0<&0 & echo left";
    let mut leave = |how: &str, patience: Duration| {
        terminal.press(&format!("{how} bash -c \"{paint}\"; echo en''ded\n"));
        terminal.expect("ended");
        terminal.sees_within("painted", patience)
    };
    assert!(leave("", LONG), "without guard");
    assert!(!leave(RUN, A_WHILE));
    Ok(())
}

/// A full-screen program, as vim is one. It reads signals from a pipe: Python runs no handler for one that comes just before it waits.
const SCREEN: &str = "
import os, select, signal, sys, tty, termios
def size():
    columns, rows = os.get_terminal_size(0)
    os.write(1, b'size %d %d ' % (rows, columns))
before = termios.tcgetattr(0)
resized, resizes = os.pipe()
os.set_blocking(resizes, False)
signal.set_wakeup_fd(resizes)
signal.signal(signal.SIGWINCH, lambda *_: None)
tty.setraw(0)
size()
key = b''
while key != b'q':
    ready = select.select([0, resized], [], [])[0]
    if resized in ready:
        os.read(resized, 1)
        size()
    if 0 in ready and (key := os.read(0, 1)) != b'q':
        os.write(1, b'<%02x>' % ord(key))
termios.tcsetattr(0, termios.TCSADRAIN, before)
print('bye')
";

#[test]
fn a_full_screen_program_sees_each_key_and_each_size() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    terminal.resize(33, 77);
    fs::write(bench.path("screen"), SCREEN)?;
    terminal.press(&format!("{RUN} python3 screen\n"));
    terminal.expect("size 33 77");
    terminal.resize(40, 100);
    terminal.expect("size 40 100");
    // Of no meaning to a raw terminal.
    terminal.press("\x03");
    terminal.expect("<03>");
    terminal.press("\x1a");
    terminal.expect("<1a>");
    terminal.press("\u{e4}");
    terminal.expect("<c3><a4>");
    terminal.press("q");
    terminal.expect("bye");
    // What is typed before the shell asks is for the command.
    terminal.expect("$ ");
    terminal.press("echo it is $((40 + 2))\n");
    terminal.expect("it is 42");
    assert!(!terminal.is_raw());
    Ok(())
}

#[test]
fn keys_that_signal_or_end_input_do_so() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    for (key, status) in [("\x03", 128 + 2), ("\x1c", 128 + 3)] {
        terminal.press(&format!(
            "{RUN} sh -c 'echo rea''dy; exec sleep 100'; echo status $?\n"
        ));
        terminal.expect("ready");
        assert!(terminal.is_raw());
        terminal.press(key);
        terminal.expect(&format!("status {status}"));
    }
    terminal.press(&format!("{RUN} cat; echo status $?\n"));
    wait_until("a raw terminal", || terminal.is_raw());
    terminal.press("to cat\n");
    terminal.expect("to cat\r\nto cat\r\n");
    terminal.press("\x04");
    terminal.expect("status 0");
    assert!(!terminal.is_raw());
    Ok(())
}

#[test]
fn what_never_ran_says_so_and_leaves_the_terminal_as_it_was() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    terminal.press("./probe run --user nobody -- no-such-command; echo status $?\n");
    terminal.expect("no directory in PATH has it");
    terminal.expect("status 127");
    terminal.press("./probe run --user nobody --enter panic -- true; echo status $?\n");
    terminal.expect("status 125");
    assert!(!terminal.is_raw());
    Ok(())
}

#[test]
fn all_that_is_written_is_seen_and_nothing_else() -> Tested {
    let bench = Bench::new()?;
    let mut lines = String::new();
    for number in 0..1_000_000 {
        writeln!(lines, "line {number:>6}")?;
    }
    lines.truncate(10 << 20);
    fs::write(bench.path("large"), &lines)?;
    let run: Vec<_> = RUN.split_whitespace().chain(["cat", "large"]).collect();
    let mut terminal = Terminal::running(&bench, &run)?;
    let seen = terminal.until_end();
    // As any terminal shows lines.
    let expected = lines.replace('\n', "\r\n");
    assert_eq!(seen.len(), expected.len());
    assert!(seen == expected.as_bytes());
    assert_eq!(terminal.status(), Some(0));
    Ok(())
}

/// The last line is written by a command that ends at once, many times over.
#[test]
fn the_last_words_are_not_lost() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    for number in 0..20 {
        terminal.press(&format!(
            "{RUN} printf %08000d {number}; echo; echo af''ter {number}\n"
        ));
        terminal.expect(&format!("0000{number}"));
        terminal.expect(&format!("after {number}"));
    }
    Ok(())
}

#[test]
fn pipes_and_files_stay_what_they_are() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    let look = "sh -c 'for i in 0 1 2; do test -t $i && echo $i is a ter''minal >&2; done; cat'";
    terminal.press(&format!("echo piped | {RUN} {look} | sed s/^/through-/\n"));
    // The one comes by the pseudo-terminal, the other does not: either may be first.
    wait_until("both", || {
        terminal.sees_within("\r\n", A_WHILE);
        let text = terminal.text();
        text.contains("2 is a terminal") && text.contains("\nthrough-piped")
    });
    terminal.press(&format!(
        "{RUN} sh -c 'echo in a file; test -t 0; echo $?' > file; cat file\n"
    ));
    terminal.expect("in a file\r\n0\r\n");
    assert!(
        !terminal.text().contains("0 is a terminal"),
        "{}",
        terminal.text()
    );
    Ok(())
}

/// `… | guard run -- less`: what it reads is piped, what it is told is typed.
#[test]
fn keys_reach_a_command_whose_input_is_a_pipe() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    let ask = "sh -c 'read -r piped; stty -echo < /dev/tty; echo as''ks; read -r key < /dev/tty; \
               stty echo < /dev/tty; echo \"<$piped and $key>\"'";
    terminal.press(&format!("echo piped | {RUN} {ask}\n"));
    terminal.expect("asks");
    assert!(terminal.is_raw());
    terminal.press("typed\n");
    terminal.expect("<piped and typed>");
    wait_until("a terminal as it was", || !terminal.is_raw());
    Ok(())
}

/// `guard run -- ls | less`: what is typed is for less.
#[test]
fn keys_are_left_to_others_in_a_pipeline() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    let reader =
        "{ read -r line; echo as''ks; read -r key < /dev/tty; echo \"<$line and $key>\"; cat; }";
    terminal.press(&format!(
        "{RUN} sh -c 'echo first; sleep 1; echo second' | {reader}\n"
    ));
    terminal.expect("asks");
    assert!(!terminal.is_raw());
    terminal.press("typed\n");
    terminal.expect("<first and typed>");
    terminal.expect("second");
    // ^C is for all of it.
    terminal.press(&format!(
        "{RUN} sh -c 'echo $$ > pid; exec sleep 100' | cat\n"
    ));
    wait_until("pid", || content(&bench.path("pid")).ends_with('\n'));
    let sleep = content(&bench.path("pid"));
    terminal.press("\x03");
    wait_until("its end", || state(sleep.trim()).is_none());
    terminal.press("echo it is $((40 + 2))\n");
    terminal.expect("it is 42");
    Ok(())
}

#[test]
fn in_the_background_it_writes_and_waits_for_its_turn_to_read() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    terminal.press(&format!("{RUN} sh -c 'sleep 0.3; echo from be''hind' &\n"));
    terminal.expect("from behind");
    terminal.press("wait; echo it is $((40 + 2))\n");
    terminal.expect("it is 42");
    assert!(!terminal.is_raw());
    terminal.press(&format!("{RUN} sh -c 'read -r line; echo \"<$line>\"' &\n"));
    wait_until("stop", || {
        terminal.press("jobs\n");
        terminal.sees_within("Stopped", A_WHILE)
    });
    terminal.press("echo not $((1 + 1)) yet\n");
    terminal.expect("not 2 yet");
    terminal.press("fg\n");
    wait_until("a raw terminal", || terminal.is_raw());
    terminal.press("for it\n");
    terminal.expect("<for it>");
    terminal.expect("$ ");
    terminal.press("echo it is $((40 + 3))\n");
    terminal.expect("it is 43");
    Ok(())
}

#[test]
fn a_stopped_screen_comes_back() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    let script = "trap 'stty raw -echo; echo back' CONT; stty raw -echo; echo up; \
                  while read -N 1 key; do case $key in z) stty sane; kill -STOP $$;; q) break;; \
                  *) printf '<%s>' \"$key\";; esac; done; stty sane; echo bye";
    fs::write(bench.path("screen"), script)?;
    terminal.press(&format!("{RUN} bash screen\n"));
    terminal.expect("up");
    for _ in 0..3 {
        terminal.press("z");
        terminal.expect("Stopped");
        assert!(!terminal.is_raw());
        terminal.press("echo shell $((40 + 2))\n");
        terminal.expect("shell 42");
        terminal.press("fg\n");
        terminal.expect("back");
        terminal.press("k");
        terminal.expect("<k>");
    }
    terminal.press("q");
    terminal.expect("bye");
    Ok(())
}

#[test]
fn signals_to_guard_end_the_command_and_give_the_terminal_back() -> Tested {
    let bench = Bench::new()?;
    // A shell that restores nothing by itself.
    let script = "while :; do ./probe run --user nobody -- sh -c 'echo $$ > pid; exec sleep 100'; \
                  echo status $?; read -r go; done";
    let mut terminal = Terminal::running(&bench, &["dash", "-c", script])?;
    for (signal, status) in [
        (Signal::TERM, 128 + 15),
        (Signal::HUP, 128 + 1),
        (Signal::KILL, 128 + 9),
    ] {
        wait_until("pid", || content(&bench.path("pid")).ends_with('\n'));
        let command = content(&bench.path("pid"));
        fs::remove_file(bench.path("pid"))?;
        assert!(terminal.is_raw());
        let [monitor, guard] = ancestors(command.trim());
        assert_ne!(monitor, guard);
        kill_process(pid(&guard), signal)?;
        terminal.expect(&format!("status {status}"));
        wait_until("a terminal as it was", || !terminal.is_raw());
        wait_until("its end", || {
            state(command.trim()).is_none_or(|state| state == 'Z')
        });
        terminal.press("go\n");
    }
    Ok(())
}

/// As after `su USER -c`, which leads a session of its own: there the terminal is nobody's controlling one.
#[test]
fn the_settings_are_equal_before_and_after_at_whichever_terminal() -> Tested {
    let bench = Bench::new()?;
    // A shell that restores nothing by itself, and settings that no shell has.
    let mut terminal = Terminal::running(&bench, &["dash"])?;
    terminal.press("stty -ixon eof ^E min 3 erase ^H; PS1='rea''dy> '\n");
    terminal.expect("ready> ");
    let before = terminal.settings();
    for session in ["", "setsid --wait "] {
        let run = format!("{session}./probe run --user nobody");
        let mut ends = |command: &str, status: i32, end: &mut dyn FnMut(&mut Terminal)| {
            terminal.press(&format!("{command}; echo sta''tus $?\n"));
            end(&mut terminal);
            terminal.expect(&format!("status {status}"));
            terminal.expect("ready> ");
            wait_until("settings as they were", || terminal.settings() == before);
        };
        ends(&format!("{run} -- true"), 0, &mut |_| {});
        ends(&format!("{run} -- sh -c 'kill -9 $$'"), 137, &mut |_| {});
        ends(&format!("{run} -- no-such-command"), 127, &mut |_| {});
        ends(&format!("{run} --enter panic -- true"), 125, &mut |_| {});
        ends(&format!("{run} -- stty raw -echo"), 0, &mut |_| {});
        // What is typed arrives, its end too.
        ends(&format!("{run} -- cat"), 0, &mut |terminal| {
            wait_until("a raw terminal", || terminal.is_raw());
            terminal.press("to cat\n");
            terminal.expect("to cat\r\nto cat\r\n");
            terminal.press("\x05");
        });
        let sleep = format!("{run} -- sh -c 'echo $$ > pid; exec sleep 100'");
        ends(&sleep, 130, &mut |terminal| {
            wait_until("pid", || content(&bench.path("pid")).ends_with('\n'));
            terminal.press("\x03");
        });
        // As setsid(1) tells of what was killed.
        let killed = if session.is_empty() { 128 + 9 } else { 9 };
        for (signal, status) in [
            (Signal::TERM, 128 + 15),
            (Signal::HUP, 128 + 1),
            (Signal::KILL, killed),
        ] {
            fs::remove_file(bench.path("pid"))?;
            ends(&sleep, status, &mut |terminal| {
                wait_until("pid", || content(&bench.path("pid")).ends_with('\n'));
                assert!(terminal.is_raw());
                let [_, guard] = ancestors(content(&bench.path("pid")).trim());
                kill_process(pid(&guard), signal).unwrap();
            });
        }
        fs::remove_file(bench.path("pid"))?;
    }
    Ok(())
}

/// Parent and grandparent.
fn ancestors(pid: &str) -> [String; 2] {
    let parent = |pid: &str| {
        let status = content(format!("/proc/{pid}/status").as_ref());
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
        line.unwrap().to_owned()
    };
    let first = parent(pid);
    [first.clone(), parent(&first)]
}

#[test]
fn a_terminal_that_goes_takes_the_command_with_it() -> Tested {
    let bench = Bench::new()?;
    let script = "./probe run --user nobody -- sh -c 'echo $$ > pid; exec sleep 100'";
    let terminal = Terminal::running(&bench, &["dash", "-c", script])?;
    wait_until("pid", || content(&bench.path("pid")).ends_with('\n'));
    let command = content(&bench.path("pid"));
    drop(terminal);
    wait_until("its end", || state(command.trim()).is_none());
    Ok(())
}

#[test]
fn a_session_in_a_session_has_one_of_its_own_too() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    terminal.press(&format!("{RUN} sh -c 'tty > outer; ./probe run -- sh -c \"tty > inner; read -r x; echo got \\$x\"'\n"));
    wait_until("both", || content(&bench.path("inner")).ends_with('\n'));
    let (outer, inner) = (content(&bench.path("outer")), content(&bench.path("inner")));
    assert!(outer.starts_with("/dev/pts/") && inner.starts_with("/dev/pts/"));
    assert_ne!(outer, inner);
    terminal.press("this\n");
    terminal.expect("got this");
    Ok(())
}

/// It belongs to whom the command runs as, who may open it by its name; the person's does not.
#[test]
fn the_terminal_belongs_to_the_user() -> Tested {
    let bench = Bench::new()?;
    let mut terminal = Terminal::new(&bench)?;
    terminal.press(&format!(
        "{RUN} sh -c 'stat -c \"owner %u\" $(tty); echo to its ow''n > $(tty); id -un'\n"
    ));
    terminal.expect(&format!("owner {UID}"));
    terminal.expect("to its own");
    terminal.expect(USER);
    terminal.expect("$ ");
    let name = terminal.name().to_owned();
    let mut paint = |how: &str, patience: Duration| {
        terminal.press(&format!(
            "{how} sh -c 'echo pain''ted > {name}'; echo do''ne\n"
        ));
        terminal.sees_within("painted\r\n", patience)
    };
    assert!(paint("", LONG));
    assert!(!paint(RUN, A_WHILE));
    Ok(())
}
