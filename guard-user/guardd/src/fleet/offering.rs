//! Takes a bundle: all of it, or nothing.

use guard_proto::{fleet::FleetPolicies, record::PolicyLoad};
use guard_signed::{Bundle, Document as _, SignedBundle, bundle::Endorsed};
use guard_sys::clock;
use jiff::Timestamp;

use super::{MAX_OFFERED, RefusedOffer, TOLD, base_of, readiness, verify};
use crate::{
    changes::Change,
    control::failure::CallError,
    policies::{Prepared, library::PolicyText, load},
    quota::Account,
    shared::Shared,
    state::State,
};

/// What a bundle is, beside what was taken before.
enum Offered {
    /// The same bytes.
    Same(Endorsed),
    /// A later one.
    Later(Endorsed),
}

/// Puts a bundle in force, and says what is. The caller that offers it is believed nothing: the signatures are. Root may offer where it is
/// not known any more what was in force.
///
/// # Errors
///
/// Why it stays out; then what was in force before still is.
pub(crate) async fn offer(
    shared: &Shared,
    by_root: bool,
    bundle: String,
    signatures: Vec<String>,
) -> Result<FleetPolicies, CallError> {
    let signed = SignedBundle { bundle, signatures };
    let _one_at_a_time = shared.offering.lock().await;
    let taken = match look_at(shared, by_root, &signed).await {
        Ok(Offered::Same(verified)) => shared.with(|state| {
            state.fleet.heard(&signed, verified);
            state.fleet.turns_silent();
            state.set_base();
            state.revoke_again()?;
            state.holds_bundle()?;
            state.fleet.refused = None;
            Ok(())
        }),
        Ok(Offered::Later(verified)) => take(shared, &signed, verified).await,
        Err(why) => Err(why),
    };
    shared.with(|state| {
        let answer = match taken {
            Ok(()) => {
                state.fleet.unready = None;
                state.fleet.shown().ok_or_else(in_none)
            }
            Err(refusal) => Err(state.leave_out(&signed, refusal)),
        };
        state.apply(Change::Bundle);
        answer
    })
}

/// Looks again at who may sign, beside guardd's one thread.
pub(crate) async fn look_again(shared: &Shared) {
    let settings = shared.with(|state| state.fleet.settings.clone());
    let looked = load::in_background(move || Ok(readiness(&settings))).await;
    if let Ok(unready) = looked {
        shared.with(|state| state.fleet.unready = unready);
    }
}

/// Whether it is one to take. The signatures are looked at beside guardd's one thread.
async fn look_at(
    shared: &Shared,
    by_root: bool,
    signed: &SignedBundle,
) -> Result<Offered, CallError> {
    let settings = shared.with(|state| state.fleet.settings.clone());
    if settings.group.is_none() {
        return Err(in_none());
    }
    let length: usize = signed.signatures.iter().map(String::len).sum();
    if signed.bundle.len() + length > MAX_OFFERED {
        return Err(out(format!("they are longer than {MAX_OFFERED} bytes")));
    }
    let own = signed.clone();
    let verified = load::in_background(move || verify(&settings, &own).map_err(out)).await?;
    shared.with(|state| state.fleet.compared(by_root, signed, verified))
}

fn out(why: String) -> CallError {
    CallError::refused(
        "the policies are not put in force",
        why,
        "guard status says what is in force",
    )
}

async fn take(shared: &Shared, signed: &SignedBundle, verified: Endorsed) -> Result<(), CallError> {
    let bundle = &verified.bundle;
    for (name, text) in &bundle.policies {
        load::prepare(shared, PolicyText::of_fleet(name, text), Account::ROOT).await?;
    }
    let base = match base_of(bundle) {
        Some(source) => Some(load::prepare(shared, source, Account::ROOT).await?),
        None => None,
    };
    let before = shared.with(|state| state.fleet.before());
    let put = {
        let _one_at_a_time = shared.loading.lock().await;
        shared.with(|state| state.put_bundle(signed, verified.clone(), base))
    };
    if put.is_ok() {
        load::reload(shared).await;
    }
    let Err(refusal) = put.and_then(|()| shared.with(|state| state.holds_bundle())) else {
        shared.with(|state| state.note_bundle(&verified));
        return Ok(());
    };
    // What was in force before is again; where that was not known, it still is not, and nothing starts.
    shared.with(|state| {
        state.fleet.restore(before);
        state.tell_library();
        state.set_base();
    });
    load::reload(shared).await;
    Err(refusal)
}

impl super::Fleet {
    fn compared(
        &self,
        by_root: bool,
        signed: &SignedBundle,
        verified: Endorsed,
    ) -> Result<Offered, CallError> {
        if let Some(known) = self.bundle() {
            let serial = verified.bundle.serial;
            return match verified.bundle == *known {
                true => Ok(Offered::Same(verified)),
                false if serial > known.serial => Ok(Offered::Later(verified)),
                false => Err(out(older(serial, known.serial))),
            };
        }
        // What was kept is not believed, but nothing older than that is either.
        match self.kept_serial() {
            Some(serial) if verified.bundle.serial <= serial && !self.is_kept(signed) => {
                Err(out(older(verified.bundle.serial, serial)))
            }
            None if self.broken.is_some() && !by_root => Err(CallError::refused(
                "the policies are not put in force",
                "it is not known which were the last, so that these may be older",
                "have root offer them: sudo guard policy offer BUNDLE",
            )),
            _ => Ok(Offered::Later(verified)),
        }
    }

    /// The serial of what is on the disk, no matter who signed it.
    fn kept_serial(&self) -> Option<u64> {
        let kept = self.known().signed.as_ref()?;
        let bundle = Bundle::from_bytes(kept.bundle.as_bytes()).ok()?;
        Some(bundle.serial)
    }

