//! The maps, with their sizes and who writes them. Those that one file alone uses are there: `log.rs`, `lsm.rs`, `outside.rs`.

use core::{
    ffi::c_void,
    ptr::{self, NonNull},
};

use aya_ebpf::{
    Global,
    bindings::{BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE},
    btf_maps::{
        Array, HashMap, HashOfMaps, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockHash,
        lpm_trie::Key,
    },
    macros::btf_map,
};
use guard_common::{
    Address, Answered, AnsweredKey, AttemptCount, AttemptKey, BootTime, BudgetId, Connection,
    Event, Flow, FlowCount, FlowKey, Held, HoldTerms, HoleId, HoleList, Learned, ListId, MAX_NAMED,
    NameId, Named, NamedKey, NetnsCookie, Origin, OriginKey, PolicyId, PrefixValue, QueueKey,
    RangeList, RefusedKey, Session, SessionId, SessionStats, Tables, meta, tls,
};

use crate::kernel;

pub(crate) const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;
/// `BPF_NOEXIST` in linux/bpf.h.
pub(crate) const NO_EXIST: u64 = 1;
/// `BPF_F_CLONE` of linux/bpf.h: an accepted socket gets a copy of its listener's storage.
const CLONE: usize = 1 << 9;

/// Depth in the cgroup hierarchy of the cgroups right below the guard's root: a session's cgroup is
/// the ancestor at this level. Set by guardd when it loads the programs.
#[unsafe(no_mangle)]
pub(crate) static SESSION_LEVEL: Global<u32> = Global::new(0);

/// After how many jiffies the SYN of a held connection is sent again for the first time. Set by guardd when it loads the
/// programs: the kernel counts in jiffies there, and tells no program how long one is.
#[unsafe(no_mangle)]
pub(crate) static FIRST_PROBE: Global<u32> = Global::new(0);

/// The network namespace of guardd: in another one a session may be every name server. Set by guardd when it loads the programs.
#[unsafe(no_mangle)]
pub(crate) static OWN_NETWORK: Global<u64> = Global::new(0);

/// Generation and counters, see [`meta`]. Written by guardd.
#[btf_map]
static META: Array<u64, { meta::LEN as usize }> = Array::new();

/// A [`PrefixValue`], declared as a number. Until 6.2 the kernel takes a trie into [`POLICIES`] only where its
/// declared value is a structure just as that of the map's own is, and guardd's tries declare none.
type RawPrefixValue = u64;

/// A trie of prefixes for each policy. guardd fills a new trie unseen and puts it in place by one write.
#[btf_map]
static POLICIES: HashOfMaps<u32, LpmTrie<[u32; 4], RawPrefixValue, 1>, 4096> = HashOfMaps::new();

/// Port ranges that prefixes name. Written by guardd; an id is never used twice.
#[btf_map]
static RANGES: HashMap<u32, RangeList, 65536, NO_PREALLOC> = HashMap::new();

/// The names by which sessions know addresses. Written by the guard's resolver before a program gets the answer, and by guardd.
/// Nothing is evicted: what would be might be the stricter name.
#[btf_map]
static NAMED: HashMap<NamedKey, Named, MAX_NAMED, NO_PREALLOC> = HashMap::new();

/// Sessions by the id of their cgroup; key 0: what unowned cgroups are judged by. Written by guardd.
#[btf_map]
static SESSIONS: HashMap<u64, Session, 4096, NO_PREALLOC> = HashMap::new();

/// The holes of each session. Written by guardd.
#[btf_map]
static HOLES: HashMap<u32, HoleList, 4096, NO_PREALLOC> = HashMap::new();

/// Connections, and bytes, left to each counted hole, by its [`BudgetId`]. Made by guardd, counted down here.
#[btf_map]
static BUDGETS: HashMap<u32, i64, 65536, NO_PREALLOC> = HashMap::new();

/// Which hole let a socket through, by cookie, so that guardd can cut it. Written here.
#[btf_map]
static THROUGH: LruHashMap<u64, u32, 16384> = LruHashMap::new();

