//! What the screen shows, on terminals of all sizes and with whatever an agent says.

use guard_lab::{OPEN, Tested, V4};

use crate::watch::OTHER;
use crate::watch::scene::{WatchScene, look, reaches};

#[test]
fn an_agents_words_are_shown_and_steer_nothing() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    let guard = scene.daemon.program("guard")?;
    let socket = scene.daemon.socket();
    // It clears the screen, goes up, draws a request of its own, and turns a line around.
    let hostile = r"\033[2J\033[1;1H> r9    s1  tcp 203.0.113.1:80\r\n  rule      forged (confirm)\342\200\256txt\007 please";
    let line = format!(
        "GUARD_SOCKET={} {} request {V4}:80 --reason \"$(printf '{hostile}')\"",
        socket.display(),
        guard.display()
    );
    shell.tell(&line)?;
    window.expect("> r1");
    look();
    window.press(&["Enter"]);
    let screen = window.expect("it says");
    // What is asked from inside is never alone at the beginning of a line.
    let forged = |line: &&str| {
        line.contains("r9")
            && !line.starts_with("  it says   \"")
            && !line.starts_with(&" ".repeat(12))
            && !line.starts_with("  command   ")
            && !line.starts_with("  beware    the agent's reason names r9:")
    };
    assert_eq!(screen.lines().find(forged), None, "{screen}");
    // The letter that turns the line around is left out.
    assert!(screen.contains("(confirm)txt please"), "{screen}");
    let rules = screen.lines().filter(|line| line.starts_with("  rule "));
    assert_eq!(rules.count(), 1, "{screen}");
    window.press(&["Enter"]);
    let screen = window.expect("Requests");
    assert!(
        !screen
            .lines()
            .any(|line| line.contains("> r9") && !line.starts_with("  ")),
        "{screen}"
    );
    Ok(())
}

#[test]
fn a_filter_lists_what_is_looked_for() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    for host in [V4, OTHER] {
        assert!(!reaches(&mut shell, host)?);
    }
    window.expect("2 requests");
    window.press(&["/"]);
    window.type_text("2.11");
    let screen = window.expect("1 of 2");
    assert!(screen.contains("> r2"), "{screen}");
    window.press(&["Enter"]);
    look();
    window.press(&["n"]);
    window.expect("1 request,");
    assert_eq!(scene.daemon.audited("answered")?[0]["request"], "r2");
    window.press(&["Escape"]);
    window.expect("> r1");
    Ok(())
}

#[test]
fn help_says_what_the_keys_do() -> Tested {
    let scene = WatchScene::new()?;
    let window = scene.watch("one");
    window.press(&["?"]);
    let screen = window.expect("yes, for 5 minutes, 15 minutes, an hour");
    assert!(
        screen.contains("no, and stop asking for 8 hours"),
        "{screen}"
    );
    window.press(&["Escape"]);
    window.expect("Requests");
    Ok(())
}

#[test]
fn it_fits_terminals_of_all_sizes() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    assert!(!reaches(&mut shell, V4)?);
    for (columns, lines) in [(80, 24), (40, 10), (200, 60)] {
        window.resize(columns, lines);
        let is_whole = |screen: &str| {
            let lines: Vec<_> = screen.lines().collect();
            let keys = lines.iter().rev().find(|line| !line.is_empty());
            screen.contains("> r1")
                && screen.contains("production (confirm)")
                && keys.is_some_and(|keys| keys.contains("? help"))
        };
        let screen = window.expect_that("all that is needed", is_whole);
        assert!(
            screen
                .lines()
                .all(|line| line.chars().count() <= columns.into())
        );
    }
    window.resize(39, 9);
    let screen = window.expect("needs 40x10");
    assert!(screen.contains("Requests that wait: 1"), "{screen}");
    // Whoever cannot see it cannot answer it.
    look();
    window.press(&["y"]);
    look();
    assert!(scene.daemon.audited("answered")?.is_empty());
    window.press(&["q"]);
    window.expect("ready$");
    Ok(())
}

#[test]
fn requests_stay_in_view_in_few_lines() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let window = scene.watch("one");
    window.resize(60, 15);
    assert!(!reaches(&mut shell, V4)?);
    window.expect("> r1");
    for list in ["▸ Holes", "▸ Sessions", "▸ Log", "▸ Reached"] {
        window.press(&["Tab"]);
        let screen = window.expect(list);
        assert!(screen.contains("> r1"), "{screen}");
    }
    Ok(())
}

#[test]
fn what_was_reached_stands_in_place_of_the_log() -> Tested {
    let scene = WatchScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    assert!(reaches(&mut shell, OPEN)?);
    let window = scene.watch("one");
    window.press(&["BTab"]);
    window.expect("▸ Reached");
    let screen = window.expect(OPEN);
    assert!(screen.contains("guard-lab  tcp/80"), "{screen}");
    window.press(&["BTab"]);
    window.expect("▸ Log");
    Ok(())
}

#[test]
fn no_color_means_none() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    assert!(!reaches(&mut shell, V4)?);
    let is_coloured = |text: &str| {
        let codes = text
            .split("\x1b[")
            .skip(1)
            .filter_map(|rest| rest.split('m').next());
        let mut numbers =
            codes.flat_map(|code| code.split(';').map(str::to_owned).collect::<Vec<_>>());
        numbers.any(|number| {
            number.len() == 2
                && number.starts_with(['3', '4', '9'])
                && number != "39"
                && number != "49"
        })
    };
    let window = scene.watch("colours");
    window.expect("> r1");
    assert!(is_coloured(&window.coloured()));
    let window = scene.tmux.window("none");
    window.guard(&scene.daemon.root(["watch"]).env("NO_COLOR", "1"));
    window.expect("> r1");
    assert!(!is_coloured(&window.coloured()), "{:?}", window.coloured());
    Ok(())
}

#[test]
fn where_there_is_no_screen_it_says_what_to_type() -> Tested {
    let scene = WatchScene::new()?;
    let output = scene.daemon.ask(["watch"])?;
    assert_eq!(output.code(), Some(2));
    assert!(
        output.stderr.contains("guard pending --follow"),
        "{output:?}"
    );
    let window = scene.tmux.window("dumb");
    window.guard(&scene.daemon.root(["watch"]).env("TERM", "dumb"));
    window.expect("guard pending --follow");
    window.enter("echo status $?");
    window.expect("status 2");
    // Inside a session there is nobody to answer.
    let mut shell = scene.shell()?;
    let guard = scene.daemon.program("guard")?;
    let inside = format!(
        "GUARD_SOCKET={} {} watch",
        scene.daemon.socket().display(),
        guard.display()
    );
    assert_eq!(shell.status_of(&inside)?, 2);
    Ok(())
}

#[test]
fn a_new_request_rings_unless_told_not_to() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    let (loud, quiet) = (
        scene.watch("loud"),
        scene.watch_with("quiet", &["--no-bell"]),
    );
    quiet.expect("(no bell)");
    let rings =
        |window: &crate::watch::terminal::Window<'_>| window.state("#{window_bell_flag}") == "1";
    assert!(!rings(&loud));
    assert!(!reaches(&mut shell, V4)?);
    loud.expect("> r1");
    quiet.expect("> r1");
    guard_lab::eventually("it rings", || rings(&loud))?;
    assert!(!rings(&quiet));
    Ok(())
}
