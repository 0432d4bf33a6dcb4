//! What in an expression or a query is not known to be harmless.

use super::{
    Extra, Release, SqlWrite, allowed, changes,
    dotted::{self, Sources},
    forms, functions, objects, settings,
    tree::{Node, Tree},
};

/// A thing that does more than read, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// `FOR UPDATE` and its kind.
    Lock,
    /// `SELECT INTO`.
    Into,
    /// A statement that changes rows, in a `WITH`. The name of its node.
    Change(&'static str),
    /// A function that is not on the list.
    Function(String),
    /// What only reads from a release on; before it is a function of whoever made one of the name.
    Later(String, Release),
    /// A function that is not on the list, or a field.
    Dotted(String),
    /// `set_config` of a setting that may not be set, and why.
    Setting(String),
    /// An operator of a schema other than `pg_catalog`.
    Operator(String),
    /// A method of sampling that is not PostgreSQL's own.
    Sample(String),
    /// A part of the statement that nothing is known of.
    Unknown(&'static str),
}

/// Returns what a query does beside reading, all of it as one.
pub(super) fn of_query(tree: &Tree, extra: Extra<'_>) -> Option<SqlWrite> {
    together(Search::of(tree, extra, false).find(tree), tree)
}

/// Returns what a statement does by what it calls: also where it is only planned, as that may be evaluated then.
pub(super) fn of_calls(tree: &Tree, extra: Extra<'_>) -> Option<SqlWrite> {
    together(Search::of(tree, extra, true).find(tree), tree)
}

fn together(doubts: Vec<Doubt>, tree: &Tree) -> Option<SqlWrite> {
    let writes = doubts.into_iter().map(|doubt| write(doubt, tree));
    writes.reduce(SqlWrite::and)
}

/// Whether it calls `set_config`, of whatever schema.
pub(super) fn sets(tree: &Tree) -> bool {
    match tree {
        Tree::Node(node) => {
            let is_call =
                node.name == "FuncCall" && node.names("funcname").last() == Some(&"set_config");
            is_call || node.fields.iter().any(|(_, tree)| sets(tree))
        }
        Tree::Many(items) => items.iter().any(sets),
        Tree::Nothing | Tree::Flag(_) | Tree::Number(_) | Tree::Text(_) => false,
    }
}

struct Search<'t> {
    extra: Extra<'t>,
    sources: Sources<'t>,
    /// Nothing of it is executed.
    plans: bool,
}

impl<'t> Search<'t> {
    fn of(tree: &'t Tree, extra: Extra<'t>, plans: bool) -> Self {
        let sources = Sources::of(tree);
        Self {
            extra,
            sources,
            plans,
        }
    }

    /// Finds them, wherever they are, each once.
    fn find(&self, tree: &Tree) -> Vec<Doubt> {
        let mut found = Vec::new();
        self.collect(tree, self.plans, &mut found);
        found
    }

    fn collect(&self, tree: &Tree, plans: bool, found: &mut Vec<Doubt>) {
        let node = match tree {
            Tree::Node(node) => node,
            Tree::Many(items) => {
                return items
                    .iter()
                    .for_each(|item| self.collect(item, plans, found));
            }
            Tree::Nothing | Tree::Flag(_) | Tree::Number(_) | Tree::Text(_) => return,
        };
        let Some(doubt) = self.of_node(node, plans) else {
            return self.within(node, plans, found);
        };
        let is_change = matches!(doubt, Doubt::Change(_));
        // One says all that are in the statement.
        let is_said = |one: &Doubt| *one == doubt || (is_change && matches!(one, Doubt::Change(_)));
        if !found.iter().any(is_said) {
            found.push(doubt);
        }
        self.within(node, plans || is_change, found);
    }

    fn within(&self, node: &Node, plans: bool, found: &mut Vec<Doubt>) {
        for (field, tree) in &node.fields {
            let has_gap = tree.many().contains(&Tree::Nothing);
            if has_gap && !plans && !allowed::is_gap(node.name, field) {
                found.push(Doubt::Unknown("one that libpg_query has no name for"));
            }
            match tree {
                Tree::Node(call) if forms::is_made(node, field) => self.within(call, plans, found),
                _ => self.collect(tree, plans, found),
            }
        }
    }

