//! One reading of a question: what is ambiguous, or says more than a question does, is rejected. What
//! leaves is written by guard, so that of a program's bytes nothing leaves but a name and a type.

use super::{
    kinds::{self, Kind},
    name::WireName,
};

/// The length of a message's header (RFC 1035 4.1.1).
pub(super) const HEADER: usize = 12;
/// `IN`.
pub(super) const CLASS_IN: u16 = 1;
/// What this process can take in a datagram from a server, as it tells it (RFC 6891 6.2.5: what no network cuts up).
pub(super) const MAX_DATAGRAM: u16 = 1232;
/// What a client takes that says nothing of it (RFC 1035 4.2.1), and the least that one can say (RFC 6891 6.2.3).
const LEAST_DATAGRAM: u16 = 512;

/// In the third byte of a header.
const QR: u8 = 0x80;
/// In the third byte.
const RD: u8 = 0x01;
/// In the fourth byte.
const CD: u8 = 0x10;
/// In the flags of OPT.
const DO: u16 = 0x8000;

/// What a client has said in OPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edns {
    /// Bytes of a datagram that it takes.
    pub(super) size: u16,
    /// It wants signatures.
    pub(super) dnssec_ok: bool,
}

/// What of a header comes back in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// By which the client knows its question.
    pub(super) id: u16,
    /// The kind of message, 0 for a question.
    pub(super) opcode: u8,
    /// The server is to ask others.
    pub(super) recursion_desired: bool,
    /// It is not to check signatures.
    pub(super) checking_disabled: bool,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Of its header.
    pub(super) head: Head,
    /// The name.
    pub(super) name: WireName,
    /// The type.
    pub(super) kind: Kind,
    /// The class, `IN` unless it was rejected for that.
    pub(super) class: u16,
    /// What was said beside it.
    pub(super) edns: Option<Edns>,
    /// The name as the client spells it, which may be what it knows its answer by.
    spelling: Box<[u8]>,
}

/// Why something is not taken for a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// It is an answer, or too short to have a header: nothing comes back.
    Silently,
    /// FORMERR.
    Malformed(Head),
    /// NOTIMP.
    OtherOpcode(Head),
    /// Another class than `IN`: NXDOMAIN.
    OtherClass(Box<Question>),
}

/// Reads a message as a question.
///
/// # Errors
///
/// Why it is none.
pub(super) fn parse(message: &[u8]) -> Result<Question, Rejected> {
    let (head, counts) = header(message).ok_or(Rejected::Silently)?;
    if head.opcode != 0 {
        return Err(Rejected::OtherOpcode(head));
    }
    let question = match counts {
        [1, 0, 0, beside @ (0 | 1)] => body(head, &message[HEADER..], beside == 1),
        _ => None,
    };
    let question = question.ok_or(Rejected::Malformed(head))?;
    match question.class {
        CLASS_IN => Ok(question),
        _ => Err(Rejected::OtherClass(Box::new(question))),
    }
}

/// The header of a question, and how many records each section has.
fn header(message: &[u8]) -> Option<(Head, [u16; 4])> {
    let header: &[u8; HEADER] = message.first_chunk()?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let head = Head {
        id: number(0),
        opcode: header[2] >> 3 & 0xf,
        recursion_desired: header[2] & RD != 0,
        checking_disabled: header[3] & CD != 0,
    };
    let is_question = header[2] & QR == 0;
    is_question.then(|| (head, [4, 6, 8, 10].map(number)))
}

fn body(head: Head, bytes: &[u8], is_opt_there: bool) -> Option<Question> {
    let name = WireName::read(bytes)?;
    let (spelling, rest) = bytes.split_at_checked(name.bytes().len())?;
    let (kind, rest) = take_number(rest)?;
    let (class, rest) = take_number(rest)?;
    let (edns, rest) = if is_opt_there {
        take_opt(rest).map(|(edns, rest)| (Some(edns), rest))?
    } else {
        (None, rest)
    };
    rest.is_empty().then(|| Question {
        head,
        name,
        kind: Kind(kind),
        class,
        edns,
        spelling: spelling.into(),
    })
}

/// OPT of version 0; its options are only counted.
fn take_opt(bytes: &[u8]) -> Option<(Edns, &[u8])> {
    let (root, rest) = bytes.split_first()?;
    let (kind, rest) = take_number(rest)?;
    let (size, rest) = take_number(rest)?;
    let (version, rest) = take_number(rest)?;
    let (flags, rest) = take_number(rest)?;
    let (length, rest) = take_number(rest)?;
    let (options, rest) = rest.split_at_checked(usize::from(length))?;
    let is_opt = *root == 0 && Kind(kind) == kinds::OPT && version == 0 && are_options(options);
    let edns = Edns {
        size,
        dnssec_ok: flags & DO != 0,
    };
    is_opt.then_some((edns, rest))
}