/// How often each destination was refused to each session. Written here.
#[btf_map]
pub(crate) static ATTEMPTS: LruHashMap<AttemptKey, AttemptCount, 16384> = LruHashMap::new();

/// Counters of each session. Made by guardd, counted here.
#[btf_map]
pub(crate) static STATS: HashMap<u32, SessionStats, 4096, NO_PREALLOC> = HashMap::new();

/// How many connections of each session were held and went on: [`STATS`] counts them as refused, from when they were held.
/// Written here.
#[btf_map]
static WENT_ON: LruHashMap<u32, u64, 4096> = LruHashMap::new();

/// Events for guardd: refusals, and connections that are held. Written here.
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { 512 * 1024 }> = RingBuf::new();

/// The outermost session of each nested one: the one that a person started. Written by guardd.
#[btf_map]
static OUTERMOST: HashMap<u32, u32, 4096, NO_PREALLOC> = HashMap::new();

/// What each session has reached. Written here; guardd removes what an ended session has left. Nothing is evicted: what would be
/// might be another session's.
#[btf_map]
pub(crate) static FLOWS: HashMap<FlowKey, Flow, 65536, NO_PREALLOC> = HashMap::new();

/// How many flows of an outermost session and all inside it are kept, and how many connections were left out: a [`FlowCount`]'s
/// number. Counted here; guardd lowers it by what it has removed.
#[btf_map]
static FLOW_SHARES: HashMap<u64, u64, 8192, NO_PREALLOC> = HashMap::new();

/// How many events of each kind an outermost session and all inside it have had reported in this second. Written here.
#[btf_map]
static SHARES: LruHashMap<u64, Share, 4096> = LruHashMap::new();

/// The verdict cache: the last allowance of each socket. Written here.
#[btf_map]
static SOCKETS: SocketStorage<SocketState, { NO_PREALLOC | CLONE }> = SocketStorage::new();

/// When each socket was connected last, for [`crate::began`]; accepted sockets don't inherit it. Written here.
#[btf_map]
static BEGAN: SocketStorage<u64, NO_PREALLOC> = SocketStorage::new();

/// The port of the guard's own proxy on the loopback of each network namespace, by its cookie. Written by guardd.
#[btf_map]
static PROXIES: HashMap<u64, u16, 4096, NO_PREALLOC> = HashMap::new();

/// The port of the guard's own resolver on the loopback of each network namespace, by its cookie. Written by guardd.
#[btf_map]
static RESOLVERS: HashMap<u64, u16, 4096> = HashMap::new();

/// The sockets on which the guard's own proxies and resolvers listen: 1. Nobody else's is ever taken for one, also where a proxy is gone
/// and its port somebody's. Written by guardd.
#[btf_map]
static LISTENERS: SocketStorage<u64, NO_PREALLOC> = SocketStorage::new();

/// The original destination of a socket that was redirected to a proxy or a resolver; accepted sockets don't inherit it. Written here.
#[btf_map]
static TURNED: SocketStorage<RedirectState, NO_PREALLOC> = SocketStorage::new();

/// The original destinations of redirected connections, by both ends. Written here; the proxy, or the resolver, takes each out.
#[btf_map]
pub(crate) static ORIGINS: LruHashMap<OriginKey, Origin, 16384> = LruHashMap::new();

/// The original destinations of datagrams to the resolver, by both ends, and of each question where a port's go to several
/// servers. Written here, read by the resolver within a second. One session makes two for each datagram that [`crate::questions`]
/// lets through: it takes some seconds to evict another's.
#[btf_map]
pub(crate) static QUESTIONS: LruHashMap<OriginKey, Origin, 32768> = LruHashMap::new();

/// When a resolver last had nothing left to read at a socket: boot time. Written by the resolver.
#[btf_map]
static DRAINED: LruHashMap<QueueKey, u64, 8192> = LruHashMap::new();

/// How many datagrams each outermost session has sent there since. Written here.
#[btf_map]
static UNREAD: LruHashMap<QueueKey, Unread, 8192> = LruHashMap::new();

