//! JSON, read so strictly that every server reads it the same way.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

/// A JSON value in which no object has a name twice: servers differ about which one counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// Null, a boolean or a number.
    Other,
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// To read a batch takes time.
const LONGEST_BATCH: usize = 1_000;

impl Json {
    /// A whole text (RFC 8259).
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// What an object has under a name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(pairs) => pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is an object that has no other names than these. Names that differ in case only are
    /// one to some servers, so a name that nobody knows may stand for any.
    pub(super) fn has_only(&self, names: &[&str]) -> bool {
        match self {
            Self::Object(pairs) => pairs.iter().all(|(name, _)| names.contains(&name.as_str())),
            _ => false,
        }
    }

    /// The one value, or the values of a batch, which is neither empty nor longer than anybody needs.
    pub(super) fn batch(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => (1..=LONGEST_BATCH)
                .contains(&values.len())
                .then_some(values),
            one => Some(std::slice::from_ref(one)),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

struct Strict;

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate names")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut names = std::collections::HashSet::new();
        let mut object = Vec::new();
        while let Some((name, value)) = entries.next_entry::<String, Json>()? {
            if !names.insert(name.clone()) {
                return Err(de::Error::custom("a name is there twice"));
            }
            object.push((name, value));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_read_differently_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            r#"[{"a":1,"a":1}]"#,
            r#"{"a":1} {"a":2}"#,
            "\u{feff}{}",
            r#"{"a":NaN}"#,
            r#"{'a':1}"#,
            r#"{"a":1,}"#,
            "{/**/}",
            "",
        ] {
            assert_eq!(Json::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Json::parse(b"\"\xff\""), None);
        assert_eq!(Json::parse("[".repeat(100_000).as_bytes()), None);
        assert_eq!(Json::parse(r#"{"a":1}"#.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().as_slice()), None);
    }

    #[test]
    fn names_and_batches() {
        let json = Json::parse(br#"{"a":"x","b":[1,null,true,1.5,-1]}"#).unwrap();
        assert_eq!(json.get("a").and_then(Json::as_str), Some("x"));
        assert!(json.has_only(&["a", "b"]) && !json.has_only(&["a"]));
        assert_eq!(json.batch().map(<[Json]>::len), Some(1));
        assert_eq!(Json::parse(b"[]").unwrap().batch(), None);
        assert_eq!(
            Json::parse(b"[{},{}]").unwrap().batch().map(<[Json]>::len),
            Some(2)
        );
    }
}
