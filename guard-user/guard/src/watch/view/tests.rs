use guard_proto::{Failure, HttpRequest, Request};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::json;

use super::*;
use crate::render::{escape::is_unseen, examples};
use crate::watch::words;
use crate::watch::{model::Event, model::Lists};

fn terminal(model: &mut Model, width: u16, height: u16, colour: bool) -> Terminal<TestBackend> {
    let clock = examples::clock();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut shown = None;
    let view = View {
        model,
        clock: &clock,
        look: Palette { colour },
        socket: "/run/guard/guardd.sock",
    };
    terminal.draw(|frame| shown = view.draw(frame)).unwrap();
    model.drawn(shown, std::time::Duration::ZERO);
    terminal
}

/// What a terminal of that size shows, line by line.
fn lines(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let terminal = terminal(model, width, height, true);
    let buffer = terminal.backend().buffer();
    let cells = |y| (0..width).map(move |x| buffer[(x, y)].symbol());
    (0..height)
        .map(|y| cells(y).collect::<String>().trim_end().to_owned())
        .collect()
}

fn screen(model: &mut Model, width: u16, height: u16) -> String {
    lines(model, width, height).join("\n")
}

fn press(model: &mut Model, code: KeyCode) {
    let key = KeyEvent::new(code, KeyModifiers::NONE);
    model.update(
        Event::Key(key, std::time::Duration::from_secs(1)),
        std::time::Duration::from_secs(1),
    );
}

/// Two requests, holes, a session and some records.
fn model() -> Model {
    let mut model = Model::new(true);
    let held = Request {
        id: "r2".into(),
        http: Some(examples::http()),
        verdict: "read-only".into(),
        held: true,
        count: 1,
        waits_until: Some("2026-11-20T12:00:40Z".parse().unwrap()),
        ..examples::request()
    };
    model.update(
        Event::Requests(vec![examples::request(), held]),
        std::time::Duration::ZERO,
    );
    let lists = Lists {
        reached: None,
        requests: Vec::new(),
        sessions: vec![examples::session()],
        holes: vec![examples::hole(), examples::http_hole(None)],
    };
    model.update(Event::Lists(lists), std::time::Duration::ZERO);
    let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": null});
    for record in [
        json!({"at": "2026-11-20T11:59:50Z", "kind": "session-start", "session": "s1", "user": "alice", "command": ["claude"]}),
        json!({"at": "2026-11-20T11:59:57Z", "kind": "request", "session": "s1", "destination": to, "rule": "photos", "verdict": "confirm", "comm": "curl", "request": "r1"}),
    ] {
        let record = serde_json::from_value(record).unwrap();
        model.update(Event::Record(Box::new(record)), std::time::Duration::ZERO);
    }
    screen(&mut model, 80, 24);
    model
}

