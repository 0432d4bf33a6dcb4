//! Holes in the kernel: opened, widened, closed and listed, and the connections that went through one (`THROUGH`), which are cut when it
//! has ended.

use std::collections::HashSet;

use guard_common::{
    Address, BootTime, BudgetId, Connection, HoleEntry, HoleId, HoleKind, HoleList, Protocol,
    SessionId, meta,
};
use guard_sys::{clock, sock_destroy};

use super::{
    Datapath, DatapathError, Result, SessionCgroup, hole_list,
    maps::{bytes, gone, read},
};

/// A hole that is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewHole {
    /// The prefix's address.
    pub prefix: Address,
    /// Its length in IPv6 bits.
    pub prefix_len: u8,
    /// The protocol, or [`Protocol::ANY`].
    pub protocol: Protocol,
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
    /// When it ends by itself.
    pub expires: BootTime,
    /// How many connections it lets through; `None`: any number.
    pub connections: Option<u32>,
    /// How many bytes they may send in all; `None`: any number. Not for a hole for reads alone.
    pub bytes: Option<u64>,
    /// Through the proxy, which lets reads pass.
    pub read_only: bool,
}

/// A hole that has not ended, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveHole {
    /// Its session.
    pub session: SessionId,
    /// What it covers and when it ends.
    pub entry: HoleEntry,
    /// Connections that it still lets through; `None`: any number.
    pub connections_left: Option<u64>,
    /// Bytes that may still be sent through it; `None`: any number.
    pub bytes_left: Option<u64>,
}

impl LiveHole {
    /// Whether it lets nothing through any more.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.bytes_left == Some(0)
    }

    /// Of these, the one by which the kernel half lets everything of a new connection of a session through; none: there is none.
    #[must_use]
    pub fn first<'h>(holes: &'h [Self], session: SessionId, to: &Connection) -> Option<&'h Self> {
        let over = holes.iter().filter(|hole| {
            let is_for_all = !hole.entry.kind.reads() && !hole.is_used_up();
            let is_its = hole.session == session && is_for_all;
            is_its && hole.entry.covers(&to.to, to.protocol, to.port)
        });
        over.min_by_key(|hole| hole_list::order(&hole.entry))
    }

    /// Whether it lets nothing new through any more.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.is_spent() || self.connections_left == Some(0)
    }
}

impl Datapath {
    /// Opens a hole. When this returns it is in the kernel.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Full`], or the system's; then there is no hole.
    pub fn open_hole(&mut self, session: SessionId, new: NewHole) -> Result<HoleId> {
        let list = self.hole_list(session)?;
        let id = HoleId(self.maps.next_id(meta::NEXT_HOLE)?);
        let mut entries = self.living(&list);
        entries.push(entry(id, &new));
        let next = hole_list::next(session, &list, entries)?;
        let placed = self.write_budgets(id, &new);
        let placed = placed.and_then(|()| self.write_holes(session, &next));
        placed.inspect_err(|_| {
            let _ = self.forget_budget(id);
        })?;
        Ok(id)
    }

    /// Has an open hole cover one more prefix. What it counts it counts of all of them. When this returns it is in the kernel.
    ///
    /// # Errors
    ///
    /// As for [`Self::open_hole`]; then the hole is as it was.
    pub fn widen_hole(&mut self, session: SessionId, id: HoleId, new: NewHole) -> Result<()> {
        let list = self.hole_list(session)?;
        let mut entries = self.living(&list);
        entries.push(entry(id, &new));
        let next = hole_list::next(session, &list, entries)?;
        self.write_holes(session, &next)
    }

    fn write_budgets(&mut self, id: HoleId, new: &NewHole) -> Result<()> {
        budgets(id, new).into_iter().try_for_each(|(budget, left)| {
            let written = self.maps.budgets.insert(budget.0, left, 0);
            written.map_err(DatapathError::ebpf("write the map BUDGETS"))
        })
    }

    /// Closes a hole: when this returns, nothing new passes, and no packet of an earlier connection. Its connections hang until
    /// [`Self::cut`], and its budgets stay until [`Self::settle_budgets`].
    ///
    /// # Errors
    ///
    /// [`DatapathError::Absent`] if there is none, or the system's.
    pub fn close_hole(&mut self, session: SessionId, hole: HoleId) -> Result<()> {
        let list = self.hole_list(session)?;
        let all = hole_list::entries(&list);
        if !all.iter().any(|entry| entry.id == hole) {
            return Err(DatapathError::Absent {
                what: format!("hole h{}", hole.0),
            });
        }
        let others = all
            .iter()
            .filter(|entry| entry.id != hole)
            .copied()
            .collect();
        self.write_holes(session, &hole_list::next(session, &list, others)?)?;
        self.maps.bump_generation()
    }

    /// As [`Self::close_hole`], for all holes of a session.
    pub(super) fn close_all_holes(&mut self, session: SessionId) -> Result<()> {
        gone(self.maps.holes.remove(&session.0))
            .map_err(DatapathError::ebpf("write the map HOLES"))?;
        self.maps.bump_generation()
    }

    /// Whether a socket went through a hole, as far as the kernel has it: of all holes the last 16,384.
    #[must_use]
    pub fn went_through(&self, cookie: u64) -> bool {
        self.maps.through.get(&cookie, 0).is_ok()
    }

    /// How many sockets went through a hole, as far as the kernel has them: of all holes the last 16,384.
    #[must_use]
    pub fn let_through(&self, hole: HoleId) -> u64 {
        let all = self.maps.through.iter();
        let known = all.filter_map(std::result::Result::ok);
        known.filter(|(_, through)| *through == hole.0).count() as u64
    }

