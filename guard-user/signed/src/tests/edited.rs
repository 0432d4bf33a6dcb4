//! Valid assertions, signatures, keys and lists with some edits: what is taken is what was signed, to the byte; and of what a key has
//! signed all the same, what says what it has to, as another reader of it finds.

use std::{collections::BTreeSet, fmt, sync::LazyLock};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use guard_rounds::rounds;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, json};

use super::{
    NAMESPACE, ORIGIN, PAGE, Passkey, Seal, SshKey, answer,
    edits::{Edit, FieldEdit, edited, edited_text, written},
    passkeys, signed, ssh_keys,
};
use crate::{
    Answer, Bundle, Document as _, Signed, SignedBundle, Signers,
    approvers::Key,
    bundle::POLICY_NAMESPACE,
    sha256,
    ssh::{SshPublicKey, unarmour},
    webauthn::{self, Assertion},
    wire::Wire,
};

/// The same in all cases.
static SSH: LazyLock<Vec<SshKey>> = LazyLock::new(ssh_keys);
static PASSKEYS: LazyLock<Vec<Passkey>> = LazyLock::new(passkeys);
static MESSAGE: LazyLock<Vec<u8>> = LazyLock::new(|| answer().to_bytes().unwrap());
static CHALLENGE: LazyLock<[u8; 32]> = LazyLock::new(|| Answer::challenge(&MESSAGE));
/// What is edited is made once, and taken as it is: of a million cases most are refused before a signature is looked at.
static USUAL: LazyLock<Vec<[Vec<u8>; 3]>> = LazyLock::new(|| {
    let usual = |passkey: &Passkey| {
        let parts = passkey.assert(&CHALLENGE, &PAGE);
        assert!(is_taken(passkey, &parts));
        parts
    };
    PASSKEYS.iter().map(usual).collect()
});
/// Signatures of a key: those of P-256 have other numbers each, of other lengths.
const MANY: usize = 256;
static OF_TWO_NUMBERS: LazyLock<Vec<[Vec<u8>; 3]>> = LazyLock::new(|| {
    let assertions = (0..MANY).map(|_| PASSKEYS[1].assert(&CHALLENGE, &PAGE));
    assertions.collect()
});
static SEALED: LazyLock<Vec<Vec<Vec<u8>>>> = LazyLock::new(|| {
    let sealed = |key: &SshKey| {
        let public = SshPublicKey::parse(&key.line()).unwrap();
        let sealed = || key.seal(NAMESPACE, &MESSAGE, 1);
        assert_eq!(public.verify(NAMESPACE, &MESSAGE, &sealed()), Ok(()));
        (0..MANY).map(|_| sealed()).collect()
    };
    SSH.iter().map(sealed).collect()
});
static SIGNED: LazyLock<Vec<(Signed, Key)>> = LazyLock::new(|| {
    let by_ssh = SSH.iter().map(|key| {
        let public = Key::ssh(&key.line()).unwrap();
        (signed(key, &answer()), public)
    });
    let by_passkey = PASSKEYS.iter();
    let by_passkey = by_passkey.map(|one| (one.sign(&answer(), &PAGE), one.key.clone()));
    by_ssh.chain(by_passkey).collect()
});
static BUNDLE: LazyLock<SignedBundle> = LazyLock::new(|| {
    let bundle = Bundle {
        base: None,
        groups: vec!["ci".to_owned()],
        policies: [("floor".to_owned(), "version = 1\n".to_owned())].into(),
        revoked: Vec::new(),
        serial: 7,
        v: 1,
    };
    let bundle = String::from_utf8(bundle.to_bytes().unwrap()).unwrap();
    let sign = |key: &SshKey| key.seal(POLICY_NAMESPACE, bundle.as_bytes(), 1);
    let signatures = SSH[..2]
        .iter()
        .map(|key| BASE64URL_NOPAD.encode(&sign(key)));
    let signatures = signatures.collect();
    let whole = SignedBundle { bundle, signatures };
    assert!(whole.verify(&SIGNERS, 2).is_ok());
    whole
});
static LIST: LazyLock<String> =
    LazyLock::new(|| format!("alice {}\nbob {}\n", SSH[0].line(), SSH[1].line()));
static SIGNERS: LazyLock<Signers> = LazyLock::new(|| Signers::parse(&LIST).unwrap());

