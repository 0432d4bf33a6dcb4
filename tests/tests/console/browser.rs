//! A real browser with a passkey: enrol, be asked, look, answer, at a desk and on a phone.

use anyhow::{Context as _, Result};
use guard_lab::{Attempt, Json as _, Network, PATIENCE, Production, Shell, Tested, V4, eventually};
use serde_json::{Value, json};

use super::{
    scene::{Looked, ORIGIN},
    webdriver::Browser,
};
use crate::{
    proxy::scene::sending,
    signed::scene::{SignedScene, agent},
};

/// Widths and heights.
pub(crate) const DESK: (u32, u32) = (1180, 860);
const PHONE: (u32, u32) = (390, 844);

/// Keys, as WebDriver names them; a question mark takes two.
const ASKS: [&str; 2] = ["\u{e008}", "?"];
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const UP: &str = "\u{e013}";
const DOWN: &str = "\u{e015}";

/// As WCAG 1.4.10 has it.
const NARROWEST: u32 = 320;

/// What stands out too little from what is behind it: WCAG 1.4.3 for text, and 1.4.11 for what is pressed or filled in.
const PALE: &str = "
    const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const parts = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => { const [r, g, b] = parts(color); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
    const ratio = (one, other) => { const [a, b] = [light(one), light(other)].sort((a, b) => b - a); return (a + 0.05) / (b + 0.05); };
    const behind = (one) => { for (; one; one = one.parentElement) {
        const color = getComputedStyle(one).backgroundColor;
        if ((parts(color)[3] ?? 1) > 0) return color;
    } return 'rgb(255, 255, 255)'; };
    const seen = [...document.body.querySelectorAll('*')].filter((one) => one.checkVisibility() && !one.closest('svg, :disabled'));
    const texts = seen.filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
    const pale = texts.filter((one) => ratio(getComputedStyle(one).color, behind(one)) < 4.5);
    const edges = seen.filter((one) => one.matches('button:not(.main, .quiet), input:not([type=radio]), select, .offers span'))
        .filter((one) => ratio(getComputedStyle(one).borderTopColor, behind(one.parentElement)) < 3);
    return [...pale, ...edges].map((one) => one.outerHTML.slice(0, 80));";

/// Invites somebody, who makes a passkey on the page, and has root accept it.
pub(crate) fn enrol(scene: &SignedScene, browser: &Browser<'_>) -> Tested {
    browser.go(&invited(scene)?)?;
    browser.expect("Make a passkey for guard");
    both(browser, "enrol")?;
    accepted(scene, browser)
}

/// The same, and has them log in, while nothing is asked.
fn enrol_and_log_in(scene: &SignedScene, browser: &Browser<'_>) -> Tested {
    enrol(scene, browser)?;
    browser.go(&format!("{ORIGIN}/login"))?;
    browser.press("#login button")?;
    browser.expect("Nothing is asked.");
    Ok(())
}

/// A shell of the session's that can send what a script of bash does.
fn bash(scene: &SignedScene) -> Tested<Shell> {
    let mut shell = scene.shell();
    shell.tell("exec bash -c 'echo in bash; exec bash'")?;
    shell.line_with("in bash")?;
    Ok(shell)
}

/// The link that root makes for somebody.
fn invited(scene: &SignedScene) -> Tested<String> {
    let invite = ["approver", "invite", "alice", "--answers-for", &agent()];
    let invited = scene.daemon.root(invite).json()?;
    Ok(invited["links"][0].text()?.to_owned())
}

/// Whoever opened it makes a passkey there, which root accepts.
fn accepted(scene: &SignedScene, browser: &Browser<'_>) -> Tested {
    browser.press("#enrol button")?;
    browser.expect("sudo guard approver accept alice SHA256:");
    let line = browser.script("return document.querySelector('#accept').textContent")?;
    let (_, fingerprint) = line.text()?.rsplit_once(' ').context("no fingerprint")?;
    let accept = ["approver", "accept", "alice", fingerprint];
    scene.daemon.root(accept).run()?.success()?;
    Ok(())
}

/// Pictures in light and dark, at a desk and on a phone.
pub(crate) fn both(browser: &Browser<'_>, name: &str) -> Tested {
    if std::env::var_os("GUARD_LAB_PICTURES").is_none() {
        return Ok(());
    }
    for (size, (width, height)) in [("desk", DESK), ("phone", PHONE)] {
        browser.resize(width, height, size == "phone")?;
        for scheme in ["light", "dark"] {
            browser.scheme(scheme)?;
            browser.picture(&format!("{name}-{size}-{scheme}"))?;
        }
    }
    browser.scheme("light")?;
    browser.resize(DESK.0, DESK.1, false)
}

/// Nothing is wider than the screen, each thing to press is as large as a thumb, and all of it can be read.
pub(crate) fn fits(browser: &Browser<'_>) -> Tested {
    for width in [NARROWEST, PHONE.0] {
        browser.resize(width, PHONE.1, true)?;
        let wide = browser.script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
        )?;
        let beyond = "const right = document.documentElement.clientWidth;
            return [...document.querySelectorAll('body *')]
                .filter((one) => Math.max(one.getBoundingClientRect().right, one.scrollWidth) > right)
                .map((one) => `${one.getBoundingClientRect().right} ${one.scrollWidth} ${one.outerHTML.slice(0, 100)}`)";
        let beyond = || browser.script(beyond);
        assert_eq!(
            wide,
            0,
            "the page scrolls sideways at {width}: {:?}",
            beyond()
        );
    }
    for scheme in ["dark", "light"] {
        browser.scheme(scheme)?;
        assert_eq!(browser.script(PALE)?, json!([]), "{scheme}");
    }
    let small = browser.script(
        "return [...document.querySelectorAll('button, nav a, .offers label, select')]
            .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 44).map((one) => one.textContent)",
    )?;
    assert_eq!(small, json!([]));
    browser.resize(DESK.0, DESK.1, false)
}

