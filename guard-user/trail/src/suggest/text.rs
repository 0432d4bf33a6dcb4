//! Rules as TOML.

use super::{SuggestedHttp, SuggestedRule};

/// The rules as text for a policy.
pub(super) fn toml(rules: &[SuggestedRule]) -> String {
    let mut text = String::new();
    for rule in rules {
        if !text.is_empty() {
            text.push('\n');
        }
        rule.write(&mut text);
    }
    text
}

impl SuggestedRule {
    fn write(&self, text: &mut String) {
        for why in &self.why {
            text.push_str(&comment(why));
        }
        let list = |items: &[String]| {
            items
                .iter()
                .map(|item| string(item))
                .collect::<Vec<_>>()
                .join(", ")
        };
        text.push_str("[[rule]]\n");
        text.push_str(&format!(
            "name = {}\nto = [{}]\n",
            string(&self.name),
            list(&self.to)
        ));
        if !self.ports.is_empty() {
            text.push_str(&format!("ports = [{}]\n", list(&self.ports)));
        }
        text.push_str(&format!("action = {}\n", string(self.action)));
        if let Some(profile) = self.profile {
            text.push_str(&comment(
                "Left to you, since what answers there is only guessed: the profile that knows more of its reads and writes.",
            ));
            text.push_str(&format!("#profile = \"{profile}\"\n"));
        }
        for http in &self.http {
            text.push('\n');
            http.write(text);
        }
    }
}

impl SuggestedHttp {
    pub(super) fn write(&self, text: &mut String) {
        text.push_str(&comment(&self.why));
        if let Some(wider) = self.wider {
            text.push_str(&comment(&format!("Left to you, since {wider}.")));
        }
        let action = if self.is_allowed { "allow" } else { "deny" };
        let method = self
            .method
            .as_ref()
            .map(|method| format!("method = [{}]\n", string(method)));
        let path = self
            .path
            .as_ref()
            .map(|path| format!("path = {}\n", string(path)));
        let query = self
            .query
            .as_ref()
            .map(|query| format!("query = {}\n", string(query)));
        let lines = ["[[rule.http]]\n".to_owned()]
            .into_iter()
            .chain(method)
            .chain(path)
            .chain(query);
        let mark = if self.wider.is_some() { "#" } else { "" };
        for line in lines.chain([format!("action = \"{action}\"\n")]) {
            text.push_str(mark);
            text.push_str(&line);
        }
    }
}

/// A comment of one line, whatever is in it.
pub(super) fn comment(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() || is_turning(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    format!("# {}\n", text.chars().map(plain).collect::<String>())
}

/// What changes the direction of text hides what is there.
const fn is_turning(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A basic string of TOML.
pub(super) fn string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
