//! Rules that never decide, as others say something stricter of the very same destinations and ports.

use std::collections::{BTreeSet, HashMap};

use super::{
    invalid::{Invalid, quoted},
    model::Rule,
    ports::PortSpec,
    source::Source,
    target::Target,
};

/// Nobody writes more entries of `to` by hand: of what programs write nothing is said.
const MOST_COMPARED: usize = 10_000;

/// A destination and ports, which equal ones compete for.
type Competed<'p> = (&'p Target, &'p [PortSpec]);

/// Warns of rules of which others, stricter ones, name all destinations with the same ports.
pub(super) fn tell(source: &mut Source<'_>, rules: &[Rule]) {
    let targets: usize = rules.iter().map(|rule| rule.to.len()).sum();
    let first = rules.first().map(|rule| rule.action);
    let differ = rules.iter().any(|rule| Some(rule.action) != first);
    // What is wrong has something else in its place.
    if !differ || targets > MOST_COMPARED || source.has_failed() {
        return;
    }
    let ports: Vec<_> = rules.iter().map(sorted_ports).collect();
    let mut strictest: HashMap<Competed<'_>, &Rule> = HashMap::with_capacity(targets);
    for (rule, ports) in rules.iter().zip(&ports) {
        for target in &rule.to {
            let known = strictest.entry((target, &ports[..])).or_insert(rule);
            if rule.action.strictness() > known.action.strictness() {
                *known = rule;
            }
        }
    }
    for (rule, ports) in rules.iter().zip(&ports) {
        let over = |target| {
            let other = *strictest.get(&(target, &ports[..]))?;
            let is_stricter = other.action.strictness() > rule.action.strictness();
            is_stricter.then_some(other.name.as_str())
        };
        let stricter: Option<BTreeSet<_>> = rule.to.iter().map(over).collect();
        if let Some(names) = stricter.filter(|names| !names.is_empty()) {
            source.warn(rule.place.span.clone(), never(rule, &names));
        }
    }
}

fn sorted_ports(rule: &Rule) -> Vec<PortSpec> {
    let mut ports = rule.ports.clone();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn never(rule: &Rule, stricter: &BTreeSet<&str>) -> Invalid {
    let name = quoted(&rule.name);
    let others: Vec<_> = stricter.iter().map(|name| quoted(name)).collect();
    let (name_it, are) = match others.len() {
        1 => ("names", "is"),
        _ => ("name", "are"),
    };
    let others = others.join(" and ");
    Invalid::new(format!(
        "the rule {name} never decides: {others} {name_it} all of it, and {are} stricter"
    ))
    .help("take one of them out, or give them different `to` or `ports`: the narrower decides")
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;

    /// What is said of rules, each `TO PORTS ACTION`.
    fn said(rules: &[&str]) -> Vec<String> {
        let rule = |(at, rule): (usize, &&str)| {
            let [to, ports, action] = rule.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{rule}")
            };
            let ports = match ports {
                "-" => String::new(),
                ports => format!("ports = [{ports}]\n"),
            };
            format!("[[rule]]\nname = \"r{at}\"\nto = [{to}]\n{ports}action = \"{action}\"\n")
        };
        let text: String = rules.iter().enumerate().map(rule).collect();
        let warnings = parse("test.toml", &text).unwrap().warnings;
        warnings.into_iter().map(|one| one.message).collect()
    }

    #[test]
    fn a_rule_that_a_stricter_one_hides_is_warned_of() {
        let hidden =
            ["the rule `r0` never decides: `r1` names all of it, and is stricter".to_owned()];
        for (rules, wanted) in [
            (
                &["\"10.0.0.0/8\" - allow", "\"10.0.0.0/8\" - deny"][..],
                &hidden[..],
            ),
            (
                &[
                    "\"192.0.2.1\" \"tcp/1\",\"tcp/2\" confirm",
                    "\"192.0.2.1/32\",\"@dns\" \"tcp/2\",\"tcp/1\" deny",
                ],
                &hidden,
            ),
            (
                &["\"a.example\" - allow", "\"A.example\" - confirm"],
                &hidden,
            ),
            // Each decides somewhere.
            (
                &["\"10.0.0.0/8\" - allow", "\"10.0.0.0/8\" \"tcp\" deny"],
                &[],
            ),
            (&["\"10.0.0.0/8\" - allow", "\"10.0.0.0/9\" - deny"], &[]),
            (
                &[
                    "\"a.example\",\"b.example\" - allow",
                    "\"a.example\" - deny",
                ],
                &[],
            ),
            (&["\"10.0.0.0/8\" - deny", "\"10.0.0.0/8\" - deny"], &[]),
        ] {
            assert_eq!(said(rules), wanted, "{rules:?}");
        }
        let two = said(&[
            "\"a.example\",\"b.example\" - allow",
            "\"b.example\" - confirm",
            "\"a.example\" - deny",
        ]);
        assert_eq!(
            two,
            ["the rule `r0` never decides: `r1` and `r2` name all of it, and are stricter"]
        );
    }
}