/// All that can be pressed or filled in has a name for who does not see it, and so has each choice between such.
pub(crate) fn is_named(browser: &Browser<'_>) -> Tested {
    let tree = browser.developer("Accessibility.getFullAXTree", &json!({}))?;
    let nodes = tree["nodes"].list()?;
    let is_shown = |node: &&Value| node["ignored"] != true;
    let role = |node: &Value| {
        node["role"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    // Of what else is a group there is no telling what it is for.
    let is_choice = |node: &&Value| {
        let mut sources = node["name"]["sources"].as_array().into_iter().flatten();
        role(node) == "group" && sources.any(|source| source["nativeSource"] == "legend")
    };
    let is_pressed = |node: &&Value| {
        ["button", "link", "radio", "textbox", "combobox"].contains(&role(node).as_str())
    };
    let choices: Vec<_> = nodes.iter().filter(is_shown).filter(is_choice).collect();
    let pressed: Vec<_> = nodes.iter().filter(is_shown).filter(is_pressed).collect();
    let sets = browser.script("return document.querySelectorAll('fieldset').length")?;
    assert_eq!(choices.len() as u64, sets.as_u64().unwrap_or(u64::MAX));
    assert!(!pressed.is_empty());
    for node in pressed.into_iter().chain(choices) {
        let name = node["name"]["value"].as_str().unwrap_or_default();
        assert!(!name.trim().is_empty(), "{node}");
    }
    Ok(())
}

/// It fits, and is named; then it is on a phone again.
fn is_for_a_phone(browser: &Browser<'_>) -> Tested {
    fits(browser)?;
    is_named(browser)?;
    browser.resize(PHONE.0, PHONE.1, true)
}

#[test]
fn somebody_enrols_is_asked_looks_and_answers() -> Tested {
    let network = Network::new()?;
    let production = Production::start(&network)?;
    let looked = Looked::new(&network, "")?;
    let browser = Browser::start(&network)?;
    browser.resize(DESK.0, DESK.1, false)?;
    let authenticator = browser.add_authenticator()?;
    enrol(&looked.scene, &browser)?;

    browser.go(&format!("{ORIGIN}/"))?;
    browser.expect("Log in to guard");
    both(&browser, "login")?;
    browser.press("#login button")?;
    browser.expect("Nothing is asked.");
    both(&browser, "nothing")?;
    // Another site's page sees nothing of it, and may link to it: the cookie comes once the page asks for itself.
    browser.go("http://127.0.0.1:4827/")?;
    browser.expect("This console has another name");
    browser.script(&format!("location.assign('{ORIGIN}/')"))?;
    browser.expect("Nothing is asked.");

    // It waits, for a page is looked at.
    let mut shell = looked.scene.shell();
    let before = production.reached_at(V4, 443)?.len();
    let waits = || looked.scene.daemon.root(["pending"]).json().unwrap()[0]["held"] == true;
    shell.begin(&Attempt::tcp(V4, 443).timeout(PATIENCE))?;
    eventually("it waits", waits)?;
    browser.expect("192.0.2.10:443");
    both(&browser, "questions")?;
    fits(&browser)?;
    is_named(&browser)?;
    browser.press("#questions a")?;
    browser.expect("Yes, sign with passkey");
    both(&browser, "connection")?;
    fits(&browser)?;
    is_named(&browser)?;

    // No finger, no yes.
    browser.verify(&authenticator, false)?;
    browser.press("button.yes")?;
    browser.expect("the passkey was not used");
    assert!(looked.scene.holes().is_empty());
    browser.verify(&authenticator, true)?;
    // A page that shows something else than is asked has nothing signed by the script.
    let line = browser.script("const li = document.querySelector('#shows > li'); const was = li.textContent; li.textContent = 'curl wants nothing'; return was")?;
    browser.press("button.yes")?;
    browser.expect("shows something else than is asked");
    browser.script(&format!(
        "document.querySelector('#shows > li').textContent = {line}"
    ))?;
    browser.press("button.yes")?;
    browser.expect("Yes, by alice");
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
    assert!(production.reached_at(V4, 443)?.len() > before);
    let answered = &looked.scene.log("answered")[0];
    assert_eq!(
        (&answered["signed"]["kind"], &answered["connections"]),
        (&json!("passkey"), &json!(1)),
        "the least is chosen"
    );
    both(&browser, "over")?;

    // A no takes no finger.
    assert!(!shell.reaches(&Attempt::tcp(V4, 1000))?);
    browser.go(&format!("{ORIGIN}/"))?;
    // Below what is asked is the last day.
    browser.expect("newly reached");
    both(&browser, "first")?;
    browser.press("#questions a")?;
    browser.press("form.no button")?;
    browser.expect("Nothing is asked.");
    let no = looked.scene.log("answered").pop().unwrap();
    assert_eq!((&no["answer"], &no["signed"]), (&json!("no"), &Value::Null));
    for page in ["sessions", "holes", "flows", "log", "approvers"] {
        browser.go(&format!("{ORIGIN}/{page}"))?;
        both(&browser, page)?;
        fits(&browser)?;
        is_named(&browser)?;
    }
    // guardd goes, and comes back.
    let mut looked = looked;
    browser.go(&format!("{ORIGIN}/"))?;
    looked.scene.daemon.kill()?;
    browser.expect("not connected");
    looked.scene.daemon.start()?;
    eventually("it is connected", || {
        browser
            .script("return document.body.dataset.live")
            .is_ok_and(|live| live == "on")
    })?;
    Ok(())
}

/// What has the focus: the question whose link it is, or an element's id, classes or name.
fn focused(browser: &Browser<'_>) -> Result<String> {
    let said = browser.script(
        "const one = document.activeElement;
        if (one === document.body) return 'nothing';
        return one.closest('#questions > li')?.dataset.id || one.id || one.className || one.tagName",
    )?;
    Ok(said.text()?.to_owned())
}

fn has_focus(browser: &Browser<'_>, what: &str) -> Tested {
    eventually(&format!("{what} has the focus"), || {
        focused(browser).is_ok_and(|now| now == what)
    })?;
    Ok(())
}

#[test]
fn keys_go_through_what_is_asked_while_the_focus_is_there_and_none_says_yes() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    let browser = Browser::start(&network)?;
    browser.add_authenticator()?;
    enrol(&looked.scene, &browser)?;
    let mut shell = looked.scene.shell();
    for port in [443, 1000] {
        looked.scene.request(&mut shell, port);
    }
    browser.go(&format!("{ORIGIN}/login"))?;
    browser.press("#login button")?;
    browser.expect("192.0.2.10:1000");
    let ids = browser.script(
        "return [...document.querySelectorAll('#questions > li')].map((one) => one.dataset.id)",
    )?;
    let [first, second] = &ids.list()?[..] else {
        panic!("{ids}");
    };
    let (first, second) = (first.text()?, second.text()?);
    let explains = || browser.script("return document.querySelector('#keyboard').open");

    // Elsewhere on the page they are the browser's own.
    for keys in [&["j"][..], &["n"], &ASKS] {
        browser.keys(keys)?;
        assert_eq!(
            (focused(&browser)?, explains()?),
            ("nothing".to_owned(), json!(false))
        );
    }
    for _ in 0..20 {
        if focused(&browser)? == first {
            break;
        }
        browser.keys(&[TAB])?;
    }
    for (key, now) in [
        ("k", first),
        ("j", second),
        ("j", second),
        ("k", first),
        (DOWN, second),
        (UP, first),
    ] {
        browser.keys(&[key])?;
        assert_eq!(focused(&browser)?, now, "{key:?}");
    }
    for is_open in [true, false] {
        browser.keys(&ASKS)?;
        assert_eq!(explains()?, is_open);
    }
    // A key that is held down opens nothing: what it would open is kept first.
    let opened = browser.script(
        "const held = (key) => new KeyboardEvent('keydown', { key, repeat: true, bubbles: true });
        for (const key of ['n', 'Enter']) document.activeElement.dispatchEvent(held(key));
        return sessionStorage.getItem('keys')",
    )?;
    assert_eq!(opened, Value::Null);

    browser.keys(&[ENTER])?;
    browser.expect("Yes, sign with passkey");
    has_focus(&browser, "asking")?;
    eventually("the yes is reached", || {
        browser.keys(&["y"]).is_ok() && focused(&browser).is_ok_and(|now| now == "main yes")
    })?;
    assert!(looked.scene.holes().is_empty());
    assert!(looked.scene.log("answered").is_empty());
    browser.keys(&[ENTER])?;
    browser.expect("Yes, by alice");
    assert_eq!(looked.scene.holes().len(), 1);

    // A no takes a press on the page of its question, by key or by button.
    browser.go(&format!("{ORIGIN}/"))?;
    browser.expect("192.0.2.10:");
    browser.script("document.querySelector('#questions a').focus()")?;
    assert_eq!(focused(&browser)?, second);
    browser.keys(&["n"])?;
    browser.expect("Yes, sign with passkey");
    has_focus(&browser, "no")?;
    assert_eq!(looked.scene.log("answered").len(), 1, "the yes alone");
    eventually("it is said", || {
        browser.keys(&["n"]).is_ok() && looked.scene.log("answered").len() == 2
    })?;
    browser.expect("Nothing is asked.");
    let no = looked.scene.log("answered").pop().context("no answer")?;
    assert_eq!((&no["answer"], &no["signed"]), (&json!("no"), &Value::Null));
    Ok(())
}

#[test]
fn somebody_enrols_and_logs_in_on_a_phone() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    let browser = Browser::start(&network)?;
    browser.add_authenticator()?;
    browser.resize(PHONE.0, PHONE.1, true)?;
    browser.go(&invited(&looked.scene)?)?;
    browser.expect("Make a passkey for guard");
    is_for_a_phone(&browser)?;
    accepted(&looked.scene, &browser)?;
    // With the fingerprint, which is a long word.
    is_for_a_phone(&browser)?;

    browser.go(&format!("{ORIGIN}/"))?;
    browser.expect("Log in to guard");
    is_for_a_phone(&browser)?;
    browser.press("#login button")?;
    browser.expect("Nothing is asked.");
    browser.expect("newly reached");
    is_for_a_phone(&browser)?;

    // By a link, once the passkey's session has ended.
    browser.press("form[action='/logout'] button")?;
    browser.expect("Log in with a passkey");
    browser.go(&format!("{ORIGIN}{}", looked.link("alice")?))?;
    browser.expect("This link logs in one browser, once.");
    is_for_a_phone(&browser)?;
    browser.press("form button")?;
    browser.expect("Nothing is asked.");
    Ok(())
}

