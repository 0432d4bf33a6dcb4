//! What name servers answer to sessions whose policies speak of no names: by which name a session knows an address, for the person
//! who is asked about it.
//!
//! `connect` and `sendmsg` mark the UDP socket that asks, and ingress reads what it gets from that server, on its way: who is told of
//! an address has no time to connect before. No verdict is made of it, so that what cannot be read is passed over: answers by TCP,
//! owner names that are not compressed, and what is behind the first records.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, bpf_sock},
    programs::SockAddrContext,
};
use guard_common::{
    Address, Answered, AnsweredKey, Connection, DNS_PORT, MAX_SENT_NAME, NAME_WORDS, Protocol,
    SessionId,
};

use crate::{
    ctx, kernel,
    maps::{self, ANSWERED, AskedState, OWN_NETWORK, SESSION_LEVEL},
    questions,
};

/// Bytes of a UDP header, and of that of a DNS message (RFC 1035 4.1.1).
const UDP_HEADER: u32 = 8;
const HEADER: u32 = 12;
/// Type and class of a question (RFC 1035 4.1.2).
const ASKED_FOR: u32 = 4;
/// What is in front of a record's data, with a compressed owner (RFC 1035 4.1.3, 4.1.4).
const RECORD: u32 = 12;
/// Both bits: a pointer.
const COMPRESSED: u8 = 0xc0;
/// The longest label (RFC 1035 2.3.4).
const MAX_LABEL: u8 = 63;
/// A name has fewer labels (RFC 1035 2.3.4).
const MAX_LABELS: u32 = 128;
/// So many records of an answer are read.
const MAX_RECORDS: u32 = 32;
/// Response (QR), and what is no answer: another operation (OPCODE), an error (RCODE).
const RESPONSE: u8 = 0x80;
const OPERATION: u8 = 0x78;
const ERROR: u8 = 0x0f;
/// Class IN; types A (RFC 1035 3.2) and AAAA (RFC 3596).
const IN: u16 = 1;
const A: u16 = 1;
const AAAA: u16 = 28;

/// Marks a socket that asks a name server, which no resolver of the guard's answers for.
#[inline(always)]
pub(crate) fn expect(ctx: &SockAddrContext, to: &Connection) {
    if to.protocol == Protocol::UDP && questions::may_be(to) {
        mark(ctx, to);
    }
}

/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
fn mark(ctx: &SockAddrContext, to: &Connection) {
    if kernel::netns_cookie(ctx.as_ptr()).0 != OWN_NETWORK.load() {
        return;
    }
    let state = kernel::new_socket_storage::<AskedState>(maps::asked(), ctx::socket(ctx));
    let Some(state) = state else {
        return;
    };
    let (_, tgid) = kernel::current_pid_tgid();
    // SAFETY: a live map value; aligned words. Of two threads that ask at once, one is told.
    unsafe {
        for word in 0..4 {
            let server = (&raw mut (*state).server).cast::<u32>();
            server.add(word).write_volatile(to.to.0[word]);
        }
        (&raw mut (*state).tgid).write_volatile(tgid);
        kernel::current_comm(&mut (*state).comm);
    }
}

/// Notes the names of the addresses in a packet, if it is an answer that is waited for.
#[inline(always)]
pub(crate) fn note(skb: *mut __sk_buff) {
    let mut from = MaybeUninit::uninit();
    if !ctx::may_be_datagram(skb) || !ctx::datagram(skb, &mut from) {
        return;
    }
    // SAFETY: `datagram` wrote it.
    let from = unsafe { from.assume_init_ref() };
    if from.port != DNS_PORT {
        return;
    }
    let cgroup = kernel::packet_ancestor_cgroup(skb, SESSION_LEVEL.load());
    let session = maps::session(cgroup).id;
    let (Some(sk), Some(answer)) = (kernel::packet_socket(skb), maps::answer()) else {
        return;
    };
    if session.0 == 0 || !read_asker(sk, &from.from, answer) {
        return;
    }
    let ip = if from.from.is_v4() { 20 } else { 40 };
    if let Some((records, count)) = read_question(skb, ip + UDP_HEADER, answer) {
        note_records(skb, session, answer, records, count);
    }
}

/// Reads who asked; false where nobody asked that server.
#[inline(always)]
fn read_asker(sk: *mut bpf_sock, server: &Address, answer: *mut Answered) -> bool {
    let Some(asked) = kernel::socket_storage::<AskedState>(maps::asked(), sk) else {
        return false;
    };
    // SAFETY: live map values, of aligned words; `answer` is this CPU's own.
    unsafe {
        let asked_server = (&raw const (*asked).server).cast::<u32>();
        for word in 0..4 {
            if asked_server.add(word).read_volatile() != server.0[word] {
                return false;
            }
        }
        (&raw mut (*answer).server).write(*server);
        (&raw mut (*answer).tgid).write((&raw const (*asked).tgid).read_volatile());
        let comm = (&raw const (*asked).comm).cast::<u64>();
        for word in 0..2 {
            let part = comm.add(word).read_volatile();
            (&raw mut (*answer).comm)
                .cast::<u64>()
                .add(word)
                .write_volatile(part);
        }
    }
    true
}

