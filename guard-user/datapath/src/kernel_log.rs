//! The kernel log: the kernel half logs what decided each decision, to debug a verdict.
//!
//! Whether it does is a constant of the programs, by which the verifier prunes: a program that logs nothing has no instructions
//! for it. So switching it loads the programs again and replaces the attached ones, as for another build. The log ends with
//! guardd: the next one finds programs that are not of its own build, and replaces them.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use aya_log::EbpfLogger;
use guard_common::{HoleId, Hook, LogLines, LogOutcome, PolicyId, Protocol, SessionId, Verdict};
use log::{Log, Metadata, Record};

use super::{
    Datapath, DatapathError, LogOf, Result,
    loader::{LoadSettings, Loader},
    maps, pins,
    start::{self, OldPrograms},
};

/// A line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionLine {
    /// The hook.
    pub hook: Hook,
    /// The outcome.
    pub outcome: LogOutcome,
    /// The destination that was asked for; unspecified where there was none.
    pub to: IpAddr,
    /// Its port; 0 where the protocol has none.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The session; 0 for a cgroup that no session owns.
    pub session: SessionId,
    /// The policy that decided, its rule and verdict; none if no policy was asked.
    pub policy: Option<(PolicyId, u16, Verdict)>,
    /// The hole that allowed it.
    pub hole: Option<HoleId>,
}

/// Lines since the last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// The lines.
    pub lines: Vec<DecisionLine>,
    /// How many more there were, over the limit of a second or of the ring buffer.
    pub left_out: u64,
}

/// The maps to which the programs log.
pub(super) struct KernelLog {
    logger: EbpfLogger<Collector>,
    collected: Collector,
    counted: Array<MapData, [u8; size_of::<LogLines>()]>,
    counted_before: LogLines,
    read: u64,
    left_out: u64,
}

impl KernelLog {
    /// The log of programs that were just loaded.
    fn of(ebpf: &mut Ebpf) -> Result<Self> {
        const COUNTED: &str = "LOG_LINES";
        let collected = Collector::default();
        let logger = EbpfLogger::init_with_logger(ebpf, collected.clone());
        let counted = ebpf
            .take_map(COUNTED)
            .ok_or_else(|| DatapathError::Absent {
                what: format!("map {COUNTED} in the eBPF object"),
            })?;
        Ok(Self {
            logger: logger.map_err(DatapathError::ebpf("read the kernel log"))?,
            collected,
            counted: Array::try_from(counted)
                .map_err(DatapathError::ebpf(format!("open the map {COUNTED}")))?,
            counted_before: LogLines::default(),
            read: 0,
            left_out: 0,
        })
    }

    fn read(&mut self) -> Logged {
        self.logger.flush();
        let lines = std::mem::take(&mut *self.collected.lock());
        self.read += lines.len() as u64;
        // What was counted at the last read has been written by now, if the ring buffer had room.
        let lost = self.counted_before.written.saturating_sub(self.read);
        if let Ok(counted) = self.counted.get(&0, 0) {
            self.counted_before = maps::read(&counted);
        }
        let left_out = self.counted_before.left_out + lost;
        let new = left_out.saturating_sub(self.left_out);
        self.left_out += new;
        Logged {
            lines,
            left_out: new,
        }
    }
}

/// Collects what aya's logger reads.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<DecisionLine>>>);

impl Collector {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<DecisionLine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Only the kernel half writes here, and in this form only.
        if let Some(decided) = parse(&record.args().to_string()) {
            self.lock().push(decided);
        }
    }

    fn flush(&self) {}
}

/// Parses a line as `guard-ebpf/src/log.rs` writes it.
fn parse(line: &str) -> Option<DecisionLine> {
    let mut words = line.split(' ');
    let (hook, outcome) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let to: Ipv6Addr = words.next()?.parse().ok()?;
    let (port, protocol) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let session = words.next()?.parse().ok()?;
    let (policy, rule) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let verdict = Verdict::from_u8(words.next()?.parse().ok()?);
    let hole = words.next()?.parse().ok()?;
    let decided = DecisionLine {
        hook: Hook::from_u8(hook)?,
        outcome: LogOutcome::from_u8(outcome)?,
        to: to.to_canonical(),
        port,
        protocol: Protocol(protocol),
        session: SessionId(session),
        policy: (policy != 0).then_some((PolicyId(policy), rule, verdict)),
        hole: (hole != 0).then_some(HoleId(hole)),
    };
    words.next().is_none().then_some(decided)
}

impl Datapath {
    /// Has the kernel half log the decisions of `of`, or none. The programs are replaced for that; those before may judge for a moment more,
    /// as these do, and nobody reads what they log.
    ///
    /// # Errors
    ///
    /// If the kernel refuses. What is enforced still is; programs that were replaced stay, and the next guardd replaces them.
    pub fn log_decisions(&mut self, of: Option<LogOf>) -> Result<()> {
        if self.kernel_log.is_none() && of.is_none() {
            return Ok(());
        }
        let live = pins::live(&self.places.pin_dir);
        let settings = LoadSettings::new(&self.root, of);
        let mut loader = Loader::new(&settings);
        let mut ebpf = start::replace(
            &mut self.maps,
            &live,
            &self.object,
            &self.root,
            &mut loader,
            OldPrograms::Own,
        )?;
        self.kernel_log = None;
        if of.is_some() {
            self.kernel_log = Some(KernelLog::of(&mut ebpf)?);
        }
        Ok(())
    }

    /// The lines since the last call; none if nothing is logged.
    pub fn decisions(&mut self) -> Option<Logged> {
        self.kernel_log.as_mut().map(KernelLog::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_decided() {
        let decided = parse("1 1 ::ffff:192.0.2.10 443 6 3 2 65535 255 7").unwrap();
        assert_eq!(
            (decided.hook, decided.outcome),
            (Hook::Connect4, LogOutcome::Allowed)
        );
        assert_eq!(decided.to, IpAddr::from([192, 0, 2, 10]));
        assert_eq!((decided.port, decided.protocol), (443, Protocol::TCP));
        assert_eq!(
            (decided.session, decided.hole),
            (SessionId(3), Some(HoleId(7)))
        );
        assert_eq!(
            decided.policy,
            Some((PolicyId(2), 65535, Verdict::from_u8(255)))
        );
        let cached = parse("5 3 2001:db8::1 53 17 3 0 0 0 0").unwrap();
        assert_eq!((cached.policy, cached.hole), (None, None));
        for unknown in ["", "1 1", "77 1 :: 1 1 1 1 1 1 1", "1 1 :: 1 1 1 1 1 1 1 1"] {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
    }
}
