//! In a real browser: what pages from elsewhere get of the console, and what it is without script, and after a sleep.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use guard_lab::{Attempt, Json as _, Network, PATIENCE, Running, Tested, V4, eventually};
use serde_json::{Value, json};

use super::{
    browser::enrol,
    passkey::Passkey,
    scene::{HOST, Looked, ORIGIN, PORT},
    webdriver::Browser,
};

/// Another site, whose name leads to this machine.
const ELSEWHERE: &str = "evil.example";
const THERE: u16 = 4828;

/// A browser for which that name is this machine's.
fn browser(network: &Network) -> Tested<Browser<'_>> {
    let rule = format!("--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1");
    Browser::start_with(network, &[&rule])
}

/// Serves that site's pages.
fn serve(network: &Network, pages: &Path) -> Tested<Running> {
    let mut python = network.dev().command("python3");
    let port = THERE.to_string();
    python.args([
        "-u",
        "-m",
        "http.server",
        &port,
        "--bind",
        "127.0.0.1",
        "--directory",
    ]);
    let mut server = Running::start(python.arg(pages).stderr(std::process::Stdio::null()))?;
    server.line_with("Serving", PATIENCE)?;
    Ok(server)
}

/// Where what stands in the page's frame has come from.
fn framed(browser: &Browser<'_>) -> Tested<Value> {
    browser.frame(Some(0))?;
    let at = browser.script("return location.href")?;
    browser.frame(None)?;
    Ok(at)
}

#[test]
fn a_page_from_elsewhere_shows_nothing_of_it_and_says_nothing_there() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    let browser = browser(&network)?;
    browser.add_authenticator()?;
    enrol(&looked.scene, &browser)?;
    browser.go(&format!("{ORIGIN}/login"))?;
    browser.press("#login button")?;
    browser.expect("Nothing is asked.");
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    browser.expect("192.0.2.10:443");
    let place = browser.script("return document.querySelector('#questions a').href")?;
    let place = place.text()?;
    let hash = looked.scene.question(&id)["hash"].clone();

    let pages = looked.scene.daemon.dir().join("elsewhere");
    fs::create_dir(&pages)?;
    let form = |to: &str| {
        let no = format!("<input name=question value={hash}><button>No</button>");
        format!("<form method=post action=\"{to}/no\">{no}</form>")
    };
    let frame =
        |of: &str| format!("<!doctype html><h1>Elsewhere</h1><iframe src=\"{of}\"></iframe>");
    let own = format!("http://{ELSEWHERE}:{THERE}/form.html");
    fs::write(pages.join("own.html"), frame(&own))?;
    fs::write(pages.join("frame.html"), frame(place))?;
    fs::write(pages.join("form.html"), form(place))?;
    let _server = serve(&network, &pages)?;
    let there = |page: &str| format!("http://{ELSEWHERE}:{THERE}/{page}.html");
    // A frame of its own is shown, and the console's is not.
    browser.go(&there("own"))?;
    assert_eq!(framed(&browser)?, own);
    browser.go(&there("frame"))?;
    browser.expect("Elsewhere");
    assert_eq!(framed(&browser)?, "chrome-error://chromewebdata/");

    browser.go(&there("form"))?;
    browser.press("form button")?;
    browser.expect("This came from another page than the console's own.");
    assert!(looked.scene.log("answered").is_empty());
    // Its own page says the same with the same words.
    browser.go(place)?;
    browser.press("form.no button")?;
    browser.expect("Nothing is asked.");
    assert_eq!(looked.scene.log("answered")[0]["answer"], "no");
    Ok(())
}

#[test]
fn another_name_that_leads_to_it_is_none_of_its_own() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    looked.enrol("alice", &Passkey::new("alice"))?;
    let browser = browser(&network)?;
    let status = "return performance.getEntriesByType('navigation')[0].responseStatus";
    browser.go(&format!("http://{HOST}/login"))?;
    assert_eq!(browser.script(status)?, 200);
    for page in ["", "login", "events", "assets/console.js"] {
        browser.go(&format!("http://{ELSEWHERE}:{PORT}/{page}"))?;
        let text = browser.expect("This console has another name");
        assert_eq!(browser.script(status)?, 421, "{page}: {text}");
        let scripts = browser.script("return document.scripts.length")?;
        assert_eq!(scripts, 0, "{page}");
    }
    Ok(())
}

/// Until the page has that.
fn shows(browser: &Browser<'_>, text: &str) -> Tested<String> {
    let mut last = String::new();
    let shown = eventually(&format!("the page has {text:?}"), || {
        last = browser.html().unwrap_or_default();
        last.contains(text)
    });
    shown.with_context(|| last.clone())?;
    Ok(last)
}