fn spki(passkey: &Passkey) -> Vec<u8> {
    crate::signature::decoded(Some(&passkey.key.public)).unwrap()
}

fn is_taken(passkey: &Passkey, [data, client, signature]: &[Vec<u8>; 3]) -> bool {
    let public = webauthn::PasskeyPublicKey::parse(&spki(passkey)).unwrap();
    let assertion = Assertion {
        authenticator_data: data,
        client_data: client,
        signature,
    };
    let origins = [ORIGIN.to_owned()];
    public.verify(&CHALLENGE, &origins, assertion).is_ok()
}

/// What stands for a value in client data, as it is written there.
const VALUES: [&str; 14] = [
    "null",
    "true",
    "false",
    "0",
    "-0.0",
    "1e999",
    "\"\"",
    "\"webauthn.create\"",
    "\"https://guard.example.net\"",
    "\"https:\\/\\/guard.example.net\"",
    "\"https://guard.example.net\\u0000\"",
    "\"\\ud800\"",
    "{\"origin\":\"https://guard.example.net\"}",
    "[[[[[[[[]]]]]]]]",
];
/// What stands around all of it.
const AROUND: [(&str, &str); 10] = [
    ("\u{feff}", ""),
    (" ", ""),
    ("", " \n"),
    ("", "\0"),
    ("", "{}"),
    ("[", "]"),
    ("{\"a\":", "}"),
    ("\"", "\""),
    ("//\n", ""),
    ("", ","),
];

/// Something done to the fields of client data.
#[derive(Clone, Copy, Debug)]
enum Said {
    Value,
    Twice,
    Again,
    Escape,
    Drop,
    Swap,
    Top,
    More,
}

impl Said {
    const ALL: [Self; 8] = [
        Self::Value,
        Self::Twice,
        Self::Again,
        Self::Escape,
        Self::Drop,
        Self::Swap,
        Self::Top,
        Self::More,
    ];

    fn on(self, fields: &mut Vec<(String, String)>, [at, to]: [Index; 2], value: &str) {
        if fields.is_empty() {
            return;
        }
        let (at, to) = (at.index(fields.len()), to.index(fields.len()));
        let key = fields[at].0.clone();
        match self {
            Self::Value => value.clone_into(&mut fields[at].1),
            Self::Twice => fields.insert(to, (key, value.to_owned())),
            Self::Again => fields.insert(to, fields[at].clone()),
            // A letter as its number.
            Self::Escape => {
                let (first, rest) = key[1..].split_at(1);
                let letter = u32::from(first.chars().next().unwrap_or('"'));
                fields[at].0 = format!("\"\\u{letter:04x}{rest}");
            }
            Self::Drop => drop(fields.remove(at)),
            Self::Swap => fields.swap(at, to),
            Self::Top => fields.insert(to, ("\"topOrigin\"".to_owned(), value.to_owned())),
            Self::More => fields.insert(to, ("\"more\"".to_owned(), value.to_owned())),
        }
    }
}

/// Client data as a browser says it, and as none would.
fn client_data() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        select(&Said::ALL[..]),
        any::<[Index; 2]>(),
        select(&VALUES[..]),
    );
    let around = prop_oneof![5 => Just(("", "")), 1 => select(&AROUND[..])];
    let is_list = prop::bool::weighted(0.05);
    (vec(edit, 0..4), around, is_list).prop_map(|(edits, around, is_list)| {
        let challenge = json!(BASE64URL_NOPAD.encode(&*CHALLENGE)).to_string();
        let mut fields: Vec<_> = [
            ("\"type\"", "\"webauthn.get\""),
            ("\"challenge\"", challenge.as_str()),
            ("\"origin\"", "\"https://guard.example.net\""),
            ("\"crossOrigin\"", "false"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for (edit, places, value) in edits {
            edit.on(&mut fields, places, value);
        }
        let fields = fields.iter().map(|(key, value)| {
            if is_list {
                value.clone()
            } else {
                format!("{key}:{value}")
            }
        });
        let fields = fields.collect::<Vec<_>>().join(",");
        let text = if is_list {
            format!("[{fields}]")
        } else {
            format!("{{{fields}}}")
        };
        format!("{}{text}{}", around.0, around.1).into_bytes()
    })
}

/// Authenticator data as a device says it, and as none would: extensions and new keys are in CBOR.
fn authenticator_data() -> impl Strategy<Value = Vec<u8>> {
    let host = prop_oneof![5 => Just(PAGE.host), 1 => select(vec!["example.net", ""])];
    let odd = select(vec![0x85, 0x45, 0xc5, 0x04, 0x01]);
    let flags = prop_oneof![2 => Just(5_u8), 2 => odd, 1 => any::<u8>()];
    let behind = select(vec![
        Vec::new(),
        b"\xa1\x6bcredProtect\x02".to_vec(),
        b"\xa0".to_vec(),
        [&[0_u8; 16][..], b"\0\x01x\xa1\x01\x02"].concat(),
    ]);
    (host, flags, any::<u32>(), behind).prop_map(|(host, flags, counter, behind)| {
        let head = sha256(host.as_bytes());
        [&head[..], &[flags], &counter.to_be_bytes(), &behind[..]].concat()
    })
}

/// The fields of client data that count, each as often as it stands there.
struct Read(Vec<(String, Value)>);

const COUNT: [&str; 5] = ["type", "challenge", "origin", "crossOrigin", "topOrigin"];

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Read;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
                let mut all = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if COUNT.contains(&&*key) {
                        all.push((key, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Read(all))
            }
        }
        from.deserialize_map(Fields)
    }
}

