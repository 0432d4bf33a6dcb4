//! The fields in the head of a body. It may be cut off anywhere.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

use super::super::query::pairs;

/// Names and values, as far as they can be read. What looks like JSON is read as that, whatever its type says: `curl -d`
/// says that it is a form.
pub(super) fn fields(head: &[u8], media_type: Option<&str>) -> Vec<(String, String)> {
    match media_type {
        _ if matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) => json(head),
        Some("application/x-www-form-urlencoded") => pairs(head),
        Some(multipart) if multipart.starts_with("multipart/") => parts(head),
        _ => Vec::new(),
    }
}

/// The parts of a form (RFC 7578), but for files. Whatever the boundary: each begins with its name, and ends with a line of its own.
fn parts(head: &[u8]) -> Vec<(String, String)> {
    let head = String::from_utf8_lossy(head);
    let part = |part: &str| {
        let (fields, rest) = part
            .split_once("\n\r\n")
            .or_else(|| part.split_once("\n\n"))?;
        let named = fields
            .split(';')
            .find_map(|one| one.trim().strip_prefix("name="))?;
        let name = named.lines().next()?.trim_matches('"').to_owned();
        let (value, _) = rest.split_once("\n--").unwrap_or((rest, ""));
        let is_file = fields.contains("filename");
        (!is_file).then(|| (name, value.trim_end().to_owned()))
    };
    head.split("Content-Disposition:")
        .flat_map(|text| text.split("content-disposition:"))
        .skip(1)
        .filter_map(part)
        .collect()
}

fn json(head: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(head);
    let seed = ScalarFields {
        name: "",
        found: &mut found,
    };
    // An error ends it; what was read before counts.
    let _ = seed.deserialize(&mut deserializer);
    found
}

/// Writes down each scalar, under the name that it has or that the array around it has.
struct ScalarFields<'f> {
    name: &'f str,
    found: &'f mut Vec<(String, String)>,
}

impl ScalarFields<'_> {
    fn add(self, value: impl fmt::Display) {
        self.found.push((self.name.to_owned(), value.to_string()));
    }
}

impl<'de> DeserializeSeed<'de> for ScalarFields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarFields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.add("null");
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.add(value);
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.add(value);
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.add(value);
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.add(value);
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.add(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let ScalarFields { name, found } = self;
        while let Some(()) = items.next_element_seed(ScalarFields { name, found })? {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(name) = entries.next_key::<String>()? {
            let at = self.found.len();
            let found = &mut *self.found;
            let result = entries.next_value_seed(ScalarFields { name: &name, found });
            // A name counts whatever stands under it: `"force": {` or nothing at all.
            if self.found.len() == at {
                self.found.push((name, "…".to_owned()));
            }
            result?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let all = fields(text.as_bytes(), None).into_iter();
        all.map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn what_stands_before_the_end_is_read() {
        assert_eq!(
            of(r#"{"command":"start","force":true,"n":[1,{"m":-2.5}],"z":null}"#),
            ["command=start", "force=true", "n=1", "m=-2.5", "z=null"]
        );
        assert_eq!(
            of(r#"[{"force":true,"text":"cut o"#),
            ["force=true", "text=…"]
        );
        assert_eq!(of(r#"{"force":"#), ["force=…"]);
        assert_eq!(of(r#"  {"all":{},"x":1"#), ["all=…", "x=1"]);
        assert_eq!(of("force=true"), Vec::<String>::new());
    }

    #[test]
    fn forms_are_read() {
        let form = fields(b"force=1&all", Some("application/x-www-form-urlencoded"));
        assert_eq!(form[0], ("force".to_owned(), "1".to_owned()));
        assert_eq!(form[1].0, "all");
    }
}
