//! `[[rule]]`, from TOML to the model.

use std::collections::HashMap;

use guard_common::{Protocol, Verdict};

use super::{
    compile::MOST_RULES,
    http,
    invalid::{Invalid, printable, quoted},
    model::{Action, Rule},
    name::NamePattern,
    parse::{Reader, action, rule_name},
    ports::PortSpec,
    profiles, slips,
    source::Table,
    target::Target,
    warnings,
};

pub(super) const RULE_KEYS: &[&str] = &[
    "name",
    "to",
    "ports",
    "action",
    "private",
    "tls",
    "max_hole",
    "reason",
    "http",
    "profile",
    "graphql_paths",
    "grpc_methods",
    "jsonrpc_methods",
    "jsonrpc_paths",
    "postgres_functions",
    "postgres_settings",
];

impl<'s> Reader<'s> {
    /// The rules of a policy.
    pub(super) fn rules(&mut self, table: &Table<'_, 's>, default: Action) -> Vec<Rule> {
        let tables = self.source.tables(table.get("rule"), "rule", RULE_KEYS);
        if let Some(extra) = tables.get(MOST_RULES) {
            let many = Invalid::new(format!("a policy has {MOST_RULES} rules at most"))
                .help("join rules that differ in `to` only");
            self.source.error(extra.span.clone(), many);
        }
        let mut rules = Vec::with_capacity(tables.len());
        let mut names = HashMap::with_capacity(tables.len());
        for (index, table) in tables.iter().enumerate() {
            let rule = self.rule(table, index + 1, default);
            self.unique(&rule, &mut names);
            rules.push(rule);
        }
        rules
    }

    fn unique(&mut self, rule: &Rule, names: &mut HashMap<String, usize>) {
        if let Some(line) = names.get(&rule.name) {
            let twice = Invalid::new(format!("two rules have the name {}", quoted(&rule.name)))
                .help(format!("the other one is on line {line}; rename one"));
            self.source.error(rule.place.span.clone(), twice);
            return;
        }
        names.insert(rule.name.clone(), rule.place.line);
    }

    fn rule(&mut self, table: &Table<'_, 's>, number: usize, default: Action) -> Rule {
        self.source.check_keys(table);
        let action = self.action(table);
        let named = table.get("name").filter(|name| name.get_ref().is_str());
        let header = self.source.place(table.span.clone());
        let (profiles, lists) = profiles::read(&mut self.source, table, action);
        let to = self.to(table, action, default);
        let ports = self.ports(table);
        let private = self.private(table, &to);
        Rule {
            name: self
                .source
                .optional(table, "name", "a name", rule_name)
                .unwrap_or_else(|| format!("rule {number}")),
            by_sni: self.by_sni(table, action, &to, &ports),
            to,
            ports,
            action,
            max_hole: self.max_hole(table),
            reason: self.source.optional(table, "reason", "a text", printable),
            http: http::rules(&mut self.source, table, action),
            profiles,
            lists,
            private,
            line: header.line,
            place: named.map_or(header, |name| self.source.place(name.span())),
        }
    }

    fn private(&mut self, table: &Table<'_, 's>, to: &[Target]) -> bool {
        let Some(value) = table.get("private") else {
            return false;
        };
        let given = value.get_ref().as_bool();
        if given.is_none() {
            self.source.mismatch(value, "true or false");
        }
        let has_name = to.iter().any(|target| NamePattern::of(target).is_some());
        if given == Some(true) && !has_name {
            self.source.warn(value.span(), warnings::no_names());
        }
        given.unwrap_or(false)
    }

    fn by_sni(
        &mut self,
        table: &Table<'_, 's>,
        action: Action,
        to: &[Target],
        ports: &[PortSpec],
    ) -> bool {
        let Some(value) = table.get("tls") else {
            return false;
        };
        let expected = "\"name\"";
        let given = self.source.parsed(value, expected, |text| match text {
            "name" => Ok(()),
            other => Err(
                Invalid::new(format!("{} is nothing that TLS shows", quoted(other)))
                    .help("write `tls = \"name\"`: the server's name (SNI) has to be one of `to`"),
            ),
        });
        if given.is_none() {
            return false;
        }
        let has_tcp = ports.iter().any(|spec| spec.protocol == Protocol::TCP);
        let wrong = match () {
            () if action != Verdict::Allow => Some(Invalid::new("`tls` means something under `allow` only").help(
                match action {
                    Verdict::ReadOnly => "remove it: a `read-only` rule for names holds TLS and HTTP to them anyway",
                    _ => "write `action = \"allow\"` in the rule, or remove this",
                },
            )),
            () if !to.iter().any(|target| NamePattern::of(target).is_some()) => Some(
                Invalid::new("`tls = \"name\"` wants a name in `to`, and there is none")
                    .help("write the names that may be shown, as in `to = [\"forge.example.com\", \"*.forge.example.com\"]`"),
            ),
            () if !ports.is_empty() && !has_tcp => Some(
                Invalid::new("`tls = \"name\"` wants a TCP port in `ports`, and there is none")
                    .help("write `ports = [\"tcp/443\"]`, or leave `ports` out"),
            ),
            () => None,
        };
        if let Some(wrong) = wrong {
            self.source.error(value.span(), wrong);
        }
        true
    }

    fn action(&mut self, table: &Table<'_, 's>) -> Action {
        const ACTIONS: &[Action] = &[
            Verdict::Allow,
            Verdict::Confirm,
            Verdict::ReadOnly,
            Verdict::Deny,
        ];
        let help = "write `action = \"confirm\"`, or `allow`, `read-only` or `deny`";
        let Some(value) = self.source.required(table, "action", help) else {
            return Verdict::Deny;
        };
        let expected = "\"allow\", \"confirm\", \"read-only\" or \"deny\"";
        let given = self
            .source
            .parsed(value, expected, |text| action(text, ACTIONS));
        given.unwrap_or(Verdict::Deny)
    }

    fn ports(&mut self, table: &Table<'_, 's>) -> Vec<PortSpec> {
        let Some(value) = table.get("ports") else {
            return Vec::new();
        };
        let help = "leave `ports` out for every protocol and port";
        self.source.not_empty(value, "ports", help);
        let expected = "a port like \"tcp/443\"";
        self.source
            .list(value, expected, str::parse::<PortSpec>)
            .unwrap_or_default()
    }

    fn to(&mut self, table: &Table<'_, 's>, action: Action, default: Action) -> Vec<Target> {
        let help = "write `to = [\"192.0.2.0/24\"]`; `\"0.0.0.0/0\"` and `\"::/0\"` are everything";
        let Some(value) = self.source.required(table, "to", help) else {
            return Vec::new();
        };
        self.source.not_empty(value, "to", help);
        let expected = "a destination like \"192.0.2.0/24\"";
        let Some(to) = self.source.list(value, expected, str::parse::<Target>) else {
            return Vec::new();
        };
        slips::tell(&mut self.source, value);
        warnings::wildcards(&mut self.source, value, action, default);
        warnings::zones_of_strangers(&mut self.source, value, action, default);
        warnings::denied_names(&mut self.source, value, &to, action, default);
        warnings::both_families(&mut self.source, value, &to);
        warnings::ports_without_brackets(&mut self.source, value);
        to
    }
}
