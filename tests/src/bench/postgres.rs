//! Connections to PostgreSQL that are kept: see <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::postgres::SUPERUSER;

/// How long an answer's next byte may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// 3.0, which all servers speak.
const VERSION: u32 = 3 << 16;
const QUERY: &[u8] = b"select 1\0";
/// What servers send last, before they wait.
const READY: u8 = b'Z';
const ERROR: u8 = b'E';

/// Connections that have read something and are kept; they are closed with the next ones.
#[derive(Default)]
pub(super) struct Idle(Vec<TcpStream>);

impl Idle {
    /// `count` of them, to a server that takes anybody's word for who they are.
    pub(super) fn open(&mut self, to: SocketAddr, count: u64) -> Result<Value> {
        self.0.clear();
        for _ in 0..count {
            self.0.push(connect(to)?);
        }
        Ok(json!({"open": count}))
    }
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let login = format!("user\0{SUPERUSER}\0database\0{SUPERUSER}\0\0");
    let startup = [&VERSION.to_be_bytes(), login.as_bytes()].concat();
    stream.write_all(&counted(&startup))?;
    wait(&mut stream)?;
    stream.write_all(&[b"Q", &*counted(QUERY)].concat())?;
    wait(&mut stream)?;
    Ok(stream)
}

/// Behind its length, which counts itself.
fn counted(body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32 + 4;
    [&length.to_be_bytes(), body].concat()
}

/// Reads until the server waits.
fn wait(stream: &mut TcpStream) -> Result<()> {
    loop {
        let (mut kind, mut length) = ([0], [0; 4]);
        stream.read_exact(&mut kind)?;
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length).saturating_sub(4) as usize];
        stream.read_exact(&mut body)?;
        match kind[0] {
            READY => return Ok(()),
            ERROR => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ")),
            _ => {}
        }
    }
}
