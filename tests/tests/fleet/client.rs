//! A client of NATS by hand: what guard-fleet would not send is sent, too.

use std::{
    collections::VecDeque,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use guard_lab::{Nats, PATIENCE, Side, patience};
use ring::signature::Ed25519KeyPair;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};

/// What the server sent out to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) subject: String,
    pub(super) payload: String,
}

/// A connection that the server has let in.
pub(super) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    read: VecDeque<u8>,
    subscriptions: u32,
    heard: Vec<Heard>,
    refused: Vec<String>,
}

/// The secret half of a key, as guard-fleet writes it.
pub(super) fn pair(seed: &str) -> Result<Ed25519KeyPair> {
    let bytes = BASE32_NOPAD.decode(seed.trim().as_bytes())?;
    // Two bytes say what it is of, and two are a checksum.
    let seed = bytes.get(2..34).context("it is no seed")?;
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| anyhow::anyhow!("{error}"))
}

impl Client {
    /// Connects to the first server, by the public key `key` and what that file has as its secret half.
    pub(super) fn new(side: &Side, nats: &Nats<'_>, key: &str, file: &Path) -> Result<Self> {
        let pair = pair(&fs::read_to_string(file)?)?;
        Self::connect(side, nats, |nonce| {
            let signature = pair.sign(nonce.as_bytes());
            json!({ "nkey": key, "sig": BASE64URL_NOPAD.encode(signature.as_ref()) })
        })
    }

    /// Connects with what is made of the server's nonce.
    pub(super) fn connect(
        side: &Side,
        nats: &Nats<'_>,
        proof: impl FnOnce(&str) -> Value,
    ) -> Result<Self> {
        let at = nats.at();
        let mut stream = side.enter(|| Ok(TcpStream::connect((at, 4222))?))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience(PATIENCE)))?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        let line = String::from_utf8(line)?;
        let info = line.strip_prefix("INFO ").context("it is no NATS")?;
        let info: Value = serde_json::from_str(info)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(nats.ca())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost")?;
        let tls = ClientConnection::new(Arc::new(config), name)?;
        let mut client = Self {
            stream: StreamOwned::new(tls, stream),
            read: VecDeque::new(),
            subscriptions: 0,
            heard: Vec::new(),
            refused: Vec::new(),
        };
        let mut connect = proof(info["nonce"].as_str().context("no nonce")?);
        connect["verbose"] = json!(false);
        connect["pedantic"] = json!(false);
        connect["protocol"] = json!(1);
        connect["headers"] = json!(true);
        // In one, for the server closes what it does not let in.
        client.send(&format!("CONNECT {connect}\r\nPING\r\n"))?;
        while !client.step()? {}
        Ok(client)
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes())?;
        Ok(self.stream.flush()?)
    }

    /// Publishes, with a place for an answer where there is one; gives what the server says against it.
    pub(super) fn publish(
        &mut self,
        subject: &str,
        answer: &str,
        payload: &str,
    ) -> Result<Option<String>> {
        let length = payload.len();
        self.ask(&format!("PUB {subject} {answer} {length}\r\n{payload}\r\n"))
    }

    /// Subscribes; gives what the server says against it.
    pub(super) fn subscribe(&mut self, subject: &str) -> Result<Option<String>> {
        self.subscriptions += 1;
        self.ask(&format!("SUB {subject} {}\r\n", self.subscriptions))
    }

    /// Ends all of its subscriptions.
    pub(super) fn unsubscribe(&mut self) -> Result<()> {
        let all = (1..=std::mem::take(&mut self.subscriptions))
            .map(|number| format!("UNSUB {number}\r\n"));
        self.ask(&all.collect::<String>())?;
        self.heard.clear();
        Ok(())
    }

    /// Sends it, and waits until the server has done all that it was sent; gives what it said against that.
    fn ask(&mut self, text: &str) -> Result<Option<String>> {
        self.send(&format!("{text}PING\r\n"))?;
        while !self.step()? {}
        Ok(self.refused.pop())
    }

    /// What was sent out to it until now.
    pub(super) fn heard(&mut self) -> Result<Vec<Heard>> {
        self.ask("")?;
        Ok(std::mem::take(&mut self.heard))
    }

    /// The next that is sent out to it.
    pub(super) fn next(&mut self) -> Result<Heard> {
        while self.heard.is_empty() {
            self.step()?;
        }
        Ok(self.heard.remove(0))
    }

    /// Reads what comes next; gives whether that was the answer to a ping.
    fn step(&mut self) -> Result<bool> {
        let line = self.line()?;
        let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match what {
            "PONG" => return Ok(true),
            "PING" => self.send("PONG\r\n")?,
            "INFO" | "+OK" => {}
            "-ERR" if rest.contains("Permissions Violation") => self.refused.push(rest.to_owned()),
            "MSG" | "HMSG" => {
                let mut parts = rest.split(' ');
                let subject = parts.next().context("no subject")?.to_owned();
                let length: usize = parts.next_back().context("no length")?.parse()?;
                let bytes = self.bytes(length + 2)?;
                let payload = String::from_utf8_lossy(&bytes[..length]).into_owned();
                self.heard.push(Heard { subject, payload });
            }
            _ => bail!("the server says {line}"),
        }
        Ok(false)
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.read.drain(..=end).collect();
                return Ok(String::from_utf8(line)?.trim_end().to_owned());
            }
            self.fill()?;
        }
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.read.len() < length {
            self.fill()?;
        }
        Ok(self.read.drain(..length).collect())
    }

    fn fill(&mut self) -> Result<()> {
        let mut part = [0; 4096];
        let length = self.stream.read(&mut part)?;
        anyhow::ensure!(length > 0, "the server has closed it");
        self.read.extend(&part[..length]);
        Ok(())
    }
}
