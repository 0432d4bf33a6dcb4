//! What the service manager shows of the daemon: `systemctl status guardd`, the line `Status:`.

use super::state::State;

/// A longer line is cut: the log has all of it.
const LONGEST: usize = 400;

/// How it goes, in one line, and what is wrong first. Nothing in it about enforcement is from memory.
#[must_use]
pub fn status_line(state: &State) -> String {
    let wrong: Vec<String> = wrongs(state).collect();
    let line = match state.datapath.read_back() {
        Err(error) => format!("NOT enforcing: {error}; {}", error.fix()),
        Ok(_) if wrong.is_empty() => "enforcing".to_owned(),
        Ok(_) => format!("enforcing, but {}", wrong.join("; ")),
    };
    one_line(&line)
}

/// What is wrong beside enforcement: a full disk, policies that cannot be used.
fn wrongs(state: &State) -> impl Iterator<Item = String> {
    let stale = state.policies.iter().filter_map(|(_, policy)| {
        let error = policy.error.as_ref()?;
        let name = &policy.policy.name;
        Some(format!("the policy {name} stands as it was: {error}"))
    });
    let audit = state.audit.problem().map(str::to_owned);
    audit
        .into_iter()
        .chain(stale)
        .chain(state.unusable_warnings())
}

/// The manager's protocol ends a line at a newline, and a control character is nobody's business.
#[must_use]
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c == ' ');
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.len() > LONGEST {
        true => format!("{}…", &line[..line.floor_char_boundary(LONGEST)]),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_wrong_fits_on_one_line() {
        let said = "a bad policy:\n  |\n3 | x = \u{1b}[31m1\n\n";
        assert_eq!(one_line(said), "a bad policy: | 3 | x = [31m1");
        let long = one_line(&"é".repeat(LONGEST));
        assert!(long.len() <= LONGEST + '…'.len_utf8() && long.ends_with('…'));
    }
}
