//! Limits the names that guardd looks up for sessions: a session that asks for many delays only itself.

use std::{collections::HashMap, time::Duration};

use guard_common::{BootTime, SessionId};

use crate::control::failure::CallError;

/// Names that a session may have looked up at once.
const BURST: u64 = 30;
/// Nanoseconds after which it may have one more looked up.
const EACH: u64 = 1_000_000_000;

/// When the share of each outermost session is full again: sessions inside have no share of their own.
#[derive(Debug, Default)]
pub(crate) struct LookUps(HashMap<SessionId, BootTime>);

impl LookUps {
    /// Takes `names` from a session's share. A policy's names are looked up all at once, so it may have more than are left, and
    /// the next caller waits for longer.
    ///
    /// # Errors
    ///
    /// How long to wait, if nothing is left.
    pub(crate) fn take(
        &mut self,
        session: SessionId,
        names: usize,
        now: BootTime,
    ) -> Result<(), Duration> {
        self.0.retain(|_, paid| *paid > now);
        if names == 0 {
            return Ok(());
        }
        let paid = self.0.get(&session).map_or(now.0, |paid| paid.0);
        let wait = (paid - now.0).saturating_sub((BURST - 1) * EACH);
        if wait > 0 {
            return Err(Duration::from_nanos(wait));
        }
        self.0.insert(session, BootTime(paid + names as u64 * EACH));
        Ok(())
    }
}

/// The error for a session whose share is used up.
#[must_use]
pub(crate) fn too_many(wait: Duration) -> CallError {
    let seconds = wait.as_millis().div_ceil(1000);
    CallError::refused(
        "too many names were looked up for this session",
        format!("it and those inside it have {BURST} at once, and then one a second"),
        format!("try again in {seconds} s, or give an address"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime((1000 + seconds) * EACH)
    }

    #[test]
    fn a_session_has_some_at_once_and_then_one_a_second() {
        let (mut all, one) = (LookUps::default(), SessionId(1));
        let taken = (0..1000).filter(|_| all.take(one, 1, at(0)).is_ok());
        assert_eq!(taken.count() as u64, BURST);
        assert_eq!(all.take(one, 1, at(0)), Err(Duration::from_secs(1)));
        assert_eq!(all.take(SessionId(2), 1, at(0)), Ok(()));
        let taken = (0..1000).filter(|_| all.take(one, 1, at(3)).is_ok());
        assert_eq!(taken.count(), 3);
        // A name in the cache costs nothing.
        assert_eq!(all.take(one, 0, at(3)), Ok(()));
        assert_eq!(all.take(one, 1, at(1000)), Ok(()));
        assert_eq!(all.0.len(), 1, "whoever has paid is forgotten");
    }

    #[test]
    fn a_policy_with_many_names_is_paid_for_afterwards() {
        let (mut all, one) = (LookUps::default(), SessionId(1));
        assert_eq!(all.take(one, 100, at(0)), Ok(()));
        let wait = all.take(one, 1, at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(71));
        assert!(too_many(wait).failure.fix.contains("in 71 s"));
        assert_eq!(all.take(one, 1, at(71)), Ok(()));
    }
}
