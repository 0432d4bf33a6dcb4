//! Functions that are called by their numbers (the fast path), as libpq does for large objects: those that read one.

use bytes::Bytes;

use super::frame::Fields;

/// A call is not longer, in bytes, if it is one of these.
pub(super) const MAX_CALL: usize = 64;
/// How a large object is opened to be read and not written (PostgreSQL's libpq/libpq-fs.h).
const INV_READ: &[u8] = &0x0004_0000_i32.to_be_bytes();
/// The format code for binary.
const BINARY: usize = 1;

/// Their numbers, which are the same in all versions (PostgreSQL's catalog/pg_proc.dat), and how long their arguments are in binary.
const READS: &[(i32, &[usize])] = &[
    (LO_OPEN, &[4, 4]),
    // lo_close, loread, lo_lseek, lo_tell
    (953, &[4]),
    (954, &[4, 4]),
    (956, &[4, 4, 4]),
    (958, &[4]),
    // lo_lseek64, lo_tell64
    (3170, &[4, 8, 4]),
    (3171, &[4]),
];
const LO_OPEN: i32 = 952;

/// Whether a call is of one of them, with these arguments, and opens nothing for writing.
pub(super) fn reads(message: &Bytes) -> bool {
    let Some((function, arguments)) = call(message) else {
        return false;
    };
    let lengths: Vec<_> = arguments.iter().map(Bytes::len).collect();
    let is_known = READS.contains(&(function, &lengths));
    let mode = arguments.get(1).map_or(&[][..], |mode| &mode[..]);
    is_known && (function != LO_OPEN || mode == INV_READ)
}

/// The function's number, and its arguments; none if one of them is NULL or text, or the message is invalid.
fn call(message: &Bytes) -> Option<(i32, Vec<Bytes>)> {
    let mut fields = Fields::of(message);
    let function = fields.number().ok()?;
    let formats = (0..fields.count().ok()?).map(|_| fields.count().ok());
    let formats: Vec<_> = formats.collect::<Option<_>>()?;
    let count = fields.count().ok()?;
    let is_binary = formats.iter().all(|format| *format == BINARY);
    // One code is for all arguments. Without codes they are text.
    if !is_binary || !(formats.len() == 1 || formats.len() == count && count > 0) {
        return None;
    }
    let arguments = (0..count).map(|_| {
        let length = usize::try_from(fields.number().ok()?).ok()?;
        fields.bytes(length).ok()
    });
    let arguments = arguments.collect::<Option<_>>()?;
    // The format of the answer.
    fields.count().ok()?;
    fields.end().ok()?;
    Some((function, arguments))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::refusal::message, *};

    fn called(function: i32, formats: &[u16], arguments: &[&[u8]], rest: &[u8]) -> Bytes {
        let mut body = function.to_be_bytes().to_vec();
        let count = |list: usize| u16::try_from(list).unwrap().to_be_bytes();
        body.extend(count(formats.len()));
        body.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
        body.extend(count(arguments.len()));
        for argument in arguments {
            body.extend(u32::try_from(argument.len()).unwrap().to_be_bytes());
            body.extend(*argument);
        }
        body.extend(rest);
        message(b'F', &body)
    }

    fn passes(function: i32, arguments: &[&[u8]]) -> bool {
        reads(&called(function, &[1], arguments, &[0, 1]))
    }

    const FOUR: &[u8] = &[0, 0, 0, 7];
    const EIGHT: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 7];

    #[test]
    fn an_object_is_opened_to_be_read_read_moved_in_and_closed() {
        assert!(passes(952, &[FOUR, &[0, 4, 0, 0]]));
        assert!(passes(953, &[FOUR]) && passes(954, &[FOUR, FOUR]));
        assert!(passes(956, &[FOUR, FOUR, FOUR]) && passes(958, &[FOUR]));
        assert!(passes(3170, &[FOUR, EIGHT, FOUR]) && passes(3171, &[FOUR]));
        let each = called(954, &[1, 1], &[FOUR, FOUR], &[0, 0]);
        assert!(reads(&each));
    }

    #[test]
    fn no_mode_but_to_read_alone_opens_one() {
        for bit in (0..32).filter(|bit| *bit != 18) {
            let with: u32 = 1 << bit | 1 << 18;
            let alone: u32 = 1 << bit;
            assert!(!passes(952, &[FOUR, &with.to_be_bytes()]), "{with:x}");
            assert!(!passes(952, &[FOUR, &alone.to_be_bytes()]), "{alone:x}");
        }
        assert!(!passes(952, &[FOUR, &[0; 4]]) && !passes(952, &[FOUR, &[0, 0, 4, 0]]));
    }

    #[test]
    fn every_other_function_stays_unread() {
        let known: Vec<_> = READS.iter().map(|(function, _)| *function).collect();
        for function in (-5..12_000).filter(|function| !known.contains(function)) {
            for arguments in [&[][..], &[FOUR], &[FOUR, FOUR], &[FOUR, EIGHT, FOUR]] {
                assert!(!passes(function, arguments), "{function}");
            }
        }
    }

    #[test]
    fn what_a_server_may_read_in_another_way_stays_unread() {
        let two: &[&[u8]] = &[FOUR, FOUR];
        for (formats, arguments, rest) in [
            (&[0][..], two, &[0, 1][..]),
            (&[], two, &[0, 1]),
            (&[1, 0], two, &[0, 1]),
            (&[1, 1, 1], two, &[0, 1]),
            (&[1], &[FOUR], &[0, 1]),
            (&[1], &[FOUR, FOUR, FOUR], &[0, 1]),
            (&[1], &[FOUR, EIGHT], &[0, 1]),
            (&[1], two, &[0]),
            (&[1], two, &[0, 1, 0]),
        ] {
            assert!(!reads(&called(954, formats, arguments, rest)));
        }
        // NULL
        let null = [&954_i32.to_be_bytes()[..], &[0, 1, 0, 1, 0, 2], FOUR, FOUR];
        let null = [&null.concat()[..], &[0xff; 4], &[0, 1]].concat();
        assert!(!reads(&message(b'F', &null)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(body: Vec<u8>) {
            let _ = reads(&message(b'F', &body));
        }
    }
}
