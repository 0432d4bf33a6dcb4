//! Commands that are neither queries nor changes of rows, with the words that a person reads. Commands without a row here ask, too.

use pg_query::protobuf::AlterTableType as Part;

use super::{
    SqlWrite, objects,
    tree::{Node, Tree},
};

/// A kind of statement.
struct Known {
    /// Its node.
    node: &'static str,
    command: &'static str,
    /// What it does, for a person; the objects follow.
    does: &'static str,
    /// The field that names what it is about, where that is not a table.
    named: &'static str,
    is_definition: bool,
    warnings: &'static [&'static str],
}

const fn defines(node: &'static str, command: &'static str, does: &'static str) -> Known {
    Known {
        node,
        command,
        does,
        named: "",
        is_definition: true,
        warnings: &[],
    }
}

const fn does(node: &'static str, command: &'static str, does: &'static str) -> Known {
    Known {
        node,
        command,
        does,
        named: "",
        is_definition: false,
        warnings: &[],
    }
}

impl Known {
    const fn named(mut self, field: &'static str) -> Self {
        self.named = field;
        self
    }

    const fn warn(mut self, warnings: &'static [&'static str]) -> Self {
        self.warnings = warnings;
        self
    }
}

const CODE: &[&str] = &["runs code on the server"];
const LOADS: &[&str] = &["may load code into the server"];
const RIGHTS: &[&str] = &["changes who may do what"];
const SERVER: &[&str] = &["changes the whole server"];
const FOREVER: &[&str] = &[super::drops::FOREVER];
const REMOTE: &[&str] = &["lets the server connect elsewhere"];
const FILES: &[&str] = &["names a directory of the server"];

