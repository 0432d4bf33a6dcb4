//! Other spellings of ASCII, which some servers take for it.

use icu_normalizer::ComposingNormalizerBorrowed;
use percent_encoding::percent_decode_str;

/// What conversions to an 8-bit code page make ASCII of (Microsoft's best fit), or to another case, and NFKC does not.
const FITS: &[(char, char)] = &[
    ('\u{2044}', '/'),
    ('\u{2215}', '/'),
    ('\u{29f8}', '/'),
    ('\u{2216}', '\\'),
    ('\u{29f5}', '\\'),
    ('\u{29f9}', '\\'),
    ('\u{a5}', '\\'),
    ('\u{20a9}', '\\'),
    ('\u{130}', 'i'),
    ('\u{131}', 'i'),
];

/// The text with the nearest ASCII character for each that has one: NFKC (Unicode Standard Annex 15), and best fit.
pub(super) fn nearest(text: &str) -> String {
    let fit = |c: char| {
        let fits = FITS.iter().find(|(from, _)| *from == c);
        fits.map_or(c, |(_, to)| *to)
    };
    if text.is_ascii() {
        text.to_owned()
    } else {
        let composed = ComposingNormalizerBorrowed::new_nfkc().normalize(text);
        composed.chars().map(fit).collect()
    }
}

/// Whether a character that is not in ASCII is near to one that is.
pub(super) fn has_lookalikes(text: &str) -> bool {
    let mut others = text.chars().filter(|c| !c.is_ascii());
    others.any(|c| nearest(c.encode_utf8(&mut [0; 4])).contains(|c: char| c.is_ascii_graphic()))
}

/// Decoded, with UTF-8 in more bytes than needed taken for what it spells, which RFC 3629 10 forbids.
pub(super) fn overlong(path: &str) -> String {
    decoded(path, |byte| byte & 0xc0 == 0x80)
}

/// The same by a decoder that does not look at what the bytes behind the first begin with: `%c0%2f`.
pub(super) fn overlong_unchecked(path: &str) -> String {
    decoded(path, |_| true)
}

fn decoded(path: &str, continues: fn(u8) -> bool) -> String {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    let (mut text, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        if let Some((spelt, length)) = overlong_at(&bytes[at..], continues) {
            text.extend(spelt.encode_utf8(&mut [0; 4]).bytes());
            at += length;
        } else {
            text.push(*byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What the bytes spell in more than they need, and in how many.
fn overlong_at(bytes: &[u8], continues: fn(u8) -> bool) -> Option<(char, usize)> {
    // The least that needs two bytes, three and so on, up to the six of RFC 2279.
    const LEAST: [u32; 5] = [0x80, 0x800, 0x1_0000, 0x20_0000, 0x400_0000];
    let first = *bytes.first()?;
    let ones = first.leading_ones();
    let length = usize::try_from(ones).ok()?;
    let least = LEAST.get(length.checked_sub(2)?)?;
    let rest = bytes.get(1..length)?;
    let begin = u32::from(first & (0x7f >> ones));
    let value = rest
        .iter()
        .fold(begin, |value, byte| value << 6 | u32::from(byte & 0x3f));
    let is_overlong = value < *least && rest.iter().all(|byte| continues(*byte));
    let spelt = char::from_u32(value).filter(|_| is_overlong)?;
    Some((spelt, length))
}

/// Decodes `%u002f`, as IIS and old scripts write `/`.
pub(super) fn unescaped(path: &str) -> String {
    let path = path.replace("%U", "%u");
    let mut parts = path.split("%u");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part
            .get(..4)
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = digits.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        if let Some(c) = value.and_then(char::from_u32) {
            text.push(c);
            text.push_str(&part[4..]);
        } else {
            text.push_str("%u");
            text.push_str(part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_overlong_spelling_is_read() {
        for path in [
            "%c0%af",
            "%e0%80%af",
            "%f0%80%80%af",
            "%f8%80%80%80%af",
            "%fc%80%80%80%80%af",
        ] {
            assert_eq!(overlong(path), "/", "{path}");
            assert_eq!(overlong_unchecked(path), "/", "{path}");
        }
        assert_eq!(overlong_unchecked("%c0%2f"), "/");
        assert_eq!(overlong("%c0%2f"), "\u{fffd}/");
        assert_eq!(overlong("%c0"), "\u{fffd}");
        assert_eq!(overlong("%fe%80%80%80%80%80%af").matches('/').count(), 0);
    }

    #[test]
    fn what_is_near_to_ascii_is_told() {
        assert_eq!(nearest("／ａ∕．…\u{2044}＼ıK"), "/a/..../\\iK");
        assert_eq!(unescaped("%u002fa%U2215%u00"), "/a∕%u00");
        for other in ["é", "ü/日本語", "plain", "\u{a0}"] {
            assert!(!has_lookalikes(other), "{other}");
        }
        assert!(has_lookalikes("½") && has_lookalikes("a／b"));
    }

    proptest! {
        #[test]
        fn right_utf8_is_what_it_is(text in any::<String>()) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(overlong(&encoded), text);
        }
    }
}