/// The names of addresses that name servers answered to sessions whose policies speak of none. The least recently used one makes room:
/// nothing is decided by them. Written here.
#[btf_map]
pub(crate) static ANSWERED: LruHashMap<AnsweredKey, Answered, 4096> = LruHashMap::new();

/// Who asked a name server by a UDP socket. Written here.
#[btf_map]
static ASKED: SocketStorage<AskedState, NO_PREALLOC> = SocketStorage::new();

/// Room for one [`Answered`] while it is read.
#[btf_map]
static ANSWER: PerCpuArray<Answered, 1> = PerCpuArray::new();

/// Whether connections are held for an approver, and how long, by session. Written by guardd.
#[btf_map]
static PATIENCE: HashMap<u32, HoldTerms, 4096, NO_PREALLOC> = HashMap::new();

/// The connections that are held, by their sockets' cookies: guardd's list of them. Written here.
#[btf_map]
pub(crate) static HELD: HashMap<u64, Held, 65536, NO_PREALLOC> = HashMap::new();

/// Destinations that a person said no to, and until when. Written by guardd.
#[btf_map]
static REFUSED: LruHashMap<RefusedKey, u64, 16384> = LruHashMap::new();

/// The state of a socket whose connection is held. Written here.
#[btf_map]
static HOLDS: SocketStorage<HoldState, NO_PREALLOC> = SocketStorage::new();

/// The state of a UDP socket that was connected to what an approver has to allow first. Written here.
#[btf_map]
static UNSENT: SocketStorage<UnsentState, NO_PREALLOC> = SocketStorage::new();

/// 1 where [`crate::gate`] is in place: the program at [`GATE_SOCKETS`] and that which puts sockets there. Written by guardd.
#[btf_map]
static GATE: Array<u64, 1> = Array::new();

/// The state of a socket that [`crate::gate`] concerns. Written here.
#[btf_map]
static GATE_STATES: SocketStorage<GateState, NO_PREALLOC> = SocketStorage::new();

/// Connections whose first record is waited for, and some that have shown it just now, by their sockets' cookies. Written here.
#[btf_map]
static GATE_SOCKETS: SockHash<u64, 65536> = SockHash::new();

/// The addresses of this machine, besides the loopback's, in guardd's network namespace: 1. Written by guardd.
#[btf_map]
pub(crate) static HERE: HashMap<Address, u8, 1024, NO_PREALLOC> = HashMap::new();

/// Sessions whose user has programs on the loopback that are reached without a question: 1. Written by guardd.
#[btf_map]
static REMEMBERS: HashMap<u32, u8, 4096, NO_PREALLOC> = HashMap::new();

/// Sessions, by cgroup, that have made an MPTCP socket: 1. What listens for one is a socket of the kernel's, which nothing
/// marks in [`NEAR`]. Written here.
#[btf_map]
static MULTIPATH: LruHashMap<u64, u8, 4096> = LruHashMap::new();

/// Which session made a TCP or UDP socket, its program and its flow; and a listener's ticket, once a session connects to it. Written here.
#[btf_map]
static NEAR: SocketStorage<ListenerState, { NO_PREALLOC | CLONE }> = SocketStorage::new();

/// The kinds of events that [`SHARES`] counts.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Shared {
    /// Refusals.
    Refusals = 1,
    /// Questions by UDP, which are not reported but let through.
    Questions = 4,
    /// Connections that are held.
    Held = 5,
}

/// A second, and how many events were reported in it; of the last kind, when the next is due ([`crate::rates::takes_turn`]).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) window: BootTime,
    pub(crate) in_window: u64,
}

/// What an outermost session has sent to a resolver's socket. See [`crate::questions`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Unread {
    /// Since when: what [`DRAINED`] said.
    pub(crate) since: u64,
    /// So many datagrams.
    pub(crate) count: u64,
    /// When one more may be sent, however many are unread ([`crate::rates::takes_turn`]).
    pub(crate) next: u64,
}

