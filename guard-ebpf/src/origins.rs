//! Tells guard-proxy what a redirected connection asked for, and guard-resolver which server a question was meant for.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use guard_common::{Origin, OriginKey};

use crate::{
    ctx, kernel, listener,
    maps::{self, ORIGINS},
    questions,
    redirect::Redirect,
};

/// Tells the proxy the original destination of a connection that begins, or the resolver that of a question. False if it could not.
#[inline(always)]
pub(crate) fn tell(skb: *mut __sk_buff) -> bool {
    guard_origin(skb) != 0
}

/// [`tell`]. The verifier checks it by itself; those that it calls are functions of their own for the sake of the stack, as
/// [`crate::emit::due`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_origin(skb: *mut __sk_buff) -> u32 {
    let is_told = match kernel::packet_socket(skb).and_then(Redirect::of) {
        None => false,
        Some(redirect) if redirect.is_datagram() => tell_of_datagram(skb, redirect),
        Some(redirect) => !listener::is_overtaken(skb, redirect) && tell_of_segment(skb, redirect),
    };
    u32::from(is_told)
}

#[inline(never)]
fn tell_of_segment(skb: *mut __sk_buff, redirect: Redirect) -> bool {
    let mut segment = MaybeUninit::uninit();
    if !ctx::segment(skb, &mut segment) {
        return false;
    }
    // SAFETY: `segment` wrote it.
    let segment = unsafe { segment.assume_init_ref() };
    if !segment.begins() {
        return true;
    }
    let (asked, proxy) = (redirect.asked(), redirect.proxy());
    // A SYN may come long after `connect` (TCP_FASTOPEN_CONNECT).
    let localhost = asked.to.connected().localhost();
    if !kernel::is_listening(skb.cast(), maps::listeners(), &localhost, proxy.port) {
        return false;
    }
    let key = OriginKey::new(proxy.netns, segment.from, segment.port, proxy.port);
    let origin = origin(redirect);
    ORIGINS.insert(key, origin, 0).is_ok()
}

/// Tells the resolver of a question by UDP, for the first packet and each that follows: it looks the entry up, and it may be
/// evicted. What is in the resolver's buffer from before that session had the port is nobody's.
#[inline(never)]
fn tell_of_datagram(skb: *mut __sk_buff, redirect: Redirect) -> bool {
    // Many at once (`UDP_SEGMENT`) would count as one.
    if kernel::segments(skb) > 1 {
        return false;
    }
    let mut from = MaybeUninit::uninit();
    if !ctx::datagram(skb, &mut from) {
        return false;
    }
    // SAFETY: `datagram` wrote it.
    let from = unsafe { from.assume_init_ref() };
    let proxy = redirect.proxy();
    let mut key = OriginKey::new(proxy.netns, from.from, from.port, proxy.port);
    let session = redirect.session();
    let hash = questions::hash(skb, &from.from);
    if hash == questions::TOO_LONG || !questions::has_room(session, proxy.netns, &from.from) {
        return false;
    }
    let mut origin = origin(redirect);
    origin.hash = hash;
    questions::note(&mut key, &mut origin)
}

/// The entry for what a redirected socket sends now.
#[inline(always)]
fn origin(redirect: Redirect) -> Origin {
    let ((reason, _), asked) = (redirect.reason(), redirect.asked());
    let (session, tgid) = (redirect.session(), redirect.tgid());
    let now = kernel::boot_time();
    Origin::new(reason, now, session, tgid, asked.to, asked.port)
}
