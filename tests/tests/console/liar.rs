//! A console that lies: it shows one question, and has the passkey sign another. What that opens, and what stops it, is what the
//! threat model says.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use guard_lab::{Json as _, Network, Tested};
use serde_json::{Value, json};

use super::{
    browser::enrol,
    scene::{Looked, ORIGIN, PORT},
    webdriver::Browser,
};

/// Serves one page at the console's own place, in its stead. It ends with the process of this test.
fn lie(network: &Network, page: String) -> Tested {
    let at = (Ipv4Addr::LOCALHOST, PORT);
    let listener = network.dev().enter(|| Ok(TcpListener::bind(at)?))?;
    thread::spawn(move || -> std::io::Result<()> {
        for stream in listener.incoming() {
            let mut stream = stream?;
            let mut lines = BufReader::new(&stream).lines();
            while lines
                .next()
                .transpose()?
                .is_some_and(|line| !line.is_empty())
            {}
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            )?;
        }
        Ok(())
    });
    Ok(())
}

/// The console's page, as its script is, but for what is signed: `window.signs`.
const PAGE: &str = "<!doctype html><title>guard</title><p>SHOWN</p><button>Yes, sign with passkey</button><p id=said></p>
<script>
document.querySelector('button').onclick = async () => {
  try {
    const text = new TextEncoder().encode('guard answer v1\\n' + window.signs);
    const challenge = await crypto.subtle.digest('SHA-256', text);
    const key = await navigator.credentials.get({ publicKey: { challenge, userVerification: 'required' } });
    const code = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
      .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    window.signed = { kind: 'passkey', answer: window.signs, key: key.id, signature: code(key.response.signature),
      authenticator_data: code(key.response.authenticatorData), client_data: code(key.response.clientDataJSON) };
    document.querySelector('#said').textContent = 'It is signed.';
  } catch (error) { document.querySelector('#said').textContent = String(error); }
};
</script>";

/// A console in whose place a liar is, whom alice has answered before.
struct Liar<'n> {
    looked: Looked<'n>,
    browser: Browser<'n>,
    shell: guard_lab::Shell,
    /// What alice is shown.
    shown: String,
}

impl<'n> Liar<'n> {
    fn new(network: &'n Network, answers: &str, code: &str) -> Tested<Self> {
        let mut looked = Looked::new(network, answers)?;
        let text = std::fs::read_to_string(looked.scene.daemon.config())?;
        looked.scene.daemon.stop()?;
        let config = text.replace("\"never\"", &format!("{code:?}"));
        looked.scene.daemon.write_config(&config)?;
        looked.scene.daemon.start()?;
        let browser = Browser::start(network)?;
        browser.add_authenticator()?;
        enrol(&looked.scene, &browser)?;
        let mut shell = looked.scene.shell();
        let shown = looked.scene.request(&mut shell, 1000);
        looked.kill();
        lie(network, PAGE.replace("SHOWN", "192.0.2.10:1000"))?;
        browser.go(&format!("{ORIGIN}/"))?;
        browser.expect("192.0.2.10:1000");
        Ok(Self {
            looked,
            browser,
            shell,
            shown,
        })
    }

    /// What guardd's own screen shows for a request.
    fn code(&self, id: &str) -> Tested<String> {
        // It has one once its question has gone out.
        self.looked.scene.question(id);
        let pending = self.looked.scene.daemon.root(["pending"]).json()?;
        let mut all = pending.list()?.iter();
        let one = all.find(|one| one["id"] == id).expect("it waits");
        Ok(one["code"].text()?.to_owned())
    }

    /// Has alice's passkey sign a yes to that request, whatever the page shows.
    fn sign(&self, id: &str, change: &[(&str, Value)]) -> Tested<Value> {
        let scene = &self.looked.scene;
        let asked = scene.question(id);
        let answer = scene.answer(&asked, "alice", change);
        let answer = json!(answer);
        self.browser.script(&format!(
            "window.signs = {answer}; document.querySelector('#said').textContent = ''"
        ))?;
        self.browser.press("button")?;
        self.browser.expect("It is signed.");
        let page = self.browser.expect("192.0.2.10:1000");
        assert!(!page.contains("192.0.2.10:443"), "{page}");
        Ok(self.browser.script("return window.signed")?)
    }
}

#[test]
fn without_a_code_a_page_that_lies_opens_what_it_did_not_show() -> Tested {
    let network = Network::new()?;
    let mut liar = Liar::new(&network, "", "never")?;
    let other = liar.looked.scene.request(&mut liar.shell, 443);
    let signed = liar.sign(&other, &[])?;
    let taken = liar.looked.scene.taken(&signed)?;
    assert_eq!(taken["answer"], "yes", "no signature shows what was seen");
    assert_eq!(liar.looked.scene.holes(), ["tcp/443"]);
    let answered = &liar.looked.scene.log("answered")[0];
    assert_eq!(
        (&answered["by"], &answered["signed"]["kind"]),
        (&json!("alice"), &json!("passkey"))
    );
    Ok(())
}

#[test]
fn with_a_code_a_page_that_lies_opens_nothing() -> Tested {
    let network = Network::new()?;
    let mut liar = Liar::new(&network, "", "always")?;
    let code = liar.code(&liar.shown)?;
    // Some other one may have the same three digits.
    let mut others = [443, 1001, 1002, 1003].into_iter();
    let other = loop {
        let port = others.next().expect("all have one code");
        let other = liar.looked.scene.request(&mut liar.shell, port);
        if liar.code(&other)? != code {
            break other;
        }
    };
    // Alice reads at the machine what is shown for the one that the page shows.
    let signed = liar.sign(&other, &[("code", json!(code))])?;
    liar.looked
        .scene
        .refused(&signed, "its code is not the one")?;
    let signed = liar.sign(&other, &[])?;
    liar.looked.scene.refused(&signed, "code")?;
    assert!(liar.looked.scene.holes().is_empty());
    // What it can still lie about is for how long.
    let long = [("code", json!(code)), ("for", json!(900))];
    let signed = liar.sign(&liar.shown, &long)?;
    assert_eq!(liar.looked.scene.taken(&signed)?["answer"], "yes");
    assert_eq!(liar.looked.scene.holes(), ["tcp/1000"]);
    assert_eq!(liar.looked.scene.log("answered")[0]["seconds"], 900.0);
    Ok(())
}

#[test]
fn where_two_have_to_answer_one_page_that_lies_gives_a_part() -> Tested {
    let network = Network::new()?;
    let mut liar = Liar::new(&network, "approvals = 2", "never")?;
    let bob = liar.looked.scene.approver("bob", &[])?;
    let other = liar.looked.scene.request(&mut liar.shell, 443);
    let signed = liar.sign(&other, &[])?;
    let taken = liar.looked.scene.taken(&signed)?;
    assert_eq!(
        (&taken["answer"], &taken["wanted"]),
        (&json!("part"), &json!(2))
    );
    // Once more it is the same person.
    let signed = liar.sign(&other, &[])?;
    liar.looked.scene.refused(&signed, "has said yes already")?;
    assert!(liar.looked.scene.holes().is_empty());
    // Bob sees the question itself, in his terminal.
    let signed = liar.looked.scene.yes(&bob, "bob", &other, &[])?;
    assert_eq!(liar.looked.scene.taken(&signed)?["answer"], "yes");
    assert_eq!(liar.looked.scene.holes(), ["tcp/443"]);
    Ok(())
}
