//! Ways in: a link, a passkey, an invitation.

use maud::{Markup, html};

use super::Frame;

/// What a link shows. It counts when somebody presses the button: what a chat program looks up before is no person.
pub(crate) fn link(frame: &Frame<'_>, secret: &str) -> Markup {
    let content = html! {
        h1 { "Log in to guard" }
        p { "This link logs in one browser, once. You can then see what sessions ask, and say no. A yes takes your passkey each time." }
        form method="post" action="/login" {
            input type="hidden" name="secret" value=(secret);
            button.main type="submit" { "Log in" }
        }
    };
    frame.page("Log in", "enter", &content)
}

/// A link that counts no more.
pub(crate) fn used(frame: &Frame<'_>) -> Markup {
    let content = html! {
        h1 { "This link counts no more" }
        p { "It was used, or is older than ten minutes. On the machine, make another:" }
        pre { "sudo -u guard-console guard-console login NAME" }
    };
    frame.page("Log in", "enter", &content)
}

/// A visitor without a session.
pub(crate) fn choose(frame: &Frame<'_>, nonce: &str, keys: &[String]) -> Markup {
    let content = html! {
        h1 { "Log in to guard" }
        @if !keys.is_empty() {
            div.passkey id="login" data-nonce=(nonce) data-keys=(keys.join(" ")) {
                button.main type="button" disabled { "Log in with a passkey" }
                p.said role="status" {}
                noscript { p { "A passkey takes script." } }
            }
            p { "Or by a link, which on the machine this makes:" }
        } @else {
            p { "On the machine, make a link that logs this browser in:" }
        }
        pre { "sudo -u guard-console guard-console login NAME" }
    };
    frame.page("Log in", "enter", &content)
}

/// Returns the path if a browser reads it as one of this origin, else `/`. Browsers read `//host` and `/\host` as another host.
fn own_path(path: &str) -> &str {
    match path.as_bytes() {
        [b'/', b'/' | b'\\', ..] => "/",
        [b'/', ..] => path,
        _ => "/",
    }
}

/// Has a browser ask again, from this page, and so with its cookie.
pub(crate) fn again(frame: &Frame<'_>, path: &str) -> Markup {
    let place = own_path(path);
    let content = html! {
        meta http-equiv="refresh" content="0";
        p { a href=(place) { "Go on" } }
    };
    frame.page("guard", "enter", &content)
}

/// A visitor who was invited.
pub(crate) fn enrol(frame: &Frame<'_>, invitation: &str) -> Markup {
    let content = html! {
        h1 { "Make a passkey for guard" }
        p { "With it you sign each yes: by your finger, your face or a PIN. It stays in this device, or with who keeps your passkeys." }
        div.passkey id="enrol" data-invitation=(invitation) {
            button.main type="button" disabled { "Make a passkey" }
            p.said role="status" {}
            noscript { p { "A passkey takes script." } }
        }
        div id="presented" hidden {
            h2 { "Nearly done" }
            p { "Tell whoever invited you this fingerprint. It counts once root has accepted it on the machine:" }
            pre id="accept" {}
            p { "Then " a href="/login" { "log in with it" } "." }
        }
    };
    frame.page("Make a passkey", "enter", &content)
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn no_path_leads_to_another_host() {
        for (path, expected) in [
            ("/m/r7", "/m/r7"),
            ("//evil.example/x", "/"),
            (r"/\evil.example/x", "/"),
            ("https://evil.example/", "/"),
        ] {
            assert_eq!(own_path(path), expected, "{path}");
        }
    }
}