/// The session that a person started, around that one or itself.
#[inline(always)]
fn outermost(session: SessionId) -> SessionId {
    match OUTERMOST.get_ptr(session.0) {
        // SAFETY: a live map value, written once.
        Some(outermost) => SessionId(unsafe { outermost.read_volatile() }),
        None => session,
    }
}

/// A number of a session's flows, which is its outermost session's; none where there is no room.
#[inline(always)]
pub(crate) fn flow_count(session: SessionId, of: FlowCount) -> Option<*mut u64> {
    let key = of.of(outermost(session));
    if let Some(count) = FLOW_SHARES.get_ptr_mut(key) {
        return Some(count);
    }
    // Of two that are the first at once, one is the second.
    let _ = FLOW_SHARES.insert(key, 0, NO_EXIST);
    FLOW_SHARES.get_ptr_mut(key)
}

/// The share of a session, which is its outermost session's; none where memory is short.
#[inline(always)]
pub(crate) fn share(session: SessionId, of: Shared, now: BootTime) -> Option<*mut Share> {
    let key = u64::from(outermost(session).0) | (of as u64) << 32;
    if let Some(share) = SHARES.get_ptr_mut(key) {
        return Some(share);
    }
    let new = Share {
        window: now,
        in_window: 0,
    };
    // Of two that are the first at once, one is the second.
    let _ = SHARES.insert(key, new, NO_EXIST);
    SHARES.get_ptr_mut(key)
}

/// When a resolver last had nothing left to read at a socket; 0 where it has not said.
#[inline(always)]
pub(crate) fn drained(queue: &QueueKey) -> u64 {
    DRAINED
        .get_ptr(queue)
        // SAFETY: a live map value; one aligned word. Where the kernel makes it another socket's meanwhile, a count begins again.
        .map_or(0, |at| unsafe { at.read_volatile() })
}

/// What a session's account has sent to a socket; none where memory is short. The key gets the account.
#[inline(always)]
pub(crate) fn unread(queue: &mut QueueKey, session: SessionId) -> Option<*mut Unread> {
    queue.account = outermost(session);
    let queue: &QueueKey = queue;
    if let Some(unread) = UNREAD.get_ptr_mut(queue) {
        return Some(unread);
    }
    let new = Unread {
        since: 0,
        count: 0,
        next: 0,
    };
    // Of two that are the first at once, one is the second.
    let _ = UNREAD.insert(queue, new, NO_EXIST);
    UNREAD.get_ptr_mut(queue)
}

/// The last allowance of a socket, valid for one generation and one destination. See [`crate::socket`].
#[repr(C)]
pub(crate) struct SocketState {
    /// Odd while it is written. Threads may send on one UDP socket at once.
    pub(crate) sequence: u64,
    /// `META[GENERATION]` when it was allowed; 0 where nothing is, or by no generation.
    pub(crate) generation: u64,
    /// The destination: an [`Address`]'s first two and last two words.
    pub(crate) to: [u64; 2],
    /// Port (16 bits), protocol (8), whether a packet was judged (1), and in the high half the hole that allowed it.
    pub(crate) way: u64,
    /// 0, or when that hole ends.
    pub(crate) expires: u64,
    /// The cgroup that it was allowed to: of the task that asked, or that the socket was made in.
    pub(crate) owner: u64,
    /// 1 on listeners that have answered somebody, and on what they accepted. Outside of the sequence.
    pub(crate) inbound: u64,
}

/// The original destination of a socket that is connected to a proxy or a resolver. See [`crate::redirect`].
#[repr(C)]
pub(crate) struct RedirectState {
    /// Its network namespace.
    pub(crate) netns: u64,
    /// The address that it asked for: the words of an [`Address`], another program's listener by [`Address::of_listener`].
    pub(crate) destination: [u32; 4],
    /// The session of the task that asked.
    pub(crate) session: u32,
    /// The port that it asked for, host byte order.
    pub(crate) port: u16,
    /// The port of the proxy, host byte order.
    pub(crate) proxy: u16,
    /// A [`guard_common::Reason`] in the low half, and in the high half the hole for reads that the redirect used, or 0.
    pub(crate) reason: u64,
    /// The process that asked.
    pub(crate) tgid: u32,
    /// Of a question: 1 where it was asked by UDP.
    pub(crate) by_udp: u32,
}