/// Whether these are options without anything left over (RFC 6891 6.1.2).
fn are_options(mut options: &[u8]) -> bool {
    while !options.is_empty() {
        let rest = take_number(options)
            .and_then(|(_code, rest)| take_number(rest))
            .and_then(|(length, rest)| rest.get(usize::from(length)..));
        match rest {
            Some(rest) => options = rest,
            None => return false,
        }
    }
    true
}

fn take_number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

impl Question {
    /// The same question with another id, for a server: nothing else that the program has chosen is in it but the name's
    /// labels, the type, and the bits CD and DO. OPT comes with it where the client sent one, so that the answer can be passed on
    /// as it comes.
    #[must_use]
    pub(super) fn rebuilt(&self, id: u16) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + self.name.bytes().len() + 15);
        message.extend(id.to_be_bytes());
        message.push(RD);
        message.push(if self.head.checking_disabled { CD } else { 0 });
        for count in [1, 0, 0, u16::from(self.edns.is_some())] {
            message.extend(count.to_be_bytes());
        }
        message.extend(self.name.bytes());
        message.extend(self.kind.0.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        if let Some(edns) = self.edns {
            message.extend(opt(edns.dnssec_ok, 0));
        }
        message
    }

    /// As the client has spelt it: name, type and class.
    #[must_use]
    pub(super) fn section(&self) -> Vec<u8> {
        let mut section = Vec::with_capacity(self.spelling.len() + 4);
        section.extend_from_slice(&self.spelling);
        section.extend(self.kind.0.to_be_bytes());
        section.extend(self.class.to_be_bytes());
        section
    }

    /// Bytes of a datagram that the client takes.
    #[must_use]
    pub(super) fn datagram(&self) -> usize {
        let told = self.edns.map_or(LEAST_DATAGRAM, |edns| edns.size);
        usize::from(told.max(LEAST_DATAGRAM))
    }
}

/// An OPT record of this process, in front of options of that length.
#[must_use]
pub(super) fn opt(dnssec_ok: bool, options: u16) -> [u8; 11] {
    let [size_high, size_low] = MAX_DATAGRAM.to_be_bytes();
    let [kind_high, kind_low] = kinds::OPT.0.to_be_bytes();
    let [flags, _] = if dnssec_ok { DO } else { 0 }.to_be_bytes();
    let [length_high, length_low] = options.to_be_bytes();
    [
        0,
        kind_high,
        kind_low,
        size_high,
        size_low,
        0,
        0,
        flags,
        0,
        length_high,
        length_low,
    ]
}

/// Whether a message of a server answers a question that was sent with this id, word for word. What does not may be anybody's.
#[must_use]
pub(super) fn is_answered(message: &[u8], id: u16, question: &Question) -> bool {
    let Some(header) = message.first_chunk::<HEADER>() else {
        return false;
    };
    let name = question.name.bytes();
    let [kind_high, kind_low] = question.kind.0.to_be_bytes();
    let [class_high, class_low] = question.class.to_be_bytes();
    let asked = message.get(HEADER..HEADER + name.len() + 4);
    header[..2] == id.to_be_bytes()
        && header[2] & QR != 0
        && header[2] >> 3 & 0xf == 0
        && header[4..6] == [0, 1]
        // Lengths and numbers are the same in both cases, but for type and class.
        && asked.is_some_and(|asked| {
            let (spelling, rest) = asked.split_at(name.len());
            spelling.eq_ignore_ascii_case(name)
                && rest == [kind_high, kind_low, class_high, class_low]
        })
}

/// Makes of a server's answer, which [`is_answered`] has found to be one, the client's: with the client's id, and with the
/// question as it was spelt.
pub(super) fn give_back(message: &mut [u8], question: &Question) {
    let section = question.section();
    if let Some(asked) = message.get_mut(HEADER..HEADER + section.len()) {
        asked.copy_from_slice(&section);
    }
    if let Some(header) = message.first_chunk_mut::<HEADER>() {
        [header[0], header[1]] = question.head.id.to_be_bytes();
        header[2] = header[2] & !RD
            | if question.head.recursion_desired {
                RD
            } else {
                0
            };
    }
}

#[cfg(test)]
pub(crate) mod tests;