/// Whether client data says what it has to, each thing once.
fn says_so(client: &[u8]) -> bool {
    let Ok(Read(all)) = serde_json::from_slice(client) else {
        return false;
    };
    let once: BTreeSet<_> = all.iter().map(|(key, _)| key).collect();
    let said = |name: &str| {
        let found = all.iter().find(|(key, _)| key == name);
        found.map_or(&Value::Null, |(_, value)| value)
    };
    once.len() == all.len()
        && client.starts_with(b"{")
        && said("type") == "webauthn.get"
        && *said("challenge") == json!(BASE64URL_NOPAD.encode(&*CHALLENGE))
        && said("origin") == ORIGIN
        && [Value::Null, json!(false)].contains(said("crossOrigin"))
        && said("topOrigin").is_null()
}

/// Whether authenticator data is of somebody who was there and known, on that page.
fn is_of_its_owner(data: &[u8]) -> bool {
    let Some((host, rest)) = data.split_at_checked(32) else {
        return false;
    };
    let [flags, _, _, _, _, behind @ ..] = rest else {
        return false;
    };
    let has = |bit: u8| flags & bit != 0;
    host == sha256(PAGE.host.as_bytes())
        && has(1)
        && has(4)
        && !has(0x40)
        && has(0x80) != behind.is_empty()
}

/// Signed as they are.
fn sealed(passkey: &Passkey, data: Vec<u8>, client: Vec<u8>) -> [Vec<u8>; 3] {
    let signature = passkey.pair.sign(&[&data[..], &sha256(&client)].concat());
    [data, client, signature]
}