#[test]
fn a_write_is_answered_on_a_phone_and_what_an_agent_wrote_stays_text() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let looked = Looked::new(&network, "scopes = [\"one\", \"offers\", \"path\"]")?;
    let browser = Browser::start(&network)?;
    browser.add_authenticator()?;
    enrol_and_log_in(&looked.scene, &browser)?;
    browser.resize(PHONE.0, PHONE.1, true)?;
    let mut shell = bash(&looked.scene)?;
    let send = |shell: &mut Shell, body: &str| {
        let path = "/api/jobs/thumbnailGeneration";
        shell.tell(&sending("PUT", path, body)).unwrap();
        browser.expect(path);
        browser.press("#questions a").unwrap();
        browser.expect("Yes, sign with passkey")
    };
    send(&mut shell, "{\"command\":\"start\",\"force\":true}");
    both(&browser, "write")?;
    let size = |of: &str| {
        browser.script(&format!(
            "return parseFloat(getComputedStyle(document.querySelector('{of}')).fontSize)"
        ))
    };
    let sizes = ["h1", "ul.beware li", ".asking .to", ".asking .body pre"].map(size);
    let sizes: Vec<_> = sizes
        .into_iter()
        .map(|size| size.unwrap().as_f64())
        .collect();
    assert!(sizes.is_sorted_by(|one, next| one > next), "{sizes:?}");
    fits(&browser)?;
    browser.resize(PHONE.0, PHONE.1, true)?;
    browser.press("button.yes")?;
    browser.expect("Yes, by alice");
    assert!(shell.line_with("HTTP/1.1")?.contains(" 200 "));
    shell.line_with("ended")?;
    let answered = &looked.scene.log("answered")[0];
    assert_eq!(answered["signed"]["by"], "alice");

    browser.go(&format!("{ORIGIN}/"))?;
    let hostile = "</pre><script>document.title=1</script><img src=x onerror=alert(1)>";
    let shown = send(&mut shell, hostile);
    assert!(shown.contains(hostile), "{shown}");
    let made =
        browser.script("return document.querySelectorAll('main script, main img').length")?;
    assert_eq!(made, 0);
    browser.press("form.no button")?;
    browser.expect("Nothing is asked.");
    assert!(shell.line_with("HTTP/1.1")?.contains(" 403 "));
    Ok(())
}

