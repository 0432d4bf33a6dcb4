//! Parameters of the start-up packet.

use super::settings;

/// Whether a parameter of the start-up packet is harmless, by the rules for SET.
///
/// # Errors
///
/// Why it is not, in one sentence.
pub fn startup(name: &str, value: &str) -> Result<(), String> {
    match name {
        // A person is asked about replication.
        "user" | "database" | "replication" => Ok(()),
        "options" => options(value),
        // The protocol's own: the server says which it knows.
        name if name.starts_with("_pq_.") => Ok(()),
        _ => settings::set_text(name, value),
    }
}

/// Arguments as of a server's command line: only settings are let through.
fn options(text: &str) -> Result<(), String> {
    let mut arguments = split(text).into_iter();
    while let Some(argument) = arguments.next() {
        let setting = match (argument.strip_prefix("--"), argument.strip_prefix("-c")) {
            (Some(setting), _) => setting.to_owned(),
            (None, Some("")) => arguments.next().unwrap_or_default(),
            (None, Some(setting)) => setting.to_owned(),
            (None, None) => return Err("its options hold more than settings".to_owned()),
        };
        let Some((name, value)) = setting.split_once('=') else {
            return Err("its options hold a setting without a value".to_owned());
        };
        settings::set_text(&name.replace('-', "_"), value)?;
    }
    Ok(())
}

/// Splits as PostgreSQL's `pg_split_opts` does: at blanks, but for those behind a backslash.
fn split(text: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            // What isspace() takes for one.
            ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' => arguments.extend(current.take()),
            '\\' => {
                let current = current.get_or_insert_default();
                current.extend(characters.next());
            }
            c => current.get_or_insert_default().push(c),
        }
    }
    arguments.extend(current);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_postgresql_does() {
        assert_eq!(split(r" -c  a=b\ c\\d --e=f "), ["-c", r"a=b c\d", "--e=f"]);
        assert!(split("  ").is_empty());
        assert_eq!(split("a\\"), ["a"]);
    }
}
