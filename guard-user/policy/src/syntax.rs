//! What TOML wants in place of what people often write.

/// What to write instead. `line` is where it went wrong, and `rest` what of it is left there.
pub(super) fn help(message: &str, line: &str, rest: &str) -> Option<String> {
    let fixed = fixed(message, line, rest).map(str::to_owned);
    fixed.or_else(|| lacks_quotes(message).then(|| unquoted(line, rest)))
}

fn lacks_quotes(message: &str) -> bool {
    let is_another = |invalid: &str| TAKEN_FOR.iter().any(|kind| invalid.starts_with(kind));
    message.starts_with("string values must be quoted")
        || message.strip_prefix("invalid ").is_some_and(is_another)
}

/// What TOML takes a text without quotes for, by how it begins.
const TAKEN_FOR: &[&str] = &[
    "boolean", "date", "exponent", "float", "fraction", "integer", "mantissa", "time",
];

fn fixed(message: &str, line: &str, rest: &str) -> Option<&'static str> {
    let begins = |with: &str| line.trim_start().starts_with(with);
    match message {
        _ if line.contains(['“', '”', '„', '‘', '’']) => {
            Some("write straight quotes: `\"`")
        }
        _ if begins("<") => Some("that is no TOML, but looks like a page of HTML or XML"),
        _ if begins("{") => {
            Some("that is no TOML, but looks like JSON: write `key = value`, line by line")
        }
        _ if message.starts_with("key with no value") => Some("write `key = value`"),
        _ if message.starts_with("unexpected key or value") => match rest.chars().next()? {
            ';' => Some("take out the `;`"),
            ',' => Some("take out the `,`"),
            '/' => Some("a comment begins with `#`"),
            _ => None,
        },
        _ if message.starts_with("invalid basic string, expected `\"`") => {
            Some("a quote is missing: end the text with `\"`, as in `name = \"lab\"`")
        }
        _ if message.starts_with("invalid literal string, expected `'`") => {
            Some("a quote is missing: end the text with `'`, as in `name = 'lab'`")
        }
        _ if message.starts_with("missing comma between array elements") => {
            Some("write a `,` between two entries, and quotes around each")
        }
        _ if message.starts_with("duplicate key") => Some("remove one of the two"),
        _ => None,
    }
}

/// What to write in place of a text without quotes.
fn unquoted(line: &str, rest: &str) -> String {
    let word = rest.split(|c: char| !c.is_ascii_alphanumeric()).next();
    let is = |text: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(text));
    let is_port = || line.contains("tcp") || line.contains("udp");
    let key = line.split_once('=').map(|(key, _)| key.trim());
    let example = match key {
        _ if is("true") => return "write `true`".to_owned(),
        _ if is("false") => return "write `false`".to_owned(),
        Some("inbound" | "private") => return "write `true` or `false`".to_owned(),
        Some("ports") => "ports = [\"tcp/443\"]",
        // One entry of a list with a line for each.
        None if is_port() => "ports = [\"tcp/443\"]",
        Some("to") | None => "to = [\"192.0.2.0/24\"]",
        Some("hold" | "max_hole") => "hold = \"60s\"",
        Some(_) => "default = \"deny\"",
    };
    format!("write it in quotes, as in `{example}`")
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;

    #[test]
    fn what_toml_does_not_take_says_what_to_write() {
        let to = "write it in quotes, as in `to = [\"192.0.2.0/24\"]`";
        let ports = "write it in quotes, as in `ports = [\"tcp/443\"]`";
        for (text, wanted) in [
            ("to = [10.0.0.0/8]", to),
            ("to = [2001:db8::1]", to),
            ("to = [fd00::1]", to),
            ("to = [@private]", to),
            ("to = [\n  10.0.0.0/8,\n]", to),
            ("ports = [tcp/443]", ports),
            ("ports = [udp/53]", ports),
            ("ports = [\n  tcp/443,\n]", ports),
            ("hold = 60s", "write it in quotes, as in `hold = \"60s\"`"),
            (
                "default = deny",
                "write it in quotes, as in `default = \"deny\"`",
            ),
            ("inbound = True", "write `true`"),
            ("inbound = FALSE", "write `false`"),
            ("inbound = yes", "write `true` or `false`"),
            ("default = \"deny\";", "take out the `;`"),
            ("default = \"deny\",", "take out the `,`"),
            ("default = \"deny\" // all", "a comment begins with `#`"),
            ("default = “deny”", "write straight quotes: `\"`"),
        ] {
            let text = format!("[[rule]]\n{text}\n");
            let found = parse("test.toml", &text).unwrap_err();
            let help = found.iter().find_map(|one| one.help.as_deref());
            assert_eq!(help, Some(wanted), "{text}: {found:?}");
        }
    }
}
