//! Where the running kernel keeps what, in its own words: BTF, as in `include/uapi/linux/btf.h` and
//! Documentation/bpf/btf.rst.

use std::{fs, io};

const OF_KERNEL: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// Size of `struct btf_type`: name, info, size or type.
const TYPE_SIZE: usize = 12;
/// Size of `struct btf_member`: name, type, offset in bits.
const MEMBER_SIZE: usize = 12;
/// `BTF_KIND_STRUCT`
const STRUCT: u32 = 4;
/// `BTF_KIND_FUNC`
const FUNC: u32 = 12;

/// The types of the running kernel.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each structure begins. Of a hundred and fifty thousand types they are few, and each is asked for by its name.
    structures: Vec<usize>,
    /// The id of each function, and where it begins.
    functions: Vec<(u32, usize)>,
}

impl Btf {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// The system's, `NotFound` where the kernel was built without; `InvalidData` for what is no BTF of a kernel.
    pub fn of_kernel() -> io::Result<Self> {
        Self::parse(fs::read(OF_KERNEL)?).ok_or_else(|| invalid("this is no BTF"))
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        let [header, types, length, strings] = [4, 8, 12, 16].map(|at| word(&bytes, at));
        let begin = usize::try_from(header?.checked_add(types?)?).ok()?;
        let end = begin.checked_add(length? as usize)?;
        let strings = usize::try_from(header?.checked_add(strings?)?).ok()?;
        let (mut at, mut id) = (begin, 0_u32);
        let (mut structures, mut functions) = (Vec::new(), Vec::new());
        while at < end {
            id += 1;
            let info = word(&bytes, at + 4)?;
            match kind(info) {
                STRUCT => structures.push(at),
                FUNC => functions.push((id, at)),
                _ => {}
            }
            at += TYPE_SIZE + more(info)?;
        }
        (magic == MAGIC).then_some(Self {
            bytes,
            strings,
            structures,
            functions,
        })
    }

    /// How far a member is from the beginning of a structure, in bytes.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is no such structure, or it has no such member.
    pub fn member(&self, structure: &str, member: &str) -> io::Result<i32> {
        let bits = self.bit(structure, member)?;
        i32::try_from(bits / 8).map_err(|_| absent(&format!("{structure}.{member}")))
    }

    /// The same in bits: where a bit field begins.
    ///
    /// # Errors
    ///
    /// As [`Self::member`].
    pub fn bit(&self, structure: &str, member: &str) -> io::Result<u32> {
        let is_it = |at: &&usize| self.is_named(**at, structure);
        let found = self.structures.iter().find(is_it).and_then(|at| {
            let count = (word(&self.bytes, at + 4)? & 0xffff) as usize;
            let members = (0..count).map(|index| at + TYPE_SIZE + index * MEMBER_SIZE);
            let mut named = members.filter(|at| self.is_named(*at, member));
            // In the upper byte a bit field has its size.
            Some(word(&self.bytes, named.next()? + 8)? & 0x00ff_ffff)
        });
        found.ok_or_else(|| absent(&format!("{structure}.{member}")))
    }

    /// The id of a function.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none of that name.
    pub fn function(&self, name: &str) -> io::Result<i32> {
        let is_it = |(_, at): &&(u32, usize)| self.is_named(*at, name);
        let found = self.functions.iter().find(is_it);
        let id = found.and_then(|(id, _)| i32::try_from(*id).ok());
        id.ok_or_else(|| absent(name))
    }

    /// Whether the name at the beginning of a record is this one.
    fn is_named(&self, at: usize, name: &str) -> bool {
        let text =
            word(&self.bytes, at).and_then(|at| self.bytes.get(self.strings + at as usize..));
        text.and_then(|text| text.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// How many bytes follow a `struct btf_type`, by its `info`.
fn more(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    Some(match kind(info) {
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => count * 12,
        // ENUM, FUNC_PROTO
        6 | 13 => count * 8,
        _ => return None,
    })
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{OF_KERNEL}: {why}"))
}

fn absent(what: &str) -> io::Error {
    let why = format!("this kernel has no {what}, says {OF_KERNEL}");
    io::Error::new(io::ErrorKind::NotFound, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_functions_are_found_where_the_kernel_says() {
        let btf = Btf::of_kernel().unwrap();
        assert_eq!(btf.member("list_head", "next").unwrap(), 0);
        assert_eq!(btf.member("list_head", "prev").unwrap(), 8);
        assert_eq!(btf.bit("list_head", "prev").unwrap(), 64);
        // Behind four bits for the option beside it.
        let reuse = btf.bit("sock_common", "skc_reuse").unwrap();
        let reuseport = btf.bit("sock_common", "skc_reuseport").unwrap();
        assert_eq!((reuse % 8, reuseport), (0, reuse + 4));
        assert!(btf.function("tcp_v4_connect").unwrap() > 0);
        for absent in [
            btf.member("list_head", "ne"),
            btf.function("no_such_function"),
        ] {
            assert_eq!(absent.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn what_is_cut_off_is_no_btf() {
        let whole = fs::read(OF_KERNEL).unwrap();
        for length in [0, 3, 20, 1000, whole.len() / 2] {
            assert!(Btf::parse(whole[..length].to_vec()).is_none(), "{length}");
        }
        let mut other = whole;
        other[0] ^= 1;
        assert!(Btf::parse(other).is_none());
    }
}