const COMMANDS: &[Known] = &[
    defines("CreateStmt", "CREATE TABLE", "creates the table"),
    defines(
        "CreateForeignTableStmt",
        "CREATE FOREIGN TABLE",
        "creates the foreign table",
    ),
    defines(
        "CreateTableAsStmt",
        "CREATE TABLE AS",
        "creates a table or a materialized view:",
    ),
    defines("ViewStmt", "CREATE VIEW", "creates the view"),
    defines("IndexStmt", "CREATE INDEX", "creates an index on"),
    defines("CreateSeqStmt", "CREATE SEQUENCE", "creates the sequence"),
    defines("AlterSeqStmt", "ALTER SEQUENCE", "changes the sequence"),
    defines("CreateSchemaStmt", "CREATE SCHEMA", "creates the schema").named("schemaname"),
    defines(
        "CreateFunctionStmt",
        "CREATE FUNCTION",
        "creates the function or procedure",
    )
    .named("funcname")
    .warn(CODE),
    defines(
        "AlterFunctionStmt",
        "ALTER FUNCTION",
        "changes a function or procedure",
    ),
    defines("CreateTrigStmt", "CREATE TRIGGER", "creates a trigger on").warn(CODE),
    defines(
        "CreateEventTrigStmt",
        "CREATE EVENT TRIGGER",
        "creates the event trigger",
    )
    .named("trigname")
    .warn(CODE),
    defines(
        "AlterEventTrigStmt",
        "ALTER EVENT TRIGGER",
        "changes the event trigger",
    )
    .named("trigname"),
    defines("RuleStmt", "CREATE RULE", "creates a rule on").warn(CODE),
    defines(
        "CreatePolicyStmt",
        "CREATE POLICY",
        "creates a row security policy on",
    )
    .warn(RIGHTS),
    defines(
        "AlterPolicyStmt",
        "ALTER POLICY",
        "changes a row security policy on",
    )
    .warn(RIGHTS),
    defines(
        "DefineStmt",
        "CREATE",
        "creates an aggregate, operator, type or text search object:",
    )
    .named("defnames"),
    defines("CompositeTypeStmt", "CREATE TYPE", "creates the type"),
    defines("CreateEnumStmt", "CREATE TYPE", "creates the type").named("type_name"),
    defines("CreateRangeStmt", "CREATE TYPE", "creates the type").named("type_name"),
    defines("AlterEnumStmt", "ALTER TYPE", "changes the type").named("type_name"),
    defines("AlterTypeStmt", "ALTER TYPE", "changes the type").named("type_name"),
    defines("CreateDomainStmt", "CREATE DOMAIN", "creates the domain").named("domainname"),
    defines("AlterDomainStmt", "ALTER DOMAIN", "changes the domain").named("type_name"),
    defines("CreateCastStmt", "CREATE CAST", "creates a cast").warn(CODE),
    defines(
        "CreateConversionStmt",
        "CREATE CONVERSION",
        "creates a conversion",
    )
    .named("conversion_name"),
    defines(
        "CreateTransformStmt",
        "CREATE TRANSFORM",
        "creates a transform",
    ),
    defines("CreatePLangStmt", "CREATE LANGUAGE", "creates the language")
        .named("plname")
        .warn(LOADS),
    defines(
        "CreateAmStmt",
        "CREATE ACCESS METHOD",
        "creates the access method",
    )
    .named("amname")
    .warn(LOADS),
    defines(
        "CreateOpClassStmt",
        "CREATE OPERATOR CLASS",
        "creates the operator class",
    )
    .named("opclassname"),
    defines(
        "CreateOpFamilyStmt",
        "CREATE OPERATOR FAMILY",
        "creates the operator family",
    )
    .named("opfamilyname"),
    defines(
        "AlterOpFamilyStmt",
        "ALTER OPERATOR FAMILY",
        "changes the operator family",
    )
    .named("opfamilyname"),
    defines("AlterOperatorStmt", "ALTER OPERATOR", "changes an operator"),
    defines(
        "AlterCollationStmt",
        "ALTER COLLATION",
        "changes the collation",
    )
    .named("collname"),
    defines(
        "CreateStatsStmt",
        "CREATE STATISTICS",
        "creates statistics on",
    ),
    defines(
        "AlterStatsStmt",
        "ALTER STATISTICS",
        "changes the statistics",
    )
    .named("defnames"),
    defines(
        "AlterTsDictionaryStmt",
        "ALTER TEXT SEARCH DICTIONARY",
        "changes the dictionary",
    )
    .named("dictname"),
    defines(
        "AlterTsConfigurationStmt",
        "ALTER TEXT SEARCH CONFIGURATION",
        "changes the configuration",
    )
    .named("cfgname"),
    defines("AlterTableStmt", "ALTER TABLE", "changes the definition of"),
    defines(
        "AlterTableMoveAllStmt",
        "ALTER TABLE",
        "moves everything out of the tablespace",
    )
    .named("orig_tablespacename"),
    defines("RenameStmt", "ALTER … RENAME", "renames"),
    defines(
        "AlterObjectSchemaStmt",
        "ALTER … SET SCHEMA",
        "moves to another schema",
    ),
    defines(
        "AlterObjectDependsStmt",
        "ALTER … DEPENDS",
        "changes on what something depends",
    ),
    defines("AlterOwnerStmt", "ALTER … OWNER", "gives to another owner").warn(RIGHTS),
    defines("CommentStmt", "COMMENT", "changes a comment"),
    defines("SecLabelStmt", "SECURITY LABEL", "changes a security label").warn(RIGHTS),
    defines(
        "GrantStmt",
        "GRANT or REVOKE",
        "gives or takes privileges on",
    )
    .warn(RIGHTS),
    defines(
        "GrantRoleStmt",
        "GRANT or REVOKE",
        "gives or takes membership in a role",
    )
    .warn(RIGHTS),
    defines(
        "AlterDefaultPrivilegesStmt",
        "ALTER DEFAULT PRIVILEGES",
        "changes privileges on what will be created",
    )
    .warn(RIGHTS),
    defines("CreateRoleStmt", "CREATE ROLE", "creates the role")
        .named("role")
        .warn(RIGHTS),
    defines("AlterRoleStmt", "ALTER ROLE", "changes a role").warn(RIGHTS),
    defines(
        "AlterRoleSetStmt",
        "ALTER ROLE",
        "changes the settings of a role",
    ),
    defines("DropRoleStmt", "DROP ROLE", "drops roles").warn(FOREVER),
    defines("DropOwnedStmt", "DROP OWNED", "drops whatever a role owns").warn(FOREVER),
    defines(
        "ReassignOwnedStmt",
        "REASSIGN OWNED",
        "gives whatever a role owns to another",
    )
    .warn(RIGHTS),
    defines(
        "CreateExtensionStmt",
        "CREATE EXTENSION",
        "creates the extension",
    )
    .named("extname")
    .warn(LOADS),
    defines(
        "AlterExtensionStmt",
        "ALTER EXTENSION",
        "updates the extension",
    )
    .named("extname")
    .warn(LOADS),
    defines(
        "AlterExtensionContentsStmt",
        "ALTER EXTENSION",
        "changes what belongs to the extension",
    )
    .named("extname"),
    defines(
        "CreateFdwStmt",
        "CREATE FOREIGN DATA WRAPPER",
        "creates the foreign data wrapper",
    )
    .named("fdwname")
    .warn(LOADS),
    defines(
        "AlterFdwStmt",
        "ALTER FOREIGN DATA WRAPPER",
        "changes the foreign data wrapper",
    )
    .named("fdwname")
    .warn(LOADS),
    defines(
        "CreateForeignServerStmt",
        "CREATE SERVER",
        "creates the foreign server",
    )
    .named("servername")
    .warn(REMOTE),
    defines(
        "AlterForeignServerStmt",
        "ALTER SERVER",
        "changes the foreign server",
    )
    .named("servername")
    .warn(REMOTE),
    defines(
        "CreateUserMappingStmt",
        "CREATE USER MAPPING",
        "sets the login with which the server goes to",
    )
    .named("servername")
    .warn(REMOTE),
    defines(
        "AlterUserMappingStmt",
        "ALTER USER MAPPING",
        "changes the login with which the server goes to",
    )
    .named("servername")
    .warn(REMOTE),
    defines(
        "DropUserMappingStmt",
        "DROP USER MAPPING",
        "removes the login with which the server goes to",
    )
    .named("servername")
    .warn(FOREVER),
    defines(
        "ImportForeignSchemaStmt",
        "IMPORT FOREIGN SCHEMA",
        "creates foreign tables of",
    )
    .named("server_name")
    .warn(REMOTE),
    defines(
        "CreatePublicationStmt",
        "CREATE PUBLICATION",
        "creates the publication",
    )
    .named("pubname"),
    defines(
        "AlterPublicationStmt",
        "ALTER PUBLICATION",
        "changes the publication",
    )
    .named("pubname"),
    defines(
        "CreateSubscriptionStmt",
        "CREATE SUBSCRIPTION",
        "creates the subscription",
    )
    .named("subname")
    .warn(REMOTE),
    defines(
        "AlterSubscriptionStmt",
        "ALTER SUBSCRIPTION",
        "changes the subscription",
    )
    .named("subname")
    .warn(REMOTE),
    defines(
        "DropSubscriptionStmt",
        "DROP SUBSCRIPTION",
        "drops the subscription",
    )
    .named("subname")
    .warn(FOREVER),
    defines("CreatedbStmt", "CREATE DATABASE", "creates the database").named("dbname"),
    defines(
        "AlterDatabaseStmt",
        "ALTER DATABASE",
        "changes the database",
    )
    .named("dbname"),
    defines(
        "AlterDatabaseSetStmt",
        "ALTER DATABASE",
        "changes the settings of the database",
    )
    .named("dbname"),
    defines(
        "AlterDatabaseRefreshCollStmt",
        "ALTER DATABASE",
        "changes the collation version of the database",
    )
    .named("dbname"),
    defines("DropdbStmt", "DROP DATABASE", "drops the database")
        .named("dbname")
        .warn(FOREVER),
    defines(
        "CreateTableSpaceStmt",
        "CREATE TABLESPACE",
        "creates the tablespace",
    )
    .named("tablespacename")
    .warn(FILES),
    defines(
        "AlterTableSpaceOptionsStmt",
        "ALTER TABLESPACE",
        "changes the tablespace",
    )
    .named("tablespacename"),
    defines(
        "DropTableSpaceStmt",
        "DROP TABLESPACE",
        "drops the tablespace",
    )
    .named("tablespacename")
    .warn(FOREVER),
    defines(
        "AlterSystemStmt",
        "ALTER SYSTEM",
        "changes a setting of the server",
    )
    .warn(SERVER),
    does("RefreshMatViewStmt", "REFRESH MATERIALIZED VIEW", "refills"),
    does("CallStmt", "CALL", "calls a procedure").warn(CODE),
    does("DoStmt", "DO", "runs code that is given as text").warn(CODE),
    does("NotifyStmt", "NOTIFY", "notifies other sessions on").named("conditionname"),
    does("LoadStmt", "LOAD", "loads a library into the server").warn(LOADS),
    does(
        "CheckPointStmt",
        "CHECKPOINT",
        "makes the server write everything to disk",
    ),
    does(
        "VacuumStmt",
        "VACUUM or ANALYZE",
        "cleans up, or gathers statistics of",
    ),
    does("ClusterStmt", "CLUSTER", "rewrites").warn(&["locks whole tables"]),
    does("ReindexStmt", "REINDEX", "rebuilds the indexes of").warn(&["locks whole tables"]),
];

