//! What came into reach of a session while its command runs, as its launcher tells.

use guard_proto::{Place, record::Appeared};
use guard_sys::clock;

use crate::{
    control::{auth::Approver, failure::CallError, ids},
    record::audit::LogEntry,
    state::State,
};

/// Characters that are kept of each part: files choose their words.
const LONGEST: usize = 256;

impl State {
    /// Records that something that looks like production has come into reach.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for.
    pub fn appeared(
        &mut self,
        who: Approver,
        session: &str,
        place: Place,
    ) -> Result<(), CallError> {
        let live = self
            .sessions
            .called(session, |owner| who.answers_for(owner))?;
        let (id, uid) = (live.cgroup.id, live.about.uid);
        let Some(admitted) = self.admit(id, clock::now()) else {
            return Ok(());
        };
        let kept = |text: String| text.chars().take(LONGEST).collect::<String>().into();
        let record = Appeared {
            host: kept(place.host),
            ports: kept(place.ports),
            service: kept(place.service),
            file: kept(place.file),
            line: place.line.into(),
            key: kept(place.key),
            verdict: kept(place.verdict),
        };
        let entry = LogEntry::of(ids::session(id), uid, record);
        self.recorder.note(entry.admitted(admitted));
        Ok(())
    }
}
