//! The name that a client has shown in TLS. Servers share addresses and go by it, so its own rules judge statements beside those of the
//! address.

use std::{io, rc::Rc};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    super::{
        judge::Rules,
        name_cache::{NameTerms, RefusedBy},
        wire::{Entry, Passing, TargetTerms},
    },
    client::PostgresClient,
    is_spoken,
};

/// Terms, the rules for a name, and both together, so that these are the same for as long as the two are.
#[derive(Debug)]
pub(super) struct NamedTerms {
    terms: Rc<TargetTerms>,
    rules: Rc<[Rules]>,
    both: Rc<TargetTerms>,
}

impl NamedTerms {
    fn is_of(&self, terms: &Rc<TargetTerms>, rules: &Rc<[Rules]>) -> bool {
        Rc::ptr_eq(&self.terms, terms) && Rc::ptr_eq(&self.rules, rules)
    }
}

/// The name in TLS may not be shown there, or not now.
#[derive(Debug, thiserror::Error)]
#[error("the name in TLS (SNI) may not be shown there: {why}")]
pub(super) struct UnshownName {
    why: String,
    pub(super) by: RefusedBy,
}

impl UnshownName {
    /// What a connection ended for, where it is that.
    pub(super) fn behind(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Its record.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            no_rule: self.by != RefusedBy::Policies,
            sql: true,
            ..Entry::refused(&self.to_string())
        }
    }
}

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// These terms with the rules for the name that the client has shown, where there are any.
    ///
    /// # Errors
    ///
    /// That it may not be shown there any more, or that its rules are about another protocol.
    pub(super) async fn with_name(
        &mut self,
        terms: Rc<TargetTerms>,
    ) -> io::Result<Rc<TargetTerms>> {
        let context = self.context;
        let shown = context.secure.as_ref().and_then(|secure| secure.shown());
        let Some(name) = shown.filter(|_| terms.names && !terms.is_open()) else {
            return Ok(terms);
        };
        let link = &context.link;
        let named = link.name_terms(context.target, terms.account, &name).await;
        let NameTerms { refusal, rules } = named;
        if let Some(refusal) = refusal {
            let unshown = UnshownName {
                why: refusal.why.to_string(),
                by: refusal.by,
            };
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, unshown));
        }
        self.login.server = Some(name);
        if rules.is_empty() {
            return Ok(terms);
        }
        if let Some(known) = &self.named
            && known.is_of(&terms, &rules)
        {
            return Ok(Rc::clone(&known.both));
        }
        let both = Rc::new(together(&terms, &rules));
        if is_spoken(&both) != Some(true) {
            let why = "the rules for the name in TLS (SNI) disagree about whether PostgreSQL is spoken there";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        self.named = Some(NamedTerms {
            terms,
            rules,
            both: Rc::clone(&both),
        });
        Ok(both)
    }
}

/// Terms with a name's own rules, which come first: of equally strict ones they are what a client is told of.
fn together(terms: &TargetTerms, own: &[Rules]) -> TargetTerms {
    let others = terms.rules().iter().filter(|one| !own.contains(one));
    let rules = own.iter().chain(others).cloned();
    TargetTerms {
        passing: Passing::Judged(rules.collect()),
        ..terms.clone()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use guard_policy::{Profile, ProfileLists};

    use super::{
        super::{judge::Release, unit::Unit},
        *,
    };

    fn rules(name: &str, functions: &[&str]) -> Rules {
        Rules {
            name: Some(name.to_owned()),
            profiles: vec![Profile::Postgres],
            lists: ProfileLists {
                postgres_functions: functions.iter().map(|&one| one.to_owned()).collect(),
                ..ProfileLists::default()
            },
            ..Rules::default()
        }
    }

    #[test]
    fn a_connection_that_ends_for_its_name_says_by_whom_it_is_refused() {
        let ended = |by| {
            let why = "too many".to_owned();
            io::Error::new(io::ErrorKind::PermissionDenied, UnshownName { why, by })
        };
        for (by, no_rule) in [(RefusedBy::Pause, true), (RefusedBy::Policies, false)] {
            let error = ended(by);
            let behind = UnshownName::behind(&error).unwrap();
            assert_eq!((behind.by, behind.entry().no_rule), (by, no_rule));
            assert_eq!(behind.entry().why, Some(error.to_string()));
        }
        let other = io::Error::new(io::ErrorKind::PermissionDenied, "nothing passes");
        assert!(UnshownName::behind(&other).is_none());
    }

    #[test]
    fn what_the_address_lists_passes_where_the_name_lists_it_too() {
        let of_address = rules("staging", &["total"]);
        let terms = TargetTerms {
            passing: Passing::Judged(vec![of_address.clone()]),
            account: 1,
            writes: false,
            by_sni: false,
            names: true,
            until: None,
        };
        let text = Bytes::from_static(b"select total()");
        let reads = |own: &[Rules]| {
            let both = together(&terms, own);
            Unit::of(&text, both.rules(), Release::default()).reads()
        };
        assert!(reads(&[]));
        assert!(reads(&[rules("production", &["total"])]));
        assert!(!reads(&[rules("production", &[])]));
        assert_eq!(together(&terms, &[of_address]), terms);
        let both = together(&terms, &[rules("production", &[])]);
        let names = both.rules().iter().map(|one| one.name.as_deref());
        assert_eq!(
            names.collect::<Vec<_>>(),
            [Some("production"), Some("staging")]
        );
    }
}