/// Reads the question of an answer. Returns where its records begin, and how many are read; none where it is no answer.
#[inline(always)]
fn read_question(skb: *mut __sk_buff, at: u32, answer: *mut Answered) -> Option<(u32, u32)> {
    let mut header = [0_u8; HEADER as usize];
    if !kernel::load_bytes(skb, at, &mut header) {
        return None;
    }
    let is_answer = header[2] & (RESPONSE | OPERATION) == RESPONSE && header[3] & ERROR == 0;
    let questions = u16::from_be_bytes([header[4], header[5]]);
    let records = u16::from_be_bytes([header[6], header[7]]);
    if !is_answer || questions != 1 {
        return None;
    }
    let begin = at + HEADER;
    let mut end = begin;
    kernel::find(MAX_LABELS, (), |_| {
        let mut length = [0_u8; 1];
        if end > begin + MAX_SENT_NAME as u32
            || !kernel::load_bytes(skb, end, &mut length)
            || length[0] > MAX_LABEL
        {
            // No name has so many bytes.
            end = begin + u32::MAX / 2;
            return Some(());
        }
        end += 1 + u32::from(length[0]);
        (length[0] == 0).then_some(())
    });
    // Compared below what it is to be: kernels before 6.8 learn nothing of a length from that it is not 0.
    let last = kernel::opaque(u64::from(end.wrapping_sub(begin).wrapping_sub(1)));
    if last >= MAX_SENT_NAME as u64 {
        return None;
    }
    let length = kernel::next(last);
    // SAFETY: a live map value, this CPU's own; the name has room for as many bytes as was just checked.
    let is_read = unsafe {
        let name = (&raw mut (*answer).name).cast::<u64>();
        for word in 0..NAME_WORDS {
            name.add(word).write_volatile(0);
        }
        (&raw mut (*answer).length).write(length as u32);
        kernel::load_some(skb, begin, name.cast(), length)
    };
    is_read.then_some((end + ASKED_FOR, u32::from(records).min(MAX_RECORDS)))
}

/// Notes the addresses of `count` records from there on.
#[inline(always)]
fn note_records(
    skb: *mut __sk_buff,
    session: SessionId,
    answer: *mut Answered,
    begin: u32,
    count: u32,
) {
    let now = kernel::boot_time();
    let mut key = AnsweredKey {
        session,
        address: Address::default(),
    };
    let mut at = begin;
    kernel::find(count, (), |_| {
        match read_record(skb, at, &mut key.address) {
            0 => return Some(()),
            length => at += length,
        }
        if key.address != Address::default() {
            // SAFETY: a live map value, this CPU's own.
            unsafe {
                (&raw mut (*answer).head).write(key.mark());
                (&raw mut (*answer).tail).write(key.mark());
                (&raw mut (*answer).at).write(now);
                (&raw mut (*answer).since).write(now);
                if let Some(before) = ANSWERED.get_ptr(key)
                    && has_same_name(before, answer)
                {
                    let since = (&raw const (*before).since).read_volatile();
                    (&raw mut (*answer).since).write(since);
                }
                // By reference: the stack has no room for one.
                let answer: &Answered = &*answer;
                let _ = ANSWERED.insert(key, answer, 0);
            }
        }
        None
    });
}

/// Whether both have the same name.
#[inline(always)]
fn has_same_name(one: *const Answered, other: *const Answered) -> bool {
    // SAFETY: live map values, of aligned words.
    unsafe {
        let one = (&raw const (*one).name).cast::<u64>();
        let other = (&raw const (*other).name).cast::<u64>();
        let differs =
            |word: &usize| one.add(*word).read_volatile() != other.add(*word).read_volatile();
        !(0..NAME_WORDS).any(|word| differs(&word))
    }
}

/// Reads the record there. Returns its length, or 0 where it cannot be read. `address` is its address; the unspecified one where it has
/// none.
#[inline(always)]
fn read_record(skb: *mut __sk_buff, at: u32, address: &mut Address) -> u32 {
    *address = Address::default();
    let mut record = [0_u8; RECORD as usize];
    if !kernel::load_bytes(skb, at, &mut record) || record[0] & COMPRESSED != COMPRESSED {
        return 0;
    }
    let word = |at: usize| u16::from_be_bytes([record[at], record[at + 1]]);
    let (kind, class, length) = (word(2), word(4), word(10));
    match (class, kind, length) {
        (IN, A, 4) => {
            let mut data = [0_u8; 4];
            if kernel::load_bytes(skb, at + RECORD, &mut data) {
                *address = Address::from_v4_be(u32::from_ne_bytes(data));
            }
        }
        (IN, AAAA, 16) => {
            let mut data = [0_u8; 16];
            if kernel::load_bytes(skb, at + RECORD, &mut data) {
                *address = Address::from_u128(u128::from_be_bytes(data));
            }
        }
        _ => {}
    }
    RECORD + u32::from(length)
}
