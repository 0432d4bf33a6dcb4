//! Programs on the loopback that a person's sessions reach without a question: program, owner and port.

use std::{collections::BTreeMap, io, path::PathBuf};

use guard_common::Protocol;
use guard_policy::protocol_name;
use guard_proto::holes::Remembered;
use serde::{Deserialize, Serialize};

use super::identify::ListeningProgram;
use crate::{
    control::failure::CallError,
    record::kept::{FileState, KeptFile},
};

/// Programs that are remembered for one user.
const MAX_OF_USER: usize = 256;

/// A program that is reached without a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    id: u32,
    exe: PathBuf,
    owner: u32,
    protocol: u8,
    port: u16,
}

impl Known {
    fn is(&self, program: &ListeningProgram, protocol: Protocol, port: u16) -> bool {
        let is_there = self.protocol == protocol.0 && self.port == port;
        is_there && self.owner == program.uid && self.exe == program.exe
    }
}

/// What each user has said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct AlwaysByUser {
    last: u32,
    users: BTreeMap<u32, Vec<Known>>,
}

impl FileState for AlwaysByUser {
    const WITHOUT: &'static str = "each program on the loopback is asked about";

    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn text(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// Owns `always.json`.
#[derive(Debug)]
pub(crate) struct Always(KeptFile<AlwaysByUser>);

impl Always {
    /// Those in the file. It may be absent.
    #[must_use]
    pub(crate) fn read(file: PathBuf) -> Self {
        Self(KeptFile::read(file))
    }

    /// Returns true if any program is remembered for a user.
    #[must_use]
    pub(crate) fn has_any(&self, user: u32) -> bool {
        self.0.known().users.contains_key(&user)
    }

    /// Returns true if a program is remembered for a user.
    #[must_use]
    pub(crate) fn has(
        &self,
        user: u32,
        program: &ListeningProgram,
        protocol: Protocol,
        port: u16,
    ) -> bool {
        let own = self.0.known().users.get(&user).into_iter().flatten();
        own.into_iter().any(|one| one.is(program, protocol, port))
    }

    /// Remembers a program for a user.
    ///
    /// # Errors
    ///
    /// That the user has too many, or the file cannot be written.
    pub(crate) fn remember(
        &mut self,
        user: u32,
        program: &ListeningProgram,
        protocol: Protocol,
        port: u16,
    ) -> Result<(), CallError> {
        if self.has(user, program, protocol, port) {
            return Ok(());
        }
        let mut now = self.0.known().clone();
        let own = now.users.entry(user).or_default();
        if own.len() >= MAX_OF_USER {
            return Err(CallError::refused(
                "the program is not remembered",
                format!("{MAX_OF_USER} are remembered for this user"),
                "forget some: guard holes --always, guard close ID",
            ));
        }
        now.last += 1;
        own.push(Known {
            id: now.last,
            exe: program.exe.clone(),
            owner: program.uid,
            protocol: protocol.0,
            port,
        });
        self.keep(now)
    }

    /// Forgets a program. Returns whose it was; none: no such id, or not `may`.
    ///
    /// # Errors
    ///
    /// That the file cannot be written.
    pub(crate) fn forget(
        &mut self,
        id: &str,
        may: impl Fn(u32) -> bool,
    ) -> Result<Option<u32>, CallError> {
        let mut now = self.0.known().clone();
        let number = number(id);
        let mut users = now.users.iter_mut().filter(|(user, _)| may(**user));
        let found = users.find_map(|(user, own)| {
            let at = own.iter().position(|one| Some(one.id) == number)?;
            own.remove(at);
            Some(*user)
        });
        let Some(user) = found else {
            return Ok(None);
        };
        now.users.retain(|_, own| !own.is_empty());
        self.keep(now)?;
        Ok(Some(user))
    }

    /// Those of some users, as people see them.
    #[must_use]
    pub(crate) fn shown(
        &self,
        may: impl Fn(u32) -> bool,
        mut name: impl FnMut(u32) -> String,
    ) -> Vec<Remembered> {
        let users = self.0.known().users.iter().filter(|(user, _)| may(**user));
        let all = users.flat_map(|(user, own)| own.iter().map(move |one| (*user, one)));
        all.map(|(user, one)| Remembered {
            id: format!("a{}", one.id),
            user: name(user),
            program: one.exe.to_string_lossy().into_owned(),
            owner: name(one.owner),
            protocol: protocol_name(Protocol(one.protocol)),
            port: one.port,
        })
        .collect()
    }

    fn keep(&mut self, now: AlwaysByUser) -> Result<(), CallError> {
        self.0
            .is_whole()
            .map_err(|file| CallError::unread("nothing can be remembered", &file))?;
        self.0.replace(now).map_err(|error| {
            CallError::failed(
                "it was not kept",
                format!("{} cannot be written: {error}", self.0.file().display()),
                "make room on that file system",
            )
        })
    }
}

/// Returns the number of an id, `a1`.
#[must_use]
pub(crate) fn number(id: &str) -> Option<u32> {
    id.strip_prefix('a')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_remembered_with_its_owner_and_its_port_for_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("always.json");
        let mut always = Always::read(file.clone());
        let postgres = ListeningProgram::of("/usr/bin/postgres", 100);
        always
            .remember(1000, &postgres, Protocol::TCP, 5432)
            .unwrap();
        let always = Always::read(file);
        for (user, program, port, is_known) in [
            (1000, &postgres, 5432, true),
            (1001, &postgres, 5432, false),
            (1000, &postgres, 5433, false),
            (
                1000,
                &ListeningProgram::of("/usr/bin/ssh", 100),
                5432,
                false,
            ),
            (
                1000,
                &ListeningProgram::of("/usr/bin/postgres", 0),
                5432,
                false,
            ),
        ] {
            let found = always.has(user, program, Protocol::TCP, port);
            assert_eq!(found, is_known, "{user} {program:?} {port}");
        }
        assert!(!always.has(1000, &postgres, Protocol::UDP, 5432));
    }

    #[test]
    fn who_may_not_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut always = Always::read(dir.path().join("always.json"));
        let program = ListeningProgram::of("/usr/bin/node", 1000);
        always
            .remember(1000, &program, Protocol::TCP, 3000)
            .unwrap();
        assert_eq!(always.forget("a1", |user| user == 7).unwrap(), None);
        assert_eq!(always.forget("h1", |_| true).unwrap(), None);
        assert_eq!(always.forget("a1", |_| true).unwrap(), Some(1000));
        assert!(!always.has_any(1000));
    }
}