proptest! {
    #![proptest_config(rounds(256))]

    #[test]
    fn an_assertion_is_taken_as_it_was_signed_and_no_other_of_it(
        which in 0..2_usize,
        said in (authenticator_data(), client_data()),
        edits in vec((0..3_usize, Edit::any()), 0..5),
        swapped in prop::option::weighted(0.1, (0..3_usize, 0..3_usize)),
    ) {
        let passkey = &PASSKEYS[which];
        let parts = sealed(passkey, said.0, said.1);
        for parts in [&USUAL[which], &parts] {
            let mut others = parts.clone();
            for (part, edit) in &edits {
                edit.on(&mut others[*part]);
            }
            if let Some((one, other)) = swapped {
                others.swap(one, other);
            }
            let is_good = others == *parts && says_so(&parts[1]) && is_of_its_owner(&parts[0]);
            prop_assert_eq!(is_taken(passkey, &others), is_good, "{:?}", others);
        }
    }

    #[test]
    fn an_assertion_that_its_key_has_signed_is_taken_where_it_says_what_it_has_to(
        which in 0..2_usize,
        data in authenticator_data(),
        client in client_data(),
        edits in (seldom(Edit::any()), seldom(Edit::with(b' '..0x7f))),
    ) {
        let edits = (Vec::from_iter(edits.0), Vec::from_iter(edits.1));
        let (data, client) = (edited(&data, &edits.0), edited(&client, &edits.1));
        let is_good = says_so(&client) && is_of_its_owner(&data);
        let parts = sealed(&PASSKEYS[which], data, client);
        prop_assert_eq!(is_taken(&PASSKEYS[which], &parts), is_good, "{:?}", parts);
    }

    /// ECDSA's is two numbers in DER, which has one way to write them.
    #[test]
    fn a_signature_of_two_numbers_is_written_in_one_way(
        lengths in vec((0..3_usize, -2..3_i16), 0..2),
        zeros in [0..2_usize, 0..2_usize],
        is_long in any::<bool>(),
        behind in vec(any::<u8>(), 0..2),
        nth in 0..MANY,
    ) {
        let [data, client, signature] = OF_TWO_NUMBERS[nth].clone();
        let first = usize::from(signature[3]);
        let numbers = [&signature[4..4 + first], &signature[6 + first..]];
        let more = |at: usize| -> i16 {
            lengths.iter().filter(|(of, _)| *of == at).map(|(_, more)| more).sum()
        };
        let length = |of: usize, at: usize| u8::try_from(i16::try_from(of).unwrap() + more(at)).unwrap();
        let mut inner = Vec::new();
        for (at, number) in numbers.into_iter().enumerate() {
            let digits = [&vec![0; zeros[at]][..], number].concat();
            inner.extend([2, length(digits.len(), at)]);
            inner.extend(digits);
        }
        let mut outer = vec![0x30];
        outer.extend(is_long.then_some(0x81));
        outer.push(length(inner.len(), 2));
        let other = [outer, inner, behind].concat();
        let is_same = other == signature;
        prop_assert_eq!(is_taken(&PASSKEYS[1], &[data, client, other]), is_same);
    }

    #[test]
    fn a_signature_of_ssh_is_taken_as_it_was_made_and_no_other_of_it(
        which in 0..4_usize,
        nth in 0..MANY,
        outer in FieldEdit::some(others()),
        inner in FieldEdit::some(others()),
        edits in Edit::some(),
        other in seldom(select(vec![*b"SSHSIG\0\0\0\x02", *b"SSHSIG\0\0\0\0", *b"SSHSIH\0\0\0\x01"])),
    ) {
        let public = SshPublicKey::parse(&SSH[which].line()).unwrap();
        let sealed = &SEALED[which][nth];
        let mut parts = fields(&sealed[10..], 5).0;
        let (within, behind) = fields(&parts[4], 2);
        parts[4] = [written(&within, &inner), behind].concat();
        let head = other.as_ref().map_or(&sealed[..10], |head| &head[..]);
        let whole = [head, &written(&parts, &outer)].concat();
        for one in [whole, edited(sealed, &edits)] {
            let taken = public.verify(NAMESPACE, &MESSAGE, &one).is_ok();
            prop_assert_eq!(taken, one == *sealed, "{:?}", one);
            // Whose it says that it is by is asked of anything.
            let _ = SshPublicKey::of_signature(&one);
        }
    }

    #[test]
    fn a_signature_that_its_key_has_made_is_taken_where_it_is_for_that_purpose(
        which in 0..4_usize,
        namespace in select(vec![NAMESPACE, POLICY_NAMESPACE, "file", "", "answer@guardd.org\0"]),
        reserved in select(vec!["", "x"]),
        hash in select(vec!["sha512", "sha256", "sha1", "SHA512", ""]),
        flags in any::<u8>(),
    ) {
        let key = &SSH[which];
        let public = SshPublicKey::parse(&key.line()).unwrap();
        let sealed = key.seal_as(&Seal { namespace, reserved, hash, flags }, &MESSAGE);
        let is_good = namespace == NAMESPACE
            && reserved.is_empty()
            && ["sha512", "sha256"].contains(&hash)
            && (!public.is_fido() || flags & 1 == 1);
        prop_assert_eq!(public.verify(NAMESPACE, &MESSAGE, &sealed).is_ok(), is_good);
    }

    /// Whatever is understood is written in the one way.
    #[test]
    fn keys_that_are_read_are_what_they_are_written_as(
        which in 0..4_usize,
        text in Edit::some_of_text(),
        bytes in Edit::some(),
        parts in FieldEdit::some(others()),
    ) {
        let key = &SSH[which];
        let count = [2, 3, 3, 4][which];
        let blob = written(&fields(&key.blob(), count).0, &parts);
        let (kind, base64) = (key.name(), BASE64.encode(&edited(&blob, &bytes)));
        for line in [edited_text(&key.line(), &text), format!("{kind} {base64} a comment")] {
            let words: Vec<_> = line.split_ascii_whitespace().take(2).collect();
            if let Ok(read) = SshPublicKey::parse(&line) && is_one(words[1]) {
                prop_assert_eq!(read.line(), words.join(" "));
            }
        }
        let whole = spki(&PASSKEYS[which % 2]);
        let other = edited(&whole, &bytes);
        match webauthn::PasskeyPublicKey::parse(&other) {
            Ok(webauthn::PasskeyPublicKey::P256(point)) => prop_assert_eq!(&other[26..], point),
            Ok(webauthn::PasskeyPublicKey::Ed25519(point)) => prop_assert_eq!(&other[12..], point),
            Err(_) => prop_assert_ne!(other, whole),
        }
    }

    #[test]
    fn armour_holds_what_is_written_in_it(
        which in 0..4_usize,
        nth in 0..MANY,
        edits in Edit::some_of_text(),
    ) {
        let lines = BASE64.encode(&SEALED[which][nth]);
        let lines: Vec<_> = lines.as_bytes().chunks(70).map(String::from_utf8_lossy).collect();
        let lines = lines.join("\n");
        let (begin, end) = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----");
        let text = edited_text(&format!("{begin}\n{lines}\n{end}\n"), &edits);
        match unarmour(&text) {
            Ok(read) => {
                let body = text.trim().strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
                let body: String = body.unwrap_or_default().split_ascii_whitespace().collect();
                prop_assert!(body == BASE64.encode(&read) || !is_one(&body), "{}", text);
            }
            Err(_) => prop_assert!(!edits.is_empty()),
        }
    }

    #[test]
    fn a_signed_answer_is_taken_as_it_was_signed(
        which in 0..6_usize,
        edits in Edit::some_of_text(),
    ) {
        let (whole, key) = &SIGNED[which];
        let text = serde_json::to_string(whole).unwrap();
        let read = serde_json::from_str::<Signed>(&edited_text(&text, &edits));
        let taken = read.ok().filter(|one| one.verify(key, &[ORIGIN.to_owned()]).is_ok());
        prop_assert!(taken.is_some() || !edits.is_empty());
        prop_assert!(taken.is_none_or(|one| one == *whole));
    }

    #[test]
    fn a_signed_bundle_is_taken_as_it_was_signed_by_who_is_listed(
        edits in Edit::some_of_text(),
        listed in Edit::some_of_text(),
    ) {
        let text = serde_json::to_string(&*BUNDLE).unwrap();
        if let Ok(one) = serde_json::from_str::<SignedBundle>(&edited_text(&text, &edits))
            && one.verify(&SIGNERS, 2).is_ok()
        {
            prop_assert_eq!(&one.bundle, &BUNDLE.bundle);
        }
        let list = edited_text(&LIST, &listed);
        if let Ok(others) = Signers::parse(&list) && BUNDLE.verify(&others, 2).is_ok() {
            // Around a line any white space counts for nothing, a vertical tab's too.
            let words: BTreeSet<_> = list.split_whitespace().collect();
            let are_listed = SSH[..2].iter().all(|key| words.contains(&*BASE64.encode(&key.blob())));
            prop_assert!(are_listed, "{}", list);
        }
    }
}

/// One, once in a while.
fn seldom<S: Strategy>(one: S) -> impl Strategy<Value = Option<S::Value>> {
    prop::option::weighted(0.2, one)
}

/// Whether padding ends it: behind padding in the middle another text begins, which is read as well.
fn is_one(base64: &str) -> bool {
    !base64.trim_end_matches('=').contains('=')
}

/// What stands in place of a field.
fn others() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "ssh:",
        "sha256",
        "sha512",
        "nistp256",
        "ssh-ed25519",
        "file",
        NAMESPACE,
    ];
    let texts = texts.map(|text| text.as_bytes().to_vec());
    let keys = SSH
        .iter()
        .flat_map(|key| [key.blob(), key.name().as_bytes().to_vec()]);
    let points = [vec![0; 32], vec![4; 65], vec![0; 64]];
    texts.into_iter().chain(keys).chain(points).collect()
}

/// So many fields, and what is behind them.
fn fields(bytes: &[u8], count: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut wire = Wire::new(bytes);
    let all: Vec<_> = (0..count)
        .map(|_| wire.string().unwrap().to_vec())
        .collect();
    let length: usize = all.iter().map(|one| 4 + one.len()).sum();
    (all, bytes[length..].to_vec())
}
