//! What looks like production and is in reach of a session, for the processes in it: by name, service and verdict. Never by file or key:
//! whoever works in a session gets no map to credentials.

use guard_common::SessionId;
use guard_datapath::LiveHole;
use guard_policy::strictness;
use guard_proto::production::{Place, ProductionFound, ProductionPlace, ProductionReply};

use crate::{
    control::{
        auth::{Agent, Approver},
        explain::parse,
        failure::CallError,
    },
    sessions::Sessions,
    state::State,
};

/// Characters that are kept of each part: files choose their words.
const LONGEST: usize = 256;
/// The ports of a place that is a network.
const ANY: &str = "any";

impl State {
    /// Keeps what a launcher has found, before its command starts.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for.
    pub(crate) fn keep_production(
        &mut self,
        who: Approver,
        session: &str,
        found: ProductionFound,
    ) -> Result<(), CallError> {
        let live = self
            .sessions
            .called(session, |owner| who.answers_for(owner))?;
        let id = live.cgroup.id;
        self.sessions.keep_production(id, found);
        Ok(())
    }

    /// What was found in reach of the caller's session, with what its policies and holes say now.
    pub(crate) fn production(&self, agent: Agent) -> ProductionReply {
        let id = agent.session();
        let mut found = self.sessions.production(id);
        // Once for all places: a session asks as often as it likes, and others wait meanwhile.
        let holes = found.as_ref().map(|_| self.datapath.holes());
        let Some(Ok(holes)) = holes else {
            return ProductionReply { found };
        };
        let places = found.iter_mut().flat_map(|found| &mut found.places);
        for place in places {
            if let Some(verdict) = self.loosest(id, place, &holes) {
                place.verdict = verdict;
            }
        }
        ProductionReply { found }
    }

    /// The least strict verdict for a place; none where the launcher's stands, as no address is known for its name.
    fn loosest(
        &self,
        id: SessionId,
        place: &ProductionPlace,
        holes: &[LiveHole],
    ) -> Option<String> {
        let ports = match place.ports.as_str() {
            ANY => Vec::new(),
            ports => vec![ports.to_owned()],
        };
        let (to, ports) = parse(&place.host, &ports).ok()?;
        let told = self
            .explaining()
            .explain_with(id, &to, &ports, holes)
            .ok()?;
        let verdicts = told.explanations.into_iter().map(|one| one.verdict);
        verdicts.min_by_key(|verdict| strictness(verdict))
    }
}

impl Sessions {
    fn keep_production(&mut self, id: SessionId, mut found: ProductionFound) {
        found.complete &= found.places.len() <= ProductionFound::MOST;
        found.places.truncate(ProductionFound::MOST);
        for place in &mut found.places {
            shorten(place);
        }
        if let Some(session) = self.get_mut(id) {
            session.about.production = Some(found);
            self.keep(id);
        }
    }

    /// Adds what came into reach meanwhile, without writing the session's file. `more`: what follows is not shown.
    pub(super) fn add_production(&mut self, id: SessionId, place: &Place, more: bool) {
        let Some(session) = self.get_mut(id) else {
            return;
        };
        let found = session.about.production.get_or_insert_default();
        let mut known = found.places.iter();
        if known.any(|one| one.host == place.host && one.ports == place.ports) {
            found.complete &= !more;
            return;
        }
        if more || found.places.len() >= ProductionFound::MOST {
            found.complete = false;
            return;
        }
        let mut new = ProductionPlace {
            host: place.host.clone(),
            ports: place.ports.clone(),
            service: place.service.clone(),
            verdict: place.verdict.clone(),
        };
        shorten(&mut new);
        found.places.push(new);
    }

    /// Of a session, else of the outermost around it: its launcher has looked for all of them.
    fn production(&self, id: SessionId) -> Option<ProductionFound> {
        let own = self.get(id)?;
        let outermost = || self.get(own.outermost());
        let found = own.about.production.as_ref();
        found
            .or_else(|| outermost()?.about.production.as_ref())
            .cloned()
    }
}

fn shorten(place: &mut ProductionPlace) {
    let ProductionPlace {
        host,
        ports,
        service,
        verdict,
    } = place;
    for part in [host, ports, service, verdict] {
        if let Some((end, _)) = part.char_indices().nth(LONGEST) {
            part.truncate(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::none_but;

    fn place(host: &str) -> ProductionPlace {
        ProductionPlace {
            host: host.to_owned(),
            ports: "tcp/5432".to_owned(),
            service: "postgres".to_owned(),
            verdict: "confirm".to_owned(),
        }
    }

    fn appeared(host: &str) -> Place {
        Place {
            host: host.to_owned(),
            ports: "tcp/5432".to_owned(),
            service: "postgres".to_owned(),
            file: ".env".to_owned(),
            line: Some(1),
            key: "A_URL".to_owned(),
            verdict: "allow".to_owned(),
        }
    }

    #[test]
    fn what_is_in_reach_is_the_outermost_sessions_with_what_comes_later() {
        let mut sessions = none_but(&[(1, None), (2, Some(1))]);
        let [outer, inner] = [1, 2].map(SessionId);
        assert_eq!(sessions.production(inner), None);
        let found = ProductionFound {
            places: vec![place("db.example.net")],
            complete: true,
        };
        sessions.keep_production(outer, found.clone());
        assert_eq!(sessions.production(inner), Some(found.clone()));
        // What is known is no news.
        sessions.add_production(outer, &appeared("db.example.net"), false);
        assert_eq!(sessions.production(outer), Some(found));
        sessions.add_production(outer, &appeared("203.0.113.9"), false);
        let all = sessions.production(inner).unwrap();
        let hosts: Vec<_> = all.places.iter().map(|one| one.host.as_str()).collect();
        assert_eq!(hosts, ["db.example.net", "203.0.113.9"]);
        assert!(all.complete);
        // Neither file nor key is in what is told.
        let told = serde_json::to_string(&all).unwrap();
        assert!(!told.contains(".env") && !told.contains("A_URL"), "{told}");
    }

    #[test]
    fn so_many_are_kept_and_that_there_are_more_is_said() {
        const PLACES: usize = ProductionFound::MOST;
        let mut sessions = none_but(&[(1, None)]);
        let id = SessionId(1);
        let places = (0..=PLACES).map(|at| place(&format!("{}{at}", "x".repeat(LONGEST))));
        let found = ProductionFound {
            places: places.collect(),
            complete: true,
        };
        sessions.keep_production(id, found);
        let kept = sessions.production(id).unwrap();
        assert_eq!((kept.places.len(), kept.complete), (PLACES, false));
        assert!(kept.places.iter().all(|one| one.host.len() == LONGEST));
        sessions.add_production(id, &appeared("db.example.net"), false);
        assert_eq!(sessions.production(id).unwrap().places.len(), PLACES);
        // Of more than is told none is named, and of what came before anybody looked it is not known that it is all.
        for more in [true, false] {
            let mut sessions = none_but(&[(1, None)]);
            sessions.add_production(id, &appeared("db.example.net"), more);
            let kept = sessions.production(id).unwrap();
            assert_eq!(
                (kept.places.len(), kept.complete),
                (usize::from(!more), false)
            );
        }
    }
}