/// What such a statement does; `None` where nothing is known of it.
pub(super) fn write(tree: &Tree) -> Option<SqlWrite> {
    let node = tree.node()?;
    let known = COMMANDS.iter().find(|known| known.node == node.name)?;
    let objects = named(node, known).unwrap_or_else(|| objects::of(tree));
    let kind = format!("{}{}", known.does, objects::listed(&objects));
    let drops_column = parts(node).any(|part| is(part, Part::AtDropColumn));
    let command = if drops_column {
        "DROP COLUMN"
    } else if parts(node).any(|part| is(part, Part::AtDropConstraint)) {
        "DROP CONSTRAINT"
    } else if known.node == "AlterTableStmt" && !parts(node).all(defines_more) {
        "ALTER TABLE …"
    } else {
        known.command
    };
    let mut write = SqlWrite::new(command, kind.trim_end_matches(':'))
        .definition(known.is_definition)
        .warn_if(drops_column, "drops a column: what is in it is lost")
        .warn_if(cascades(node), "CASCADE: also drops whatever depends on it");
    let warnings = known.warnings.iter().map(|&warning| warning.to_owned());
    write.warnings.extend(warnings);
    write.unless_there = unless_there(node);
    let elements = node.get("schema_elts").map(Tree::many).unwrap_or_default();
    let within = elements.iter().filter_map(self::write);
    Some(within.fold(write.on(objects), SqlWrite::and))
}