#[test]
fn all_is_there_at_80x24() {
    insta::assert_snapshot!(screen(&mut model(), 80, 24), @r#"
    guard watch  2 requests, 2 holes, 1 session
    ─ Sessions ────────────────────────────────────────────────────────────────────
      s1    alice  2 h 5 min ago  policy homelab  claude  claude --continue
    ▸ Requests ────────────────────────────────────────────────────────────────────
    > r1    s1   2x   3 s ago        tcp 192.0.2.10:443 (photos.example.com)  curl …
      r2    s1        waits 40 s     DELETE https://photos.example.com/api/jobs/7?n…
      rule      photos (confirm): production photo server
      command   curl 'https://photos.example.com/?q=a b'
      program   curl (4711), /usr/bin/curl
      asked     10 s ago, 2 times, last 3 s ago
      session   s1, policy homelab, user alice
      it says   "need the list of albums"




    ─ Holes ───────────────────────────────────────────────────────────────────────
    > h1    s1   14 min            192.0.2.10/32 tcp/443  by alice
      h1    s1   14 min            192.0.2.10/32 tcp/443, DELETE photos/api/jobs/7?…
    ─ Log ─────────────────────────────────────────────────────────────────────────
      11:59:50  s1    session starts   by alice  command="claude"
      11:59:57  s1    asks             tcp 192.0.2.10:443  rule photos (confirm)  "…

    f yes 5m  y 15m  h 1h  n no 1m  N 8h  c count  Space mark  ? help
    "#);
}

#[test]
fn an_http_request_says_first_what_it_would_do() {
    let mut model = model();
    press(&mut model, KeyCode::Down);
    insta::assert_snapshot!(screen(&mut model, 100, 30), @r#"
    guard watch  2 requests, 2 holes, 1 session
    ─ Sessions ────────────────────────────────────────────────────────────────────────────────────────
      s1    alice  2 h 5 min ago  policy homelab  claude  claude --continue
    ▸ Requests ────────────────────────────────────────────────────────────────────────────────────────
      r1    s1   2x   3 s ago        tcp 192.0.2.10:443 (photos.example.com)  curl (4711)
    > r2    s1        waits 40 s     DELETE https://photos.example.com/api/jobs/7?now=1  curl (4711)
      to        tcp 192.0.2.10:443 (photos.example.com)
      http      DELETE https://photos.example.com/api/jobs/7?now=1, 12 bytes
      beware    it cannot be undone
      header    x-cascade: \u{1b}true
      body      {"force":\u{7}1}
      kind      DELETE removes something
      rule      photos (read-only): production photo server
      waits     for an answer: gives up in 40 s
      command   curl 'https://photos.example.com/?q=a b'
      program   curl (4711), /usr/bin/curl
      asked     10 s ago
      session   s1, policy homelab, user alice
      it says   "need the list of albums"

    ─ Holes ───────────────────────────────────────────────────────────────────────────────────────────
    > h1    s1   14 min            192.0.2.10/32 tcp/443  by alice
      h1    s1   14 min            192.0.2.10/32 tcp/443, DELETE photos/api/jobs/7?now=1  by alice
    ─ Log ─────────────────────────────────────────────────────────────────────────────────────────────
      11:59:50  s1    session starts   by alice  command="claude"
      11:59:57  s1    asks             tcp 192.0.2.10:443  rule photos (confirm)  "curl"  request=r1



    f yes 5m  y 15m  h 1h  n no 1m  N 8h  p path  w writes  Space mark  Tab next list  ? help
    "#);
}

#[test]
fn what_decides_is_there_at_40x10() {
    let shown = screen(&mut model(), 40, 10);
    for part in [
        "> r1   2x  tcp 192.0.2.10:443",
        "  rule      photos (confirm): production",
        "more lines: Enter",
        "f yes 5m  y 15m  h 1h  n no 1m  ? help",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
}

#[test]
fn requests_stay_on_a_small_screen_whatever_list_is_in_use() {
    let mut model = model();
    model.update(Event::Lists(Lists::default()), std::time::Duration::ZERO);
    for heading in ["▸ Holes", "▸ Sessions", "▸ Log", "▸ Reached"] {
        press(&mut model, KeyCode::Tab);
        for (width, height) in [(60, 15), (40, 10)] {
            let screen = screen(&mut model, width, height);
            for part in [heading, "> r1 ", "  r2 "] {
                assert!(screen.contains(part), "{part}:\n{screen}");
            }
        }
    }
}

#[test]
fn a_smaller_terminal_is_told_so() {
    insta::assert_snapshot!(screen(&mut model(), 30, 5), @r#"
    guard watch needs 40x10,
    this is 30x5.
    Requests that wait: 2
    q quits.
    "#);
    for (width, height) in [(1, 1), (0, 0), (39, 200), (300, 9)] {
        assert_eq!(
            terminal(&mut model(), width, height, true)
                .backend()
                .buffer()
                .area
                .width,
            width
        );
    }
}

#[test]
fn details_say_all() {
    let mut model = model();
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Enter);
    insta::assert_snapshot!(screen(&mut model, 60, 20), @r#"
    guard watch  2 requests, 2 holes, 1 session
    r2  s1 wants to change something at tcp 192.0.2.10:443
    (photos.example.com)
      http      DELETE
                https://photos.example.com/api/jobs/7?now=1, 12
                bytes
      beware    it cannot be undone
      header    x-cascade: \u{1b}true
      body      {"force":\u{7}1}
      kind      DELETE removes something
      rule      photos (read-only): production photo server
      waits     for an answer: gives up in 40 s
      command   curl 'https://photos.example.com/?q=a b'
      program   curl (4711), /usr/bin/curl
      asked     10 s ago
      session   s1, policy homelab, user alice
      it says   "need the list of albums"


    f yes 5m  y 15m  h 1h  n no 1m  N 8h  p path  Esc back
    "#);
    press(&mut model, KeyCode::Esc);
    press(&mut model, KeyCode::Tab);
    press(&mut model, KeyCode::Enter);
    insta::assert_snapshot!(screen(&mut model, 60, 12), @r#"
    guard watch  2 requests, 2 holes, 1 session
    h1
      session   s1
      to        192.0.2.10/32 tcp/443
      ends      in 14 min (2026-11-20 12:14:58)
      left      any number
      opened    2 s ago
      by        alice



    x close it  Esc back
    "#);
}

#[test]
fn nothing_to_beware_of_lies_out_of_view_of_who_says_yes() {
    let says_yes = |model: &mut Model| {
        let now = std::time::Duration::from_secs(1);
        let key = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::NONE);
        !model.update(Event::Key(key, now), now).is_empty()
    };
    let told = |model: &Model| model.notice.as_ref().map(|notice| notice.text.clone());
    let long = || {
        let http = HttpRequest {
            path: format!("/api/{}", "a".repeat(300)),
            ..examples::http()
        };
        let long = Request {
            id: "r2".into(),
            http: Some(http),
            ..examples::request()
        };
        let mut model = model();
        let requests = vec![examples::request(), long];
        model.update(Event::Requests(requests), std::time::Duration::ZERO);
        press(&mut model, KeyCode::Down);
        model
    };
    let mut model = long();
    assert!(!screen(&mut model, 40, 10).contains("cannot be undone"));
    assert!(!says_yes(&mut model));
    assert!(told(&model).is_some_and(|text| text.contains("press Enter")));
    press(&mut model, KeyCode::Enter);
    assert!(!screen(&mut model, 40, 10).contains("cannot be undone"));
    assert!(!says_yes(&mut model));
    assert!(told(&model).is_some_and(|text| text.contains("scroll to the rest")));
    // Its end is behind that.
    press(&mut model, KeyCode::End);
    assert!(!screen(&mut model, 40, 10).contains("cannot be undone"));
    assert!(!says_yes(&mut model));
    press(&mut model, KeyCode::Home);
    let down = (0..100).find(|_| {
        let is_shown = screen(&mut model, 40, 10).contains("cannot be undone");
        if !is_shown {
            assert!(!says_yes(&mut model));
            press(&mut model, KeyCode::Down);
        }
        is_shown
    });
    assert!(down.is_some());
    // Once seen it may be out of view again.
    press(&mut model, KeyCode::End);
    screen(&mut model, 40, 10);
    assert!(says_yes(&mut model));
    // Where it has room, nobody has to look further.
    let mut model = long();
    assert!(screen(&mut model, 80, 24).contains("cannot be undone"));
    assert!(says_yes(&mut model));
}

#[test]
fn a_choice_shows_what_it_would_be_for() {
    let mut model = model();
    press(&mut model, KeyCode::Char('c'));
    insta::assert_snapshot!(screen(&mut model, 60, 12), @r#"
    guard watch  2 requests, 2 holes, 1 session
      yes to    connections, or HTTP requests: 1_

    r1  s1 wants tcp 192.0.2.10:443 (photos.example.com)
      rule      photos (confirm): production photo server
      command   curl 'https://photos.example.com/?q=a b'
      program   curl (4711), /usr/bin/curl
      asked     10 s ago, 2 times, last 3 s ago
      session   s1, policy homelab, user alice
      it says   "need the list of albums"

    f yes 5m  y 15m  h 1h  Esc back
    "#);
}

#[test]
fn help_has_every_key() {
    insta::assert_snapshot!({
        let mut model = model();
        press(&mut model, KeyCode::Char('?'));
        screen(&mut model, 80, 25)
    }, @r#"
    guard watch  2 requests, 2 holes, 1 session
      f y h     yes, for 5 minutes, 15 minutes, an hour
      o         yes, as you said it last time for the same rule
      c         yes to so many connections or requests: a number, then f, y or h
      s         yes to so many bytes: a size, then f, y or h
      r         yes to reads over HTTP alone: then f, y or h
      i         of a name: yes to this address alone: then f, y or h
      l         of a program on the loopback: yes for good: then f, y or h
      p         many addresses: yes to all of their prefix. HTTP: yes to all with
                this method and a path like it: edit it, Enter. Then f, y or h
      w         HTTP: yes to all that change something there: then f, y or h
      n         no, for a minute: what is tried after that is asked again
      N         no, and stop asking for 8 hours
      Space     mark it: f y h n N answer all that are marked, Esc unmarks them
      a         mark all of its session
      x         close the hole under the cursor
      Enter     details, all that is known; never an answer
      Tab       the next list: requests, holes, sessions, log, reached
      Up Down   move, as k and j do; PageUp, PageDown, Home, End
      /         list only lines with some text; Esc lists all again
      b         the bell for new requests, on or off
      ^L ^Z     redraw the screen; suspend, until fg
      q ^C      quit; requests go on waiting

    Down more  Esc back
    "#);
}

#[test]
fn what_a_yes_to_many_is_for_is_listed_in_full() {
    let mut model = model();
    let long = Request {
        id: "r2".into(),
        warnings: vec!["it says much ".repeat(25)],
        ..examples::request()
    };
    let by_http = Request {
        id: "r3".into(),
        http: Some(examples::http()),
        ..examples::request()
    };
    let requests = vec![examples::request(), long, by_http];
    model.update(Event::Requests(requests), std::time::Duration::ZERO);
    press(&mut model, KeyCode::Char('a'));
    let marked = screen(&mut model, 80, 24);
    for part in [
        "3 requests (3 marked)",
        // Nobody waits for one of them: the cursor goes nowhere.
        ">*r1 ",
        " *r3 ",
        "n no 1m to 3  f yes 5m  y 15m  h 1h  N no 8h  Space mark  Esc unmark",
    ] {
        assert!(marked.contains(part), "{part}:\n{marked}");
    }
    press(&mut model, KeyCode::Char('y'));
    let all = screen(&mut model, 60, 24);
    for part in [
        "yes to all 2, each as it is asked here:",
        "  r1   2x  tcp 192.0.2.10:443 (photos.example.com)",
        "    beware: it says much",
        "r3 wants an answer alone",
        "f yes 5m  y 15m  h 1h  ",
    ] {
        assert!(all.contains(part), "{part}:\n{all}");
    }
    assert!(!all.contains("/api/jobs/7"), "{all}");
    // What has no room has to be looked at first.
    let seen = |model: &mut Model, width, height| {
        let clock = examples::clock();
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut shown = None;
        let view = View {
            model,
            clock: &clock,
            look: Palette { colour: true },
            socket: "/run/guard/guardd.sock",
        };
        terminal.draw(|frame| shown = view.draw(frame)).unwrap();
        shown.unwrap().together
    };
    assert_eq!(seen(&mut model, 60, 24), ["r1", "r2"]);
    assert_eq!(seen(&mut model, 40, 10), ["r1"]);
    // Nor has what is longer than the screen been seen by its end.
    press(&mut model, KeyCode::End);
    assert!(seen(&mut model, 40, 10).is_empty());
}

#[test]
fn a_burst_shows_its_prefix_and_the_keys_for_it() {
    let mut model = model();
    let request = Request {
        id: "r1".into(),
        ..examples::burst(17)
    };
    model.update(Event::Requests(vec![request]), std::time::Duration::ZERO);
    let text = screen(&mut model, 100, 30);
    for part in [
        "tcp/443 at 17 addresses of 192.0.2.0/24",
        "tried     192.0.2.1, ",
        "o yes 30m 1x  p prefix  f yes 5m",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    press(&mut model, KeyCode::Char('p'));
    let text = screen(&mut model, 100, 30);
    assert!(text.contains("yes to    ALL of 192.0.2.0/24"), "{text}");
}

#[test]
fn a_guardd_that_is_gone_is_told() {
    let mut model = model();
    let failure = Failure {
        what: "cannot reach guardd".into(),
        why: "no guardd listens there".into(),
        fix: "start it".into(),
    };
    model.update(Event::Lost(failure), std::time::Duration::ZERO);
    let lines = lines(&mut model, 80, 24);
    assert_eq!(
        lines[22],
        "no guardd at /run/guard/guardd.sock; trying again"
    );
}

#[test]
fn a_refusal_is_told_to_its_end() {
    let mut model = model();
    let failure = Failure {
        what: "cannot open a hole to 192.0.2.99".into(),
        why: "rule \"never\" of policy homelab denies it, and a hole changes no denial".into(),
        fix: "look at the rule:\nguard explain 192.0.2.99".into(),
    };
    let refused = crate::watch::answer::AnswerOutcome::Refused(failure);
    model.update(
        Event::Outcome("r1".into(), refused),
        std::time::Duration::ZERO,
    );
    let lines = lines(&mut model, 80, 24);
    insta::assert_snapshot!(lines[21..].join("\n"), @r#"
    cannot open a hole to 192.0.2.99: rule "never" of policy homelab denies it, and
    a hole changes no denial; look at the rule: guard explain 192.0.2.99
    f yes 5m  y 15m  h 1h  n no 1m  N 8h  c count  Space mark  ? help
    "#);
}

#[test]
fn without_colours_nothing_is_lost() {
    let plain = terminal(&mut model(), 80, 24, false);
    let all = plain.backend().buffer().content();
    assert!(
        all.iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
    let coloured = terminal(&mut model(), 80, 24, true);
    let words = |cells: &[ratatui::buffer::Cell]| {
        cells
            .iter()
            .map(|cell| cell.symbol().to_owned())
            .collect::<String>()
    };
    assert_eq!(words(all), words(coloured.backend().buffer().content()));
    assert!(
        coloured
            .backend()
            .buffer()
            .content()
            .iter()
            .any(|cell| cell.fg != Color::Reset)
    );
}

/// A request of which the agent has chosen all that it can.
fn hostile(text: &str) -> Request {
    Request {
        comm: Some(text.into()),
        exe: Some(text.into()),
        command: vec![text.into(); 3],
        note: Some(text.into()),
        http: Some(HttpRequest {
            method: text.into(),
            path: text.into(),
            host: Some(text.into()),
            body_preview: Some(text.into()),
            warnings: vec![text.into()],
            ..examples::http()
        }),
        ..examples::request()
    }
}

#[test]
fn an_agent_cannot_write_a_line_of_ours() {
    let forged =
        "x\r\n> r9    s1   tcp 203.0.113.1:80\r\n  rule      forged \u{1b}[2J\u{1b}[1;1H\u{202e}";
    for word in [
        forged.to_owned(),
        forged.repeat(300),
        "日本\u{301}\u{1f1e9}\u{1f1ea}".repeat(500),
    ] {
        let mut model = Model::new(true);
        model.update(
            Event::Requests(vec![hostile(&word)]),
            std::time::Duration::ZERO,
        );
        for code in [KeyCode::Home, KeyCode::Enter] {
            press(&mut model, code);
            for (width, height) in [(80, 24), (40, 10), (132, 50)] {
                let lines = lines(&mut model, width, height);
                // Labels have a column of their own.
                let starts = |line: &&String, with: &str| {
                    line.starts_with(with) || line.starts_with(&format!("  {with}"))
                };
                assert!(
                    !lines.iter().any(|line| starts(&line, "> r9")),
                    "{lines:#?}"
                );
                assert!(
                    lines.iter().filter(|line| starts(line, "rule ")).count() <= 1,
                    "{lines:#?}"
                );
                assert!(!lines.iter().any(|line| line.contains(is_unseen)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever an agent says, and wherever keys lead: drawing does not fail, and no cell has what a terminal would act on.
    #[test]
    fn nothing_said_steers_the_terminal(
        text in "(\\PC|[\u{0}-\u{9f}]|[\u{200b}-\u{206f}]){0,120}", width in 0_u16..160, height in 0_u16..60,
        keys in prop::collection::vec(prop::sample::select(vec!['j', 'k', 'c', 'p', 'w', '?', '/', '\t', '\n', '\u{1b}', 'x']), 0..8),
    ) {
        let mut model = Model::new(true);
        let shown = vec![examples::request(), hostile(&text)];
        model.update(Event::Requests(shown), std::time::Duration::ZERO);
        for key in keys {
            press(&mut model, match key {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                c => KeyCode::Char(c),
            });
            let terminal = terminal(&mut model, width, height, true);
            for cell in terminal.backend().buffer().content() {
                prop_assert!(!cell.symbol().contains(is_unseen));
                prop_assert!(words::width(cell.symbol()) <= 2);
            }
        }
    }
}