/// The state of a TCP socket whose connection is held. See [`crate::hold`].
#[repr(C)]
pub(crate) struct HoldState {
    /// The deadline; 0 where the connection is not held.
    pub(crate) until: u64,
    /// How many of its packets were dropped, and in the high half how many of the first are answered with
    /// [`crate::hold`]'s `PROBE`.
    pub(crate) drops: u64,
    /// The address that it asked for: the words of an [`Address`], another program's listener by [`Address::of_listener`].
    pub(crate) destination: [u32; 4],
    /// The session of the task that asked.
    pub(crate) session: u32,
    /// The port that it asked for, host byte order, and `hold::IN_DOUBT`.
    pub(crate) port: u32,
    /// Since when it is held.
    pub(crate) since: u64,
    /// The process that asked.
    pub(crate) tgid: u64,
}

/// The state of a UDP socket that was connected to what an approver has to allow first. See [`crate::unsent`].
#[repr(C)]
pub(crate) struct UnsentState {
    /// How often it was connected since.
    pub(crate) connects: u64,
    /// How often it had been when that was allowed last.
    pub(crate) allowed: u64,
    /// What was allowed then: the words of an [`Address`].
    pub(crate) to: [u32; 4],
    /// The port of that, host byte order.
    pub(crate) port: u32,
    /// The [`guard_common::Hook`] of the last call.
    pub(crate) hook: u32,
    /// The cgroup of the session that connected it.
    pub(crate) cgroup: u64,
    /// The thread that did.
    pub(crate) pid: u32,
    /// Its process.
    pub(crate) tgid: u32,
    /// Its user.
    pub(crate) uid: u32,
    /// What it called itself.
    pub(crate) comm: [u32; 4],
    /// Unused.
    pub(crate) pad: u32,
}

/// Who asked a name server. See [`crate::answered_names`].
#[repr(C)]
pub(crate) struct AskedState {
    /// The name server: the words of an [`Address`].
    pub(crate) server: [u32; 4],
    /// What the thread called itself.
    pub(crate) comm: [u8; 16],
    /// Its process.
    pub(crate) tgid: u32,
}

/// The state of a TCP socket that has to show a name in TLS. See [`crate::gate`].
#[repr(C)]
pub(crate) struct GateState {
    /// A [`crate::gate`]'s `HelloStage`.
    pub(crate) stage: u64,
    /// The cgroup of the session that connected it.
    pub(crate) cgroup: u64,
    /// When it did.
    pub(crate) began: u64,
    /// The address that it asked for: the words of an [`Address`].
    pub(crate) destination: [u32; 4],
    /// The port that it asked for, host byte order.
    pub(crate) port: u64,
    /// Room for one number, see [`tls::Bytes::opaque`].
    pub(crate) number: u64,
    /// By which patterns a policy may have the name that it shows: room for who looks.
    pub(crate) patterns: tls::Patterns,
}

/// What is noted of a socket that a session made, or of a listener that one connects to. See [`crate::listener`] and [`crate::flows`].
#[repr(C)]
pub(crate) struct ListenerState {
    /// The cgroup of the session that made it; 0 where none did.
    pub(crate) owner: u64,
    /// Its [`guard_common::Ticket`]; 0 until a session connects to it.
    pub(crate) ticket: u64,
    /// Unused.
    pub(crate) pad: u64,
    /// What the thread called itself that made it. See [`crate::flows`].
    pub(crate) program: [u64; 2],
    /// What is counted of it. See [`crate::flows`].
    pub(crate) counted: u64,
}

/// Socket storage with flags, which `btf_maps::SkStorage` has no parameter for. Only the types
/// of the fields mean something: the loader reads them from BTF.
#[repr(C)]
struct SocketStorage<T, const FLAGS: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the pointers are placeholders, never dereferenced.
unsafe impl<T, const FLAGS: usize> Sync for SocketStorage<T, FLAGS> {}

