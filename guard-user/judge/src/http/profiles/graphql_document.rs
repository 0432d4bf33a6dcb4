//! The operations of a GraphQL document.

use apollo_parser::{
    Parser,
    cst::{Definition, OperationDefinition, Selection},
};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Query,
    Mutation,
    Subscription,
}

impl Operation {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// A document that every server reads in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// What each operation does, and its first field. Never empty.
    operations: Vec<(Operation, String)>,
}

/// Deeper ones are nothing that a person wrote.
const DEEPEST: usize = 100;
const MOST_TOKENS: usize = 50_000;

impl Document {
    /// Reads a document of operations and fragments, or says why it cannot be judged.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if has_odd_characters(text) {
            return Err("the document has characters that servers differ about");
        }
        let parser = Parser::new(text)
            .recursion_limit(DEEPEST)
            .token_limit(MOST_TOKENS);
        let tree = parser.parse();
        if tree.errors().len() > 0 {
            return Err("the document is no valid GraphQL");
        }
        let mut operations = Vec::new();
        for definition in tree.document().definitions() {
            match definition {
                Definition::OperationDefinition(definition) => operations.push(read(&definition)?),
                Definition::FragmentDefinition(_) => {}
                _ => return Err("the document defines types"),
            }
        }
        if operations.is_empty() {
            Err("the document has no operation")
        } else {
            Ok(Self { operations })
        }
    }

    /// The first operation that is no query.
    pub(super) fn first_write(&self) -> Option<(Operation, &str)> {
        let mut all = self.operations.iter();
        let write = all.find(|(operation, _)| *operation != Operation::Query);
        write.map(|(operation, field)| (*operation, field.as_str()))
    }
}

/// A carriage return ends a comment (GraphQL 2.1.2), but not everywhere; other control characters have
/// no place in a document.
fn has_odd_characters(text: &str) -> bool {
    let lines = text.replace("\r\n", "\n");
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    lines.contains(odd) || lines.contains(['\u{feff}', '\u{2028}', '\u{2029}'])
}

fn read(definition: &OperationDefinition) -> Result<(Operation, String), &'static str> {
    let operation = match definition.operation_type() {
        None => Operation::Query,
        Some(kind) if kind.query_token().is_some() => Operation::Query,
        Some(kind) if kind.mutation_token().is_some() => Operation::Mutation,
        Some(kind) if kind.subscription_token().is_some() => Operation::Subscription,
        Some(_) => return Err("the document has an operation that is not known"),
    };
    let selections = definition
        .selection_set()
        .ok_or("an operation selects nothing")?;
    let field = selections
        .selections()
        .find_map(|selection| match selection {
            Selection::Field(field) => field.name().map(|name| name.text().to_string()),
            _ => None,
        });
    Ok((operation, field.unwrap_or_else(|| "…".to_owned())))
}