/// There the answer stays in view, whatever is below it. A small screen is one where little has room.
#[test]
fn on_a_phone_no_yes_is_pressed_before_all_to_beware_of_was_in_view() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let looked = Looked::new(&network, "scopes = [\"one\", \"offers\", \"path\"]")?;
    let browser = Browser::start(&network)?;
    browser.add_authenticator()?;
    enrol_and_log_in(&looked.scene, &browser)?;
    browser.resize(PHONE.0, 320, true)?;
    let mut shell = bash(&looked.scene)?;
    let path = "/api/jobs/thumbnailGeneration";
    shell.tell(&sending(
        "PUT",
        path,
        "{\"command\":\"start\",\"force\":true}",
    ))?;
    browser.expect(path);
    browser.press("#questions a")?;
    browser.expect("Yes, sign with passkey");
    let is = |what: &str| Tested::Ok(browser.script(&format!("return {what}"))? == true);
    eventually("the page is connected", || {
        is("document.body.dataset.live === 'on'")
    })?;
    // The page's own timer, by which it would be offered, is older and shorter.
    browser.script("return new Promise((over) => setTimeout(() => over(1), 400))")?;
    let yes = "document.querySelector('button.yes')";
    // What is seen beside it, what describes it to a screen reader, and what a mouse that rests on it shows.
    let why = format!("document.getElementById({yes}.getAttribute('aria-describedby')).innerText");
    let says = |words: &str| {
        Tested::Ok(
            is(&format!("{why} === '{words}'"))? && is(&format!("{yes}.title === '{words}'"))?,
        )
    };
    assert!(is(&format!("{yes}.disabled"))?);
    assert!(says("Read all warnings first: scroll down.")?);
    assert!(!is("document.querySelector('form.no button').disabled")?);
    browser.script("window.scrollTo(0, document.documentElement.scrollHeight)")?;
    eventually("a yes is offered", || is(&format!("!{yes}.disabled")))?;
    assert!(says("")?);
    // It has been seen.
    browser.script("window.scrollTo(0, 0)")?;
    assert!(is(&format!("!{yes}.disabled"))?);
    assert!(says("")?);
    Ok(())
}