impl<T, const FLAGS: usize> SocketStorage<T, FLAGS> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }
}

/// [`SOCKETS`] as [`kernel::socket_storage`] takes it.
#[inline(always)]
pub(crate) fn sockets() -> *mut c_void {
    ptr::from_ref(&SOCKETS).cast_mut().cast()
}

/// [`BEGAN`] as [`kernel::socket_storage`] takes it.
#[inline(always)]
pub(crate) fn began() -> *mut c_void {
    ptr::from_ref(&BEGAN).cast_mut().cast()
}

/// [`TURNED`] as [`kernel::socket_storage`] takes it.
#[inline(always)]
pub(crate) fn redirects() -> *mut c_void {
    ptr::from_ref(&TURNED).cast_mut().cast()
}

/// [`HOLDS`] as [`kernel::socket_storage`] takes it.
#[inline(always)]
pub(crate) fn holding() -> *mut c_void {
    ptr::from_ref(&HOLDS).cast_mut().cast()
}

/// [`UNSENT`] as [`kernel::socket_storage`] takes it.
#[inline(always)]
pub(crate) fn unsent() -> *mut c_void {
    ptr::from_ref(&UNSENT).cast_mut().cast()
}

/// [`ASKED`] as [`kernel::socket_storage`] takes it.
#[inline(always)]
pub(crate) fn asked() -> *mut c_void {
    ptr::from_ref(&ASKED).cast_mut().cast()
}

/// Room for an answer while it is read.
#[inline(always)]
pub(crate) fn answer() -> Option<*mut Answered> {
    ANSWER.get_ptr_mut(0)
}

/// [`GATE_STATES`] as [`kernel::socket_storage`] takes it.
#[inline(always)]
pub(crate) fn gate_states() -> *mut c_void {
    ptr::from_ref(&GATE_STATES).cast_mut().cast()
}

/// [`GATE_SOCKETS`], as helpers take it.
#[inline(always)]
pub(crate) fn gate_sockets() -> *mut c_void {
    ptr::from_ref(&GATE_SOCKETS).cast_mut().cast()
}

/// Whether connections can be kept at the gate.
#[inline(always)]
pub(crate) fn has_gate() -> bool {
    GATE.get_ptr(0)
        // SAFETY: an array's element.
        .is_some_and(|is_there| unsafe { is_there.read_volatile() } == 1)
}

/// Notes that a session has made an MPTCP socket.
#[inline(always)]
pub(crate) fn note_multipath(cgroup: u64) {
    // Where there is no room, its own servers count as another program's.
    let _ = MULTIPATH.insert(cgroup, 1, 0);
}

/// Whether a session has ever made an MPTCP socket.
#[inline(always)]
pub(crate) fn has_multipath(cgroup: u64) -> bool {
    MULTIPATH.get_ptr(cgroup).is_some()
}

/// Whether a session's user has programs on the loopback that are reached without a question.
#[inline(always)]
pub(crate) fn remembers(session: SessionId) -> bool {
    REMEMBERS.get_ptr(session.0).is_some()
}

/// [`NEAR`] as [`kernel::socket_storage`] takes it.
#[inline(always)]
pub(crate) fn listener_states() -> *mut c_void {
    ptr::from_ref(&NEAR).cast_mut().cast()
}

/// How long connections of a session are held there, if they are now: its time in nanoseconds, and how many quick probes it has.
#[inline(always)]
pub(crate) fn hold_terms(session: SessionId, to: &Connection, now: BootTime) -> Option<(u64, u64)> {
    let terms = PATIENCE.get_ptr(session.0)?;
    // SAFETY: a live map value. guardd may write another one over it: each field holds for itself.
    let (until, time, quick) = unsafe {
        (
            (&raw const (*terms).until.0).read_volatile(),
            (&raw const (*terms).time).read_volatile(),
            (&raw const (*terms).quick).read_volatile(),
        )
    };
    if now.0 >= until || time == 0 || is_refused(session, to, now) {
        return None;
    }
    Some((time, quick))
}

