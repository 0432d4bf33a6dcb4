//! JSON in which settings that stand together are a server's: what DBeaver, pgAdmin, Compass and editors keep, and what Sequelize and
//! TypeORM read.

use jsonc_parser::ast::{Object, Value};

use super::json::{Lines, get, object, string, with_root_of};
use super::servers::{ServerBlock, below, block};
use super::settings::kind;
use super::{Sink, mcp};

/// Objects and arrays in each other.
const DEPTH: usize = 12;

pub(super) fn connections(sink: &mut Sink, text: &str) {
    let lines = Lines::of_text(text);
    with_root_of(sink, text, |sink, root| {
        walk(sink, &lines, root, &ServerBlock::default(), DEPTH);
        // An editor's have the servers of its agent, too.
        if let (Some(root), true) = (object(Some(root)), sink.file.ends_with("/settings.json")) {
            mcp::of_root(sink, &lines, root);
        }
    });
}

fn walk(sink: &mut Sink, lines: &Lines, value: &Value<'_>, around: &ServerBlock, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        return sink.pass_over(Some(lines.of(start(value))), "too deep");
    };
    match value {
        Value::Array(array) => {
            for one in &array.elements {
                if sink.is_full() {
                    return;
                }
                walk(sink, lines, one, around, depth);
            }
        }
        Value::Object(object) => of_object(sink, lines, object, around, depth),
        _ => {}
    }
}

fn start(value: &Value<'_>) -> usize {
    match value {
        Value::Array(array) => array.range.start,
        Value::Object(object) => object.range.start,
        _ => 0,
    }
}

fn of_object(
    sink: &mut Sink,
    lines: &Lines,
    object: &Object<'_>,
    around: &ServerBlock,
    depth: usize,
) {
    // `mssql.connections`
    let is_told = around.driver.is_empty() && kind(&around.path.to_ascii_lowercase()).is_some();
    let told = if is_told {
        &around.path
    } else {
        &around.driver
    };
    let mut own = ServerBlock {
        driver: told.clone(),
        ..ServerBlock::of(name(object).unwrap_or(&around.path))
    };
    for property in &object.properties {
        let line = lines.of(property.range.start);
        let key = property.name.as_str();
        match &property.value {
            Value::StringLit(text) => own.push(line, key, Some(&text.value)),
            Value::NumberLit(number) => own.push(line, key, Some(number.value)),
            // None, and what is not said, are no password.
            Value::NullKeyword(_) => own.push(line, key, Some("")),
            _ => {}
        }
    }
    block(sink, &own);
    let driver = match own.driver() {
        driver if driver.is_empty() => own.driver,
        driver => driver,
    };
    for property in &object.properties {
        if sink.is_full() {
            return;
        }
        let inner = ServerBlock {
            path: below(&own.path, property.name.as_str()),
            driver: driver.clone(),
            ..ServerBlock::default()
        };
        walk(sink, lines, &property.value, &inner, depth);
    }
}

/// What a person calls it: a name of its own, or that of a favourite of Compass'.
fn name<'v>(object: &'v Object<'_>) -> Option<&'v str> {
    let favourite = self::object(get(object, "favorite"));
    let names = ["name", "Name", "profileName", "label"];
    let own = names.iter().map(|key| string(get(object, key)));
    let theirs = favourite.map_or("", |favourite| string(get(favourite, "name")));
    own.chain([theirs]).find(|name| !name.is_empty())
}
