//! What k9s keeps of each context of Kubernetes: that nothing is to be changed there, a person has said.

use super::Sink;
use super::yaml::{get, load, yes};

pub(super) fn context(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        let Some(said) = get(document, "k9s").and_then(|k9s| get(k9s, "readOnly")) else {
            continue;
        };
        let line = said.span.start.line();
        match yes(said) {
            Some(true) => sink.context_is_read_only(line),
            Some(false) => {}
            None => sink.pass_over(Some(line), "an unreadable readOnly"),
        }
    }
}

/// Where k9s keeps it, below a directory of its own: what no path has is a hyphen in both names.
pub(super) fn place(cluster: &str, context: &str) -> String {
    let mut place = String::new();
    for (at, name) in [cluster, context].into_iter().enumerate() {
        if at > 0 {
            place.push('/');
        }
        let mut before = None;
        for c in name.chars() {
            let is_odd = |c: char| [':', '/'].contains(&c);
            match (is_odd(c), before.is_some_and(is_odd)) {
                (true, true) => {}
                (true, false) => place.push('-'),
                (false, _) => place.push(c),
            }
            before = Some(c);
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_as_k9s_makes_it() {
        for (cluster, context, expected) in [
            ("a", "b", "a/b"),
            ("https://k:6443", "me@k", "https-k-6443/me@k"),
            (
                "arn:aws:eks:eu-west-1:1:cluster/shop",
                "a::/b-:",
                "arn-aws-eks-eu-west-1-1-cluster-shop/a-b--",
            ),
        ] {
            assert_eq!(place(cluster, context), expected);
            // What is a path already stays as it is.
            let (dir, name) = expected.split_once('/').unwrap();
            assert_eq!(place(dir, name), expected);
        }
    }
}
