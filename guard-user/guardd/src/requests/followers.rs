//! The approvers who follow, and so see a new request at once.

use std::{cell::RefCell, rc::Rc};

use crate::control::auth::Approver;

/// The approvers' connections that follow the pending requests, and whether an approver is told in another way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Followers {
    present: Rc<RefCell<Vec<Approver>>>,
    is_told: bool,
}

impl Followers {
    /// None yet. With `is_told` an approver learns of every request by other means.
    #[must_use]
    pub(crate) fn new(is_told: bool) -> Self {
        Self {
            is_told,
            ..Self::default()
        }
    }

    /// Adds an approver, until what this returns is dropped.
    #[must_use]
    pub(crate) fn join(&self, who: Approver) -> Following {
        self.present.borrow_mut().push(who);
        let all = self.clone();
        Following { all, who }
    }

    /// Whether an approver for that user follows.
    #[must_use]
    pub(crate) fn any_for(&self, owner: u32) -> bool {
        self.is_told
            || self
                .present
                .borrow()
                .iter()
                .any(|who| who.answers_for(owner))
    }
}

/// An approver who follows.
#[derive(Debug)]
pub(crate) struct Following {
    all: Followers,
    who: Approver,
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut all = self.all.present.borrow_mut();
        if let Some(at) = all.iter().position(|one| *one == self.who) {
            all.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::auth::{Authorised, Caller, CallerPlace, authorise};
    use guard_proto::Call;

    fn person(uid: u32) -> Approver {
        let place = CallerPlace::Outside;
        let caller = Caller { uid, pid: 1, place };
        match authorise(&caller, &Call::Pending {}).unwrap() {
            Authorised::Approver(who) => who,
            Authorised::Agent(_) => panic!("it is outside"),
        }
    }

    #[test]
    fn somebody_is_there_until_the_last_has_left() {
        let followers = Followers::default();
        let one = followers.join(person(1000));
        let two = followers.join(person(1000));
        assert!(followers.any_for(1000) && !followers.any_for(1001));
        drop(one);
        assert!(followers.any_for(1000));
        drop(two);
        assert!(!followers.any_for(1000));
        let _root = followers.join(person(0));
        assert!(followers.any_for(1001));
        assert!(Followers::new(true).any_for(1001));
    }
}
