//! The parse tree as a value of its own, in which every part of a statement can be met without knowing its type.
//!
//! It is made by serialising: the types of the tree derive that, so no field can be left out.

use serde::ser::{Error as _, Impossible, Serialize, SerializeSeq, SerializeStruct, Serializer};
use std::fmt;

/// A part of a parse tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    /// Where there is nothing, or something that the parser has no way to tell.
    Nothing,
    Flag(bool),
    Number(i64),
    Text(String),
    Many(Vec<Tree>),
    Node(Node),
}

/// A node: its type, and those of its fields that hold something.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) fields: Vec<(&'static str, Tree)>,
}

impl Tree {
    /// `None` if the types of the tree hold what they do not hold today.
    pub(super) fn of(value: &impl Serialize) -> Option<Self> {
        value.serialize(Maker).ok()
    }

    pub(super) const fn node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }

    pub(super) fn many(&self) -> &[Self] {
        match self {
            Self::Many(items) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The first node of that name in it, or itself.
    pub(super) fn first(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Node(node) if node.name == name => Some(self),
            Self::Node(node) => node.fields.iter().find_map(|(_, tree)| tree.first(name)),
            Self::Many(items) => items.iter().find_map(|item| item.first(name)),
            _ => None,
        }
    }

    /// A string of the tree, which is a node.
    pub(super) fn name(&self) -> Option<&str> {
        let node = self.node().filter(|node| node.name == "String")?;
        Some(node.get("sval").and_then(Self::text).unwrap_or_default())
    }

    /// A constant string.
    pub(super) fn constant(&self) -> Option<&str> {
        let node = self.node().filter(|node| node.name == "AConst")?;
        node.get("val")?.name()
    }

    const fn is_default(&self) -> bool {
        match self {
            Self::Nothing | Self::Flag(false) | Self::Number(0) => true,
            Self::Text(text) => text.is_empty(),
            Self::Many(items) => items.is_empty(),
            _ => false,
        }
    }
}

impl Node {
    pub(super) fn get(&self, field: &str) -> Option<&Tree> {
        let mut fields = self.fields.iter();
        fields
            .find(|(name, _)| *name == field)
            .map(|(_, tree)| tree)
    }

    /// The names in a field that holds a list of them. Whatever is none there is an empty one.
    pub(super) fn names(&self, field: &str) -> Vec<&str> {
        let items = self.get(field).map(Tree::many).unwrap_or_default();
        items
            .iter()
            .map(|item| item.name().unwrap_or_default())
            .collect()
    }
}

/// Nothing of the kind is in the tree.
#[derive(Debug)]
struct Unknown;

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tree holds a value of an unknown kind")
    }
}

impl std::error::Error for Unknown {}

impl serde::ser::Error for Unknown {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Maker;

/// The wrapper that every node of any type is in: it is left out.
const WRAPPER: &str = "Node";

struct Items(Vec<Tree>);

impl SerializeSeq for Items {
    type Ok = Tree;
    type Error = Unknown;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        self.0.push(value.serialize(Maker)?);
        Ok(())
    }

    fn end(self) -> Result<Tree, Unknown> {
        Ok(Tree::Many(self.0))
    }
}

struct NodeFields(Node);

impl SerializeStruct for NodeFields {
    type Ok = Tree;
    type Error = Unknown;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unknown> {
        let tree = value.serialize(Maker)?;
        if !tree.is_default() {
            self.0.fields.push((key, tree));
        }
        Ok(())
    }

    fn end(mut self) -> Result<Tree, Unknown> {
        if self.0.name == WRAPPER {
            let inner = self.0.fields.pop();
            return Ok(inner.map_or(Tree::Nothing, |(_, tree)| tree));
        }
        Ok(Tree::Node(self.0))
    }
}

/// Types of Rust that are not in the tree.
macro_rules! unknown {
    ($($method:ident($($argument:ty),*);)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<Tree, Unknown> {
            Err(Unknown)
        })*
    };
}

/// Integers.
macro_rules! number {
    ($($method:ident($kind:ty);)*) => {
        $(fn $method(self, value: $kind) -> Result<Tree, Unknown> {
            Ok(Tree::Number(i64::from(value)))
        })*
    };
}

impl Serializer for Maker {
    type Ok = Tree;
    type Error = Unknown;
    type SerializeSeq = Items;
    type SerializeStruct = NodeFields;
    type SerializeTuple = Impossible<Tree, Unknown>;
    type SerializeTupleStruct = Impossible<Tree, Unknown>;
    type SerializeTupleVariant = Impossible<Tree, Unknown>;
    type SerializeMap = Impossible<Tree, Unknown>;
    type SerializeStructVariant = Impossible<Tree, Unknown>;

    number! {
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
    }

    unknown! {
        serialize_f32(f32);
        serialize_char(char);
        serialize_bytes(&[u8]);
        serialize_unit_struct(&'static str);
    }

    fn serialize_bool(self, value: bool) -> Result<Tree, Unknown> {
        Ok(Tree::Flag(value))
    }

    fn serialize_u64(self, value: u64) -> Result<Tree, Unknown> {
        i64::try_from(value)
            .map(Tree::Number)
            .map_err(Unknown::custom)
    }

    // Costs, in plans: no parse tree has any.
    fn serialize_f64(self, value: f64) -> Result<Tree, Unknown> {
        if value == 0.0 {
            Ok(Tree::Nothing)
        } else {
            Err(Unknown)
        }
    }

    fn serialize_str(self, value: &str) -> Result<Tree, Unknown> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn serialize_none(self) -> Result<Tree, Unknown> {
        Ok(Tree::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Tree, Unknown> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Tree, Unknown> {
        Err(Unknown)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<Tree, Unknown> {
        Err(Unknown)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Tree, Unknown> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Tree, Unknown> {
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items, Unknown> {
        // A length is trusted as far as it goes: the items are there already.
        Ok(Items(Vec::with_capacity(len.unwrap_or_default())))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<NodeFields, Unknown> {
        let fields = Vec::new();
        Ok(NodeFields(Node { name, fields }))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unknown> {
        Err(Unknown)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Unknown> {
        Err(Unknown)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unknown> {
        Err(Unknown)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unknown> {
        Err(Unknown)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unknown> {
        Err(Unknown)
    }
}