    fn is_kept(&self, signed: &SignedBundle) -> bool {
        let kept = self.known().signed.as_ref();
        kept.is_some_and(|kept| kept.bundle == signed.bundle)
    }
}

fn older(serial: u64, known: u64) -> String {
    format!("their serial is {serial}, and that of those in force is {known}")
}

fn in_none() -> CallError {
    CallError::refused(
        "the policies are not put in force",
        "this machine is in no fleet",
        "name its group in guardd.toml, under [fleet], and restart guardd",
    )
}

impl State {
    /// Takes back the keys that the policies in force revoke: an older file of approvers may have brought one back.
    ///
    /// # Errors
    ///
    /// That the file cannot be written.
    pub(crate) fn revoke_again(&mut self) -> Result<(), CallError> {
        let in_force = self.fleet.verified().cloned();
        in_force.map_or(Ok(()), |revoking| self.enrolling().revoke(&revoking))
    }

    /// On the disk, then in the kernel. If guardd is killed in between, the next one goes on from the new bundle. Where what was kept is
    /// not known nothing starts, until all of this is read back.
    fn put_bundle(
        &mut self,
        signed: &SignedBundle,
        verified: Endorsed,
        base: Option<Prepared>,
    ) -> Result<(), CallError> {
        if base.is_some() {
            self.sessions.may_be_around()?;
        }
        self.recorder.reserve()?;
        // What is stricter comes first.
        self.enrolling().revoke(&verified)?;
        self.fleet.kept(signed).map_err(|error| {
            CallError::failed(
                "the policies are not put in force",
                format!(
                    "{} cannot be written: {error}",
                    self.fleet.file.file().display()
                ),
                "make room on that file system",
            )
        })?;
        self.lay_base(base)?;
        // What did not succeed with the one before is over.
        self.fleet.unlaid = None;
        self.fleet.verified = Some(verified);
        self.fleet.is_silent = false;
        self.policies.set_fleet(Ok(self.fleet.policies()));
        Ok(())
    }

    /// Has the names of policies mean what the fleet's are now.
    pub(crate) fn tell_library(&mut self) {
        let policies = match self.fleet.broken() {
            Some(why) => Err(why.to_owned()),
            None => Ok(self.fleet.policies()),
        };
        self.policies.set_fleet(policies);
    }

    /// Whether the kernel has what the bundle says, around each session.
    fn holds_bundle(&self) -> Result<(), CallError> {
        let names = self.fleet.policies();
        let broken = self.policies.iter().find_map(|(_, policy)| {
            let name = policy.source.name.as_ref();
            let is_its = policy.source.base || name.is_some_and(|name| names.contains_key(name));
            policy.error.clone().filter(|_| is_its)
        });
        if let Some(why) = broken.or_else(|| self.fleet.unlaid.clone()) {
            return Err(not_held(why));
        }
        let base = self.policies.base_slot();
        let base = base.and_then(|slot| Some((slot, self.policies.get(slot)?)));
        let Some((slot, policy)) = base else {
            let is_wanted = self.fleet.bundle().is_some_and(|one| one.base.is_some());
            return if is_wanted && self.is_anything_judged() {
                Err(not_held(
                    "the kernel has no policy around sessions".to_owned(),
                ))
            } else {
                Ok(())
            };
        };
        let kept = self.datapath.sessions()?;
        let is_bare = |id| self.sessions.live(id).is_some();
        let mut bare = kept
            .iter()
            .filter(|(_, kernel)| !kernel.policies.contains(&slot));
        if bare.any(|(at, _)| is_bare(at.id))
            || !self.datapath.holds_policy(slot, &policy.compiled)?
        {
            return Err(not_held(
                "read back, the kernel has not this policy around each session".to_owned(),
            ));
        }
        Ok(())
    }

    fn note_bundle(&mut self, verified: &Endorsed) {
        let bundle = &verified.bundle;
        (self.fleet.broken, self.fleet.refused) = (None, None);
        tracing::info!(serial = bundle.serial, "the fleet's policies are in force");
        self.recorder.note(PolicyLoad {
            policy: bundle.base.clone().into(),
            file: self.fleet.file.file().display().to_string().into(),
            serial: bundle.serial.into(),
            signed_by: verified.by.clone().into(),
            ..PolicyLoad::default()
        });
    }

    /// Writes down once why a bundle stays out.
    fn leave_out(&mut self, signed: &SignedBundle, refusal: CallError) -> CallError {
        let error = format!("{}: {}", refusal.failure.what, refusal.failure.why);
        let refused = RefusedOffer {
            why: error.clone(),
            hash: Bundle::hash(&signed.bundle),
            at: Timestamp::now(),
        };
        if !self.fleet.is_named() {
            return refusal;
        }
        let before = self.fleet.refused.replace(refused.clone());
        if before.is_some_and(|one| (one.why, one.hash) == (refused.why, refused.hash)) {
            return refusal;
        }
        let now = clock::now();
        let told = self.fleet.told_at;
        if told.is_none_or(|at| now.0.saturating_sub(at.0) >= TOLD) {
            self.fleet.told_at = Some(now);
            tracing::error!(error, "the fleet's policies that were offered stay out");
            self.recorder.count("policy_loads.failed");
            self.recorder.note(PolicyLoad {
                file: self.fleet.file.file().display().to_string().into(),
                error: error.clone().into(),
                ..PolicyLoad::default()
            });
        }
        refusal
    }
}

fn not_held(why: String) -> CallError {
    CallError::failed(
        "the policies are not put in force",
        why,
        "guard status; what was in force before is again",
    )
}
