//! What is done to bytes, to text and to the fields of a message of SSH, so that most of it stays what it was.

use proptest::{collection::vec, prelude::*, sample::Index};

use crate::wire::string;

/// Something done to bytes, wherever in them.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// These in place of some.
    Splice(Index, usize, Vec<u8>),
    /// Some written twice.
    Double(Index, usize),
    /// Some moved to elsewhere.
    Move(Index, usize, Index),
    /// One bit turned.
    Flip(Index, u8),
}

impl Edit {
    /// Any, with bytes of these.
    pub(super) fn with(bytes: impl Strategy<Value = u8> + 'static) -> impl Strategy<Value = Self> {
        let (at, few) = (any::<Index>, 0..9_usize);
        prop_oneof![
            (at(), few.clone(), vec(bytes, 0..9)).prop_map(|(a, b, c)| Self::Splice(a, b, c)),
            (at(), few.clone()).prop_map(|(a, b)| Self::Double(a, b)),
            (at(), few, at()).prop_map(|(a, b, c)| Self::Move(a, b, c)),
            (at(), 0..8_u8).prop_map(|(a, b)| Self::Flip(a, b)),
        ]
    }

    /// Any of bytes.
    pub(super) fn any() -> impl Strategy<Value = Self> {
        Self::with(any::<u8>())
    }

    /// Some, or none: what is not edited has to be taken.
    pub(super) fn some() -> impl Strategy<Value = Vec<Self>> {
        vec(Self::any(), 0..5)
    }

    /// The same with printable bytes.
    pub(super) fn some_of_text() -> impl Strategy<Value = Vec<Self>> {
        vec(Self::with(b' '..0x7f), 0..5)
    }

    pub(super) fn on(&self, bytes: &mut Vec<u8>) {
        let part = |at: &Index, length: usize, of: &[u8]| {
            let from = at.index(of.len() + 1);
            from..(from + length).min(of.len())
        };
        match self {
            Self::Splice(at, length, with) => {
                let part = part(at, *length, bytes);
                bytes.splice(part, with.iter().copied());
            }
            Self::Double(at, length) => {
                let part = part(at, *length, bytes);
                let (end, again) = (part.end, bytes[part].to_vec());
                bytes.splice(end..end, again);
            }
            Self::Move(at, length, to) => {
                let part = part(at, *length, bytes);
                let moved: Vec<_> = bytes.drain(part).collect();
                let to = to.index(bytes.len() + 1);
                bytes.splice(to..to, moved);
            }
            Self::Flip(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1_u8 << *bit;
            }
            Self::Flip(..) => {}
        }
    }
}

/// All of these, one after the other.
pub(super) fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    edits.iter().for_each(|edit| edit.on(&mut bytes));
    bytes
}

/// The same of text, which stays some.
pub(super) fn edited_text(text: &str, edits: &[Edit]) -> String {
    String::from_utf8_lossy(&edited(text.as_bytes(), edits)).into_owned()
}

/// Something done to the fields of a message, each of which stands behind its length.
#[derive(Clone, Debug)]
pub(super) enum FieldEdit {
    /// Another in place of one.
    Other(Index, Vec<u8>),
    /// Edited within.
    Within(Index, Edit),
    /// One that is not there.
    Drop(Index),
    /// One twice.
    Double(Index),
    /// Two in each other's place.
    Swap(Index, Index),
    /// One whose length says more, or less.
    Long(Index, i32),
}

impl FieldEdit {
    /// Some, or none, with these in place of others.
    pub(super) fn some(others: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<Self>> {
        let (at, other) = (any::<Index>, prop::sample::select(others));
        let length = prop_oneof![-5..6_i32, any::<i32>()];
        let one = prop_oneof![
            (at(), other).prop_map(|(at, other)| Self::Other(at, other)),
            (at(), Edit::any()).prop_map(|(at, edit)| Self::Within(at, edit)),
            at().prop_map(Self::Drop),
            at().prop_map(Self::Double),
            (at(), at()).prop_map(|(one, other)| Self::Swap(one, other)),
            (at(), length).prop_map(|(at, length)| Self::Long(at, length)),
        ];
        vec(one, 0..3)
    }

    fn on(&self, fields: &mut Vec<(Vec<u8>, i32)>) {
        let count = fields.len();
        if count == 0 {
            return;
        }
        match self {
            Self::Other(at, other) => fields[at.index(count)].0.clone_from(other),
            Self::Within(at, edit) => edit.on(&mut fields[at.index(count)].0),
            Self::Drop(at) => drop(fields.remove(at.index(count))),
            Self::Double(at) => {
                let at = at.index(count);
                fields.insert(at, fields[at].clone());
            }
            Self::Swap(one, other) => fields.swap(one.index(count), other.index(count)),
            Self::Long(at, length) => fields[at.index(count)].1 = *length,
        }
    }
}

/// The fields behind each other, after these edits.
pub(super) fn written(fields: &[Vec<u8>], edits: &[FieldEdit]) -> Vec<u8> {
    let mut fields: Vec<_> = fields.iter().map(|field| (field.clone(), 0)).collect();
    edits.iter().for_each(|edit| edit.on(&mut fields));
    let mut out = Vec::new();
    for (field, more) in fields {
        let start = out.len();
        string(&mut out, &field);
        let length = i32::try_from(field.len()).unwrap().wrapping_add(more);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    out
}