    fn of_node(&self, node: &Node, plans: bool) -> Option<Doubt> {
        if let Some(doubt) = self.of_form(node) {
            return Some(doubt);
        }
        match node.name {
            "FuncCall" => self.of_call(node),
            "AExpr" => of_operator(node, "name"),
            "SortBy" => of_operator(node, "use_op"),
            "SubLink" => of_operator(node, "oper_name"),
            "RangeTableSample" => of_sample(node),
            "ColumnRef" => {
                let called = self.sources.called(&node.names("fields"), self.extra);
                called.map(|name| Doubt::Dotted(name.to_owned()))
            }
            "AIndirection" => {
                let names = node.names("indirection").into_iter();
                let mut fields = names.filter(|name| !name.is_empty());
                let called = fields.find(|name| !dotted::reads(name, self.extra));
                called.map(|name| Doubt::Dotted(name.to_owned()))
            }
            _ if plans => None,
            "LockingClause" => Some(Doubt::Lock),
            "IntoClause" => Some(Doubt::Into),
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => {
                Some(Doubt::Change(node.name))
            }
            name if allowed::is_node(name) => None,
            name => Some(Doubt::Unknown(name)),
        }
    }

    fn of_call(&self, node: &Node) -> Option<Doubt> {
        let name = node.names("funcname");
        // What it sets decides, whatever the caller lets through: it can lift the server's lock.
        if let ["set_config"] | ["pg_catalog", "set_config"] = name[..] {
            return of_set_config(node, self.extra.settings);
        }
        if functions::reads(&name, self.extra.release)
            || forms::extracts(node)
            || functions::is_extra(&name, self.extra.functions)
        {
            return None;
        }
        let dotted = objects::dotted(&name);
        Some(match functions::since(&name, self.extra.release) {
            Some(since) => Doubt::Later(dotted, since),
            None => Doubt::Function(dotted),
        })
    }

    /// A form that the server does not have.
    fn of_form(&self, node: &Node) -> Option<Doubt> {
        let (name, since) = forms::of(node)?;
        let passes =
            since <= self.extra.release || functions::is_extra(&[name], self.extra.functions);
        (!passes).then(|| Doubt::Later(name.to_owned(), since))
    }
}

fn of_set_config(node: &Node, extra: &[String]) -> Option<Doubt> {
    let args = node.get("args").map(Tree::many).unwrap_or_default();
    let constants: Vec<_> = args.iter().take(2).map(Tree::constant).collect();
    let refused = match (&constants[..], args.len()) {
        ([Some(name), _], 3) if settings::is_extra(name, extra) => None,
        ([Some(name), Some(value)], 3) => settings::set_text(name, value).err(),
        // What the value is made of is judged by itself, as all of a statement is.
        ([Some(name), None], 3) => settings::set_to_anything(name).err(),
        _ => Some("it is not known which setting is set, and to what".to_owned()),
    };
    refused.map(Doubt::Setting)
}

/// Unqualified ones pass, as unqualified functions of the list do: `pg_catalog` is searched first.
fn of_operator(node: &Node, field: &str) -> Option<Doubt> {
    match &node.names(field)[..] {
        [] | [_] | ["pg_catalog", _] => None,
        other => Some(Doubt::Operator(objects::dotted(other))),
    }
}

fn of_sample(node: &Node) -> Option<Doubt> {
    match &node.names("method")[..] {
        ["bernoulli" | "system"] | ["pg_catalog", "bernoulli" | "system"] => None,
        other => Some(Doubt::Sample(objects::dotted(other))),
    }
}

/// What a person reads of a doubt in a statement that would only read without it.
fn write(doubt: Doubt, tree: &Tree) -> SqlWrite {
    let write = match doubt {
        Doubt::Lock => SqlWrite::new("SELECT FOR UPDATE", "locks rows")
            .because("FOR UPDATE, FOR SHARE and their kind lock rows, and write that into them"),
        Doubt::Into => SqlWrite::new("SELECT INTO", "creates a table")
            .because("SELECT INTO creates a table")
            .definition(true),
        Doubt::Change(_) => return changes::within(tree),
        Doubt::Function(name) => functions::write(&name),
        Doubt::Later(name, since) => {
            let name = objects::shown(&name);
            let because = format!(
                "PostgreSQL has {name} from release {since} on, and this server calls any function of the name"
            );
            functions::write_dotted(&name).because(because)
        }
        Doubt::Dotted(name) => {
            let name = objects::shown(&name);
            let because = format!(
                "behind a dot, {name} is a field or a function, which may do more than read"
            );
            functions::write_dotted(&name).because(because)
        }
        Doubt::Setting(why) => {
            SqlWrite::new("set_config", "changes a setting of the session").because(why)
        }
        Doubt::Operator(name) => SqlWrite::new("operator", format!("uses the operator {name}"))
            .because("only operators of pg_catalog are known to read"),
        Doubt::Sample(name) => SqlWrite::new("TABLESAMPLE", format!("samples with {name}"))
            .because("only the methods bernoulli and system are known to read"),
        Doubt::Unknown(node) => SqlWrite::new("?", "does something that is not known to read")
            .because(format!(
                "nothing is known of a part of it (in PostgreSQL's parser: {node})"
            )),
    };
    write.on(objects::of(tree))
}