    /// Closes the connections that went through `ended` holes: their programs get ECONNABORTED at once, instead of waiting for
    /// answers to packets that are dropped. Returns how many there were.
    ///
    /// # Errors
    ///
    /// The system's. The packets are dropped all the same.
    pub fn cut(&mut self, session: &SessionCgroup, ended: &[HoleId]) -> Result<usize> {
        let cookies: HashSet<u64> = self
            .maps
            .through
            .iter()
            .filter_map(std::result::Result::ok)
            .filter(|(_, hole)| ended.contains(&HoleId(*hole)))
            .map(|(cookie, _)| cookie)
            .collect();
        if cookies.is_empty() {
            return Ok(0);
        }
        let cut = self.destroy(session, cookies.len(), || sock_destroy::destroy(&cookies))?;
        for cookie in &cookies {
            gone(self.maps.through.remove(cookie))
                .map_err(DatapathError::ebpf("write the map THROUGH"))?;
        }
        Ok(cut)
    }

    /// Removes the budgets of a hole that has ended. Returns the bytes that were left; `None` if they were not counted.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn settle_budgets(&mut self, hole: HoleId) -> Result<Option<u64>> {
        let left = match self.maps.budgets.get(&BudgetId::bytes(hole).0, 0) {
            Ok(left) => Some(u64::try_from(left).unwrap_or(0)),
            Err(aya::maps::MapError::KeyNotFound) => None,
            Err(error) => return Err(DatapathError::ebpf("read the map BUDGETS")(error)),
        };
        self.forget_budget(hole)?;
        Ok(left)
    }

    /// The holes that have not ended.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn holes(&self) -> Result<Vec<LiveHole>> {
        let mut found = Vec::new();
        for entry in self.maps.holes.iter() {
            let (session, value) = entry.map_err(DatapathError::ebpf("list the map HOLES"))?;
            for entry in self.living(&read(&value)) {
                found.push(LiveHole {
                    session: SessionId(session),
                    connections_left: self.connections_left(&entry)?,
                    bytes_left: self.bytes_left(&entry)?,
                    entry,
                });
            }
        }
        found.sort_by_key(|hole| hole.entry.id);
        Ok(found)
    }

    fn connections_left(&self, hole: &HoleEntry) -> Result<Option<u64>> {
        if !hole.kind.is_counted() {
            return Ok(None);
        }
        self.left(BudgetId::of(hole.id, hole.kind)).map(Some)
    }

    fn bytes_left(&self, hole: &HoleEntry) -> Result<Option<u64>> {
        if !hole.kind.counts_bytes() {
            return Ok(None);
        }
        self.left(BudgetId::bytes(hole.id)).map(Some)
    }

    fn left(&self, budget: BudgetId) -> Result<u64> {
        let left = match self.maps.budgets.get(&budget.0, 0) {
            Ok(left) => left,
            // The kernel half finds none either, and lets nothing through.
            Err(aya::maps::MapError::KeyNotFound) => 0,
            Err(error) => return Err(DatapathError::ebpf("read the map BUDGETS")(error)),
        };
        // It may be below zero: a program takes one, sees that there was none, and gives it back; bytes are not given back.
        Ok(u64::try_from(left).unwrap_or(0))
    }

    fn living(&self, list: &HoleList) -> Vec<HoleEntry> {
        let now = clock::now();
        hole_list::entries(list)
            .iter()
            .filter(|hole| hole.expires > now)
            .copied()
            .collect()
    }

    fn hole_list(&self, session: SessionId) -> Result<HoleList> {
        match self.maps.holes.get(&session.0, 0) {
            Ok(value) => Ok(read(&value)),
            Err(aya::maps::MapError::KeyNotFound) => Ok(hole_list::EMPTY),
            Err(e) => Err(DatapathError::ebpf("read the map HOLES")(e)),
        }
    }

    fn write_holes(&mut self, session: SessionId, list: &HoleList) -> Result<()> {
        self.maps
            .holes
            .insert(session.0, bytes(list), 0)
            .map_err(DatapathError::ebpf("write the map HOLES"))
    }

    pub(super) fn forget_budget(&mut self, hole: HoleId) -> Result<()> {
        let of = |kind| BudgetId::of(hole, kind);
        let own = [HoleKind::COUNTED, HoleKind::COUNTED_READS].map(of);
        for budget in own.into_iter().chain([BudgetId::bytes(hole)]) {
            gone(self.maps.budgets.remove(&budget.0))
                .map_err(DatapathError::ebpf("write the map BUDGETS"))?;
        }
        Ok(())
    }
}

/// A hole's entries in `BUDGETS`, written before the hole is in place.
pub(super) fn budgets(id: HoleId, new: &NewHole) -> Vec<(BudgetId, i64)> {
    let own = new
        .connections
        .map(|left| (BudgetId::of(id, kind(new)), i64::from(left)));
    let bytes = new.bytes.map(|left| {
        let left = i64::try_from(left).unwrap_or(i64::MAX);
        (BudgetId::bytes(id), left)
    });
    own.into_iter().chain(bytes).collect()
}

fn kind(new: &NewHole) -> HoleKind {
    match (new.read_only, new.bytes) {
        (false, Some(_)) => HoleKind::of_bytes(new.connections.is_some()),
        (reads, _) => HoleKind::new(reads, new.connections.is_some()),
    }
}

pub(super) fn entry(id: HoleId, new: &NewHole) -> HoleEntry {
    let mask = Address::mask(new.prefix_len);
    HoleEntry {
        prefix: Address::from_u128(new.prefix.to_u128() & mask.to_u128()),
        mask,
        expires: new.expires,
        id,
        low: new.low,
        high: new.high,
        prefix_len: new.prefix_len,
        protocol: new.protocol,
        kind: kind(new),
        pad: [0; 5],
    }
}
