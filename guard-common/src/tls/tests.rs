use super::*;

/// A ClientHello with these extensions, in one record.
fn hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (kind, data) in extensions {
        all.extend(kind.to_be_bytes());
        all.extend((data.len() as u16).to_be_bytes());
        all.extend(*data);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([4, 1, 2, 3, 4]);
    body.extend([0, 2, 0x13, 1]);
    body.extend([1, 0]);
    body.extend((all.len() as u16).to_be_bytes());
    body.extend(all);
    record(&message(&body))
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut message = vec![1];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    message
}

fn record(message: &[u8]) -> Vec<u8> {
    let mut record = vec![22, 3, 1];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

/// The extension of a name.
fn named(name: &str) -> Vec<u8> {
    let length = name.len() as u16;
    let mut data = (length + 3).to_be_bytes().to_vec();
    data.push(0);
    data.extend(length.to_be_bytes());
    data.extend(name.bytes());
    data
}

const PADDING: u16 = 21;

#[test]
fn a_name_is_found_wherever_it_stands() {
    let (name, padding) = (named("Api.Example.com"), vec![0; 1300]);
    for extensions in [
        vec![(0, &name[..])],
        vec![(0, &name[..]), (PADDING, &padding)],
        vec![(PADDING, &padding[..]), (43, &[1, 2]), (0, &name)],
    ] {
        let hello = hello(&extensions);
        assert_eq!(hear(&hello), Ok(Heard::Name("Api.Example.com")));
        // What comes behind is another record.
        let more = [&hello[..], b"early data"].concat();
        assert_eq!(hear(&more), Ok(Heard::Name("Api.Example.com")));
        for length in 0..hello.len() {
            let wanted = if length < 5 { 5 } else { hello.len() as u32 };
            assert_eq!(hear(&hello[..length]), Ok(Heard::More(wanted)), "{length}");
        }
    }
}

#[test]
fn what_has_no_name_or_several_is_odd() {
    let name = named("a.example");
    let two = named("b.example");
    for (extensions, odd) in [
        (vec![], Odd::NoName),
        (vec![(PADDING, &[0; 9][..])], Odd::NoName),
        (vec![(0, &name[..]), (0, &two)], Odd::NoHello),
        (vec![(0, &[][..])], Odd::NoHello),
        (vec![(0, &name[..name.len() - 1])], Odd::NoHello),
        (vec![(0, &[&name[..], b"x"].concat())], Odd::NoHello),
        (vec![(0, &name[..]), (0xfe0d, &[0; 40])], Odd::Encrypted),
        (vec![(0xfe0d, &[1][..]), (0, &name)], Odd::Encrypted),
    ] {
        assert_eq!(hear(&hello(&extensions)), Err(odd), "{extensions:?}");
    }
    for odd in [
        "a..example",
        ".a.example",
        "a.example.",
        "a b",
        "192.0.2.1:443",
        "a\0.example",
        "ä.example",
        "*.example",
    ] {
        assert_eq!(hear(&hello(&[(0, &named(odd))])), Err(Odd::NoHost), "{odd}");
    }
    let long = format!("{}.example", "a".repeat(250));
    assert_eq!(hear(&hello(&[(0, &named(&long))])), Err(Odd::NoHost));
    let deep = vec!["a"; MAX_LABELS + 1].join(".");
    assert_eq!(hear(&hello(&[(0, &named(&deep))])), Err(Odd::NoHost));
    let deep = vec!["a"; MAX_LABELS].join(".");
    assert_eq!(hear(&hello(&[(0, &named(&deep))])), Ok(Heard::Name(&deep)));
}

#[test]
fn a_hello_is_in_one_record_alone() {
    let name = named("a.example");
    let whole = hello(&[(0, &name)]);
    let message = &whole[5..];
    let (one, two) = message.split_at(60);
    assert_eq!(hear(&[record(one), record(two)].concat()), Err(Odd::Split));
    let behind = record(&[message, b"\x01\0\0\0"].concat());
    assert_eq!(hear(&behind), Err(Odd::NoHello));
    let empty = record(b"");
    assert_eq!(hear(&empty), Err(Odd::NoHello));
    for (begun, odd) in [
        (&b"GET / HTTP/1.1\r\n"[..], Odd::NoTls),
        (b"SSH-2.0-x\r\n", Odd::NoTls),
        // The server's first record, an alert, an SSLv2 ClientHello, and too long a record.
        (b"\x16\x03\x03\0\x04\x02\0\0\0", Odd::NoHello),
        (b"\x15\x03\x01\0\x02\x01\0", Odd::NoTls),
        (b"\x80\x2e\x01\x03\x01", Odd::NoTls),
        (b"\x16\x03\x01\x40\x01\x01", Odd::NoHello),
    ] {
        assert_eq!(hear(begun), Err(odd), "{begun:?}");
    }
}

#[test]
fn the_patterns_of_a_name_are_those_of_its_labels() {
    let name = b"A.b.Example";
    let mut found = [0; MAX_LABELS];
    let span = Span {
        at: 0,
        len: name.len() as u32,
    };
    assert_eq!(patterns(&&name[..], span, &mut found), Ok(3));
    let wanted = ["a.b.example", "*.b.example", "*.example"];
    assert_eq!(found[..3], wanted.map(|pattern| NameId::of(pattern).0));
}

#[test]
fn no_bytes_are_taken_for_something_else() {
    // Each length and each byte of a hello in turn, by something else: it is read, or refused, and nothing else.
    let whole = hello(&[(PADDING, &[0; 20]), (0, &named("a.example"))]);
    for at in 0..whole.len() {
        for byte in [0, 1, 0x7f, 0xff, whole[at].wrapping_add(1)] {
            let mut changed = whole.clone();
            changed[at] = byte;
            if let Ok(Heard::Name(name)) = hear(&changed) {
                assert!(
                    changed
                        .windows(name.len())
                        .any(|part| part == name.as_bytes())
                );
            }
        }
    }
}