#[test]
fn without_script_somebody_logs_in_by_a_link_looks_and_says_no() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    looked.enrol("alice", &Passkey::new("alice"))?;
    let mut shell = looked.scene.shell();
    looked.scene.request(&mut shell, 443);
    let browser = Browser::start(&network)?;
    let off = json!({ "value": true });
    browser.developer("Emulation.setScriptExecutionDisabled", &off)?;
    browser.go(&format!("{ORIGIN}{}", looked.link("alice")?))?;
    shows(&browser, "This link logs in one browser, once.")?;
    browser.click("form button")?;
    let list = shows(&browser, "192.0.2.10:443")?;
    // The script would have said so.
    assert!(!list.contains("data-live"), "{list}");
    browser.click("#questions a")?;
    shows(
        &browser,
        "A yes is signed by your passkey, which takes script.",
    )?;
    assert!(looked.scene.log("answered").is_empty());
    browser.click("form.no button")?;
    shows(&browser, "Nothing is asked.")?;
    let no = looked.scene.log("answered").pop().context("no answer")?;
    assert_eq!((&no["answer"], &no["signed"]), (&json!("no"), &Value::Null));
    assert!(looked.scene.holes().is_empty());
    Ok(())
}

/// A browser whose person has a passkey, and looks at what is asked.
fn logged_in<'n>(network: &'n Network, looked: &Looked<'_>) -> Tested<Browser<'n>> {
    let browser = Browser::start(network)?;
    browser.add_authenticator()?;
    enrol(&looked.scene, &browser)?;
    browser.go(&format!("{ORIGIN}/login"))?;
    browser.press("#login button")?;
    browser.expect("Nothing is asked.");
    Ok(browser)
}

#[test]
fn a_phone_that_has_slept_shows_who_has_answered_meanwhile() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    let browser = logged_in(&network, &looked)?;
    let daemon = &looked.scene.daemon;
    let held = || -> Tested<bool> {
        let pending = daemon.list(["pending"])?;
        Ok(pending.iter().any(|one| one["held"] == true))
    };
    let mut shell = looked.scene.shell();
    shell.begin(&Attempt::tcp(V4, 443).timeout(PATIENCE))?;
    eventually("it waits, for somebody looks", held)?;
    browser.press("#questions a")?;
    browser.expect("Yes, sign with passkey");

    let sleep =
        |state: &str| browser.developer("Page.setWebLifecycleState", &json!({ "state": state }));
    sleep("frozen")?;
    // Its stream ends, and it asks for no other.
    let (mut other, soon) = (looked.scene.shell(), Duration::from_secs(1));
    let attempt = Attempt::tcp(V4, 1000).timeout(soon);
    eventually("nobody looks, and all is refused at once", || {
        Ok(other.attempt(&attempt)?.errno.as_deref() == Some("EPERM"))
    })?;
    let pending = daemon.list(["pending"])?;
    let asked = pending.iter().find(|one| one["destination"]["port"] == 443);
    let id = asked.context("it is not asked")?["id"].text()?;
    daemon
        .root(["approve", id, "--for", "60s"])
        .run()?
        .success()?;
    sleep("active")?;
    // It is looked at again.
    let focus = json!({ "enabled": true });
    browser.developer("Emulation.setFocusEmulationEnabled", &focus)?;
    browser.expect("Yes, by ");
    assert_eq!(looked.scene.holes(), ["tcp/443"]);
    Ok(())
}

/// Said, and not judged: a machine may be busy.
#[test]
fn how_soon_a_question_is_seen() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    let browser = logged_in(&network, &looked)?;
    // When the browser draws what it has been told.
    browser.script(
        "const drawn = () => requestAnimationFrame(() => { window.seen ??= performance.timeOrigin + performance.now(); });
         new MutationObserver(drawn).observe(document.querySelector('#questions'), { childList: true });",
    )?;
    let mut shell = looked.scene.shell();
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?;
    shell.begin(&Attempt::tcp(V4, 443).timeout(PATIENCE))?;
    browser.expect("192.0.2.10:443");
    let mut seen = None;
    eventually("it is drawn", || {
        seen = browser.script("return window.seen ?? null")?.as_f64();
        Ok(seen.is_some())
    })?;
    let seen = Duration::from_secs_f64(seen.context("it is not seen")? / 1000.0);
    let took = seen.checked_sub(begun).context("before it was asked")?;
    eprintln!("connect to request in a browser: {took:?}");
    Ok(())
}