/// Whether a person said no to that.
#[inline(always)]
fn is_refused(session: SessionId, to: &Connection, now: BootTime) -> bool {
    REFUSED
        .get_ptr(RefusedKey::new(session, to))
        // SAFETY: a live map value; one aligned word.
        .is_some_and(|until| now.0 < unsafe { until.read_volatile() })
}

/// [`LISTENERS`] as [`kernel::is_listening`] takes it.
#[inline(always)]
pub(crate) fn listeners() -> *mut c_void {
    ptr::from_ref(&LISTENERS).cast_mut().cast()
}

/// The port of the proxy of a network namespace, host byte order; 0 where it has none.
#[inline(always)]
pub(crate) fn proxy(netns: NetnsCookie) -> u16 {
    PROXIES
        .get_ptr(netns.0)
        // SAFETY: a live map value. Where the kernel makes it another namespace's meanwhile, what is sent there finds no
        // proxy of its own at that port, and egress drops it.
        .map_or(0, |port| unsafe { port.read_volatile() })
}

/// The port of the resolver of a network namespace, host byte order; 0 where it has none.
#[inline(always)]
pub(crate) fn resolver(netns: NetnsCookie) -> u16 {
    RESOLVERS
        .get_ptr(netns.0)
        // SAFETY: as in `proxy`.
        .map_or(0, |port| unsafe { port.read_volatile() })
}

/// Verdicts cached under another generation are void. 0 where it cannot be read: then none is valid.
#[inline(always)]
pub(crate) fn generation() -> u64 {
    META.get_ptr(meta::GENERATION)
        // SAFETY: an array's element; read volatile since guardd changes it at any time.
        .map_or(0, |generation| unsafe { generation.read_volatile() })
}

/// The session that owns a cgroup, else the one under key 0, else one without a policy.
#[inline(always)]
pub(crate) fn session(cgroup: u64) -> Session {
    // SAFETY: a live map value, of plain numbers. guardd writes it before its cgroup has a process, and replaces it as a whole where the
    // session's policies change: whoever copies the old one just then may read part of the next that has its memory, and judges one
    // call or packet by that. The change raises the generation, so that nothing is cached by it.
    match unsafe { SESSIONS.get(cgroup) } {
        Some(session) => *session,
        // SAFETY: as above.
        None => unsafe { SESSIONS.get(0) }.copied().unwrap_or_default(),
    }
}

/// Notes which hole let a socket through. Losing this costs the clean cut, not the stop.
#[inline(always)]
pub(crate) fn note_through(cookie: u64, hole: HoleId) {
    let _ = THROUGH.insert(cookie, hole.0, 0);
}

/// Counts a connection that was held and goes on. Losing this costs a number in a record.
#[inline(always)]
pub(crate) fn count_went_on(session: SessionId) {
    let _ = WENT_ON.insert(session.0, 0, NO_EXIST);
    if let Some(count) = WENT_ON.get_ptr_mut(session.0) {
        // SAFETY: a live map value, aligned to 8.
        unsafe { kernel::fetch_add(count, 1) };
    }
}

/// Takes a packet's bytes from a hole that lets so many through. False where they are more than were left: then
/// nothing is left, for a packet that is smaller would go out of turn.
#[inline(always)]
pub(crate) fn take_bytes(hole: HoleId, bytes: u64) -> bool {
    let Some(left) = BUDGETS.get_ptr_mut(BudgetId::bytes(hole).0) else {
        return false;
    };
    // SAFETY: a live map value, aligned to 8; guardd writes it once, before the hole is in place. To wrap around took
    // thousands of years of refused packets.
    let before = unsafe { kernel::fetch_add(left.cast(), bytes.wrapping_neg()) } as i64;
    before >= bytes as i64
}

/// What a session knows an address by. Its memory may become another entry's meanwhile, which [`Self::is_of`] tells afterwards.
#[derive(Clone, Copy)]
pub(crate) struct KnownAs(NonNull<Named>);