#[test]
fn an_open_page_asks_what_is_asked_now_also_while_a_passkey_is_used() -> Tested {
    let network = Network::new()?;
    let mut looked = Looked::new(&network, "")?;
    let browser = Browser::start(&network)?;
    browser.add_authenticator()?;
    enrol_and_log_in(&looked.scene, &browser)?;
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    browser.press("#questions a")?;
    browser.expect("Yes, sign with passkey");
    let hash = || browser.script("return document.querySelector('#asking').dataset.hash");
    let is_current = |looked: &Looked<'_>| {
        let now = looked.scene.question(&id)["hash"].clone();
        hash().is_ok_and(|shown| shown == now)
    };
    assert!(is_current(&looked));
    // The agent says more while a passkey is asked for: the page stays until that is over.
    browser
        .script("navigator.credentials.get = () => new Promise((_, no) => { window.no = no; })")?;
    browser.press("button.yes")?;
    eventually("a passkey is asked for", || {
        browser
            .script("return !!window.no")
            .is_ok_and(|asked| asked == true)
    })?;
    let (socket, guard) = (
        looked.scene.daemon.socket(),
        looked.scene.daemon.program("guard")?,
    );
    let (socket, guard) = (socket.display(), guard.display());
    let says =
        format!("{guard} --socket {socket} request 192.0.2.10:443 --reason queue >/dev/null");
    assert_eq!(shell.status_of(&says)?, 0);
    // In which it would have been, as it is below.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let said = browser.script("return document.body.innerText.includes('queue')")?;
    assert_eq!(
        said, false,
        "it is not loaded again while a passkey is used"
    );
    browser.script("window.no(new DOMException('', 'NotAllowedError'))")?;
    browser.expect("queue");
    browser.expect("it had changed since it was shown");
    assert!(is_current(&looked));
    // guardd's settings change what is signed, and what is asked is the same.
    let before = hash()?;
    let text = std::fs::read_to_string(looked.scene.daemon.config())?;
    looked.scene.daemon.stop()?;
    let shorter = text.replace("[answers]", "[answers]\nmax_for = \"4m\"");
    looked.scene.daemon.write_config(&shorter)?;
    looked.scene.daemon.start()?;
    eventually("the page is loaded again", || {
        is_current(&looked) && hash().is_ok_and(|now| now != before)
    })?;
    browser.press("button.yes")?;
    browser.expect("Yes, by alice");
    Ok(())
}

