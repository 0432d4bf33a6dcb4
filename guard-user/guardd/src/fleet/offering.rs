//! Takes a bundle: all of it, or nothing.

use guard_proto::{fleet::FleetPolicies, record::PolicyLoad};
use guard_signed::{SignedBundle, bundle::Endorsed};
use guard_sys::clock;

use super::{MAX_OFFERED, TOLD, base_of};
use crate::{
    control::failure::CallError,
    policies::{Prepared, library::PolicyText, load},
    shared::Shared,
    state::State,
};

/// What a bundle is, beside what was taken before.
enum Offered {
    /// The same.
    Same,
    /// A later one.
    Later(Endorsed),
}

/// Puts a bundle in force, and says what is. Whoever offers it is believed nothing: the signatures are.
///
/// # Errors
///
/// Why it stays out; then what was in force before still is.
pub async fn offer(
    shared: &Shared,
    (bundle, signatures): (String, Vec<String>),
) -> Result<FleetPolicies, CallError> {
    let signed = SignedBundle { bundle, signatures };
    let _one_at_a_time = shared.offering.lock().await;
    let taken = match shared.with(|state| state.fleet.look_at(&signed)) {
        Ok(Offered::Same) => {
            shared.with(|state| {
                state.fleet.heard();
                state.fleet.refused = None;
                if state.fleet.turns_silent() {
                    state.set_base();
                }
            });
            Ok(())
        }
        Ok(Offered::Later(verified)) => take(shared, &signed, verified).await,
        Err(why) => Err(why),
    };
    shared.reschedule();
    match taken {
        Ok(()) => shared.with(|state| state.fleet.shown().ok_or_else(in_none)),
        Err(refusal) => Err(shared.with(|state| state.leave_out(refusal))),
    }
}

async fn take(shared: &Shared, signed: &SignedBundle, verified: Endorsed) -> Result<(), CallError> {
    let bundle = &verified.bundle;
    for (name, text) in &bundle.policies {
        load::prepare(shared, PolicyText::of_fleet(name, text)).await?;
    }
    let base = match base_of(bundle) {
        Some(source) => Some(load::prepare(shared, source).await?),
        None => None,
    };
    let before = shared.with(|state| state.fleet.verified.clone());
    let kept = shared.with(|state| state.fleet.file.known().clone());
    {
        let _one_at_a_time = shared.loading.lock().await;
        shared.with(|state| state.put_bundle(signed, verified.clone(), base))?;
    }
    load::reload(shared).await;
    let Err(refusal) = shared.with(|state| state.holds_bundle()) else {
        shared.with(|state| state.note_bundle(&verified));
        return Ok(());
    };
    // What was in force before is again.
    shared.with(|state| {
        let restored = state.fleet.file.replace(kept);
        state.fleet.verified = before;
        state.policies.set_fleet(state.fleet.policies());
        state.set_base();
        if let Err(error) = restored {
            tracing::error!(%error, "the bundle that does not hold is still on the disk");
        }
    });
    load::reload(shared).await;
    Err(refusal)
}

impl super::Fleet {
    fn look_at(&self, signed: &SignedBundle) -> Result<Offered, CallError> {
        let out = |why: String| {
            CallError::refused(
                "the policies are not put in force",
                why,
                "guard status says what is in force",
            )
        };
        if self.settings.group.is_none() {
            return Err(in_none());
        }
        let length: usize = signed.signatures.iter().map(String::len).sum();
        if signed.bundle.len() + length > MAX_OFFERED {
            return Err(out(format!("they are longer than {MAX_OFFERED} bytes")));
        }
        let verified = self.verify(signed).map_err(out)?;
        let Some(known) = self.bundle() else {
            // What was kept is not believed, but nothing older than that is either.
            return match self.kept_serial() {
                Some(serial) if verified.bundle.serial <= serial && !self.is_kept(signed) => {
                    Err(out(older(verified.bundle.serial, serial)))
                }
                _ => Ok(Offered::Later(verified)),
            };
        };
        if *known == verified.bundle {
            return Ok(Offered::Same);
        }
        match verified.bundle.serial > known.serial {
            true => Ok(Offered::Later(verified)),
            false => Err(out(older(verified.bundle.serial, known.serial))),
        }
    }

    /// The serial of what is on the disk, whoever signed it.
    fn kept_serial(&self) -> Option<u64> {
        use guard_signed::{Bundle, Document as _};
        let kept = self.file.known().signed.as_ref()?;
        let bundle = Bundle::from_bytes(kept.bundle.as_bytes()).ok()?;
        Some(bundle.serial)
    }

    fn is_kept(&self, signed: &SignedBundle) -> bool {
        let kept = self.file.known().signed.as_ref();
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
        "name its group in guardd.toml, under [fleet]",
    )
}

impl State {
    /// On the disk, then in the kernel. If guardd is killed in between, the next one goes on from the new bundle.
    fn put_bundle(
        &mut self,
        signed: &SignedBundle,
        verified: Endorsed,
        base: Option<Prepared>,
    ) -> Result<(), CallError> {
        let base_wanted = base.is_some();
        self.sessions
            .may_be_around(base_wanted.then_some(guard_common::PolicyId(0)))?;
        self.recorder.reserve()?;
        let before = self.fleet.file.known().clone();
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
        if let Err(refusal) = self.lay_base(base) {
            if let Err(error) = self.fleet.file.replace(before) {
                tracing::error!(%error, "the bundle that is not in force is still on the disk");
            }
            self.set_base();
            return Err(refusal);
        }
        self.fleet.verified = Some(verified);
        (self.fleet.broken, self.fleet.refused) = (None, None);
        self.fleet.is_silent = false;
        self.policies.set_fleet(self.fleet.policies());
        Ok(())
    }

    /// Whether the kernel has what the bundle says.
    fn holds_bundle(&self) -> Result<(), CallError> {
        let names = self.fleet.policies();
        let broken = self.policies.iter().find_map(|(_, policy)| {
            let name = policy.source.name.as_ref()?;
            let is_its = names.contains_key(name) || policy.source.base;
            policy.error.clone().filter(|_| is_its)
        });
        if let Some(why) = broken {
            return Err(not_held(why));
        }
        let base = self.policies.base_slot();
        if let Some((slot, policy)) = base.and_then(|slot| Some((slot, self.policies.get(slot)?)))
            && !self.datapath.holds_policy(slot, &policy.compiled)?
        {
            return Err(not_held(
                "read back, the kernel has another policy around sessions".to_owned(),
            ));
        }
        Ok(())
    }

    fn note_bundle(&mut self, verified: &Endorsed) {
        let bundle = &verified.bundle;
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
    fn leave_out(&mut self, refusal: CallError) -> CallError {
        let error = format!("{}: {}", refusal.failure.what, refusal.failure.why);
        if self.fleet.settings.group.is_none() || self.fleet.refused.as_ref() == Some(&error) {
            return refusal;
        }
        let now = clock::now();
        let told = self.fleet.told_at;
        if told.is_none_or(|at| now.0.saturating_sub(at.0) >= TOLD) {
            self.fleet.told_at = Some(now);
            tracing::error!(error, "the fleet's policies that were offered stay out");
            self.recorder.counters().policy_refused();
            self.recorder.note(PolicyLoad {
                file: self.fleet.file.file().display().to_string().into(),
                error: error.clone().into(),
                ..PolicyLoad::default()
            });
        }
        self.fleet.refused = Some(error);
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
