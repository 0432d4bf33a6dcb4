//! `[section]`s of `key = value` or `key: value`, of which one may stand before any section: what Alembic, Flyway and Liquibase read,
//! and clients that keep connection strings by a name.

use super::servers::{ServerBlock, block};
use super::settings::unquoted;
use super::{Sink, lines};

pub(super) fn settings(sink: &mut Sink, text: &str) {
    let mut open = ServerBlock::default();
    for (number, line) in lines(sink, text) {
        let bare = line.trim();
        if bare.starts_with(['#', ';', '!']) {
            continue;
        }
        if let Some(name) = bare.strip_prefix('[') {
            let name = name.split(']').next().unwrap_or_default();
            block(sink, &open);
            open = ServerBlock::of(name.trim_matches(['[', '"', ' ']));
        } else if let Some((key, value)) = pair(bare) {
            open.push(number, key, Some(unquoted(value)));
        }
        if sink.is_full() {
            return;
        }
    }
    block(sink, &open);
}

/// At the first of both signs: an address has a colon, and a password an equals sign.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_at(line.find(['=', ':'])?);
    let key = key.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.- ".contains(&byte);
    let is_key = (1..=64).contains(&key.len()) && key.bytes().all(plain);
    is_key.then(|| (key, value[1..].trim()))
}