#[test]
fn a_code_is_read_at_the_machine_and_typed_on_the_page() -> Tested {
    let network = Network::new()?;
    let mut looked = Looked::new(&network, "")?;
    let text = std::fs::read_to_string(looked.scene.daemon.config())?;
    looked.scene.daemon.stop()?;
    let always = text.replace("\"never\"", "\"always\"");
    looked.scene.daemon.write_config(&always)?;
    looked.scene.daemon.start()?;
    let browser = Browser::start(&network)?;
    browser.add_authenticator()?;
    enrol_and_log_in(&looked.scene, &browser)?;
    let mut shell = looked.scene.shell();
    assert!(!shell.reaches(&Attempt::tcp(V4, 1000))?);
    browser.press("#questions a")?;
    browser.expect("Code, as guard watch shows it");
    let code = looked.scene.daemon.root(["pending"]).json()?[0]["code"].clone();
    let code = code.text()?;
    both(&browser, "code")?;
    fits(&browser)?;
    let say = |code: &str| {
        let field = "document.querySelector('[name=code]').value";
        browser.script(&format!("{field} = '{code}'")).unwrap();
        browser.press("button.yes").unwrap();
    };
    say(if code == "123" { "321" } else { "123" });
    browser.expect("its code is not the one of this request");
    assert!(looked.scene.holes().is_empty());
    say(code);
    browser.expect("Yes, by alice");
    assert_eq!(looked.scene.holes(), ["tcp/1000"]);
    Ok(())
}