/// What it is about, where a field of its own says that.
fn named(node: &Node, known: &Known) -> Option<Vec<String>> {
    let name = match node.get(known.named)? {
        Tree::Text(name) => objects::shown(name),
        Tree::Many(_) => objects::dotted(&node.names(known.named)),
        _ => return None,
    };
    Some(vec![name])
}

/// The table of a `CREATE TABLE IF NOT EXISTS`.
fn unless_there(node: &Node) -> Option<(Option<String>, String)> {
    let is_one = node.name == "CreateStmt" && node.get("if_not_exists").is_some();
    let table = node
        .get("relation")
        .and_then(Tree::node)
        .filter(|_| is_one)?;
    let text = |field| table.get(field).and_then(Tree::text).map(str::to_owned);
    Some((text("schemaname"), text("relname")?))
}

fn cascades(node: &Node) -> bool {
    let of = |node: &Node| node.get("behavior") == Some(&Tree::Number(super::drops::CASCADE));
    let is_drop = node.name.starts_with("Drop");
    (is_drop && of(node)) || parts(node).any(of)
}

fn is(part: &Node, kind: Part) -> bool {
    part.get("subtype") == Some(&Tree::Number(i64::from(kind as i32)))
}

/// Whether a part of an `ALTER TABLE` defines something, and takes nothing away: no data, right, owner, check or trigger.
fn defines_more(part: &Node) -> bool {
    const MORE: [Part; 13] = [
        Part::AtAddColumn,
        Part::AtAddConstraint,
        Part::AtAddIdentity,
        Part::AtAddIndexConstraint,
        Part::AtAttachPartition,
        Part::AtClusterOn,
        Part::AtColumnDefault,
        Part::AtDropNotNull,
        Part::AtSetIdentity,
        Part::AtSetNotNull,
        Part::AtSetStatistics,
        Part::AtSetStorage,
        Part::AtValidateConstraint,
    ];
    let is_using = || {
        let column = part.get("def").and_then(Tree::node);
        column.is_some_and(|column| column.get("raw_default").is_some())
    };
    MORE.iter().any(|kind| is(part, *kind)) || (is(part, Part::AtAlterColumnType) && !is_using())
}

/// The parts of an `ALTER TABLE`.
fn parts(node: &Node) -> impl Iterator<Item = &Node> {
    let parts = node.get("cmds").map(Tree::many).unwrap_or_default();
    parts.iter().filter_map(Tree::node)
}