impl KnownAs {
    /// That of a key.
    #[inline(always)]
    pub(crate) fn find(key: &NamedKey) -> Option<Self> {
        NAMED
            .get_ptr(key)
            .and_then(|named| NonNull::new(named.cast_mut()))
            .map(Self)
    }

    /// One of the patterns; `at` is below [`guard_common::MAX_PATTERNS`].
    #[inline(always)]
    pub(crate) fn learned(self, at: usize) -> Learned {
        // SAFETY: a live map value; aligned words.
        unsafe {
            let learned = (&raw const (*self.0.as_ptr()).patterns)
                .cast::<Learned>()
                .add(at);
            Learned {
                pattern: NameId((&raw const (*learned).pattern.0).read_volatile()),
                until: BootTime((&raw const (*learned).until.0).read_volatile()),
            }
        }
    }

    /// Whether it is still that key's.
    #[inline(always)]
    pub(crate) fn is_of(self, mark: u64) -> bool {
        // SAFETY: as above.
        unsafe {
            (&raw const (*self.0.as_ptr()).head).read_volatile() == mark
                && (&raw const (*self.0.as_ptr()).tail).read_volatile() == mark
        }
    }
}

/// The BPF maps as [`Tables`].
pub(crate) struct Kernel;

impl Tables for Kernel {
    #[inline(always)]
    fn prefix(&self, policy: PolicyId, to: &Address) -> Option<PrefixValue> {
        // SAFETY: a trie in place is never changed; the kernel frees it after the last reader.
        let value = unsafe { POLICIES.get_value(&policy.0, &Key::new(128, to.0)) }?;
        Some(zerocopy::transmute!(*value))
    }

    #[inline(always)]
    fn ranges(&self, list: ListId) -> Option<&RangeList> {
        // SAFETY: a list is removed only when no trie in place names it, and ids are not used twice.
        unsafe { RANGES.get(list.0) }
    }

    #[inline(always)]
    fn holes(&self, session: SessionId) -> Option<&HoleList> {
        // SAFETY: it may be overwritten while it is read, which `version` and `is_whole` find out.
        unsafe { HOLES.get(session.0) }
    }

    #[inline(always)]
    fn version(&self, holes: &HoleList) -> u32 {
        // SAFETY: a field of a live map value; volatile, since it may change meanwhile.
        unsafe { (&raw const holes.head).read_volatile() }
    }

    #[inline(always)]
    fn is_whole(&self, holes: &HoleList, of: SessionId, version: u32) -> bool {
        // SAFETY: as in `version`.
        unsafe {
            (&raw const holes.session.0).read_volatile() == of.0
                && (&raw const holes.head).read_volatile() == version
                && (&raw const holes.tail).read_volatile() == version
        }
    }

    #[inline(always)]
    fn take(&self, budget: BudgetId) -> bool {
        let Some(left) = BUDGETS.get_ptr_mut(budget.0) else {
            return false;
        };
        // SAFETY: a live map value, aligned to 8; guardd writes it once, before the hole is in place.
        unsafe {
            if kernel::fetch_add(left.cast(), u64::MAX) as i64 > 0 {
                return true;
            }
            kernel::fetch_add(left.cast(), 1);
        }
        false
    }

    #[inline(always)]
    fn give_back(&self, budget: BudgetId) {
        if let Some(left) = BUDGETS.get_ptr_mut(budget.0) {
            // SAFETY: a live map value, aligned to 8.
            unsafe { kernel::fetch_add(left.cast(), 1) };
        }
    }

    #[inline(always)]
    fn has(&self, budget: BudgetId) -> bool {
        BUDGETS
            .get_ptr(budget.0)
            // SAFETY: a live map value; one aligned word.
            .is_some_and(|left| unsafe { left.read_volatile() } > 0)
    }

    #[inline(always)]
    fn now(&self) -> BootTime {
        kernel::boot_time()
    }

    #[inline(always)]
    fn find<R>(&self, limit: usize, failed: R, at: impl FnMut(usize) -> Option<R>) -> Option<R> {
        kernel::find(limit as u32, failed, at)
    }
}
