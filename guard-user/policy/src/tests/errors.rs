//! What people see.

use insta::assert_snapshot;

use super::{
    super::{compile::compile, diagnostic::render, model::Environment, parse::parse},
    complaint, policy,
};

#[test]
fn a_host_bit_in_a_prefix() {
    let text = "[[rule]]\nto = [\n    \"2001:db8::/32\",\n    \"192.0.2.10/24\",  # the lab\n]\naction = \"deny\"\n";
    assert_snapshot!(complaint(text), @r#"
    error: `192.0.2.10/24` has host bits set
     --> test.toml:4:5
      |
    4 |     "192.0.2.10/24",  # the lab
      |     ^^^^^^^^^^^^^^^
      |
      = help: write `192.0.2.0/24`, or `192.0.2.10` for that one address
    "#);
}

#[test]
fn several_mistakes_at_once() {
    let text = r#"
version = 1
defualt = "allow"
hold = 60

[[rule]]
name = "photos"
to = ["@privat", "https://photos.example/x"]
ports = ["443", "tcp/8100-8000"]
action = "ask"

[[rule]]
name = "photos"
to = []
action = "allow"
"#;
    assert_snapshot!(complaint(text), @r#"
    error: unknown key `defualt`
     --> test.toml:3:1
      |
    3 | defualt = "allow"
      | ^^^^^^^
      |
      = help: did you mean `default`?

    error: expected a duration like "60s", found an integer
     --> test.toml:4:8
      |
    4 | hold = 60
      |        ^^
      |
      = help: write `"60s"`

    error: there is no group `@privat`
     --> test.toml:8:7
      |
    8 | to = ["@privat", "https://photos.example/x"]
      |       ^^^^^^^^^
      |
      = help: did you mean `@private`?

    error: `https://photos.example/x` is a URL
     --> test.toml:8:18
      |
    8 | to = ["@privat", "https://photos.example/x"]
      |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write `photos.example`

    error: `443` names no protocol
     --> test.toml:9:10
      |
    9 | ports = ["443", "tcp/8100-8000"]
      |          ^^^^^
      |
      = help: write `tcp/443` or `udp/443`

    error: the range ends before it begins
     --> test.toml:9:17
      |
    9 | ports = ["443", "tcp/8100-8000"]
      |                 ^^^^^^^^^^^^^^^
      |
      = help: write `tcp/8000-8100`

    error: expected one of allow, confirm, read-only, deny, found `ask`
      --> test.toml:10:10
       |
    10 | action = "ask"
       |          ^^^^^
       |
       = help: did you mean `confirm`?

    error: two rules have the name `photos`
      --> test.toml:13:8
       |
    13 | name = "photos"
       |        ^^^^^^^^
       |
       = help: the other one is on line 7; rename one

    error: `to` is empty, so the rule never holds
      --> test.toml:14:6
       |
    14 | to = []
       |      ^^
       |
       = help: write `to = ["192.0.2.0/24"]`; `"0.0.0.0/0"` and `"::/0"` are everything
    "#);
}

#[test]
fn what_is_missing() {
    assert_snapshot!(complaint("[[rule]]\nname = \"empty\"\n"), @r#"
    error: `action` is missing
     --> test.toml:1:1
      |
    1 | [[rule]]
      | ^^^^^^^^
      |
      = help: write `action = "confirm"`, or `allow`, `read-only` or `deny`

    error: `to` is missing
     --> test.toml:1:1
      |
    1 | [[rule]]
      | ^^^^^^^^
      |
      = help: write `to = ["192.0.2.0/24"]`; `"0.0.0.0/0"` and `"::/0"` are everything
    "#);
}

#[test]
fn wrong_shapes() {
    let text = "rule = 1\nmax_hole = \"0s\"\ninbound = \"yes\"\nversion = 2\nname = \"a b\"\n";
    assert_snapshot!(complaint(text), @r#"
    error: `rule` is not a list of tables
     --> test.toml:1:8
      |
    1 | rule = 1
      |        ^
      |
      = help: write `[[rule]]`

    error: no hole could ever be opened
     --> test.toml:2:12
      |
    2 | max_hole = "0s"
      |            ^^^^
      |
      = help: write `action = "deny"` where nothing may pass

    error: expected true or false, found a string
     --> test.toml:3:11
      |
    3 | inbound = "yes"
      |           ^^^^^
      |
      = help: write `true`

    error: this guard does not know that version of the language
     --> test.toml:4:11
      |
    4 | version = 2
      |           ^
      |
      = help: write `1`, or use a newer guard

    error: `a b` is not a name
     --> test.toml:5:8
      |
    5 | name = "a b"
      |        ^^^^^
      |
      = help: write letters, digits, `-`, `_` and `.`, a letter or digit first
    "#);
    let text = "[rule]\nto = \"192.0.2.1\"\n";
    assert_snapshot!(complaint(text), @r#"
    error: `rule` is not a list of tables
     --> test.toml:1:1
      |
    1 | [rule]
      | ^^^^^^
      |
      = help: write `[[rule]]`
    "#);
    let text =
        "[[rule]]\nto = \"192.0.2.1\"\nports = []\nmax_hole = \"forever\"\naction = \"deny\"\n";
    assert_snapshot!(complaint(text), @r#"
    error: expected an array, each entry a destination like "192.0.2.0/24", found a string
     --> test.toml:2:6
      |
    2 | to = "192.0.2.1"
      |      ^^^^^^^^^^^
      |
      = help: write `["192.0.2.1"]`

    error: `ports` is empty, so the rule never holds
     --> test.toml:3:9
      |
    3 | ports = []
      |         ^^
      |
      = help: leave `ports` out for every protocol and port

    error: `forever` is not a duration
     --> test.toml:4:12
      |
    4 | max_hole = "forever"
      |            ^^^^^^^^^
      |
      = help: write `90s`, `15m`, `2h`, `1d` or `1h30m`
    "#);
}

#[test]
fn a_broken_line_is_said_once() {
    let text =
        "name = \"lab\n[[rule]]\nto = [\"192.0.2.1/24\"]\naction = \"deny\"\naction = \"allow\"\n";
    assert_snapshot!(complaint(text), @r#"
    error: invalid basic string, expected `"`
     --> test.toml:1:12
      |
    1 | name = "lab
      |            ^
      |
      = help: a quote is missing: end the text with `"`, as in `name = "lab"`

    error: `192.0.2.1/24` has host bits set
     --> test.toml:3:7
      |
    3 | to = ["192.0.2.1/24"]
      |       ^^^^^^^^^^^^^^
      |
      = help: write `192.0.2.0/24`, or `192.0.2.1` for that one address

    error: duplicate key
     --> test.toml:5:1
      |
    5 | action = "allow"
      | ^^^^^^
      |
      = help: remove one of the two
    "#);
}

#[test]
fn a_value_of_another_type_says_what_to_write() {
    let help = |text: &str| {
        let found = parse("test.toml", text).unwrap_err();
        let help: Vec<_> = found.into_iter().map(|one| one.help.unwrap()).collect();
        help.join(" / ")
    };
    let rule = |more: &str| format!("[[rule]]\nto = [\"a.example\"]\naction = \"allow\"\n{more}\n");
    for (text, wanted) in [
        ("[dns]\nnames = \"deny\"\n", "did you mean `rules`?"),
        ("[dns]\nnames = \"allow\"\n", "did you mean `any`?"),
        ("[dns]\nnames = \"prompt\"\n", "did you mean `ask`?"),
        ("[dns]\nnames = \"rule\"\n", "did you mean `rules`?"),
        (
            "[dns]\nnames = \"something\"\n",
            "`rules` refuses names that no rule names, `ask` asks a person, `any` lets them pass",
        ),
        (
            "[dns]\nnames = \"ask\"\nsearch = true\n",
            "write `\"silent\"`",
        ),
        (
            "[dns]\nnames = \"ask\"\nsearch = false\n",
            "leave it out, or write `\"silent\"`",
        ),
        (
            "[dns]\nnames = \"ask\"\nsearch = \"no\"\n",
            "write `search = \"silent\"`, or leave it out",
        ),
        (&rule("tls = true"), "write `\"name\"`"),
        ("inbound = \"off\"\n", "write `false`"),
        ("inbound = 1\n", "write `true`"),
        (&rule("").replace("allow", "reject"), "did you mean `deny`?"),
        (
            &rule("ports = \"443\""),
            "write an array, `[...]`, and in it `tcp/443` or `udp/443`",
        ),
        (
            &rule("ports = \"tcp/443\"").replace("\"a.example\"", "\"@privat\""),
            "did you mean `@private`? / write `[\"tcp/443\"]`",
        ),
        (
            "[[rule]]\nto = \"@privat\"\naction = \"deny\"\n",
            "write an array, `[...]`; did you mean `@private`?",
        ),
        (
            "[[rule]]\nto = [\"192.0.2.1\"]\naction = \"read-only\"\n[[rule.http]]\nmethod = \"post\"\naction = \"allow\"\n",
            "write `[\"POST\"]`",
        ),
    ] {
        assert_eq!(help(text), wanted, "{text}");
    }
}

#[test]
fn a_table_above_its_rule_and_one_that_is_there_twice_say_where_to_write() {
    let said = |text: &str| -> Vec<_> {
        let found = parse("test.toml", text).unwrap_err();
        found.iter().map(ToString::to_string).collect()
    };
    let rule = "[[rule]]\nto = [\"a.example\"]\naction = \"read-only\"\n";
    for header in ["[[rule.http]]", "[rule.http]"] {
        let column = header.find("rule").unwrap() + 1;
        let wanted = format!(
            "test.toml:1:{column}: there is no `[[rule]]` above this (write it below the `[[rule]]` that it is for)"
        );
        assert_eq!(
            said(&format!("{header}\naction = \"deny\"\n{rule}{rule}")),
            [wanted]
        );
    }
    let one = rule.replace("[[rule]]", "[rule]");
    let list = "`rule` is not a list of tables (write `[[rule]]`)";
    assert_eq!(
        said(&format!("{one}{rule}")),
        [format!("test.toml:1:1: {list}")]
    );
    assert_eq!(
        said(&format!("{one}{one}")),
        [format!("test.toml:4:1: {list}")]
    );
    let dns = "[dns]\nnames = \"ask\"\n";
    assert_eq!(
        said(&format!("{dns}{rule}[dns]\nsearch = \"silent\"\n")),
        ["test.toml:6:2: duplicate key (the other one is on line 1: write these keys there)"]
    );
    assert_eq!(
        said(&format!("{rule}[[http]]\naction = \"deny\"\n")),
        [
            "test.toml:4:3: unknown key `http` (write `[[rule.http]]`, below the `[[rule]]` that it is for)"
        ]
    );
}

#[test]
fn a_missing_quote_is_said_to_be_one() {
    let double = "a quote is missing: end the text with `\"`, as in `name = \"lab\"`";
    let single = "a quote is missing: end the text with `'`, as in `name = 'lab'`";
    let between = "write a `,` between two entries, and quotes around each";
    for (text, wanted) in [
        ("default = \"deny\n", double),
        ("default = 'deny\n", single),
        ("[[rule]]\nto = [\"a.example]\naction = \"deny\"\n", double),
        (
            "[[rule]]\nto = [\"a.example, \"b.example\"]\naction = \"deny\"\n",
            between,
        ),
    ] {
        let found = parse("test.toml", text).unwrap_err();
        let help = found.iter().find_map(|one| one.help.as_deref());
        assert_eq!(help, Some(wanted), "{text}: {found:?}");
    }
}

#[test]
fn what_is_written_for_everything_and_is_not_that() {
    let rule = |to: &str, action: &str| format!("[[rule]]\nto = [{to}]\naction = \"{action}\"\n");
    // A program that connects there reaches the loopback: no rule for it ever holds.
    for address in ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"] {
        let found = parse("test.toml", &rule(&format!("\"{address}\""), "deny")).unwrap_err();
        let [one] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            one.to_string(),
            format!(
                "test.toml:2:7: `{address}` alone is no destination: who connects to it reaches this machine (write \
                 `0.0.0.0/0` and `::/0` for everything, `127.0.0.0/8` and `::1` for this machine)"
            )
        );
    }
    let warned = |to: &str, default: &str| {
        let text = format!("default = \"{default}\"\n{}", rule(to, "deny"));
        let warnings = parse("test.toml", &text).unwrap().warnings;
        let said = warnings.iter().map(ToString::to_string);
        said.collect::<Vec<_>>()
    };
    for default in ["allow", "deny"] {
        for name in ["any", "All", "everything", "internet"] {
            let wanted = format!(
                "test.toml:3:7: `{name}` is taken for the name of a host, and for nothing else (write `0.0.0.0/0` and `::/0` \
                 for everything, or `@public` for the internet)"
            );
            assert_eq!(warned(&format!("\"{name}\""), default), [wanted]);
        }
        for (word, group) in [
            ("metadata", "@metadata"),
            ("Private", "@private"),
            ("guarded-host", "@guarded-host"),
            ("lan", "@private"),
            ("imds", "@metadata"),
        ] {
            let wanted = format!(
                "test.toml:3:7: `{word}` is taken for the name of a host, and for nothing else (write `{group}` for the group)"
            );
            assert_eq!(warned(&format!("\"{word}\""), default), [wanted]);
        }
        let wanted = "test.toml:3:7: `localhost` is a name, and no name opens anything on the loopback (write `127.0.0.0/8` \
                      and `::1`)";
        assert_eq!(warned("\"localhost\"", default), [wanted]);
    }
    for name in [
        "any.example.com",
        "metadata.example.com",
        "db",
        "0.0.0.0/0",
        "0.0.0.1",
        "::1",
        "0.0.0.0/32",
        "::/128",
    ] {
        assert_eq!(warned(&format!("\"{name}\""), "deny"), [""; 0], "{name}");
    }
}

#[test]
fn a_connection_is_held_for_five_minutes_at_most() {
    let warned = |hold: &str| {
        let parsed = parse("test.toml", &format!("hold = \"{hold}\"\n")).unwrap();
        let said = parsed.warnings.iter().map(ToString::to_string);
        (parsed.policy.hold.as_secs(), said.collect::<Vec<_>>())
    };
    assert_eq!(warned("5m"), (300, vec![]));
    // It counts for HTTP requests and statements: guardd shortens it for what the kernel holds.
    let said = "test.toml:1:8: connections and questions for names are held for 5m at most: only HTTP requests and SQL \
                statements for 10m (write `5m` unless that is meant)";
    assert_eq!(warned("10m"), (600, vec![said.to_owned()]));
}

#[test]
fn read_only_is_checked() {
    let text = r#"
[[rule]]
to = ["192.0.2.10"]
action = "read-only"
[[rule.http]]
method = ["put", "GET "]
path = "api"
content_type = "json"
action = "read-only"
[[rule]]
to = ["192.0.2.11"]
action = "confirm"
[[rule.http]]
action = "deny"
"#;
    assert_snapshot!(complaint(text), @r#"
    error: `put` is not an HTTP method
     --> test.toml:6:11
      |
    6 | method = ["put", "GET "]
      |           ^^^^^
      |
      = help: write `PUT`

    error: `GET ` is not an HTTP method
     --> test.toml:6:18
      |
    6 | method = ["put", "GET "]
      |                  ^^^^^^
      |
      = help: write upper case letters, like `GET` or `POST`

    error: `api` is not a path
     --> test.toml:7:8
      |
    7 | path = "api"
      |        ^^^^^
      |
      = help: write `/api`

    error: `json` is not a media type
     --> test.toml:8:16
      |
    8 | content_type = "json"
      |                ^^^^^^
      |
      = help: write `application/json` or `image/*`

    error: expected one of allow, confirm, deny, found `read-only`
     --> test.toml:9:10
      |
    9 | action = "read-only"
      |          ^^^^^^^^^^^

    error: HTTP rules mean something under `read-only` only
      --> test.toml:13:1
       |
    13 | [[rule.http]]
       | ^^^^^^^^^^^^^
       |
       = help: write `action = "read-only"` in the rule, or remove this
    "#);
}

#[test]
fn warnings_do_not_refuse() {
    let text = "default = \"allow\"\n[[rule]]\nto = [\"*.prod.example.com\", \"::/0\"]\naction = \"deny\"\n";
    let parsed = parse("test.toml", text).unwrap();
    assert_snapshot!(render(&parsed.warnings, text, false), @r#"
    warning: `*.prod.example.com` holds for who asks for such a name: who knows the address, as by DNS over HTTPS, gets `allow`, the default, instead of `deny`
     --> test.toml:3:7
      |
    3 | to = ["*.prod.example.com", "::/0"]
      |       ^^^^^^^^^^^^^^^^^^^^
      |
      = help: list the addresses as well, or write `default = "deny"`

    warning: this prefix has all IPv4 addresses in it too
     --> test.toml:3:29
      |
    3 | to = ["*.prod.example.com", "::/0"]
      |                             ^^^^^^
      |
      = help: add "0.0.0.0/0" where that is meant, else write "2000::/3"
    "#);
    let text =
        "[[rule]]\nto = [\"*.dev.example.com\", \"::/0\", \"0.0.0.0/0\"]\naction = \"allow\"\n";
    let parsed = parse("test.toml", text).unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
}

#[test]
fn names_that_hold_less_than_they_seem_to_are_warned_of() {
    let said = |text: &str| -> Vec<_> {
        let warnings = parse("test.toml", text).unwrap().warnings;
        warnings.into_iter().map(|one| one.message).collect()
    };
    let rule = |to: &str, more: &str| format!("[[rule]]\nto = [{to}]\n{more}\n");
    let allow = "action = \"allow\"";
    let zone = "anybody can have names below `s3.amazonaws.com`: this lets data go to them";
    assert_eq!(said(&rule("\"*.s3.amazonaws.com\"", allow)), [zone]);
    assert_eq!(said(&rule("\"*.b.s3.amazonaws.com\"", allow)), [""; 0]);
    // Without the rule, more would go there.
    let narrower = rule("\"*.s3.amazonaws.com\"", "action = \"confirm\"");
    let known = "`*.s3.amazonaws.com` holds for who asks for such a name: who knows the address, as by DNS over HTTPS, gets `allow`, the default, \
                 instead of `confirm`";
    assert_eq!(said(&format!("default = \"allow\"\n{narrower}")), [known]);
    // Guard itself wrote it, on a person's yes.
    let [begins, ends] = crate::WRITTEN;
    let own = format!("default = \"allow\"\n\n{begins}: all\n{narrower}{ends}\n");
    assert_eq!(said(&own), [""; 0]);
    assert_eq!(said(&format!("{own}{narrower}")), [known]);
    // Whoever writes those lines lets nothing pass unsaid.
    let open = rule("\"*.s3.amazonaws.com\"", allow);
    assert_eq!(said(&format!("\n{begins}: all\n{open}{ends}\n")), [zone]);
    let denied = rule("\"db.example.com\"", "action = \"deny\"");
    let by_address = "`db.example.com` is denied at the addresses that it resolves to: whoever knows another one of it, as by DNS over \
                      HTTPS, gets `allow`, the default";
    assert_eq!(
        said(&format!("default = \"allow\"\n{denied}")),
        [by_address]
    );
    assert_eq!(said(&denied), [""; 0]);
    let both = rule("\"db.example.com\", \"192.0.2.0/24\"", "action = \"deny\"");
    assert_eq!(said(&format!("default = \"allow\"\n{both}")), [""; 0]);
    let names = rule("\"*.api.example.com\"", allow);
    let past = "questions to port 853 (DNS over TLS) are not judged by name, and their answers open nothing";
    for ports in ["ports = [\"tcp/853\"]", "ports = [\"udp/800-900\"]", ""] {
        let servers = rule("\"@dns\"", &format!("{allow}\n{ports}"));
        assert_eq!(said(&(servers.clone() + &names)), [past], "{ports}");
        assert_eq!(said(&servers), [""; 0], "{ports}");
    }
    let servers = rule(
        "\"@dns\"",
        &format!("{allow}\nports = [\"udp/53\", \"tcp/53\"]"),
    );
    assert_eq!(said(&(servers + &names)), [""; 0]);
}

#[test]
fn questions_past_the_resolver_are_warned_of_where_the_default_lets_them_pass() {
    let past = "questions to a public resolver over HTTPS (tcp/443) or TLS (port 853) are not judged by name: the default \
                allows them";
    let rule =
        |to: &str, action: &str| format!("[[rule]]\nto = [\"{to}\"]\naction = \"{action}\"\n");
    for (default, names, rule, wanted) in [
        ("allow", "rules", String::new(), &[past][..]),
        ("allow", "ask", rule("10.0.0.0/8", "deny"), &[past]),
        ("allow", "ask", rule("1.1.1.1", "allow"), &[past]),
        ("allow", "any", String::new(), &[]),
        ("deny", "rules", String::new(), &[]),
        ("confirm", "ask", String::new(), &[]),
        // Whoever stops some has thought of them.
        ("allow", "ask", rule("1.1.1.1", "deny"), &[]),
        ("allow", "ask", rule("8.8.8.0/24", "confirm"), &[]),
        ("allow", "ask", rule("@public", "confirm"), &[]),
    ] {
        let text = format!("default = \"{default}\"\n[dns]\nnames = \"{names}\"\n{rule}");
        let warnings = parse("test.toml", &text).unwrap().warnings;
        let said: Vec<_> = warnings.iter().map(|one| &one.message[..]).collect();
        assert_eq!(said, wanted, "{text}");
        assert!(warnings.iter().all(|one| one.line == 3), "{text}");
    }
}

#[test]
fn sockets_at_paths_that_anybody_can_make_are_warned_of() {
    for (path, is_warned) in [
        ("/tmp/*/x", true),
        ("/var/tmp/app-*", true),
        ("/dev/shm/*", true),
        ("/tmp/.X11-unix/X0", false),
        ("/run/postgresql/*", false),
        ("@/tmp/*", false),
    ] {
        let text = format!("[unix]\nallow = [\"{path}\"]\n");
        let warnings = parse("test.toml", &text).unwrap().warnings;
        let said = warnings
            .iter()
            .filter(|one| one.message.starts_with("anybody can make"));
        assert_eq!(said.count(), usize::from(is_warned), "{path}");
    }
}

#[test]
fn what_changes_nothing_is_warned_of() {
    let said = |text: &str| -> Vec<_> {
        let warnings = parse("test.toml", text).unwrap().warnings;
        warnings.into_iter().map(|one| one.message).collect()
    };
    let private = "`private` is about names, and `to` has none: it changes nothing here";
    let rule = |to: &str, is: bool| {
        format!("[[rule]]\nto = [{to}]\naction = \"confirm\"\nprivate = {is}\n")
    };
    for (to, is, wanted) in [
        ("\"10.0.0.0/8\"", true, &[private][..]),
        ("\"db.example.com\"", true, &[]),
        ("\"*.example.com\"", true, &[]),
        ("\"10.0.0.0/8\", \"*.example.com\"", true, &[]),
        ("\"10.0.0.0/8\"", false, &[]),
    ] {
        assert_eq!(said(&rule(to, is)), wanted, "{to} {is}");
    }
    let search = "`search` is about names that a person would be asked about, and nobody is: it changes nothing here";
    for (names, wanted) in [
        ("", &[search][..]),
        ("names = \"any\"", &[search]),
        ("names = \"rules\"", &[search]),
        ("names = \"ask\"", &[]),
    ] {
        let text = format!("[dns]\n{names}\nsearch = \"silent\"\n");
        assert_eq!(said(&text), wanted, "{names}");
    }
    assert_eq!(said("[dns]\nnames = \"any\"\n"), [""; 0]);
}

#[test]
fn names_that_are_not_written_so_say_how() {
    let said = |to: &str| {
        let text = format!("[[rule]]\nto = [\"{to}\"]\naction = \"allow\"\n");
        let found = parse("test.toml", &text).unwrap_err();
        assert_eq!(found.len(), 1);
        (found[0].message.clone(), found[0].help.clone().unwrap())
    };
    for name in ["*.example.com", "db.example.com"] {
        let (message, help) = said(&format!("{name}:443"));
        assert_eq!(message, format!("`{name}:443` has a port in it"));
        assert_eq!(
            help,
            format!("write `{name}`, and `ports = [\"tcp/443\"]` in the rule")
        );
    }
    for to in ["foo.*.com", "*foo.example.com", "foo*", "*.*.example.com"] {
        let (message, help) = said(to);
        assert!(message.ends_with("is not a wildcard name"), "{message}");
        assert!(help.contains("as in `*.prod.example.com`"), "{help}");
    }
    for to in ["bücher.example", "*.bücher.example"] {
        let (message, help) = said(to);
        assert_eq!(message, "`bücher.example` is not a host name");
        assert_eq!(help, "write the form that begins with `xn--`");
    }
    let text = "[[rule]]\nto = [\"XN--bcher-kva.example\", \"github.com.\"]\naction = \"allow\"\n";
    let policy = policy(text);
    let names: Vec<_> = policy.names().map(ToString::to_string).collect();
    assert_eq!(names, ["github.com", "xn--bcher-kva.example"]);
}

#[test]
fn too_many_port_ranges() {
    let ports =
        |from: u16| -> Vec<_> { (0..40).map(|n| format!("tcp/{}", from + 2 * n)).collect() };
    let text = format!(
        "[[rule]]\nname = \"wide\"\nto = [\"192.0.2.0/24\"]\nports = {:?}\naction = \"deny\"\n\
         [[rule]]\nname = \"one\"\nto = [\"192.0.2.7\"]\nports = {:?}\naction = \"allow\"\n",
        ports(1_000),
        ports(2_000)
    );
    let found = compile(&policy(&text), &Environment::default()).unwrap_err();
    assert_snapshot!(render(&found, &text, false), @r#"
    error: 192.0.2.7 needs 80 port ranges, and 64 is the most
     --> test.toml:2:8
      |
    2 | name = "wide"
      |        ^^^^^^
      |
      = help: they come from `wide`, `one`: join ports that lie side by side into ranges
    "#);
}

#[test]
fn one_set_of_rules_is_complained_about_once() {
    let ports: Vec<_> = (1..70).map(|n| format!("tcp/{}", 2 * n)).collect();
    let text = format!(
        "[[rule]]\nto = [\"192.0.2.1\", \"192.0.3.1\"]\nports = {ports:?}\naction = \"deny\"\n\
         [[rule]]\nto = [\"192.0.2.0/24\"]\naction = \"confirm\"\n"
    );
    let found = compile(&policy(&text), &Environment::default()).unwrap_err();
    let said: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "test.toml:1:1: 192.0.2.1 needs 69 port ranges, and 64 is the most \
          (they come from `rule 1`: join ports that lie side by side into ranges)"
        ]
    );
}

#[test]
fn rules_are_counted() {
    let rule = "[[rule]]\nto = [\"192.0.2.1\"]\naction = \"deny\"\n";
    assert!(parse("test.toml", &rule.repeat(65_534)).is_ok());
    let found = parse("test.toml", &rule.repeat(65_535)).unwrap_err();
    assert_eq!(
        found[0].to_string(),
        "test.toml:196603:1: a policy has 65534 rules at most (join rules that differ in `to` only)"
    );
}

#[test]
fn terminals_are_not_told_what_to_do() {
    let text = "name = \"a\\u001b[2J\"\n[[rule]]\nname = \"x\\ny\"\nto = [\"http://\\u001b[2J/\"]\naction = \"deny\"\n";
    let shown = complaint(text);
    assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
    assert_snapshot!(shown, @r#"
    error: `a\u{1b}[2J` is not a name
     --> test.toml:1:8
      |
    1 | name = "a\u001b[2J"
      |        ^^^^^^^^^^^^
      |
      = help: write letters, digits, `-`, `_` and `.`, a letter or digit first

    error: the character \u{a} cannot be shown
     --> test.toml:3:8
      |
    3 | name = "x\ny"
      |        ^^^^^^
      |
      = help: write plain text on one line

    error: `http://\u{1b}[2J/` is a URL
     --> test.toml:4:7
      |
    4 | to = ["http://\u001b[2J/"]
      |       ^^^^^^^^^^^^^^^^^^^
      |
      = help: write `\u{1b}[2J`
    "#);
}

#[test]
fn a_column_counts_characters_and_colour_is_asked_for() {
    let text = "[[rule]]\nto = [\"é.example\"]\naction = \"deny\"\n";
    let found = parse("test.toml", text).unwrap_err();
    assert_eq!((found[0].line, found[0].column), (2, 7));
    assert_eq!(found[0].text, "\"é.example\"");
    assert!(render(&found, text, true).contains("\u{1b}["));
}

#[test]
fn a_column_counts_from_the_start_of_a_line_however_long_it_is() {
    let good = "\"e.b.example.com\", ".repeat(60);
    let text = format!("[[rule]]\nto = [{good}\"192.0.2.1/24\", {good}]\naction = \"deny\"\n");
    let column = "to = [".len() + good.len() + 1;
    let found = parse("test.toml", &text).unwrap_err();
    assert_eq!(found[0].column, column);
    for color in [false, true] {
        let shown = render(&found, &text, color);
        assert!(shown.contains(&format!("test.toml:2:{column}")), "{shown}");
        assert!(shown.contains("\"192.0.2.1/24\""), "{shown}");
    }
}

#[test]
fn profiles_and_their_lists() {
    let text = r#"
[[rule]]
to = ["192.0.2.10"]
action = "confirm"
profile = ["kubernets", "k8s", "git"]
jsonrpc_methods = []

[[rule]]
to = ["192.0.2.11"]
action = "confirm"
profile = "jsonrpc"
graphql_paths = ["graphql"]

[[rule]]
to = ["192.0.2.12"]
action = "confirm"
profile = []
grpc_methods = ["/a.B/Get*", "Get*"]

[[rule]]
to = ["192.0.2.13"]
action = "confirm"
profile = 1
"#;
    assert_snapshot!(complaint(text), @r#"
    error: `profile` means something under `read-only` only
     --> test.toml:5:11
      |
    5 | profile = ["kubernets", "k8s", "git"]
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write `action = "read-only"` in the rule, or remove this

    error: there is no profile `kubernets`
     --> test.toml:5:12
      |
    5 | profile = ["kubernets", "k8s", "git"]
      |            ^^^^^^^^^^^
      |
      = help: did you mean `kubernetes`?

    error: there is no profile `k8s`
     --> test.toml:5:25
      |
    5 | profile = ["kubernets", "k8s", "git"]
      |                         ^^^^^
      |
      = help: write `kubernetes`

    error: `jsonrpc_methods` means something with `profile = "jsonrpc"` only
     --> test.toml:6:19
      |
    6 | jsonrpc_methods = []
      |                   ^^
      |
      = help: add that profile, or remove this

    error: `jsonrpc_methods` is empty
     --> test.toml:6:19
      |
    6 | jsonrpc_methods = []
      |                   ^^
      |
      = help: leave it out, or say what is meant

    error: `profile` means something under `read-only` only
      --> test.toml:11:11
       |
    11 | profile = "jsonrpc"
       |           ^^^^^^^^^
       |
       = help: write `action = "read-only"` in the rule, or remove this

    error: the profile `jsonrpc` does not know which methods read
      --> test.toml:11:11
       |
    11 | profile = "jsonrpc"
       |           ^^^^^^^^^
       |
       = help: write `jsonrpc_methods = ["eth_call"]`

    error: `graphql_paths` means something with `profile = "graphql"` only
      --> test.toml:12:17
       |
    12 | graphql_paths = ["graphql"]
       |                 ^^^^^^^^^^^
       |
       = help: add that profile, or remove this

    error: `graphql` is not a path
      --> test.toml:12:18
       |
    12 | graphql_paths = ["graphql"]
       |                  ^^^^^^^^^
       |
       = help: write `/graphql`

    error: `profile` is empty
      --> test.toml:17:11
       |
    17 | profile = []
       |           ^^
       |
       = help: leave it out where none is meant

    error: `profile` means something under `read-only` only
      --> test.toml:17:11
       |
    17 | profile = []
       |           ^^
       |
       = help: write `action = "read-only"` in the rule, or remove this

    error: `grpc_methods` means something with `profile = "grpc"` only
      --> test.toml:18:16
       |
    18 | grpc_methods = ["/a.B/Get*", "Get*"]
       |                ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: add that profile, or remove this

    error: `/a.B/Get*` begins with `/`
      --> test.toml:18:17
       |
    18 | grpc_methods = ["/a.B/Get*", "Get*"]
       |                 ^^^^^^^^^^^
       |
       = help: write `a.B/Get*`

    error: `Get*` does not say service and method
      --> test.toml:18:30
       |
    18 | grpc_methods = ["/a.B/Get*", "Get*"]
       |                              ^^^^^^
       |
       = help: write `package.Service/Get*`, or `*/Get*` for every service

    error: expected an array, each entry a profile like "kubernetes", found an integer
      --> test.toml:23:11
       |
    23 | profile = 1
       |           ^

    error: `profile` means something under `read-only` only
      --> test.toml:23:11
       |
    23 | profile = 1
       |           ^
       |
       = help: write `action = "read-only"` in the rule, or remove this
    "#);
}

#[test]
fn lists_of_extensions_and_settings_of_applications_are_known() {
    let text = r#"
[[rule]]
to = ["192.0.2.10"]
action = "read-only"
profile = "postgres"
postgres_functions = ["@hstore", "@hstor", "@dblink"]
postgres_settings = ["myapp.user", "myapp.*", "a.b.c", "role", "*", "a b.c", "myapp.", "my*.x"]
"#;
    assert_snapshot!(complaint(text), @r#"
    error: there is no list `@hstor`
     --> test.toml:6:34
      |
    6 | postgres_functions = ["@hstore", "@hstor", "@dblink"]
      |                                  ^^^^^^^^
      |
      = help: did you mean `@hstore`?

    error: there is no list `@dblink`
     --> test.toml:6:44
      |
    6 | postgres_functions = ["@hstore", "@hstor", "@dblink"]
      |                                            ^^^^^^^^^
      |
      = help: there are @citext @hstore @intarray @ltree @pgcrypto @uuid-ossp; of others name the functions

    error: `role` may be a setting of the server's own
     --> test.toml:7:56
      |
    7 | postgres_settings = ["myapp.user", "myapp.*", "a.b.c", "role", "*", "a b.c", "myapp.", "my*.x"]
      |                                                        ^^^^^^
      |
      = help: those of applications have a dot, as in `myapp.user`

    error: `*` is no setting's name
     --> test.toml:7:64
      |
    7 | postgres_settings = ["myapp.user", "myapp.*", "a.b.c", "role", "*", "a b.c", "myapp.", "my*.x"]
      |                                                                ^^^
      |
      = help: write `application.name`, or `application.*`

    error: `a b.c` is no setting's name
     --> test.toml:7:69
      |
    7 | postgres_settings = ["myapp.user", "myapp.*", "a.b.c", "role", "*", "a b.c", "myapp.", "my*.x"]
      |                                                                     ^^^^^^^
      |
      = help: write `application.name`, or `application.*`

    error: `myapp.` is no setting's name
     --> test.toml:7:78
      |
    7 | postgres_settings = ["myapp.user", "myapp.*", "a.b.c", "role", "*", "a b.c", "myapp.", "my*.x"]
      |                                                                              ^^^^^^^^
      |
      = help: write `application.name`, or `application.*`

    error: `my*.x` is no setting's name
     --> test.toml:7:88
      |
    7 | postgres_settings = ["myapp.user", "myapp.*", "a.b.c", "role", "*", "a b.c", "myapp.", "my*.x"]
      |                                                                                        ^^^^^^^
      |
      = help: write `application.name`, or `application.*`
    "#);
}

#[test]
fn what_is_no_http_stands_alone() {
    let text = r#"
[[rule]]
to = ["192.0.2.10"]
action = "read-only"
profile = ["postgres", "git"]
postgres_functions = ["*", "pg_catalog.*", "a b", "public.total", "st_*"]

[[rule.http]]
method = ["GET"]
action = "allow"

[[rule]]
to = ["192.0.2.11"]
action = "read-only"
profile = "postgresql"
"#;
    assert_snapshot!(complaint(text), @r#"
    error: `postgres` is no protocol on top of HTTP, and the others are
     --> test.toml:5:11
      |
    5 | profile = ["postgres", "git"]
      |           ^^^^^^^^^^^^^^^^^^^
      |
      = help: make two rules of it, each with its own ports

    error: `*` is for all functions
     --> test.toml:6:23
      |
    6 | postgres_functions = ["*", "pg_catalog.*", "a b", "public.total", "st_*"]
      |                       ^^^
      |
      = help: name those that read

    error: `pg_catalog.*` is for all functions
     --> test.toml:6:28
      |
    6 | postgres_functions = ["*", "pg_catalog.*", "a b", "public.total", "st_*"]
      |                            ^^^^^^^^^^^^^^
      |
      = help: name those that read

    error: `a b` is no function's name
     --> test.toml:6:44
      |
    6 | postgres_functions = ["*", "pg_catalog.*", "a b", "public.total", "st_*"]
      |                                            ^^^^^
      |
      = help: write `schema.name` or `name`; a `*` may stand at its end

    error: `[[rule.http]]` means nothing with `profile = "postgres"`
     --> test.toml:8:1
      |
    8 | [[rule.http]]
      | ^^^^^^^^^^^^^
      |
      = help: make two rules of it, each with its own ports

    error: there is no profile `postgresql`
      --> test.toml:15:11
       |
    15 | profile = "postgresql"
       |           ^^^^^^^^^^^^
       |
       = help: write `postgres`
    "#);
}

#[test]
fn what_tls_has_to_show_is_checked() {
    for (rule, said) in [
        (
            "to = [\"a.example\"]\naction = \"confirm\"\ntls = \"name\"",
            "error: `tls` means something under `allow` only\n --> test.toml:4:7\n  |\n4 | tls = \"name\"\n  |       ^^^^^^\n  |\n  = help: write `action = \"allow\"` in the rule, or remove this",
        ),
        (
            "to = [\"a.example\"]\naction = \"read-only\"\ntls = \"name\"",
            "  = help: remove it: a `read-only` rule for names holds TLS and HTTP to them anyway",
        ),
        (
            "to = [\"192.0.2.10\", \"@public\"]\naction = \"allow\"\ntls = \"name\"",
            "error: `tls = \"name\"` wants a name in `to`, and there is none",
        ),
        (
            "to = [\"a.example\"]\nports = [\"udp/443\"]\naction = \"allow\"\ntls = \"name\"",
            "  = help: write `ports = [\"tcp/443\"]`, or leave `ports` out",
        ),
        (
            "to = [\"a.example\"]\naction = \"allow\"\ntls = \"sni\"",
            "  = help: write `tls = \"name\"`: the server's name (SNI) has to be one of `to`",
        ),
        (
            "to = [\"a.example\"]\naction = \"allow\"\ntls = true",
            "error: expected \"name\", found a boolean",
        ),
    ] {
        let complaint = complaint(&format!("[[rule]]\n{rule}\n"));
        assert!(complaint.contains(said), "{complaint}");
    }
    let good =
        "[[rule]]\nto = [\"*.a.example\", \"192.0.2.1\"]\naction = \"allow\"\ntls = \"name\"\n";
    assert!(policy(good).looks_at_sni());
}
