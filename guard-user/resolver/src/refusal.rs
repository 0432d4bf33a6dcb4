//! Answers of the guard's own: that there is no such name, or nothing of that type, or that it failed.
//!
//! A refused name does not exist: of all that a server can say, that is what every resolver of a program survives, with a search
//! list too. musl gives up at REFUSED and SERVFAIL, and at a name without records of a type.

use super::{
    kinds,
    question::{self, HEADER, Head, Question, Rejected},
};

/// Seconds for which a program may keep a refusal: as SOA's MINIMUM and TTL (RFC 2308).
const MINIMUM: u32 = 5;
/// "Blocked" (RFC 8914 4.16).
const BLOCKED: u16 = 15;
/// The option for it (RFC 8914 2).
const EDE: u16 = 15;
/// What an agent may read of it.
const TEXT: &[u8] = b"guard refuses this name: guard why";

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// There is no such name: it is refused.
    NoName,
    /// The name has nothing of that type: which is not asked for.
    NoData,
    /// It could not be found out now.
    Failed,
    /// It does not fit into a datagram: ask by TCP.
    TooLong,
}

/// Response codes (RFC 1035 4.1.1).
const FORMERR: u8 = 1;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const NOTIMP: u8 = 4;

impl Says {
    /// As an answer to a question.
    #[must_use]
    pub(super) fn to(self, question: &Question) -> Vec<u8> {
        let code = match self {
            Self::NoName => NXDOMAIN,
            Self::Failed => SERVFAIL,
            Self::NoData | Self::TooLong => 0,
        };
        let is_final = matches!(self, Self::NoName | Self::NoData);
        let edns = question.edns;
        let counts = [1, 0, u16::from(is_final), u16::from(edns.is_some())];
        let mut message = header(question.head, code, self == Self::TooLong, counts);
        message.extend(question.section());
        if is_final {
            message.extend(authority());
        }
        if let Some(edns) = edns {
            match self {
                Self::NoName => message.extend(blocked(edns.dnssec_ok)),
                _ => message.extend(question::opt(edns.dnssec_ok, 0)),
            }
        }
        message
    }
}

/// The answer to what was not taken for a question; `None`: silence.
#[must_use]
pub(super) fn to_rejected(rejected: &Rejected) -> Option<Vec<u8>> {
    match rejected {
        Rejected::Silently => None,
        Rejected::Malformed(head) => Some(header(*head, FORMERR, false, [0; 4])),
        Rejected::OtherOpcode(head) => Some(header(*head, NOTIMP, false, [0; 4])),
        Rejected::OtherClass(question) => Some(Says::NoName.to(question)),
    }
}

fn header(head: Head, code: u8, is_cut: bool, counts: [u16; 4]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + 128);
    message.extend(head.id.to_be_bytes());
    let bits = 0x80 | u8::from(is_cut) << 1 | u8::from(head.recursion_desired);
    message.push(bits | head.opcode << 3);
    // Others can be asked, through this server.
    message.push(0x80 | u8::from(head.checking_disabled) << 4 | code);
    message.extend(counts.into_iter().flat_map(u16::to_be_bytes));
    message
}

/// A SOA record of the root's, which bounds how long the refusal is kept (RFC 2308 5).
fn authority() -> Vec<u8> {
    const LOCALHOST: &[u8] = b"\x09localhost\0";
    const NOBODY: &[u8] = b"\x06nobody\x07invalid\0";
    let times = [1, 3600, 1200, 604_800, MINIMUM];
    let length = LOCALHOST.len() + NOBODY.len() + size_of_val(&times);
    let mut record = vec![0];
    record.extend(kinds::SOA.0.to_be_bytes());
    record.extend(question::CLASS_IN.to_be_bytes());
    record.extend(MINIMUM.to_be_bytes());
    record.extend((length as u16).to_be_bytes());
    record.extend(LOCALHOST);
    record.extend(NOBODY);
    record.extend(times.into_iter().flat_map(u32::to_be_bytes));
    record
}

/// OPT that says by an option why.
fn blocked(dnssec_ok: bool) -> Vec<u8> {
    let length = 2 + TEXT.len() as u16;
    let mut record = question::opt(dnssec_ok, 4 + length).to_vec();
    for number in [EDE, length, BLOCKED] {
        record.extend(number.to_be_bytes());
    }
    record.extend(TEXT);
    record
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, MessageType, OpCode, ResponseCode},
        rr::{RData, rdata::opt::EdnsCode},
    };

    use super::{
        super::question::{Edns, parse, tests::asked},
        *,
    };

    fn read(message: &[u8]) -> Message {
        let read = Message::from_vec(message).unwrap();
        assert_eq!(read.metadata.message_type, MessageType::Response);
        assert_eq!(read.metadata.id, 0x1234);
        // Nothing is left over.
        assert_eq!(read.to_vec().unwrap().len(), message.len());
        read
    }

    const EDNS: Option<Edns> = Some(Edns {
        size: 1232,
        dnssec_ok: false,
    });

    #[test]
    fn a_refused_name_does_not_exist_for_five_seconds() {
        for edns in [None, EDNS] {
            let question = parse(&asked("Secret.example", 1, edns)).unwrap();
            let answer = read(&Says::NoName.to(&question));
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
            assert_eq!(answer.queries[0].name().to_ascii(), "Secret.example.");
            let [soa] = &answer.authorities[..] else {
                panic!("no SOA")
            };
            assert_eq!(soa.ttl, 5);
            let RData::SOA(data) = &soa.data else {
                panic!("no SOA")
            };
            assert_eq!(data.minimum, 5);
            let why = answer
                .edns
                .as_ref()
                .and_then(|edns| edns.option(EdnsCode::Unknown(15)));
            assert_eq!(why.is_some(), edns.is_some());
        }
    }

    #[test]
    fn what_else_is_said_is_read_as_meant() {
        let question = parse(&asked("a.example", 255, EDNS)).unwrap();
        let no_data = read(&Says::NoData.to(&question));
        assert_eq!(no_data.metadata.response_code, ResponseCode::NoError);
        assert!(no_data.answers.is_empty() && no_data.authorities.len() == 1);
        let failed = read(&Says::Failed.to(&question));
        assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
        let too_long = read(&Says::TooLong.to(&question));
        assert!(too_long.metadata.truncation && too_long.edns.is_some());
        assert!(!failed.metadata.truncation);
    }

    #[test]
    fn what_is_no_question_is_answered_with_its_fault_or_not_at_all() {
        let mut message = asked("a.example", 1, None);
        let class = message.len() - 1;
        message[class] = 3;
        let other_class = to_rejected(&parse(&message).unwrap_err()).unwrap();
        assert_eq!(
            read(&other_class).metadata.response_code,
            ResponseCode::NXDomain
        );
        message.push(0);
        let malformed = to_rejected(&parse(&message).unwrap_err()).unwrap();
        assert_eq!(
            read(&malformed).metadata.response_code,
            ResponseCode::FormErr
        );
        message[2] |= 4 << 3;
        let opcode = read(&to_rejected(&parse(&message).unwrap_err()).unwrap());
        assert_eq!(opcode.metadata.response_code, ResponseCode::NotImp);
        assert_eq!(opcode.metadata.op_code, OpCode::Notify);
        message[2] |= 0x80;
        assert_eq!(to_rejected(&parse(&message).unwrap_err()), None);
    }
}
