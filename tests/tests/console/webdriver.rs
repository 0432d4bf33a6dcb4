//! A browser, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>): JSON over HTTP to Debian's chromedriver.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use guard_lab::{Json as _, Network, PATIENCE, Running, Tested, eventually, patience};
use serde_json::{Value, json};

const PORT: u16 = 9515;

/// A browser with an empty profile. It ends with this value.
pub(crate) struct Browser<'n> {
    network: &'n Network,
    session: String,
    /// The first process of a namespace of processes, with which all in it end.
    _driver: Running,
}

impl<'n> Browser<'n> {
    /// Starts one on the developer's machine.
    pub(crate) fn start(network: &'n Network) -> Tested<Self> {
        Self::start_with(network, &[])
    }

    /// The same, with more of a command line.
    pub(crate) fn start_with(network: &'n Network, more: &[&str]) -> Tested<Self> {
        let home = network.tag().dir().join("browser");
        fs::create_dir_all(&home)?;
        let mut command = network.dev().command("unshare");
        command
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "chromedriver",
            ])
            .arg(format!("--port={PORT}"))
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .stderr(Stdio::null());
        let driver = Running::start(&mut command)?;
        let mut browser = Self {
            network,
            session: String::new(),
            _driver: driver,
        };
        eventually("chromedriver answers", || {
            browser.call("GET", "/status", &Value::Null).is_ok()
        })?;
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
        ];
        let args = [&args[..], more].concat();
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": args } } } });
        let begun = browser.call("POST", "/session", &wanted)?;
        browser.session = format!("/session/{}", begun["sessionId"].text()?);
        Ok(browser)
    }

    fn call(&self, method: &str, place: &str, body: &Value) -> Result<Value> {
        let connect = || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?);
        let mut stream = self.network.dev().enter(connect)?;
        stream.set_read_timeout(Some(patience(PATIENCE)))?;
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        write!(
            stream,
            "{method} {place} HTTP/1.1\r\nhost: localhost:{PORT}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if answer.read_line(&mut line)? == 0 {
                bail!("chromedriver ended");
            }
            if let Some(said) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = said.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut bytes = vec![0; length];
        answer.read_exact(&mut bytes)?;
        let value: Value = serde_json::from_slice(&bytes)?;
        match value["value"]["error"].as_str() {
            Some(error) => bail!("{error}: {}", value["value"]["message"]),
            None => Ok(value["value"].clone()),
        }
    }

    fn ask(&self, place: &str, body: &Value) -> Result<Value> {
        self.call("POST", &format!("{}{place}", self.session), body)
    }

    /// Goes to a page.
    pub(crate) fn go(&self, place: &str) -> Tested {
        self.ask("/url", &json!({ "url": place }))?;
        Ok(())
    }

    /// What a script in the page gives.
    pub(crate) fn script(&self, script: &str) -> Result<Value> {
        self.ask("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Presses what a selector finds, as soon as that can be pressed.
    pub(crate) fn press(&self, what: &str) -> Tested {
        eventually(&format!("{what} can be pressed"), || {
            self.try_press(what).is_ok()
        })?;
        Ok(())
    }

    fn try_press(&self, what: &str) -> Result<()> {
        let found = self.ask(
            "/element",
            &json!({ "using": "css selector", "value": what }),
        )?;
        let id = found
            .as_object()
            .and_then(|one| one.values().next())
            .context("no element")?;
        let id = id.as_str().context("no id")?;
        let enabled = self.call(
            "GET",
            &format!("{}/element/{id}/enabled", self.session),
            &Value::Null,
        )?;
        anyhow::ensure!(enabled == true, "it is disabled");
        self.ask(&format!("/element/{id}/click"), &json!({}))
            .map(drop)
    }

    /// Presses keys at once, wherever the focus is: each by its letter, or as WebDriver names it.
    pub(crate) fn keys(&self, keys: &[&str]) -> Result<()> {
        let action = |kind: &str, key: &&str| json!({ "type": kind, "value": *key });
        let down = keys.iter().map(|key| action("keyDown", key));
        let up = keys.iter().rev().map(|key| action("keyUp", key));
        let pressed: Vec<_> = down.chain(up).collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": pressed });
        self.ask("/actions", &json!({ "actions": [keyboard] }))
            .map(drop)
    }

    /// Waits until the page's text has that.
    pub(crate) fn expect(&self, text: &str) -> String {
        let mut shown = String::new();
        let came = eventually(&format!("the page says {text:?}"), || {
            shown = self
                .script("return document.body.innerText")
                .ok()
                .and_then(|text| text.as_str().map(str::to_owned))
                .unwrap_or_default();
            shown.contains(text)
        });
        came.unwrap_or_else(|error| panic!("{error}, but:\n{shown}"));
        shown
    }

    /// An authenticator that belongs to whoever sits there, and takes their finger.
    pub(crate) fn add_authenticator(&self) -> Tested<String> {
        let kind = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserConsenting": true, "isUserVerified": true,
        });
        let added = self.ask("/webauthn/authenticator", &kind)?;
        Ok(added.text()?.to_owned())
    }

    /// Whether its owner is known to it.
    pub(crate) fn verify(&self, authenticator: &str, is_verified: bool) -> Tested {
        let place = format!("/webauthn/authenticator/{authenticator}/uv");
        self.ask(&place, &json!({ "isUserVerified": is_verified }))?;
        Ok(())
    }

    /// A call of the browser's own protocol.
    pub(crate) fn developer(&self, command: &str, params: &Value) -> Result<Value> {
        self.ask(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": params }),
        )
    }

    /// Scripts are in that frame of the page from now on; none: in the page.
    pub(crate) fn frame(&self, number: Option<u32>) -> Tested {
        self.ask("/frame", &json!({ "id": number }))?;
        Ok(())
    }

    /// The page as it is now, also where no script may run.
    pub(crate) fn html(&self) -> Result<String> {
        let whole = json!({ "nodeId": self.root()? });
        let whole = self.developer("DOM.getOuterHTML", &whole)?;
        Ok(whole["outerHTML"].text()?.to_owned())
    }

    /// Clicks where something is on the screen, also where no script may run.
    pub(crate) fn click(&self, what: &str) -> Tested {
        eventually(&format!("{what} can be clicked"), || {
            self.try_click(what).is_ok()
        })?;
        Ok(())
    }

    fn try_click(&self, what: &str) -> Result<()> {
        let found = json!({ "nodeId": self.root()?, "selector": what });
        let found = self.developer("DOM.querySelector", &found)?;
        self.developer("DOM.scrollIntoViewIfNeeded", &found)?;
        let shape = self.developer("DOM.getBoxModel", &found)?;
        // Its corners, each of which is two numbers.
        let corners = shape["model"]["content"].list()?;
        let mean = |of: usize| {
            let numbers = corners.iter().skip(of).step_by(2);
            numbers.filter_map(Value::as_f64).sum::<f64>() / 4.0
        };
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": mean(0), "y": mean(1), "button": "left", "clickCount": 1 });
            self.developer("Input.dispatchMouseEvent", &event)?;
        }
        Ok(())
    }

    fn root(&self) -> Result<Value> {
        let document = self.developer("DOM.getDocument", &json!({ "depth": 0 }))?;
        Ok(document["root"]["nodeId"].clone())
    }

    /// As on a phone, or as on a desk.
    pub(crate) fn resize(&self, width: u32, height: u32, is_phone: bool) -> Tested {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": if is_phone { 2 } else { 1 }, "mobile": is_phone });
        self.developer("Emulation.setDeviceMetricsOverride", &size)?;
        Ok(())
    }

    pub(crate) fn scheme(&self, name: &str) -> Tested {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": name }] });
        self.developer("Emulation.setEmulatedMedia", &features)?;
        Ok(())
    }

    /// A picture of the page, where `GUARD_LAB_PICTURES` names a directory for them.
    pub(crate) fn picture(&self, name: &str) -> Tested {
        let Some(dir) = std::env::var_os("GUARD_LAB_PICTURES") else {
            return Ok(());
        };
        let taken = self.call("GET", &format!("{}/screenshot", self.session), &Value::Null)?;
        let bytes = data_encoding::BASE64.decode(taken.text()?.as_bytes())?;
        fs::write(PathBuf::from(dir).join(format!("{name}.png")), bytes)?;
        Ok(())
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Its processes end with its namespace, whatever comes of this.
        let _ = self.call("DELETE", &self.session, &Value::Null);
    }
}