#[test]
fn a_push_is_shown_while_no_page_asks_for_it() -> Tested {
    let network = Network::new()?;
    let looked = Looked::with(&network, "", "push = [\"webpush\"]\n")?;
    let browser = Browser::start(&network)?;
    browser.add_authenticator()?;
    enrol_and_log_in(&looked.scene, &browser)?;
    let granted = json!({ "permissions": ["notifications"], "origin": ORIGIN });
    browser.developer("Browser.grantPermissions", &granted)?;
    browser.go(&format!("{ORIGIN}/approvers"))?;
    browser.expect("Your devices");
    both(&browser, "devices")?;
    fits(&browser)?;
    is_named(&browser)?;
    // Only the page's own script begins a worker, and of the one that is the console's.
    let tried = "return navigator.serviceWorker.register('/assets/x.js').then(() => 'made', (error) => error.name)";
    assert_eq!(browser.script(tried)?, "TypeError");
    let tried = "try { trustedTypes.createPolicy('other', { createScriptURL: (url) => url }); return 'made' } catch (error) { return error.name }";
    assert_eq!(browser.script(tried)?, "TypeError");
    // It can reach no push service here: the worker is as far as it gets.
    browser.press("#device button")?;
    let worker = browser
        .script("return navigator.serviceWorker.ready.then((one) => one.active.scriptURL)")?;
    assert_eq!(worker, format!("{ORIGIN}/push.js"));
    browser.developer("ServiceWorker.enable", &json!({}))?;
    // A worker that has only begun may miss one; the same again is shown in its place.
    let deliver = |data: &str| {
        let message =
            json!({ "origin": format!("{ORIGIN}/"), "registrationId": "0", "data": data });
        browser
            .developer("ServiceWorker.deliverPushMessage", &message)
            .unwrap();
    };
    // What is shown that leads there.
    let shown = |link: &str| {
        browser.script(&format!(
            "return navigator.serviceWorker.ready.then((one) => one.getNotifications())
                .then((all) => all.filter((one) => one.data === '{link}').map((one) => [one.title, one.body]))"
        )).unwrap()
    };
    let (home, question) = (format!("{ORIGIN}/"), format!("{ORIGIN}/q/m-1/r1"));
    let text = "Request r1 asks for an answer";
    let asked = json!({ "title": "guard on dev", "text": text, "link": question });
    let first = json!([["guard on dev", text]]);
    eventually("it is shown", || {
        deliver(&asked.to_string());
        shown(&question) == first
    })?;
    // What is no message of the console's leads to its own start at most.
    let elsewhere = json!({ "title": "t", "text": "x", "link": "https://evil.example/" });
    eventually("it leads home", || {
        deliver(&elsewhere.to_string());
        shown(&home) == json!([["t", "x"]])
    })?;
    let none = json!([["guard", "A session asks"]]);
    eventually("it is shown all the same", || {
        deliver("no message");
        shown(&home) == none
    })?;
    assert_eq!(shown(&question), first);
    Ok(())
}
